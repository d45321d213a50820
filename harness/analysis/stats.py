"""Pure functions on numbers: intervals, paired ratios, drift and separation.

An observation is a launch (its median, its p90), never an iteration: iterations of one launch are
autocorrelated and share that launch's luck, so pooling them claims far too much certainty
(tests/analysis/test_stats.py shows how much). Not here: where the numbers come from, and what to say of
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 10_000
LAUNCHES_FOR_INTERVAL = 5

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Basis = Literal["interval", "range", "single"]


@dataclass(frozen=True)
class Estimate:
    """The median over launches, and how sure it is.

    `basis` says what low and high are: "interval", the 95% bootstrap interval; "range", the least
    and greatest of too few launches for an interval; "single", nothing (low and high are None).
    """

    median: float
    low: float | None
    high: float | None
    basis: Basis
    launches: int


def estimate(observations: Sequence[float]) -> Estimate | None:
    """Return the median of one number a launch, with its interval; None of no launches.

    The interval is the percentile bootstrap's (Efron & Tibshirani 1993, ch. 13); BCa is not used
    because its jackknife acceleration fails for the median (ibid., ch. 11). With 5 launches, the
    fewest that get an interval, its coverage is 1 - 2/2^5 = 93.75%. Raises ValueError for
    values that are not finite: they have to be kept out before.
    """
    values = np.sort(np.asarray(observations, dtype=np.float64))
    if not np.isfinite(values).all():
        raise ValueError("observations must be finite")
    count = len(values)
    if count == 0:
        return None
    median = float(np.median(values))
    if count == 1:
        return Estimate(median, None, None, "single", 1)
    if count < LAUNCHES_FOR_INTERVAL:
        return Estimate(median, float(values[0]), float(values[-1]), "range", count)
    low, high = _bootstrap_median(values)
    return Estimate(median, low, high, "interval", count)


def _bootstrap_median(ordered: Floats) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median of sorted values."""
    lower, upper, times = _resampled_middles(len(ordered))
    medians = (ordered[lower] + ordered[upper]) / 2
    order = np.argsort(medians)
    share = np.cumsum(times[order]) / RESAMPLES
    tail = (1 - CONFIDENCE) / 2
    low, high = np.searchsorted(share, [tail, 1 - tail])
    return float(medians[order[low]]), float(medians[order[high]])


@lru_cache(maxsize=256)
def _resampled_middles(count: int) -> tuple[Places, Places, Places]:
    """Draw, for resamples of `count` sorted values, the places of their two middle values.

    Returns the different pairs of places, and how many of the resamples have each. The median of
    a resample needs nothing else of it, and the k-th of n uniform numbers is Beta(k, n - k + 1),
    its successor the least of n - k uniform ones above it (David & Nagaraja 2003, section 2): so
    the resamples themselves need not be drawn. Seeded; the same for all.
    """
    rng = np.random.default_rng(count)
    middle = (count + 1) // 2
    lower = rng.beta(middle, count - middle + 1, RESAMPLES)
    upper = lower
    if count % 2 == 0:
        upper = lower + (1 - lower) * rng.beta(1, count - middle, RESAMPLES)
    pairs = np.stack([_place(lower, count), _place(upper, count)])
    different, times = np.unique(pairs, axis=1, return_counts=True)
    return different[0], different[1], times


def _place(uniform: Floats, count: int) -> Places:
    return np.minimum((uniform * count).astype(np.int64), count - 1)


def sorted_quantile(ordered: npt.NDArray[np.int64], share: float) -> float:
    """Return a quantile of sorted values (Hyndman & Fan 1996, type 7, as numpy's default).

    numpy's own takes longer than reading the launch; a report has thousands of them.
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def paired_speedup(baseline: Mapping[int, float], other: Mapping[int, float]) -> Estimate | None:
    """Return how many times faster `other` is than `baseline`, paired by round.

    Both map a round to that launch's latency. The rounds that both have are compared with one
    another, so drift from round to round cancels: the exponential of the median of the log
    ratios, with its interval (Kalibera & Jones 2013 on ratios; pairing as in matched designs).
    """
    rounds = sorted(baseline.keys() & other.keys())
    logs = estimate([float(np.log(baseline[r] / other[r])) for r in rounds])
    if logs is None:
        return None
    low = None if logs.low is None else float(np.exp(logs.low))
    high = None if logs.high is None else float(np.exp(logs.high))
    return Estimate(float(np.exp(logs.median)), low, high, logs.basis, logs.launches)


def difference_is_shown(speedup: Estimate) -> bool:
    """Tell whether an interval of a ratio leaves out 1. A range or a single pair shows nothing."""
    if speedup.basis != "interval" or speedup.low is None or speedup.high is None:
        return False
    return speedup.low > 1 or speedup.high < 1


def variation(observations: Sequence[float]) -> float | None:
    """Return the coefficient of variation, sd / mean (n - 1 in the sd); None below two values."""
    values = np.asarray(observations, dtype=np.float64)
    if len(values) < 2:
        return None
    return float(values.std(ddof=1) / values.mean())


@dataclass(frozen=True)
class Drift:
    """A trend over the launches in their order: `change` is last over first, less 1, on a line."""

    rho: float
    z: float
    change: float


def drift(observations: Sequence[float]) -> Drift | None:
    """Measure the trend of observations in the order they were made; None below 8 of them.

    Spearman's rho of place and value, with z = rho sqrt(n - 1), its normal approximation
    (Kendall & Gibbons 1990, section 4.14); the size of the change from a Theil-Sen line.
    """
    values = np.asarray(observations, dtype=np.float64)
    count = len(values)
    if count < 8 or np.ptp(values) == 0:
        return None
    places = np.arange(count, dtype=np.float64)
    rho = float(np.corrcoef(places, _ranks(values))[0, 1])
    first, second = np.triu_indices(count, 1)
    slope = float(np.median((values[second] - values[first]) / (second - first)))
    return Drift(rho, rho * (count - 1) ** 0.5, slope * (count - 1) / float(np.median(values)))


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks


def separation(observations: Sequence[float]) -> float | None:
    """Return how far apart the two groups are that split the observations best; None below 8.

    Ashman's D = |m1 - m2| / sqrt((s1^2 + s2^2) / 2) (Ashman, Bird & Zepf 1994) of the split with
    the least variance within, both groups of three or more. Cutting one normal cloud in two
    gives about 2.7; tests/analysis/test_stats.py shows what chance alone reaches.
    """
    values = np.sort(np.asarray(observations, dtype=np.float64))
    if len(values) < 8:
        return None
    splits = [(values[:place], values[place:]) for place in range(3, len(values) - 2)]
    low, high = min(splits, key=lambda s: len(s[0]) * s[0].var() + len(s[1]) * s[1].var())
    within = (low.var(ddof=1) + high.var(ddof=1)) / 2
    if within == 0:
        return float("inf") if high[0] > low[-1] else 0.0
    return float((high.mean() - low.mean()) / within**0.5)
