"""Where a sweep stands, and how long the rest will take. Not here: showing it (`cli/terminal.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.measure.attempt import LaunchTask
from harness.measure.cooldown import Cooldown
from harness.measure.schedule import estimate_launch_seconds
from harness.schema.job import Pass
from harness.schema.sweep import LedgerEntry


@dataclass(frozen=True)
class Progress:
    """Where one device's part stands: told after every step. `entry` is what has just ended, if anything.

    `cooldown` is set while the next launch waits for the device to cool; `again` counts the launches
    that were tried again.
    """

    device: str
    done: int
    total: int
    current: str
    seconds_left: float | None
    entry: LedgerEntry | None = None
    cooldown: Cooldown | None = None
    again: int = 0


class Pace:
    """How fast launches of each pass go, and so how long the rest will take."""

    def __init__(self, tasks: Sequence[LaunchTask]) -> None:
        self._tasks = tasks
        self._seconds: dict[tuple[str, Pass], list[float]] = {}

    def note(self, task: LaunchTask, entry: LedgerEntry) -> None:
        """Take in how long a launch took."""
        key = (task.case.id, task.planned.measured_pass)
        seconds = (entry.host_ns or 0) / 1e9 + (entry.cooled_seconds or 0.0)
        self._seconds.setdefault(key, []).append(seconds)

    def seconds_left(self, done: int) -> float | None:
        """Sum what the remaining launches took before; of unseen passes, what the plan lets expect.

        None before the first one has ended.
        """
        if not self._seconds:
            return None
        return sum(self._expect(task) for task in self._tasks[done:])

    def _expect(self, task: LaunchTask) -> float:
        measured_pass = task.planned.measured_pass
        own = self._seconds.get((task.case.id, measured_pass))
        alike = [
            s for (_, of), seconds in self._seconds.items() if of == measured_pass for s in seconds
        ]
        seen = own or alike
        return fmean(seen) if seen else estimate_launch_seconds(task.plan, measured_pass)
