"""What is due next for a launch: the table reads like the policy."""

from __future__ import annotations

import pytest

from harness.errors import CommandTimeout, DeviceLost
from harness.measure.next_step import (
    EnergyState,
    GiveUp,
    Outcome,
    Run,
    Step,
    Stop,
    TakeUp,
    next_step,
)
from harness.schema.sweep import LaunchError, LedgerEntry, Status
from harness.schema.validity import Reason, Validity

STALLS, GONE = CommandTimeout("the link stalls"), DeviceLost("the cable was pulled")
RETRIES = 2


def entry(attempt: int, status: Status = "ok", *reasons: Reason, error: str = "") -> LedgerEntry:
    return LedgerEntry(
        device="phone",
        case="net.fp32.lite.t1",
        status=status,
        index=7,
        round=1,
        measured_pass="latency",
        attempt=attempt,
        error=LaunchError(kind=error, message="because") if error else None,
        validity=Validity(level=reasons[0].level if reasons else "valid", reasons=reasons),
    )


def counts(attempt: int = 1) -> LedgerEntry:
    return entry(attempt)


def throttled(attempt: int = 1) -> LedgerEntry:
    return entry(
        attempt, "ok", Reason(key="status-rose", level="invalid", text="hot", passing=True)
    )


def low_battery(attempt: int = 1) -> LedgerEntry:
    """What is both hot and low on its battery will be low at another try, too."""
    low = Reason(key="battery-low", level="suspect", text="20%")
    return entry(attempt, "ok", *throttled().validity.reasons, low)  # type: ignore[union-attr]


def failed(attempt: int = 1) -> LedgerEntry:
    return entry(attempt, "failed", error="RunnerCrashed")


def refused(attempt: int = 1) -> LedgerEntry:
    return entry(attempt, "failed", error="EnergyRefused")


def cut(attempt: int = 1) -> LedgerEntry:
    return entry(attempt, "interrupted", error="DeviceError")


def stalled(attempt: int = 1) -> Outcome:
    return Outcome(cut(attempt), STALLS)


def lost(attempt: int = 1) -> Outcome:
    return Outcome(cut(attempt), GONE)


Made = list[LedgerEntry | Outcome]

