"""How energy is measured on one device in one sweep: which source, and charging kept away from it.

A battery's gauge sees what the charger adds. So for the energy pass charging is suspended, where the
phone really does that; or the USB port is switched off; or a person pulls the cable. In the latter
two ways the phone is on its own: its launches wait in a queue on it, and are collected when it is back.
Not here: what sources a device has (`devices/`), what the numbers mean (`energy.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from harness import usb_power
from harness.devices.base import Device
from harness.errors import DeviceError, DeviceLost, EnergyRefused, NotSupported, Stopped
from harness.job import Job
from harness.ledger import DeviceInfo
from harness.plan import DeviceSettings, Measure, Plan
from harness.power import PowerSource, QueueView, Recorder
from harness.runtimes import RuntimePack
from harness.stop import Stop

Charging = Literal["no matter", "not charging", "suspend", "usb-port", "by-hand", "as-is"]
Tell = Callable[[str], None]


class Phone(Protocol):
    """What a device on a battery can do beyond `Device`, so that charging can be kept from it."""

    @property
    def info(self) -> DeviceInfo:
        """What the phone is."""

    def apply(self, settings: DeviceSettings) -> None:
        """Change settings."""

    def read_current(self, source: PowerSource) -> float | None:
        """Read the gauge's raw current now."""

    def enqueue(
        self, jobs: Sequence[tuple[Job, RuntimePack]], patience_seconds: int, rest_seconds: int
    ) -> None:
        """Leave jobs with it that it starts by itself while it runs on its battery."""

    def look_at_queue(self) -> QueueView | None:
        """Tell how the queue stands; None if the phone is away."""

    def cancel_queue(self) -> None:
        """Forget the jobs that have not begun."""


@runtime_checkable
class _BatteryDevice(Device, Phone, Protocol):
    """A device with a battery whose charging can be kept off."""


@dataclass(frozen=True)
class Patience:
    """How long is waited for what. Seconds.

    A gauge shows a change of current after its refresh period at the latest; a phone shows that its
    charger has gone within seconds.
    """

    reversal: float = 10.0
    unplug: float = 600.0
    port: float = 30.0
    replug: float = 3600.0
    poll: float = 1.0


@dataclass(frozen=True)
class EnergyPass:
    """The source of power on one device, and how charging is kept from it."""

    source: PowerSource
    recorder: Recorder | None
    charging: Charging
    port: usb_power.Port | None = None

    @property
    def is_detached(self) -> bool:
        """Whether the launches run from a queue on the phone while nobody can reach it."""
        return self.charging in ("usb-port", "by-hand")

    @contextmanager
    def around_launch(self, device: Device) -> Iterator[None]:
        """Make sure that charging is still kept off when a launch begins.

        What was suspended stays so until the device is restored: that is at the end of its part of
        the sweep, of which energy is the last, or by the next host if this one dies.
        """
        if self.charging == "suspend" and isinstance(device, _BatteryDevice):
            amperes = _read_amperes(device, self.source)
            if amperes is not None and amperes <= 0:
                raise EnergyRefused(
                    f"{device.info.id} charges again, although that is suspended",
                    'Use another way in the plan: device.energy_charging = "by-hand", say.',
                )
        yield


def open_energy_pass(
    device: Device, plan: Plan, tell: Tell, patience: Patience | None = None
) -> EnergyPass:
    """Choose the source of power and the way to keep charging off. Raises EnergyRefused, with why."""
    refused: list[str] = []
    sources = device.power_sources()
    for source in sources:
        if not is_wanted(source, plan.measure):
            continue
        reason, advice = source.refusal, source.advice
        if not reason:
            try:
                charging, port = _keep_charging_off(device, source, plan, patience or Patience())
            except _Unavailable as error:
                reason, advice = error.reason, _CHARGING_ADVICE
            else:
                if source.kind == "meter" and device.conditions().charging:
                    tell(f"{device.info.id}: {_METER_AND_CABLE}")
                return EnergyPass(source, device.recorder(source), charging, port)
        refused.append(f"  {source.name}: {reason}" + (f"\n    {advice}" if advice else ""))
    listed = "\n".join(refused) or f"  {explain_none(sources, plan.measure)}"
    raise EnergyRefused(
        f"energy cannot be measured on {device.info.id}:\n{listed}",
        "The other passes need none of this; leave energy out of measure.passes to be rid of it.",
    )


