"""Which files of the kernel are read while a launch runs: memory, clocks, load, temperatures.

Android and this computer show them alike. Not here: reading them (the runner does), and power
(`android/gauge.py`, `android/rails.py`, `local/rapl.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.schema.job import Channel, Pass, Probe, Reading

CPU = "/sys/devices/system/cpu"
CORE_FILES = (
    "cpufreq/scaling_cur_freq",
    "cpufreq/scaling_max_freq",
    "cpufreq/stats/time_in_state",
)
STAT = "/proc/stat"
ZONES = "/sys/class/thermal"

# A reading takes 40 us of a core: at 20 ms that is 0.2% of it. In the energy pass the sampler's own
# consumption counts more.
_MEMORY_PERIOD_SECONDS: dict[Pass, float] = {"memory": 0.02, "energy": 0.1}
_SLOW_PERIOD_SECONDS = 0.5
# Phones have up to a hundred zones, most of them of no interest or not readable.
_MOST_ZONES = 6
_ZONE_ORDER = (r"skin|quiet|xo.therm", r"batt", r"cpu|soc|core|little|mid|big|x86_pkg|k10")
# The kernel's unit is the thousandth of a degree; what lies outside is no reading of a device that works.
_PLAUSIBLE_MILLIDEGREES = (1_000, 130_000)


@dataclass(frozen=True)
class Zone:
    """A thermal zone: its folder's name, what the vendor calls it, and what it reads."""

    folder: str
    name: str
    millidegrees: int


@dataclass(frozen=True)
class Readable:
    """What a device lets be read: files of cores, /proc/stat, and its thermal zones."""

    files: frozenset[str]
    zones: tuple[Zone, ...]


def make_probes(readable: Readable, measured_pass: Pass) -> tuple[Probe, ...]:
    """Return the probes of a pass: a period in the memory and the energy pass, else marks alone."""
    period = _SLOW_PERIOD_SECONDS if measured_pass in _MEMORY_PERIOD_SECONDS else None
    return (
        *_memory(measured_pass),
        *_cores(readable.files, period),
        *_busy(readable.files, period),
        *_temperatures(readable.zones, period),
    )


def _memory(measured_pass: Pass) -> list[Probe]:
    """Return the series of the process's memory; at marks the runner notes it anyway."""
    period = _MEMORY_PERIOD_SECONDS.get(measured_pass)
    if period is None:
        return []
    # The kernel writes kB and means KiB (proc(5)).
    channels = (
        Channel(name="rss", unit="byte", after="VmRSS:", scale=1024),
        Channel(name="swap", unit="byte", after="VmSwap:", scale=1024),
    )
    return [Probe(file="/proc/@PID/status", period_seconds=period, channels=channels)]


def _cores(files: frozenset[str], period: float | None) -> list[Probe]:
    kinds: tuple[tuple[str, str, str, Reading], ...] = (
        (CORE_FILES[0], "clock", "kHz", "number"),
        (CORE_FILES[1], "clock_limit", "kHz", "number"),
        (CORE_FILES[2], "cycles", "kcycles", "time_in_state"),
    )
    found = [path for path in files if path.startswith(f"{CPU}/cpu")]
    numbers = sorted({int(match[1]) for path in found if (match := re.search(r"/cpu(\d+)/", path))})
    return [
        Probe(
            file=path,
            period_seconds=period,
            reading=reading,
            channels=(Channel(name=f"cpu{number}_{name}", unit=unit),),
        )
        for number in numbers
        for file, name, unit, reading in kinds
        if (path := f"{CPU}/cpu{number}/{file}") in files
    ]


def _busy(files: frozenset[str], period: float | None) -> list[Probe]:
    if STAT not in files:
        return []
    channel = Channel(name="cpu_busy", unit="ns")
    return [Probe(file=STAT, period_seconds=period, reading="cpu_busy", channels=(channel,))]


def _temperatures(zones: Sequence[Zone], period: float | None) -> list[Probe]:
    """Return the zones worth following: the skin, the battery and the cores first."""
    low, high = _PLAUSIBLE_MILLIDEGREES
    usable = [zone for zone in zones if low <= zone.millidegrees <= high]
    chosen = sorted(usable, key=_rank_zone)[:_MOST_ZONES]
    names = [zone.name for zone in chosen]
    return [
        Probe(
            file=f"{ZONES}/{zone.folder}/temp",
            period_seconds=period,
            channels=(
                Channel(name=f"temperature:{_unique(zone, names)}", unit="celsius", scale=0.001),
            ),
        )
        for zone in chosen
    ]


def _rank_zone(zone: Zone) -> tuple[int, int]:
    """Return where a zone stands: by what it is of, then by its number."""
    of = (n for n, words in enumerate(_ZONE_ORDER) if re.search(words, zone.name.lower()))
    return next(of, len(_ZONE_ORDER)), int(zone.folder.removeprefix("thermal_zone") or 0)


def _unique(zone: Zone, names: Sequence[str]) -> str:
    number = zone.folder.removeprefix("thermal_zone")
    return zone.name if names.count(zone.name) == 1 else f"{zone.name} ({number})"


def parse_readable(sections: dict[str, str]) -> Readable:
    """Read a phone's answer to probes.sh, in sections; lines that make no sense are left out."""
    files = frozenset(line for line in sections.get("readable", "").splitlines() if line)
    lines = re.findall(r"^(thermal_zone\d+) (-?\d+) (\S.*)$", sections.get("zones", ""), re.M)
    return Readable(files, tuple(Zone(folder, name.strip(), int(t)) for folder, t, name in lines))
