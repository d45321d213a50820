"""The CPU time that a phone's processes have used: exact where cgroups can be had.

What counts is what runs in the phone, and the moment (some tenths of a millisecond) in which a command
enters it; the Python around it, which plays adbd and Android's services, does not. Not here: what that
time costs, which is `body.py`.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

CGROUP = Path("/sys/fs/cgroup")
NAME = "virtual-phone-"


class CpuTime(Protocol):
    """Knows how much CPU time the phone has used."""

    def enter(self, command: Sequence[str]) -> list[str]:
        """Return what to start instead of a command so that its time counts."""

    def seconds(self) -> float:
        """Return the time used since the phone was made; it never goes back."""

    def close(self) -> None:
        """Leave nothing on the host."""


def cpu_time(alive_seconds: Callable[[], float]) -> CpuTime:
    """Return what measures the phone's CPU time; `alive_seconds` is used where there are no cgroups."""
    for parent in (CGROUP / "cpuacct", CGROUP):
        if (parent / "cpuacct.usage").exists() or (parent / "cgroup.controllers").exists():
            with suppress(OSError):
                return CgroupCpuTime(parent)
    return TickCpuTime(alive_seconds)


class CgroupCpuTime:
    """Counts by a control group of the phone's own: in nanoseconds, the dead included."""

    def __init__(self, parent: Path) -> None:
        _remove_left_behind(parent)
        self._folder = parent / f"{NAME}{os.getpid()}"
        self._folder.mkdir()
        old = self._folder / "cpuacct.usage"
        self._usage = os.open(old if old.exists() else self._folder / "cpu.stat", os.O_RDONLY)
        self._unit_seconds = 1e-9 if old.exists() else 1e-6

    def enter(self, command: Sequence[str]) -> list[str]:
        """Return a command that joins the group and becomes this one."""
        join = f'echo $$ > {self._folder}/cgroup.procs; exec "$@"'
        return ["/bin/sh", "-c", join, "sh", *command]

    def seconds(self) -> float:
        """Return the time used. The kernel books a running process's at its next tick: asked for it, now."""
        # Opened anew: an old descriptor goes on giving the list of its first time (cgroups, version 1).
        for pid in (self._folder / "cgroup.procs").read_bytes().split():
            with suppress(OSError):  # ended meanwhile
                time.clock_gettime(_process_clock(int(pid)))
        words = os.pread(self._usage, 4096, 0).split()
        return int(words[1] if words[0] == b"usage_usec" else words[0]) * self._unit_seconds

    def close(self) -> None:
        """Remove the group, once its last process is gone."""
        os.close(self._usage)
        for _ in range(100):
            try:
                self._folder.rmdir()
            except OSError:
                time.sleep(0.01)
            else:
                return


class TickCpuTime:
    """Adds up what /proc says: in ticks of 10 ms a process, for a phone that is not root's."""

    def __init__(self, alive_seconds: Callable[[], float]) -> None:
        self._alive_seconds = alive_seconds
        self._before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._seconds = 0.0

    def enter(self, command: Sequence[str]) -> list[str]:
        """Return the command as it is."""
        return list(command)

    def seconds(self) -> float:
        """Return the time of those that live and of those that were waited for.

        A process's time moves to its parent when that waits for it. Parents are read first, so a move
        in between is seen late and never twice; the sum never goes back.
        """
        ended, before = resource.getrusage(resource.RUSAGE_CHILDREN), self._before
        spent = ended.ru_utime - before.ru_utime + ended.ru_stime - before.ru_stime
        self._seconds = max(self._seconds, spent + self._alive_seconds())
        return self._seconds

    def close(self) -> None:
        """Have nothing to leave."""


def _process_clock(pid: int) -> int:
    """Return the id of a process's CPU clock, as clock_getcpuclockid(3) makes it."""
    return (~pid << 3) | 2


def _remove_left_behind(parent: Path) -> None:
    """Remove the empty groups of phones that were killed before they could."""
    for folder in parent.glob(f"{NAME}*"):
        if not Path(f"/proc/{folder.name.removeprefix(NAME)}").exists():
            with suppress(OSError):
                folder.rmdir()
