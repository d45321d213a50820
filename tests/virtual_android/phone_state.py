"""What commands may change in a running phone: properties, settings, modes, the log.

What each command does with it is in `system_server.py`.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.virtual_android.spec import PhoneSpec

FACTORY_SETTINGS = {
    "global": {
        "adb_enabled": "1",
        "airplane_mode_on": "0",
        "animator_duration_scale": "1.0",
        "low_power": "0",
        "stay_on_while_plugged_in": "0",
        "window_animation_scale": "1.0",
    },
    "system": {"screen_brightness": "102", "screen_off_timeout": "60000"},
    "secure": {"android_id": "9f3a51c2d4e60718"},
}
SUSPEND_PROPERTY = "power.battery_input.suspended"
NOISE_LINES = 2000
"""How many lines the log holds at first: phones are talkative."""


def factory_properties(spec: PhoneSpec) -> dict[str, str]:
    """Return the read-only properties of this phone."""
    flag = {True: "1", False: "0"}
    properties = {
        "ro.build.fingerprint": spec.fingerprint,
        "ro.build.id": "VP1A.240101.001",
        "ro.build.type": "userdebug" if spec.debuggable else "user",
        "ro.build.version.release": spec.android_release,
        "ro.build.version.sdk": str(spec.sdk),
        "ro.debuggable": flag[spec.debuggable],
        "ro.hardware": spec.device,
        "ro.product.brand": spec.manufacturer.lower(),
        "ro.product.cpu.abi": spec.abi,
        "ro.product.cpu.abilist": spec.abi,
        "ro.product.device": spec.device,
        "ro.product.manufacturer": spec.manufacturer,
        "ro.product.model": spec.model,
        "ro.product.name": spec.device,
        "ro.secure": "1",
        "ro.serialno": spec.serialno,
        "ro.soc.manufacturer": spec.manufacturer,
        "ro.soc.model": spec.soc_model,
        "persist.sys.timezone": "GMT",
        "service.adb.tcp.port": "-1",
    }
    if spec.emulator:
        properties |= {"ro.kernel.qemu": "1", "ro.boot.qemu": "1"}
    return properties


@dataclass
class PhoneState:
    """All that commands can read and change."""

    spec: PhoneSpec
    properties: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    fixed_performance: bool = False
    screen_on: bool = True
    battery_override: dict[str, str] | None = None
    """What `dumpsys battery set/unplug` pretends; None when the readings are real."""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=100_000))
    boots: int = 0

    def __post_init__(self) -> None:
        self.settings = {space: dict(values) for space, values in FACTORY_SETTINGS.items()}
        for number in range(NOISE_LINES):
            self.note("VirtualHal", f"sensor event {number} of the boot, nothing to see here")

    def booting(self) -> None:
        """Forget what a reboot forgets: settings and persistent properties stay."""
        kept = {k: v for k, v in self.properties.items() if k.startswith("persist.")}
        self.properties = {**factory_properties(self.spec), **kept, "sys.boot_completed": "0"}
        self.fixed_performance = False
        self.screen_on = True
        self.battery_override = None
        self.boots += 1

    def booted(self) -> None:
        """Tell that Android is up."""
        self.properties |= {"sys.boot_completed": "1", "dev.bootcomplete": "1"}

    def note(self, tag: str, message: str, level: str = "I") -> None:
        """Write a line to the log."""
        now = time.time()
        stamp = time.strftime("%m-%d %H:%M:%S", time.gmtime(now))
        self.log.append(
            f"{stamp}.{int(now * 1000) % 1000:03d}   612   640 {level} {tag}: {message}"
        )

    def altered(self) -> dict[str, Any]:
        """Return what commands have changed and not put back; empty on an untouched phone."""
        expected = factory_properties(self.spec)
        booted = ("sys.boot_completed", "dev.bootcomplete")
        found: dict[str, Any] = {
            name: value
            for name, value in self.properties.items()
            if expected.get(name, "") != value and name not in booted
        }
        if found.get(SUSPEND_PROPERTY) in ("false", "0"):
            del found[SUSPEND_PROPERTY]
        for space in sorted(self.settings):
            factory, now = FACTORY_SETTINGS[space], self.settings[space]
            for name in sorted(factory.keys() | now.keys()):
                if factory.get(name) != now.get(name):
                    found[f"{space}/{name}"] = now.get(name)
        if self.fixed_performance:
            found["fixed_performance"] = True
        if self.battery_override is not None:
            found["battery_override"] = self.battery_override
        return found
