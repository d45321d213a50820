"""One launch as numbers: what a report needs of a result file, and nothing more of it.

The raw samples are read, reduced and let go, so that a report of thousands of launches stays
small. Not here: which numbers there are (`metrics.py`), numbers over several launches
(`summary.py`), and traces (`timeline.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.analysis import metrics
from harness.analysis.memory import Growth
from harness.analysis.stats import Interval
from harness.errors import BadRecord
from harness.results.launches import read_checked
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.job import Pass
from harness.schema.record import (
    Actual,
    Header,
    LaunchRecord,
    Operators,
)
from harness.schema.sweep import LaunchError, LedgerEntry
from harness.schema.validity import Validity

FAINT_SAMPLES = 32
_VALID = Validity(level="valid")


@dataclass(frozen=True)
class Measured:
    """What one ok launch measured: its numbers, and what of its record is shown as it is.

    `values` maps a metric to this launch's number, where it has one, and `intervals` those with a
    95% interval of their own to it. `faint_ms` is an even selection of the steady iterations,
    sorted, for drawing.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    energy: Energy | EnergyTrouble | None
    growth: Growth | None
    header: Header
    actual: Actual | None
    operators: Operators | None
    faint_ms: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Launch:
    """The host's account of one launch, and what its result holds if it is ok.

    `entry` is the ledger's, but for one thing: a launch whose file is missing, changed or cut short
    is "interrupted" here, with the reason, although the ledger calls it ok: the files are the
    database. Launches that are not ok have nothing `measured`, and their error says why.
    """

    entry: LedgerEntry
    measured: Measured | None

    @property
    def index(self) -> int:
        """Its place in the device's schedule."""
        assert self.entry.index is not None
        return self.entry.index

    @property
    def round(self) -> int:
        """The round that it belongs to."""
        assert self.entry.round is not None
        return self.entry.round

    @property
    def measured_pass(self) -> Pass:
        """What it was to measure."""
        assert self.entry.measured_pass is not None
        return self.entry.measured_pass

    @property
    def values(self) -> Mapping[str, float]:
        """Its numbers, by metric; none if it is not ok."""
        return self.measured.values if self.measured is not None else {}

    @property
    def validity(self) -> Validity:
        """Whether it may count, as it was judged when it had ended."""
        return self.entry.validity or _VALID

    @property
    def counts(self) -> bool:
        """Whether its numbers go into the statistics: it is ok, and nothing speaks against it."""
        return self.measured is not None and self.validity.level == "valid"

    @property
    def error_kind(self) -> str:
        """The kind of error that ended it, "" for none."""
        return self.entry.error.kind if self.entry.error else ""

    @property
    def reason(self) -> str:
        """Say why it has no numbers; "" if it has."""
        error = self.entry.error
        return f"{error.kind}: {error.message}" if error else ""

    @property
    def objection(self) -> str:
        """Say in a line why it does not count."""
        if self.measured is None:
            status = self.entry.status
            return f"{status}: {self.reason}" if self.reason else status
        reasons = "; ".join(reason.text for reason in self.validity.reasons)
        return f"{self.validity.level}: {reasons}" if reasons else self.validity.level


def read_launch(folder: Path, entry: LedgerEntry) -> Launch:
    """Read what a ledger entry of a launch stands for; `folder` is the sweep's."""
    assert entry.index is not None
    if entry.status != "ok":
        return Launch(entry, None)
    try:
        record = read_checked(folder, entry)
    except BadRecord as bad:
        error = LaunchError(kind=bad.kind, message=bad.message, advice=bad.advice)
        return Launch(entry.model_copy(update={"status": "interrupted", "error": error}), None)
    return Launch(entry, measure(entry, record))


def measure(entry: LedgerEntry, record: LaunchRecord) -> Measured:
    """Reduce a complete result to its numbers: those of its pass, and those that every pass has."""
    seen = metrics.Recorded(entry, record)
    values: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for metric in metrics.METRICS:
        if metric.measured_pass not in (None, entry.measured_pass):
            continue
        value = metric.value(seen)
        interval = metric.interval(seen) if metric.interval is not None else None
        if value is not None:
            values[metric.name] = value
        if interval is not None:
            intervals[metric.name] = interval
    return Measured(
        values=values,
        intervals=intervals,
        energy=entry.energy,
        growth=seen.growth,
        header=record.header,
        actual=record.actual,
        operators=record.operators,
        faint_ms=_thin(seen.steady_ms, FAINT_SAMPLES),
    )


def _thin(ordered: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Return at most `count` of the sorted durations, evenly by rank, both ends included."""
    if len(ordered) <= count:
        return ordered
    # A copy, so that the rest can be let go.
    thinned: npt.NDArray[np.float64] = ordered[np.arange(count) * (len(ordered) - 1) // (count - 1)]
    return thinned
