"""The drivers there are: how devices are listed, found by name, and opened.

A new driver is a folder with the shape of `base.py`, and here a function and a line in `DRIVERS`. Its
modules are imported when they are first needed: a run on this computer must not start an adb server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import DeviceNotFound

if TYPE_CHECKING:
    from harness.devices.base import Attached, Device
    from harness.devices.health import Health
    from harness.schema.device import DeviceInfo
    from harness.schema.power import PowerSource


@dataclass(frozen=True)
class Driver:
    """A way to reach devices: list those attached now, open one for use, examine one.

    `open_device(id, purpose)` raises DeviceNotFound, or DeviceError if another host holds it.
    `read_health(id, measure_link)` and `read_power_sources(id)` need no lock and change nothing.
    """

    discover: Callable[[], Sequence[Attached]]
    open_device: Callable[[str, str], Device]
    read_health: Callable[[str, bool], Health]
    read_power_sources: Callable[[str], Sequence[PowerSource]]


def _local() -> Driver:
    from harness.devices.local import device as local
    from harness.devices.local import health as local_health

    return Driver(
        local.discover, local.open_device, local_health.read_health, local.read_power_sources
    )


def _android() -> Driver:
    from harness.devices.android import device as android
    from harness.devices.android import health as android_health

    return Driver(
        android.discover,
        android.open_device,
        android_health.read_health,
        android.read_power_sources,
    )


DRIVERS: dict[str, Callable[[], Driver]] = {"local": _local, "android": _android}
ALL_PHONES = "all"


def discover() -> list[Attached]:
    """List every device that can be seen now, in the order of the drivers."""
    return [found for driver in DRIVERS.values() for found in driver().discover()]


def find_devices(names: Sequence[str]) -> list[DeviceInfo]:
    """Return the named devices, in that order; "all" is every phone that is ready.

    Raises DeviceNotFound, naming those attached or what is wrong with the one that was named.
    """
    wanted = list(dict.fromkeys(names))
    seen = _discover_until(wanted)
    infos: list[DeviceInfo] = []
    for name in wanted:
        infos += _phones(seen) if name == ALL_PHONES else [_pick(name, seen)]
    return infos


def _phones(seen: Sequence[Attached]) -> list[DeviceInfo]:
    phones = [found.info for found in seen if found.info and found.info.is_phone]
    if not phones:
        raise DeviceNotFound(
            "no phone is ready to be measured", "`phonebench devices` tells what is attached."
        )
    return phones


def _discover_until(wanted: Sequence[str]) -> list[Attached]:
    """List what is attached, until all that is wanted was seen: "local" alone asks nobody else."""
    seen: list[Attached] = []
    for driver in DRIVERS.values():
        if not {found.id for found in seen}.issuperset(wanted):
            seen += driver().discover()
    return seen


def find_attached(name: str) -> Attached:
    """Return the named device, ready or not. Raises DeviceNotFound, naming those attached."""
    return _find(name, _discover_until([name]))


def _pick(name: str, seen: Sequence[Attached]) -> DeviceInfo:
    found = _find(name, seen)
    if found.info is None:
        raise DeviceNotFound(f"{name} cannot be used: it is {found.state}", found.advice)
    return found.info


def _find(name: str, seen: Sequence[Attached]) -> Attached:
    found = next((found for found in seen if found.id == name), None)
    if found is None:
        raise DeviceNotFound(
            f"no device {name!r} is attached; attached: "
            + ", ".join(f"{found.id} ({found.state})" for found in seen),
            "`phonebench devices` lists what can be used.",
        )
    return found


def open_device(info: DeviceInfo, purpose: str) -> Device:
    """Open a device for use; `purpose` is shown to whoever else wants it meanwhile."""
    return DRIVERS[info.kind]().open_device(info.id, purpose)


def read_health(info: DeviceInfo, measure_link: bool) -> Health:
    """Examine a device; with `measure_link`, also how fast files reach it."""
    return DRIVERS[info.kind]().read_health(info.id, measure_link)


def read_power_sources(info: DeviceInfo) -> Sequence[PowerSource]:
    """Return a device's sources of power, the best first; those that cannot be used say why."""
    return DRIVERS[info.kind]().read_power_sources(info.id)
