"""One number of a case over that of another: the ratio, and what it shows.

Not here: energies, which are not paired (`case_energy.py`), and words (`words.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.analysis.launches import Launch
from harness.analysis.metrics import Metric
from harness.analysis.stats import Estimate, difference_is_shown, paired_ratio

Outcome = Literal["better", "worse", "not shown", "too few launches"]


@dataclass(frozen=True)
class Comparison:
    """A number over another's. `withheld` says why there is no ratio, "" if there is one.

    `outcome`: "better" and "worse" are shown by an interval that leaves out 1; "not shown" is one
    that holds it; "too few launches" have no interval.
    """

    ratio: Estimate | None
    outcome: Outcome
    withheld: str = ""


def judge_ratio(metric: Metric, ratio: Estimate) -> Comparison:
    """Say what a ratio shows."""
    if ratio.basis != "interval":
        return Comparison(ratio, "too few launches")
    if not difference_is_shown(ratio):
        return Comparison(ratio, "not shown")
    is_less = ratio.median < 1
    return Comparison(ratio, "better" if is_less == (metric.better == "lower") else "worse")


def compare_by_round(
    metric: Metric, these: Iterable[Launch], those: Iterable[Launch]
) -> Comparison:
    """Compare one case's launches with another's of the same rounds."""
    ratio = paired_ratio(by_round(metric, these), by_round(metric, those))
    if ratio is None:
        return Comparison(None, "too few launches", "there are no launches to compare with")
    return judge_ratio(metric, ratio)


def by_round(metric: Metric, launches: Iterable[Launch]) -> Mapping[int, float]:
    """Map each round to the number of its valid launch."""
    return {
        launch.round: launch.values[metric.name]
        for launch in launches
        if launch.counts and metric.name in launch.values
    }
