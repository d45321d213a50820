"""Devices: one module a transport, all with the shape of `base.py`.

A new transport is one module and one line in `TRANSPORTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.devices import local
from harness.errors import DeviceNotFound

if TYPE_CHECKING:
    from harness.devices.base import Device
    from harness.ledger import DeviceInfo


@dataclass(frozen=True)
class Transport:
    """A way to reach devices: list those attached now, and open one for use.

    `open_device(id, purpose)` raises DeviceNotFound, or DeviceError if another host holds it.
    """

    discover: Callable[[], Sequence[DeviceInfo]]
    open_device: Callable[[str, str], Device]


TRANSPORTS: dict[str, Transport] = {
    "local": Transport(local.discover, local.open_device),
}


def discover() -> list[DeviceInfo]:
    """List every device that can be reached now, in the order of the transports."""
    return [info for transport in TRANSPORTS.values() for info in transport.discover()]


def find_devices(names: Sequence[str]) -> list[DeviceInfo]:
    """Return the named devices, in that order. Raises DeviceNotFound, naming those attached."""
    attached = {info.id: info for info in discover()}
    for name in names:
        if name not in attached:
            raise DeviceNotFound(
                f"no device {name!r} is attached; attached: {', '.join(attached)}",
                "`phonebench devices` lists what can be used.",
            )
    return [attached[name] for name in names]


def open_device(info: DeviceInfo, purpose: str) -> Device:
    """Open a device for use; `purpose` is shown to whoever else wants it meanwhile."""
    return TRANSPORTS[info.kind].open_device(info.id, purpose)
