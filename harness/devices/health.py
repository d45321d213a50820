"""What a device tells about its fitness to be measured, and the parts that devices share.

None means everywhere: this device does not tell. Not here: what of it is a reason to worry
(`harness/doctor/examine.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.schema.device import LOCAL, Conditions

# Linux counts processor time in these on every architecture that phones have (USER_HZ).
_TICKS_PER_SECOND = 100
_TOP = 3


@dataclass(frozen=True)
class Busy:
    """The processes of one name, and how many cores they kept busy."""

    name: str
    cores: float


@dataclass(frozen=True)
class Load:
    """The processors' use by everything but this harness's own jobs, over a short time."""

    cores: float
    top: tuple[Busy, ...]


@dataclass(frozen=True)
class Link:
    """How a phone is attached. Speeds are None where they were not measured.

    The versions are adb's own protocol numbers, of the client and of the server.
    """

    kind: Literal["usb", "network"]
    client_version: int | None = None
    server_version: int | None = None
    push_bytes_per_second: float | None = None
    pull_bytes_per_second: float | None = None


@dataclass(frozen=True)
class Health:
    """A device's state, as it bears on trust in its numbers.

    `holder` names the harness that uses the device now, "" if nobody does. `virtual_signs` says what
    gives an emulator or a virtual machine away, "" if nothing does. `clock_cap` is the lowest
    ratio of a core's present limit to its highest clock. `build_type` is Android's: user,
    userdebug or eng.
    """

    kind: str
    conditions: Conditions
    holder: str | None = None
    virtual_signs: str | None = None
    load: Load | None = None
    free_bytes: int | None = None
    governors: tuple[str, ...] | None = None
    clock_cap: float | None = None
    offline_cores: tuple[int, ...] | None = None
    missing_tools: tuple[str, ...] | None = None
    build_type: str | None = None
    battery_frozen: bool | None = None
    battery_saver: bool | None = None
    screen_on: bool | None = None
    selinux: str | None = None
    link: Link | None = None
    compiler: str | None = None

    @property
    def is_phone(self) -> bool:
        """Whether it is a phone's state; else this computer's."""
        return self.kind != LOCAL


@dataclass(frozen=True)
class _Process:
    name: str
    group: int
    ticks: int


def parse_processes(text: str) -> dict[int, _Process]:
    """Read lines of /proc/PID/stat, by process id; torn lines are left out."""
    found = {}
    for line in text.splitlines():
        start, _, rest = line.rpartition(")")
        pid, _, name = start.partition(" (")
        fields = rest.split()
        if pid.isdigit() and len(fields) > 12:
            # proc(5): the process group is field 5, user and system time are 14 and 15.
            found[int(pid)] = _Process(name, int(fields[2]), int(fields[11]) + int(fields[12]))
    return found


def measure_load(
    before: str, after: str, seconds: float, own_groups: frozenset[int], names: Mapping[int, str]
) -> Load | None:
    """Return the load between two readings of every /proc/PID/stat; None if nothing was read.

    `own_groups` are the process groups of this harness's jobs; `names` are better ones than the
    kernel's, which are cut at 15 characters.
    """
    first, last = parse_processes(before), parse_processes(after)
    if not first or not last or seconds <= 0:
        return None
    ticks: Counter[str] = Counter()
    for pid, process in last.items():
        if pid in first and process.group not in own_groups:
            ticks[names.get(pid, process.name)] += process.ticks - first[pid].ticks
    cores = {name: spent / _TICKS_PER_SECOND / seconds for name, spent in ticks.items() if spent}
    top = sorted(cores, key=lambda name: -cores[name])[:_TOP]
    return Load(sum(cores.values()), tuple(Busy(name, cores[name]) for name in top))


def parse_ranges(text: str) -> tuple[int, ...]:
    """Read a list of cores as the kernel writes it: "0-2,5"."""
    cores: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            cores += range(int(first), int(last if last.isdigit() else first) + 1)
    return tuple(cores)


def parse_offline(present: str, online: str) -> tuple[int, ...] | None:
    """Return the cores that are present and not online; None if the kernel does not tell."""
    there, running = parse_ranges(present), parse_ranges(online)
    return tuple(sorted(set(there) - set(running))) if there and running else None


def parse_clock_cap(text: str) -> float | None:
    """Return the lowest ratio in lines of "PRESENT_LIMIT_KHZ HIGHEST_KHZ"; None without any."""
    pairs = (line.split() for line in text.splitlines())
    ratios = [
        int(pair[0]) / int(pair[1])
        for pair in pairs
        if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit() and int(pair[1]) > 0
    ]
    return min(ratios, default=None)
