"""The phone's /sys: cores and their clocks, battery and charger, thermal zones.

Written by the phone itself whenever its gauge refreshes; read-only inside. What the values are is in
`body.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.virtual_phone.body import (
    CHARGING,
    DISCHARGING,
    FULL,
    NOT_CHARGING,
    Body,
)
from tests.virtual_phone.spec import Core, PhoneSpec

STATUS_NAMES = {
    CHARGING: "Charging",
    DISCHARGING: "Discharging",
    NOT_CHARGING: "Not charging",
    FULL: "Full",
}
SUSTAINABLE = 0.75
"""The part of its highest clock that a core keeps in fixed performance mode."""
THROTTLED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""The part of its highest clock that a core may use, by thermal status."""


def max_khz(core: Core, body: Body, fixed_performance: bool) -> int:
    """Return the clock that a core may reach now."""
    part = THROTTLED[body.thermal_status]
    return int(core.max_khz * min(part, SUSTAINABLE if fixed_performance else 1.0))


def current_now(spec: PhoneSpec, body: Body) -> int:
    """Return the gauge's current in the phone's own sign and unit."""
    battery = spec.battery
    return round(body.gauge.current_ua * battery.current_sign * battery.current_per_ampere / 1e6)


class SysFiles:
    """Writes /sys; only what changed since the last time."""

    def __init__(self, folder: Path, spec: PhoneSpec) -> None:
        self._folder, self._spec = folder, spec
        self._written: dict[str, str] = {}

    def write(self, body: Body, online: set[int], fixed_performance: bool) -> None:
        """Bring every file up to date; each is replaced whole."""
        values = {
            **self._cpu(body, online, fixed_performance),
            **self._power_supply(body),
            **_thermal(body),
        }
        for name, value in values.items():
            if self._written.get(name) != value:
                self._replace(name, value)
                self._written[name] = value

    def _replace(self, name: str, value: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}")
        draft.write_text(f"{value}\n")
        hidden = "power_supply/battery" in name and not self._spec.battery.readable
        draft.chmod(0o400 if hidden else 0o444)
        draft.rename(path)

    def _cpu(self, body: Body, online: set[int], fixed_performance: bool) -> Mapping[str, str]:
        folder = "devices/system/cpu"
        everything = f"0-{len(self._spec.cores) - 1}" if len(self._spec.cores) > 1 else "0"
        values = {
            f"{folder}/possible": everything,
            f"{folder}/present": everything,
            f"{folder}/online": _ranges(online),
        }
        for number, core in enumerate(self._spec.cores):
            cpu = f"{folder}/cpu{number}"
            if number > 0:
                values[f"{cpu}/online"] = str(int(number in online))
            highest = max_khz(core, body, fixed_performance)
            values |= {
                f"{cpu}/cpufreq/cpuinfo_min_freq": str(core.min_khz),
                f"{cpu}/cpufreq/cpuinfo_max_freq": str(core.max_khz),
                f"{cpu}/cpufreq/scaling_min_freq": str(core.min_khz),
                f"{cpu}/cpufreq/scaling_max_freq": str(highest),
                f"{cpu}/cpufreq/scaling_cur_freq": str(highest),
                f"{cpu}/cpufreq/scaling_governor": "schedutil",
                f"{cpu}/cpufreq/scaling_available_governors": "schedutil performance powersave",
            }
        return values

    def _power_supply(self, body: Body) -> Mapping[str, str]:
        gauge, battery = body.gauge, "class/power_supply/battery"
        return {
            f"{battery}/type": "Battery",
            f"{battery}/present": "1",
            f"{battery}/health": "Good",
            f"{battery}/technology": "Li-ion",
            f"{battery}/status": STATUS_NAMES[gauge.status],
            f"{battery}/capacity": str(gauge.level_percent),
            f"{battery}/charge_counter": str(gauge.charge_uah),
            f"{battery}/charge_full": str(self._spec.battery.capacity_uah),
            f"{battery}/current_now": str(current_now(self._spec, body)),
            f"{battery}/voltage_now": str(gauge.voltage_mv * 1000),
            f"{battery}/temp": str(round(gauge.temperature_celsius * 10)),
            "class/power_supply/usb/type": "USB",
            "class/power_supply/usb/online": str(int(body.cable_in)),
        }


def _thermal(body: Body) -> Mapping[str, str]:
    values = {}
    for number, (name, celsius) in enumerate(temperatures(body)):
        zone = f"class/thermal/thermal_zone{number}"
        values[f"{zone}/type"] = name
        values[f"{zone}/temp"] = str(round(celsius * 1000))
    return values


def temperatures(body: Body) -> list[tuple[str, float]]:
    """Return the phone's sensors, as names and degrees Celsius."""
    skin = round(body.skin_celsius, 1)
    return [
        ("cpu0", round(skin + 6.0, 1)),
        ("battery", body.gauge.temperature_celsius),
        ("skin", skin),
    ]


def _ranges(numbers: set[int]) -> str:
    """Write {0, 1, 2, 5} as the kernel does: 0-2,5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