def explain_none(sources: Sequence[PowerSource], measure: Measure) -> str:
    """Say that a device lacks the source of power that was named, and which it has."""
    kinds = ", ".join(source.kind for source in sources)
    return f'measure.energy_source = "{measure.energy_source}", and what it has is: {kinds}'


def find_usable(
    sources: Sequence[PowerSource], measure: Measure
) -> tuple[PowerSource | None, tuple[PowerSource, ...]]:
    """Return the best source that a plan wants and that can be used, and those before it that cannot."""
    refused: list[PowerSource] = []
    for source in sources:
        if is_wanted(source, measure):
            if not source.refusal:
                return source, tuple(refused)
            refused.append(source)
    return None, tuple(refused)


def is_wanted(source: PowerSource, measure: Measure) -> bool:
    """Tell whether a plan asks for this source. A meter may feed another phone: it must be named."""
    wanted = measure.energy_source
    return source.kind == wanted or (wanted == "best" and source.kind != "meter")


_CHARGING_ADVICE = (
    "Attach the phone by wireless debugging without a cable; or see docs/energy.md on charging."
)
_METER_AND_CABLE = (
    "it charges from a cable while the meter feeds it: what comes by the cable is missed. Attach it by "
    "wireless debugging."
)


_READING_TRIES, _READING_PAUSE_SECONDS = 3, 0.3


# --- keeping the charger off ---------------------------------------------------------------------


class _Unavailable(Exception):
    """A way to keep charging off that does not work here, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _keep_charging_off(
    device: Device, source: PowerSource, plan: Plan, patience: Patience
) -> tuple[Charging, usb_power.Port | None]:
    """Return the first way that works, and begin it if it needs a beginning."""
    way = plan.device.energy_charging
    if not source.sees_charging:
        return "no matter", None
    if way == "as-is":
        return "as-is", None
    if _is_on_battery(device, source):
        keep_awake(device, plan.device)
        return "not charging", None
    if not isinstance(device, _BatteryDevice):
        raise _Unavailable("the device charges, and nothing here can keep it from that")
    ways = ("suspend", "usb-port", "by-hand") if way == "auto" else (way,)
    reasons = []
    for each in ways:
        try:
            match each:
                case "suspend":
                    _suspend(device, source, plan.device, patience)
                    return "suspend", None
                case "usb-port":
                    return "usb-port", _find_port(device)
                case _:
                    return "by-hand", None
        except _Unavailable as error:
            reasons.append(error.reason)
    raise _Unavailable("the phone charges, and " + "; ".join(reasons))


def keep_awake(device: Device, settings: DeviceSettings) -> None:
    """Keep a device's screen on, where that can be set.

    One that runs on its battery goes to sleep otherwise, in the midst of its work.
    """
    with suppress(NotSupported):
        device.apply(settings.model_copy(update={"stay_awake": True}))


def _is_on_battery(device: Device, source: PowerSource) -> bool:
    """Tell whether the battery feeds the device: it says so, and the gauge shows what is drawn.

    A full battery does not charge either, while the cable feeds the phone.
    """
    if device.conditions().charging is not False:
        return False
    if not isinstance(device, _BatteryDevice):
        return True
    amperes = _read_amperes(device, source)
    return amperes is not None and amperes > 0


def _read_amperes(phone: Phone, source: PowerSource) -> float | None:
    """Return the current drawn from the battery, in amperes; below zero it charges.

    A gauge that does not answer with a number is asked again; None if it never does.
    """
    calibration = source.calibration
    if calibration is None:
        return None
    for attempt in range(_READING_TRIES):
        if attempt:
            time.sleep(_READING_PAUSE_SECONDS)
        raw = phone.read_current(source)
        if raw is not None:
            return raw * calibration.sign * calibration.amperes_per_unit
    return None


def _suspend(
    phone: _BatteryDevice, source: PowerSource, settings: DeviceSettings, patience: Patience
) -> None:
    """Suspend charging, and believe it only when the current has turned round."""
    calibration = source.calibration
    if calibration is not None and calibration.suspend_works is False:
        raise _Unavailable("it ignores being told to suspend that (as its calibration found)")
    keep_awake(phone, settings)
    suspended = settings.model_copy(update={"suspend_charging": True})
    try:
        phone.apply(suspended)
    except NotSupported as error:
        raise _Unavailable(f"its charging cannot be suspended ({error.message})") from error
    refresh = calibration.refresh_seconds if calibration is not None else 0.0
    deadline = time.monotonic() + max(patience.reversal, 3 * refresh)
    amperes = None
    while time.monotonic() < deadline:
        amperes = _read_amperes(phone, source)
        if amperes is not None and amperes > 0:
            return
        time.sleep(min(patience.poll, 0.2))
    seen = "cannot be read" if amperes is None else "does not turn round"
    raise _Unavailable(f"it accepts being told to suspend that, and its current {seen}")


def _find_port(phone: Phone) -> usb_power.Port:
    """Return the phone's USB port, if its hub can switch it."""
    serial = phone.info.details.get("serial_number", phone.info.id)
    port = usb_power.find_port(serial)
    reason = usb_power.explain_unusable(port, serial)
    if port is None or reason:
        raise _Unavailable(reason)
    return port


