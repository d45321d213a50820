"""How energy is measured on one device in one sweep: which source, and charging kept away from it.

Not here: what sources a device has (`devices/`), what the numbers mean (`energy.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from harness.devices.base import Device
from harness.plan import Plan
from harness.power import PowerSource, Recorder

Charging = Literal["no matter", "not charging", "suspend", "usb-port", "by-hand", "as-is"]


@dataclass(frozen=True)
class EnergyPass:
    """The source of power on one device, and how charging is kept from it."""

    source: PowerSource
    recorder: Recorder | None
    charging: Charging

    @contextmanager
    def around_launch(self, device: Device) -> Iterator[None]:
        """Keep the charger off while one launch runs, and put it back."""
        del device
        yield


def open_energy_pass(device: Device, plan: Plan, tell: Callable[[str], None]) -> EnergyPass:
    """Choose the source of power and the way to keep charging off. Raises EnergyRefused, with why."""
    raise NotImplementedError
