"""What will run on one device, in which order, and about how long it takes.

Not here: running it (`sweep.py`, `device_run.py`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.schema.job import Pass
from harness.schema.plan import Plan
from harness.schema.sweep import PlannedLaunch

# Memory repeats well, and a profile is there to explain. Energy takes minutes a launch: five are the
# fewest that have an interval.
PASS_ROUNDS: dict[Pass, int] = {"memory": 3, "energy": 5, "profile": 1}


def schedule(plan: Plan, device: str) -> tuple[PlannedLaunch, ...]:
    """Return every launch on one device in the order it will run: seeded, round by round.

    Energy comes after all else: it heats the device for minutes, and may need its cable unplugged.
    """
    passes = plan.measure.passes
    first = _rounds(plan, [p for p in passes if p != "energy"], f"{plan.plan.seed}/{device}")
    last = _rounds(plan, [p for p in passes if p == "energy"], f"{plan.plan.seed}/{device}/energy")
    return tuple(
        PlannedLaunch(index=index, round=number, case=case, measured_pass=measured_pass)
        for index, (number, case, measured_pass) in enumerate([*first, *last], 1)
    )


def _rounds(plan: Plan, passes: Sequence[Pass], seed: str) -> list[tuple[int, str, Pass]]:
    """Return round, case and pass of every launch of these passes, each round in its own order."""
    launches = []
    for number in range(1, plan.plan.rounds + 1):
        wanted = [
            (number, case.id, measured_pass)
            for measured_pass in passes
            if number <= PASS_ROUNDS.get(measured_pass, number)
            for case in plan.cases()
        ]
        random.Random(f"{seed}/{number}").shuffle(wanted)
        launches += wanted
    return launches


def estimate_seconds(plan: Plan) -> float:
    """Estimate how long measuring takes, without exports."""
    launches = schedule(plan, plan.plan.devices[0])
    return sum(estimate_launch_seconds(plan, launch.measured_pass) for launch in launches)


def estimate_launch_seconds(plan: Plan, measured_pass: Pass) -> float:
    """Estimate how long a launch takes: its loops, and a second or so around them."""
    measure = plan.measure
    busy: dict[Pass, float] = {
        "latency": measure.min_seconds,
        "memory": measure.min_seconds,
        "energy": measure.energy_seconds + 2 * measure.baseline_seconds,
        "profile": 0.5,
    }
    return 1.0 + measure.warmup_seconds + busy[measured_pass]
