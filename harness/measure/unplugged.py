"""Launches that a phone runs by itself while nobody can reach it: sent away, waited for, and back.

Its launches wait in a queue on it, and run while no charger feeds it. Not here: why they have to
(`charging.py`), and collecting what they left (`device_run.py` takes them up like any others).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.cancellation import Cancellation
from harness.devices import usb_hub
from harness.devices.base import BatteryDevice, Device
from harness.errors import DeviceError, DeviceLost, EnergyRefused, Stopped
from harness.measure.charging import EnergyPass
from harness.measure.patience import PATIENCE, Patience
from harness.runners.pack import RunnerPack
from harness.schema.job import Job
from harness.schema.plan import Plan

Tell = Callable[[str], None]

# How much longer a phone that works is left alone than one that is waited for.
_SELDOM = 10


def run_detached(
    device: Device,
    energy: EnergyPass,
    jobs: Sequence[tuple[Job, RunnerPack]],
    plan: Plan,
    tell: Tell,
    cancellation: Cancellation,
    patience: Patience = PATIENCE,
) -> None:
    """Let a phone run jobs by itself while it is unplugged, and return when it is back with them.

    What it did not come to is not among its jobs then. Raises EnergyRefused if it is not unplugged in
    time, DeviceLost if it does not come back (what it has done waits on it), and Stopped.
    """
    if not isinstance(device, BatteryDevice):
        raise EnergyRefused(f"{device.info.id} cannot run launches by itself")
    rest_seconds = int(min(plan.measure.cooldown_seconds, 300.0))
    wait_seconds = patience.unplug_seconds + patience.replug_seconds
    device.enqueue(jobs, int(wait_seconds), rest_seconds)
    queued = [job for job, _ in jobs]
    absence = _Absence(device, energy.port, queued, rest_seconds, tell, cancellation, patience)
    try:
        absence.wait()
    finally:
        if energy.port is not None:
            _switch_on(energy.port, tell)
    device.cancel_queue()


def _switch_on(port: usb_hub.Port, tell: Tell) -> None:
    """Give a port its power back, whatever happened; trouble with that hides no earlier error."""
    try:
        usb_hub.switch(port, "on")
    except DeviceError as error:
        tell(str(error))


@dataclass
class _Absence:
    """The wait for a phone that is to go, to work alone, and to come back."""

    phone: BatteryDevice
    port: usb_hub.Port | None
    jobs: Sequence[Job]
    rest_seconds: float
    tell: Tell
    cancellation: Cancellation
    patience: Patience

    def wait(self) -> None:
        """Return when the phone is back and its queue is through, or stuck in a job that does not end."""
        left, stuck_seconds = len(self.jobs), 0.0
        while left:
            self._send_away(left)
            began, before = time.monotonic(), left
            left = self._await_return(left)
            stuck_seconds = stuck_seconds + time.monotonic() - began if left == before else 0.0
            if stuck_seconds > self._seconds(left) + self.rest_seconds:
                self.tell(f"{self.phone.info.id}: the launch that it is at does not end")
                return
            if left and self.port is None:
                self.tell(f"{self.phone.info.id}: plugged in too early, {left} launches are left")

    def _send_away(self, left: int) -> None:
        """Cut the port, or ask for it to be done, and wait until the phone is off its charger."""
        name, minutes = self.phone.info.id, max(1, round(self._seconds(left) / 60))
        if self.port is not None:
            usb_hub.switch(self.port, "off")
        else:
            self.tell(
                f"{name}: unplug it now. {left} launches will run on its battery, about {minutes} min; "
                "then plug it in again"
            )
        limit = (
            self.patience.port_seconds if self.port is not None else self.patience.unplug_seconds
        )
        deadline = time.monotonic() + limit
        while (view := self.phone.look_at_queue()) and view.charging and view.left >= left:
            if time.monotonic() > deadline:
                self.phone.cancel_queue()
                raise EnergyRefused(
                    f"{name} was not unplugged within {limit:.0f} s",
                    "Run it again with --resume when somebody is there to do it."
                    if self.port is None
                    else "Its port was switched off and still feeds it: use another way.",
                )
            self._pause()

    def _await_return(self, left: int) -> int:
        """Wait until the phone has finished, or is fed again; return how many jobs are left."""
        name, began, told = self.phone.info.id, time.monotonic(), False
        expected = self._seconds(left)
        while True:
            view, waited = self.phone.look_at_queue(), time.monotonic() - began
            if view is not None and (view.left == 0 or view.charging):
                return view.left
            if view is None and waited > expected and not told:
                told = True
                if self.port is not None:
                    usb_hub.switch(self.port, "on")
                else:
                    self.tell(f"{name}: it should be done. Plug it in again")
            if waited > expected + self.patience.replug_seconds:
                raise DeviceLost(
                    f"{name} did not come back", "Plug it in, then: phonebench run --resume."
                )
            # One that can be seen is reached over the air: to be asked is work beside its work.
            self._pause(1 if view is None else _SELDOM)

    def _seconds(self, left: int) -> float:
        """Return how long the last jobs of the queue take, about."""
        overhead_seconds = self.patience.launch_overhead_seconds
        return sum(
            2 * job.baseline_seconds + job.steady.max_seconds + overhead_seconds
            for job in self.jobs[-left:]
        )

    def _pause(self, times: int = 1) -> None:
        self.cancellation.wait_for(None, times * self.patience.poll_seconds)
        if self.cancellation.is_set():
            raise Stopped("the user wants to stop")