# What it is like; what the ledger had of it; what this run made of it; jobs that are on the device; and so:
POLICY: list[tuple[str, list[LedgerEntry], Made, set[int], Step]] = [
    ("nothing has happened: begin", [], [], set(), Run(1)),
    ("it counts: done", [], [counts()], set(), Stop()),
    ("it failed: done", [], [failed()], set(), Stop()),
    ("invalid for a reason that passes: again", [], [throttled()], set(), Run(2, again=True)),
    ("invalid for one that stays: done", [], [low_battery()], set(), Stop()),
    ("invalid again, a try is left", [], [throttled(1), throttled(2)], set(), Run(3, again=True)),
    ("tries are used up", [], [throttled(1), throttled(2), throttled(3)], set(), Stop()),
    ("tries of an earlier host count", [throttled(1), throttled(2)], [throttled(3)], set(), Stop()),
    ("one try of an earlier host", [throttled(1)], [throttled(2)], set(), Run(3, again=True)),
    ("energy was refused: leave it at that", [], [refused()], set(), Stop()),
    ("refused by an earlier host: it never began", [refused()], [], set(), Run(1)),
    # --- cut short
    ("the job vanished: once more", [], [cut()], set(), Run(2)),
    ("it vanished twice: enough", [], [cut(1), cut(2)], set(), Stop()),
    (
        "vanished, then invalid: a try is left",
        [],
        [cut(1), throttled(2)],
        set(),
        Run(3, again=True),
    ),
    ("invalid, then vanished: once more", [], [throttled(1), cut(2)], set(), Run(3)),
    ("cut short by an earlier host: begin anew", [cut(1)], [], set(), Run(2)),
    ("by an earlier host, and then here: once more", [cut(1)], [cut(2)], set(), Run(3)),
    # --- trouble with the device
    ("trouble, the job is there: take it up", [], [stalled()], {1}, TakeUp(1)),
    ("trouble, the job never began: once more", [], [stalled()], set(), Run(2)),
    ("trouble twice: give the device up", [], [stalled(), stalled()], {1}, GiveUp(STALLS)),
    ("vanished, then trouble: give it up", [], [cut(1), stalled(2)], {2}, GiveUp(STALLS)),
    ("trouble, then vanished: enough", [], [stalled(1), cut(1)], set(), Stop()),
    ("trouble, then it counts: done", [], [stalled(1), counts(1)], set(), Stop()),
    ("trouble long ago is forgiven", [], [stalled(), throttled(1), stalled(2)], {2}, TakeUp(2)),
    ("the device is gone: give it up", [], [lost()], set(), GiveUp(GONE)),
    ("gone, though the job may go on: give it up", [], [lost()], {1}, GiveUp(GONE)),
    # --- what an earlier host began
    ("its job is on the device: take it up", [], [], {1}, TakeUp(1)),
    ("cut short there, the job went on: take it up", [cut(1)], [], {1}, TakeUp(1)),
    ("invalid there, a retry had begun: take it up", [throttled(1)], [], {2}, TakeUp(2)),
    ("taken up and invalid: again", [cut(1)], [throttled(1)], set(), Run(2, again=True)),
    ("taken up and vanished: once more", [cut(1)], [cut(1)], set(), Run(2)),
]
ENERGY: list[tuple[str, EnergyState, list[LedgerEntry], Made, set[int], Step]] = [
    ("it can be measured: as any other", "ready", [], [], set(), Run(1)),
    ("again, while tries are left", "ready", [], [throttled()], set(), Run(2, again=True)),
    ("refused: say so and go on", "refused", [], [], set(), Stop("energy refused")),
    ("refused, though a job is there", "refused", [cut(1)], [], {1}, Stop("energy refused")),
    ("unplugged, the phone did it: take it up", "detached", [], [], {1}, TakeUp(1)),
    ("it did not come to it: say so", "detached", [], [], set(), Stop("not reached")),
    ("no new try: nobody unplugs it again", "detached", [], [throttled()], set(), Stop()),
    ("nor for one that was cut short", "detached", [], [cut()], set(), Stop()),
    ("trouble while it is taken up: once more", "detached", [], [stalled()], {1}, TakeUp(1)),
    ("trouble, and the job is gone", "detached", [], [stalled()], set(), Stop()),
]


def outcomes(made: Made) -> list[Outcome]:
    return [one if isinstance(one, Outcome) else Outcome(one) for one in made]


@pytest.mark.parametrize(
    ("earlier", "made", "jobs", "step"), [row[1:] for row in POLICY], ids=[row[0] for row in POLICY]
)
def test_what_is_due_next(
    earlier: list[LedgerEntry], made: Made, jobs: set[int], step: Step
) -> None:
    for energy in ("not wanted", "ready"):
        assert next_step(earlier, outcomes(made), jobs, RETRIES, energy) == step


@pytest.mark.parametrize(
    ("energy", "earlier", "made", "jobs", "step"),
    [row[1:] for row in ENERGY],
    ids=[row[0] for row in ENERGY],
)
def test_what_is_due_next_in_the_energy_pass(
    energy: EnergyState, earlier: list[LedgerEntry], made: Made, jobs: set[int], step: Step
) -> None:
    assert next_step(earlier, outcomes(made), jobs, RETRIES, energy) == step


@pytest.mark.parametrize("retries", range(4))
def test_a_launch_that_never_counts_is_made_as_often_as_its_retries_say(retries: int) -> None:
    made: list[Outcome] = []
    while isinstance(step := next_step([], made, set(), retries), Run):
        made.append(Outcome(throttled(step.attempt)))
    assert step == Stop()
    assert [outcome.entry.attempt for outcome in made] == list(range(1, retries + 2))
