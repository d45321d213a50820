"""What is due next for one launch, by what became of it so far: the whole policy, on one page. Pure.

    it counts, or does not for good        it has ended
    it does not count, and that may pass   again, while it has tries left
    it was cut short                       once more: taken up if its job is still on the device
    trouble with the device                the same; a second one in a row is not forgiven
    the device is gone                     its part has ended
    energy was refused                     it has ended for now, and a resumed sweep makes it
    the phone ran it by itself, unplugged  nobody sends the phone away once more for another try

Not here: what a sweep's ledger lacks (`resume.py`), and doing any of it (`device_run.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import DeviceError, DeviceLost
from harness.measure.resume import deserves_another, is_end, was_refused
from harness.schema.sweep import LedgerEntry


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt of this run: its account, and the trouble with the device, if any."""

    entry: LedgerEntry
    trouble: DeviceError | None = None


@dataclass(frozen=True)
class Run:
    """Start this attempt. `again`: the one before it has ended, and does not count."""

    attempt: int
    again: bool = False


@dataclass(frozen=True)
class TakeUp:
    """Wait for this attempt's job, which is on the device already, and collect it."""

    attempt: int


@dataclass(frozen=True)
class Stop:
    """Go on to the next launch. Where it did not even begin, `why` is what the ledger is to say."""

    why: Literal["ended", "energy refused", "not reached"] = "ended"


@dataclass(frozen=True)
class GiveUp:
    """Leave the device, because of this trouble with it."""

    trouble: DeviceError


Step = Run | TakeUp | Stop | GiveUp

EnergyState = Literal["not wanted", "ready", "refused", "detached"]
"""How a launch's energy is measured, if it is of that pass. Detached: the phone ran such launches by
itself while nobody could reach it, and has come back with those that it came to.
"""


def next_step(
    earlier: Sequence[LedgerEntry],
    made: Sequence[Outcome],
    jobs: Collection[int],
    retries: int,
    energy: EnergyState = "not wanted",
) -> Step:
    """Return what is due next for a launch.

    `earlier` is what the ledger had of it when this run began, `made` what this run made of it, both in
    the order of attempts; `jobs` are the attempts whose job is on the device.
    """
    entries = [*earlier, *(outcome.entry for outcome in made)]
    if not made:
        return _begin(_next_attempt(entries), jobs, energy)
    last, trouble = made[-1], made[-1].trouble
    if isinstance(trouble, DeviceLost):
        return GiveUp(trouble)
    detached = energy == "detached"
    if _was_cut(last):
        if len(made) > 1 and _was_cut(made[-2]):
            return Stop() if trouble is None else GiveUp(trouble)
        if last.entry.attempt in jobs:
            return TakeUp(last.entry.attempt)
        return Stop() if detached else Run(_next_attempt(entries))
    used_up = sum(map(is_end, entries)) > retries
    if used_up or detached or not deserves_another(last.entry):
        return Stop()
    return Run(_next_attempt(entries), again=True)


def _begin(attempt: int, jobs: Collection[int], energy: EnergyState) -> Step:
    if energy == "refused":
        return Stop("energy refused")
    if jobs:
        return TakeUp(min(jobs))
    return Stop("not reached") if energy == "detached" else Run(attempt)


def _was_cut(outcome: Outcome) -> bool:
    return outcome.trouble is not None or outcome.entry.status == "interrupted"


def _next_attempt(entries: Sequence[LedgerEntry]) -> int:
    """Return the number of a new attempt. One whose energy was refused never began, and has none."""
    return max((entry.attempt for entry in entries if not was_refused(entry)), default=0) + 1