# --- on its own: launches while nobody can reach the phone ----------------------------------------

# Loading, first inference, checks and writing, beside what a job waits and works for.
_OVERHEAD_SECONDS = 30.0
# How much longer a phone that works is left alone than one that is waited for.
_SELDOM = 10


def run_detached(
    device: Device,
    energy: EnergyPass,
    jobs: Sequence[tuple[Job, RuntimePack]],
    plan: Plan,
    tell: Tell,
    stop: Stop,
    patience: Patience | None = None,
) -> None:
    """Let a phone run jobs by itself while it is unplugged, and return when it is back with them.

    What it did not come to is not among its jobs then. Raises EnergyRefused if it is not unplugged in
    time, DeviceLost if it does not come back (what it has done waits on it), and Stopped.
    """
    if not isinstance(device, _BatteryDevice):
        raise EnergyRefused(f"{device.info.id} cannot run launches by itself")
    limits = patience or Patience()
    rest_seconds = int(min(plan.measure.cooldown_seconds, 300.0))
    device.enqueue(jobs, int(limits.unplug + limits.replug), rest_seconds)
    queued = [job for job, _ in jobs]
    absence = _Absence(device, energy.port, queued, rest_seconds, tell, stop, limits)
    try:
        absence.wait()
    finally:
        if energy.port is not None:
            _switch_on(energy.port, tell)
    device.cancel_queue()


def _switch_on(port: usb_power.Port, tell: Tell) -> None:
    """Give a port its power back, whatever happened; trouble with that hides no earlier error."""
    try:
        usb_power.switch(port, "on")
    except DeviceError as error:
        tell(str(error))


@dataclass
class _Absence:
    """The wait for a phone that is to go, to work alone, and to come back."""

    phone: _BatteryDevice
    port: usb_power.Port | None
    jobs: Sequence[Job]
    rest_seconds: float
    tell: Tell
    stop: Stop
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
            usb_power.switch(self.port, "off")
        else:
            self.tell(
                f"{name}: unplug it now. {left} launches will run on its battery, about {minutes} min; "
                "then plug it in again"
            )
        limit = self.patience.port if self.port is not None else self.patience.unplug
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
                    usb_power.switch(self.port, "on")
                else:
                    self.tell(f"{name}: it should be done. Plug it in again")
            if waited > expected + self.patience.replug:
                raise DeviceLost(
                    f"{name} did not come back", "Plug it in, then: phonebench run --resume."
                )
            # One that can be seen is reached over the air: to be asked is work beside its work.
            self._pause(1 if view is None else _SELDOM)

    def _seconds(self, left: int) -> float:
        """Return how long the last jobs of the queue take, about."""
        return sum(
            2 * job.baseline_seconds + job.steady.max_seconds + _OVERHEAD_SECONDS
            for job in self.jobs[-left:]
        )

    def _pause(self, times: int = 1) -> None:
        self.stop.wait_for(None, times * self.patience.poll)
        if self.stop.is_set():
            raise Stopped("the user wants to stop")
