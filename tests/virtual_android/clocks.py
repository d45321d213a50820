"""The clocks that the phone's cores show: lowest while idle, at their limit while busy.

How cpufreq's files show them is in `sysfs.py`.
"""

from __future__ import annotations

from collections.abc import Set

from tests.virtual_android.spec import Core, PhoneSpec

SUSTAINABLE = 0.75
"""The part of its highest clock that a core keeps in fixed performance mode."""
THROTTLED = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""The part of its highest clock that a core may use, by thermal status."""
BUSY_CORES = 0.2
"""From so many cores' worth of work in a step on, the cores count as busy in it."""
HOLD_SECONDS = 0.1
"""How long cores stay fast after work: governors hesitate. It also keeps the clocks of a phone from
falling when this computer, busy with something else, lets the phone's work wait for a moment."""


def limit_khz(core: Core, thermal_status: int, fixed_performance: bool) -> int:
    """Return the clock that a core may reach now."""
    part = min(THROTTLED[thermal_status], SUSTAINABLE if fixed_performance else 1.0)
    return max(int(core.max_khz * part), core.min_khz)


def steps_khz(core: Core) -> list[int]:
    """Return the clocks that a core can have, the lowest first."""
    limits = {max(int(core.max_khz * part), core.min_khz) for part in (*THROTTLED, SUSTAINABLE)}
    return sorted({core.min_khz, *limits})


class Clocks:
    """What each core's clock is, and how long it has been what."""

    def __init__(self, spec: PhoneSpec) -> None:
        self._cores = spec.cores
        self.limit_khz = [core.max_khz for core in spec.cores]
        self.shown_khz = [core.min_khz for core in spec.cores]
        self._idle_seconds = HOLD_SECONDS
        self.seconds_at = [dict.fromkeys(steps_khz(core), 0.0) for core in spec.cores]

    def advance(self, seconds: float, busy_cores: float, online: Set[int]) -> None:
        """Let time pass in which so many cores' worth of work was done, by all that are online."""
        self._idle_seconds = 0.0 if busy_cores >= BUSY_CORES else self._idle_seconds + seconds
        busy = self._idle_seconds < HOLD_SECONDS
        for number in online:
            core = self._cores[number]
            self.shown_khz[number] = self.limit_khz[number] if busy else core.min_khz
            self.seconds_at[number][self.shown_khz[number]] += seconds

    def limit(self, thermal_status: int, fixed_performance: bool) -> None:
        """Let no core be faster than heat and mode allow."""
        for number, core in enumerate(self._cores):
            limit = limit_khz(core, thermal_status, fixed_performance)
            self.limit_khz[number] = limit
            self.shown_khz[number] = min(self.shown_khz[number], limit)
