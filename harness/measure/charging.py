"""Which source of power a device's energy launches use, and how the charger is kept away from it.

A battery's gauge sees what the charger adds. So for the energy pass charging is suspended, where the
phone really does that; or the USB port is switched off; or a person pulls the cable.
Not here: the launches that a phone runs by itself in the latter two ways (`unplugged.py`), what sources
a device has (`devices/`), and what the numbers mean (`analysis/energy.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from harness.analysis.power_source import explain_none, is_wanted
from harness.devices import usb_hub
from harness.devices.base import BatteryDevice, Device, Phone, Recorder
from harness.errors import EnergyRefused, NotSupported
from harness.measure.patience import PATIENCE, Patience
from harness.schema.plan import DeviceSettings, Plan
from harness.schema.power import PowerSource

# A gauge that does not answer with a number is asked again.
_READING_TRIES, _READING_PAUSE_SECONDS = 3, 0.3

Charging = Literal["no matter", "not charging", "suspend", "usb-port", "by-hand", "as-is"]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class EnergyPass:
    """The source of power on one device, and how charging is kept from it."""

    source: PowerSource
    recorder: Recorder | None
    charging: Charging
    port: usb_hub.Port | None = None

    @property
    def is_detached(self) -> bool:
        """Whether the launches run from a queue on the phone while nobody can reach it."""
        return self.charging in ("usb-port", "by-hand")

    def check_charging(self, device: Device) -> None:
        """See that charging is still kept off when a launch begins. Raises EnergyRefused.

        What was suspended stays so until the device is restored: that is at the end of its part of
        the sweep, of which energy is the last, or by the next host if this one dies.
        """
        if self.charging == "suspend" and isinstance(device, BatteryDevice):
            amperes = _read_amperes(device, self.source)
            if amperes is not None and amperes <= 0:
                raise EnergyRefused(
                    f"{device.info.id} charges again, although that is suspended",
                    'Use another way in the plan: device.energy_charging = "by-hand", say.',
                )


def open_energy_pass(
    device: Device, plan: Plan, tell: Tell, patience: Patience = PATIENCE
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
                charging, port = _keep_charging_off(device, source, plan, patience)
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


_CHARGING_ADVICE = (
    "Attach the phone by wireless debugging without a cable; or see docs/energy.md on charging."
)
_METER_AND_CABLE = (
    "it charges from a cable while the meter feeds it: what comes by the cable is missed. Attach it by "
    "wireless debugging."
)


# --- keeping the charger off ---------------------------------------------------------------------


class _Unavailable(Exception):
    """A way to keep charging off that does not work here, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _keep_charging_off(
    device: Device, source: PowerSource, plan: Plan, patience: Patience
) -> tuple[Charging, usb_hub.Port | None]:
    """Return the first way that works, and begin it if it needs a beginning."""
    way = plan.device.energy_charging
    if not source.sees_charging:
        return "no matter", None
    if way == "as-is":
        return "as-is", None
    if _is_on_battery(device, source):
        keep_awake(device, plan.device)
        return "not charging", None
    if not isinstance(device, BatteryDevice):
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
    if not isinstance(device, BatteryDevice):
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
    phone: BatteryDevice, source: PowerSource, settings: DeviceSettings, patience: Patience
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
    deadline = time.monotonic() + max(patience.reversal_seconds, 3 * refresh)
    amperes = None
    while time.monotonic() < deadline:
        amperes = _read_amperes(phone, source)
        if amperes is not None and amperes > 0:
            return
        time.sleep(min(patience.poll_seconds, 0.2))
    seen = "cannot be read" if amperes is None else "does not turn round"
    raise _Unavailable(f"it accepts being told to suspend that, and its current {seen}")


def _find_port(phone: Phone) -> usb_hub.Port:
    """Return the phone's USB port, if its hub can switch it."""
    serial = phone.info.details.get("serial_number", phone.info.id)
    port = usb_hub.find_port(serial)
    reason = usb_hub.explain_unusable(port, serial)
    if port is None or reason:
        raise _Unavailable(reason)
    return port
