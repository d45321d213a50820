"""What a device is, its state at one moment, and what was found on it. Not here: asking it (`devices/`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.schema.base import Frozen

LOCAL = "local"
"""The kind, and the id, of the computer that this runs on."""


Level = Literal["serious", "warning", "ok"]


LEVELS: tuple[Level, ...] = ("serious", "warning", "ok")


class DeviceInfo(Frozen):
    """What a device is. `fingerprint` stays the same as long as its hardware and system do.

    `kind` is the device's key in `devices.registry.DRIVERS`.
    """

    id: str
    name: str
    kind: str
    fingerprint: str
    system: str
    abi: str
    cpu: str
    cores: int
    memory_total_bytes: int
    details: dict[str, str] = Field(default_factory=dict)

    @property
    def is_phone(self) -> bool:
        """Whether jobs run on a phone; else on this computer, with its own runner packs."""
        return self.kind != LOCAL


class Conditions(Frozen):
    """The state of a device at one moment. None: this device does not tell.

    `load_1min` is the kernel's load average; clocks are per online core, in core order, and so are
    `clock_limits_khz` (scaling_max_freq: what thermal mitigation leaves of the highest clock).
    `thermal_status` is Android's: 0 none, 1 light, 2 moderate, 3 severe, up to 6 shutdown.
    """

    unix: float
    load_1min: float | None = None
    memory_available_bytes: int | None = None
    temperature_celsius: float | None = None
    clocks_khz: tuple[int, ...] | None = None
    clock_limits_khz: tuple[int, ...] | None = None
    governor: str | None = None
    battery_percent: float | None = None
    charging: bool | None = None
    thermal_status: int | None = None


class DeviceFinding(Frozen):
    """One thing that was looked at before measuring: what was found, and what to do about it."""

    key: str
    level: Level
    text: str
    advice: str = ""
