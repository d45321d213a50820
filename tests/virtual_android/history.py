"""When a phone has used its CPU time: so that it can tell the truth about any past window.

What that time costs is in `body.py`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

KEPT = 2_000_000
QUIET_CORES = 0.05
"""Fewer busy cores than this are no work."""


class History:
    """CPU time by time: exact at each entry, and between two by what went before and came after."""

    def __init__(self) -> None:
        self._ns, self._cpu_seconds = array("q"), array("d")

    def note(self, ns: int, cpu_seconds: float) -> None:
        """Note the CPU time used since the beginning; `ns` must be later than the time before."""
        if len(self._ns) >= KEPT:
            del self._ns[: KEPT // 2], self._cpu_seconds[: KEPT // 2]
        self._ns.append(ns)
        self._cpu_seconds.append(cpu_seconds)

    def cpu_seconds_between(self, from_ns: int, to_ns: int) -> float | None:
        """Return the CPU time used between two moments; None where the history does not reach."""
        if len(self._ns) < 2 or not self._ns[0] <= from_ns <= to_ns <= self._ns[-1]:
            return None
        return self._at(to_ns) - self._at(from_ns)

    def cores(self, after: int) -> float:
        """Return how many cores were busy in the step that ends with an entry."""
        after = min(max(after, 1), len(self._ns) - 1)
        used = self._cpu_seconds[after] - self._cpu_seconds[after - 1]
        return used * 1e9 / (self._ns[after] - self._ns[after - 1])

    def _at(self, ns: int) -> float:
        """Return the CPU time used until a moment.

        Work begins and ends within a step. Where a step's cores lie between those of its neighbours, they
        are taken to have changed once, when that gives the step's total. Beside a quiet step, work
        is taken to have a core of its own: whoever wakes up comes first.
        """
        after = min(max(bisect_right(self._ns, ns), 1), len(self._ns) - 1)
        begin_ns, end_ns = self._ns[after - 1], self._ns[after]
        earlier, here, later = (self.cores(after + by) for by in (-1, 0, 1))
        slow, fast = min(earlier, later), max(earlier, later)
        if slow < QUIET_CORES < fast:
            fast = max(fast, 1.0)
        if not slow < here < fast:
            return self._cpu_seconds[after - 1] + here * (ns - begin_ns) / 1e9
        first, last = (slow, fast) if earlier < later else (fast, slow)
        change_ns = begin_ns + (end_ns - begin_ns) * (last - here) / (last - first)
        if ns <= change_ns:
            return self._cpu_seconds[after - 1] + first * (ns - begin_ns) / 1e9
        return self._cpu_seconds[after] - last * (end_ns - ns) / 1e9
