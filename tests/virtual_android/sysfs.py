"""The phone's /sys: cores and their clocks, battery and charger, thermal zones; and sensors that fail.

Written by the phone itself as things change; read-only inside. What the values are is in `body.py` and
`clocks.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tests.virtual_android.body import CHARGING, DISCHARGING, FULL, NOT_CHARGING, Body
from tests.virtual_android.clocks import Clocks, steps_khz
from tests.virtual_android.spec import PhoneSpec

STATUS_NAMES = {
    CHARGING: "Charging",
    DISCHARGING: "Discharging",
    NOT_CHARGING: "Not charging",
    FULL: "Full",
}
CURRENT_NOW = "class/power_supply/battery/current_now"
JUMP = 100
USER_HZ = 100

Answer = Literal[
    "garbage",  # a text that is no number
    "nothing",  # an empty file
    "denied",  # a file that the shell may not read
    "frozen",  # the value of the moment when the trouble began
    "jump",  # a hundred times the value
    "gone",  # no file
]
ANSWERS = get_args(Answer)


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the sensors whose files have this text in their names."""

    file: str
    answer: Answer
    text: str = ""
    """The garbage."""


class SysFiles:
    """Writes /sys; only what changed since the last time."""

    def __init__(self, folder: Path, spec: PhoneSpec) -> None:
        self._folder, self._spec = folder, spec
        self._files: dict[str, _File] = {}
        self._values: dict[str, str] = {}
        self._troubles: list[Trouble] = []
        self._frozen: dict[str, str] = {}

    def write(self, body: Body, clocks: Clocks, online: Set[int]) -> None:
        """Bring every file up to date."""
        self._show({**self._cpu(online), **self._power_supply(body)})
        self.write_quick(body, clocks)

    def write_quick(self, body: Body, clocks: Clocks) -> None:
        """Bring up to date what changes from step to step: clocks and temperatures."""
        self._show({**self._clocks(clocks), **_thermal(body)})

    def add(self, trouble: Trouble) -> None:
        """Let sensors fail."""
        if trouble.answer == "frozen":
            self._frozen |= {n: v for n, v in self._values.items() if trouble.file in n}
        self._troubles.append(trouble)
        self._show(self._values, anew=True)

    def remove(self, trouble: Trouble) -> None:
        """Let sensors work again."""
        self._troubles.remove(trouble)
        self._frozen = {n: v for n, v in self._frozen.items() if trouble.file not in n}
        self._show(self._values, anew=True)

    def as_root_reads(self, name: str) -> int:
        """Return the number that Android's own services find in a file; 0 if there is none."""
        trouble = self._trouble_of(name)
        if trouble is not None and trouble.answer in ("garbage", "nothing", "gone"):
            return 0
        return int(self._answer(name, self._values[name], trouble))

    def _show(self, values: Mapping[str, str], anew: bool = False) -> None:
        for name, value in list(values.items()):
            if anew or self._values.get(name) != value:
                self._values[name] = value
                self._show_one(name, value)

    def _show_one(self, name: str, value: str) -> None:
        trouble, file = self._trouble_of(name), self._files.get(name)
        if trouble is not None and trouble.answer == "gone":
            if file is not None:
                self._files.pop(name).remove()
            return
        if file is None:
            file = self._files[name] = _File(self._folder / name)
        hidden = "power_supply/battery" in name and not self._spec.battery.readable
        denied = trouble is not None and trouble.answer == "denied"
        file.allow(not hidden and not denied)
        file.write("" if denied else self._answer(name, value, trouble))

    def _trouble_of(self, name: str) -> Trouble | None:
        return next((t for t in reversed(self._troubles) if t.file in name), None)

    def _answer(self, name: str, value: str, trouble: Trouble | None) -> str:
        match trouble.answer if trouble else "":
            case "garbage":
                assert trouble is not None
                return f"{trouble.text}\n"
            case "nothing":
                return ""
            case "frozen":
                return f"{self._frozen[name]}\n"
            case "jump" if value.lstrip("-").isdecimal():
                return f"{int(value) * JUMP}\n"
        return f"{value}\n"

    def _cpu(self, online: Set[int]) -> Mapping[str, str]:
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
            values |= {
                f"{cpu}/cpufreq/cpuinfo_min_freq": str(core.min_khz),
                f"{cpu}/cpufreq/cpuinfo_max_freq": str(core.max_khz),
                f"{cpu}/cpufreq/scaling_min_freq": str(core.min_khz),
                f"{cpu}/cpufreq/scaling_available_frequencies": " ".join(map(str, steps_khz(core))),
                f"{cpu}/cpufreq/scaling_governor": "schedutil",
                f"{cpu}/cpufreq/scaling_available_governors": "schedutil performance powersave",
            }
        return values

    def _clocks(self, clocks: Clocks) -> Mapping[str, str]:
        values = {}
        for number, seconds_at in enumerate(clocks.seconds_at):
            folder = f"devices/system/cpu/cpu{number}/cpufreq"
            values[f"{folder}/scaling_max_freq"] = str(clocks.limit_khz[number])
            values[f"{folder}/scaling_cur_freq"] = str(clocks.shown_khz[number])
            if self._spec.time_in_state:
                values[f"{folder}/stats/time_in_state"] = "\n".join(
                    f"{khz} {int(seconds * USER_HZ)}" for khz, seconds in seconds_at.items()
                )
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
            CURRENT_NOW: str(self._current(body)),
            f"{battery}/voltage_now": str(gauge.voltage_mv * 1000),
            f"{battery}/temp": str(round(gauge.temperature_celsius * 10)),
            "class/power_supply/usb/type": "USB",
            "class/power_supply/usb/online": str(int(body.cable_in)),
        }

    def _current(self, body: Body) -> int:
        """Return the gauge's current in the phone's own sign and unit."""
        battery = self._spec.battery
        return round(
            body.gauge.current_ua * battery.current_sign * battery.current_per_ampere / 1e6
        )


class _File:
    """One file of /sys, changed in place: who keeps it open reads the new value, as in the kernel's."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, b""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444)
        self._readable = True

    def write(self, text: str) -> None:
        """Replace the content; nobody reads half of it."""
        new, old = text.encode(), self._written
        if len(new) > len(old):
            # New lines first: whoever reads in between must not take the new number's head for it.
            os.pwrite(self._descriptor, b"\n" * (len(new) - len(old)), len(old))
        os.pwrite(self._descriptor, new, 0)
        if len(new) < len(old):
            os.ftruncate(self._descriptor, len(new))
        self._written = new

    def allow(self, readable: bool) -> None:
        """Let the shell read the file, or not."""
        if readable != self._readable:
            os.fchmod(self._descriptor, 0o444 if readable else 0o400)
            self._readable = readable

    def remove(self) -> None:
        """Take the file away; who has it open reads nothing any more."""
        os.ftruncate(self._descriptor, 0)
        self._path.unlink()
        os.close(self._descriptor)


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


def _ranges(numbers: Set[int]) -> str:
    """Write {0, 1, 2, 5} as the kernel does: 0-2,5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
