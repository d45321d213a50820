"""What every rule of validity is made of: its row, what it looks at, and the limits it looks for.

Not here: the rules, a module a subject beside this one, and what a verdict is made of (`validity.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.schema.device import Conditions
from harness.schema.plan import Plan
from harness.schema.record import LaunchRecord, Mark, Samples, Trace
from harness.schema.sweep import LedgerEntry
from harness.schema.validity import Reason, ReasonLevel


@dataclass(frozen=True)
class Limits:
    """Where a launch begins to be doubtful, and where that number comes from."""

    # A comparison calls no difference below 3%: what a clock may fall without being able to make one.
    clock_fall: float = 0.03
    # The steps of a phone's clock lie 5 to 15% apart: one step down for a part of the loop is usual.
    mean_clock_fall: float = 0.10
    # What time_in_state counts in: a mean clock over a warm-up of 0.2 s is known to 5%.
    tick_seconds: float = 0.01
    # A single reading of a clock catches the governor at any of its steps, which lie 5 to 15% apart.
    clock_reading_fall: float = 0.20
    # The skin of a phone follows its surroundings within a degree or two; a computer's sensor sits
    # on the die and moves by ten within a second.
    skin_celsius: float = 2.0
    die_celsius: float = 10.0
    # AndroidX Benchmark refuses below it: phones save power on a low battery.
    battery_percent: float = 25.0
    # In cores, of what the launch's threads need and others took. A tenth of a core is what a phone
    # at rest uses for itself; half a core halves what one thread gets.
    crowded_cores: float = 0.15
    overrun_cores: float = 0.5
    # In switches a second. Linux gives a slice of 3 to 4 ms where two compete for a core: 50 of them
    # take up to 20% of the time. Calm launches on two cores of a virtual machine had 0 to 12.
    involuntary_switches: float = 50.0
    # Of the inferences. The median moves when half of them are hit.
    interrupted_share: float = 0.25
    # The extremes of 6 samples enclose the median with 97% confidence (1 - 2/2^6), of 5 with 94%.
    samples: int = 6
    # Iterations resemble those before them, so that a test alone would find a drift in most launches:
    # it must be larger than what launches differ by, too (5% on two cores of a virtual machine, where
    # one launch in fifty that nothing disturbed drifted by more than 10%).
    drift_share: float = 0.10
    drift_p: float = 1e-3
    # Of one core, of the life of the process: what reading probes may cost. Where times are measured
    # nothing is read beside it, only at marks; in the energy pass it is work that idle knows too, and
    # a gauge that only `cmd battery` tells of takes four processes a second.
    probe_share_at_marks: float = 0.10
    probe_share_beside: float = 0.05
    # NTP slews by 0.5 ms a second, and jumps from 128 ms on; a computer that slept was away longer.
    clock_step_seconds: float = 2.0


LIMITS = Limits()


@dataclass(frozen=True)
class Around:
    """All that is known around one launch. `baseline`: the device when the sweep began."""

    entry: LedgerEntry
    record: LaunchRecord | None
    sidecar: Sequence[Trace]
    plan: Plan
    baseline: Conditions | None

    @property
    def steady(self) -> Samples | None:
        """The samples of the steady loop."""
        return self.record.samples.get("steady") if self.record else None

    @property
    def loop(self) -> tuple[Mark, Mark] | None:
        """The marks around the steady loop."""
        return self.record.loop if self.record else None


@dataclass(frozen=True)
class Breach:
    """What was seen that breaks a rule; level and passing where they are not those of its row."""

    text: str
    level: ReasonLevel | None = None
    passing: bool | None = None


@dataclass(frozen=True)
class Rule:
    """One thing that may speak against a launch: all its words, and the question that finds it.

    `levels` holds the level of a breach, and after it a graver one that it may have. `passing`: it may
    be gone at another try; `passing_words` where that depends. `label` is what it is called where there
    is room for a word or two, `advice` what helps against it, `when` its line in docs/validity.md.
    `excused_by` is the finding before the sweep (`doctor`) that, accepted, lets this be.
    """

    key: str
    levels: tuple[ReasonLevel, ...]
    label: str
    advice: str
    when: str
    check: Callable[[Around], Iterable[Breach]]
    passing: bool = False
    passing_words: str = ""
    excused_by: str = ""

    def reasons(self, around: Around) -> Iterable[Reason]:
        """Yield what breaks this rule, as the ledger keeps it."""
        for breach in self.check(around):
            yield Reason(
                key=self.key,
                level=self.levels[0] if breach.level is None else breach.level,
                text=breach.text,
                passing=self.passing if breach.passing is None else breach.passing,
            )
