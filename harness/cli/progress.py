"""What the terminal shows while a sweep runs: a bar, or a line a launch in a log.

Not here: tables (`terminal.py`).
"""

from __future__ import annotations

from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from harness.cli.terminal import minutes, trouble_words

if TYPE_CHECKING:
    from harness.measure import progress
    from harness.measure.cooldown import Cooldown


def cooldown_words(cooldown: Cooldown) -> str:
    """Say what a device waits for, and since when: "cooling: 38.4 -> 35.0 °C, 40 s"."""
    parts = []
    if cooldown.celsius is not None and cooldown.target_celsius is not None:
        parts.append(f"{cooldown.celsius:.1f} -> {cooldown.target_celsius:.1f} °C")
    if cooldown.thermal_status:
        parts.append(f"thermal status {cooldown.thermal_status}")
    return f"cooling: {', '.join([*parts, minutes(cooldown.waited_seconds)])}"


class SweepProgress:
    """A bar on stderr while a sweep runs; a line a launch where stderr is no terminal.

    It is drawn when a launch begins or ends and while a device cools, never while one runs: on this
    computer, drawing would take time from what is being measured.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._console.soft_wrap = not self._live  # a log has no edge: a line a launch
        self._progress = Progress(
            TextColumn("{task.fields[device]}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._lock = Lock()  # devices are measured in parallel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def warn(self, message: str) -> None:
        """Tell something above the bar."""
        self._console.print(Text(message))

    def observe(self, step: progress.Progress) -> None:
        """Show where the sweep stands; trouble is told at once, above the bar."""
        with self._lock:
            left = "" if step.seconds_left is None else f"{minutes(step.seconds_left)} left"
            again = f"{step.again} tried again" if step.again else ""
            left = ", ".join(part for part in (left, again) if part)
            self._tell_trouble(step)
            self._tell_validity(step)
            if self._live:
                self._draw(step, left)
            elif step.entry is not None:
                line = f"{step.device} [{step.done}/{step.total}] {step.current}: "
                self._console.print(Text(f"{line}{step.entry.status}; {left}"))
            elif step.cooldown is not None and step.cooldown.waited_seconds == 0:
                self._console.print(Text(f"{step.device}: {cooldown_words(step.cooldown)}"))

    def _tell_trouble(self, step: progress.Progress) -> None:
        """Tell each trouble of a case in full once, and then in a line."""
        if step.entry is None or step.entry.error is None:
            return
        error = step.entry.error
        known = f"{step.device}/{error.message}"
        if known in self._told:
            self.warn(f"{step.current} {step.entry.status}, as before")
            return
        self._told.add(known)
        trouble = trouble_words(step.current, step.entry.status, error.message, error.advice)
        self._console.print(trouble)

    def _tell_validity(self, step: progress.Progress) -> None:
        """Tell why a launch that ended well does not count."""
        entry = step.entry
        if entry is None or entry.status != "ok" or entry.validity is None:
            return
        if entry.validity.level != "valid":
            reason = entry.validity.reasons[0].text
            self.warn(f"{step.device}: {step.current} is {entry.validity.level}: {reason}")

    def _draw(self, step: progress.Progress, left: str) -> None:
        if not self._tasks:
            self._progress.start()
        if step.device not in self._tasks:
            self._tasks[step.device] = self._progress.add_task(
                "", total=step.total, device=step.device, left=""
            )
        self._progress.update(
            self._tasks[step.device],
            completed=step.done,
            description=cooldown_words(step.cooldown) if step.cooldown else step.current,
            left=left,
        )
        self._progress.refresh()
