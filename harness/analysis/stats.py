"""Pure functions on numbers: intervals, paired ratios, drift and separation.

An observation is a launch (its median, its p90), never an iteration: iterations of one launch are
autocorrelated and share that launch's luck, so pooling them claims far too much certainty
(tests/analysis/test_stats.py shows how much). Not here: where the numbers come from, and what to say of
them. scipy is imported where it is used: a command that only needs the words waits for none of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
LAUNCHES_FOR_INTERVAL = 5

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
Basis = Literal["interval", "range", "single"]


@dataclass(frozen=True)
class Estimate:
    """The median over launches, and how sure it is.

    `basis` says what low and high are: "interval", the 95% interval; "range", the least and
    greatest of too few launches for an interval; "single", nothing (low and high are None).
    """

    median: float
    low: float | None
    high: float | None
    basis: Basis
    launches: int


def estimate(observations: Sequence[float]) -> Estimate | None:
    """Return the median of one number a launch, with its interval; None of no launches.

    The interval is one of order statistics: the k-th least and the k-th greatest hold the median
    with a probability that the binomial distribution gives, whatever the distribution of launches.
    Few launches have no k for 95%, so two neighbours are interpolated (Hettmansperger & Sheather
    1986, Stat. Prob. Letters 4:75). Of 5 launches, the fewest that get an interval, it is the whole
    range, whose coverage is 1 - 2/2^5 = 93.75%. docs/how-numbers-are-made.md compares it with the
    exact interval and the bootstrap's. Raises ValueError for values that are not finite: they have
    to be kept out before.
    """
    values = np.sort(np.asarray(observations, dtype=np.float64))
    if not np.isfinite(values).all():
        raise ValueError("observations must be finite")
    count = len(values)
    if count == 0:
        return None
    middle = float(np.median(values))
    if count == 1:
        return Estimate(middle, None, None, "single", 1)
    if count < LAUNCHES_FOR_INTERVAL:
        return Estimate(middle, float(values[0]), float(values[-1]), "range", count)
    place, inner = _interval_ends(count)
    low = values[place] + inner * (values[place + 1] - values[place])
    high = values[-1 - place] - inner * (values[-1 - place] - values[-2 - place])
    # Rounding may lay an end a bit beyond the median.
    return Estimate(middle, float(min(low, middle)), float(max(high, middle)), "interval", count)


@lru_cache(maxsize=256)
def _interval_ends(count: int) -> tuple[int, float]:
    """Return the place of the outer value of each end of an interval, and the weight of the next."""
    from scipy.stats import binom

    def coverage(outer: int) -> float:
        """Return how often the median lies between the values `outer` places from each end."""
        return 1 - 2 * float(binom.cdf(outer - 1, count, 0.5))

    outer = int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    if outer == 0:
        return 0, 0.0
    wide, narrow = coverage(outer), coverage(outer + 1)
    share = (wide - CONFIDENCE) / (wide - narrow)
    return outer - 1, (count - outer) * share / (outer + (count - 2 * outer) * share)


def estimate_with_own(observations: Sequence[float], own: Sequence[Interval]) -> Estimate | None:
    """Return the median over launches that have an interval each, with what lies between and within.

    Launches differ, and each has an interval of its own, of which a part (the scale of a gauge, its
    steps) is common to all: no number of launches makes it smaller. So half the width is the root of
    the sum of two squares: that of the median over launches (its interval, or with fewer than 5
    their range), and the median of the launches' own. What varies by chance within a launch is in
    both, which errs on the wide side.
    """
    between = estimate(observations)
    if between is None:
        return None
    middle = between.median
    below = median(value - low for value, (low, _) in zip(observations, own, strict=True))
    above = median(high - value for value, (_, high) in zip(observations, own, strict=True))
    low = middle if between.low is None else between.low
    high = middle if between.high is None else between.high
    return Estimate(
        middle,
        middle - math.hypot(middle - low, below),
        middle + math.hypot(high - middle, above),
        "interval" if len(observations) >= LAUNCHES_FOR_INTERVAL else "range",
        len(observations),
    )


def middle_of(observations: Sequence[float], own: Sequence[Interval]) -> Estimate | None:
    """Return the observation in the middle (the lower of two) with its own interval, as it is."""
    ordered = sorted(zip(observations, own, strict=True))
    if not ordered:
        return None
    value, (low, high) = ordered[(len(ordered) - 1) // 2]
    return Estimate(value, low, high, "interval", len(ordered))


def sorted_quantile(ordered: npt.NDArray[Any], share: float) -> float:
    """Return a quantile of sorted values (Hyndman & Fan 1996, type 7, as numpy's default).

    numpy's own takes longer than reading the launch; a report has thousands of them.
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def fewest_samples(share: float) -> int:
    """Return how many samples it takes to speak of a quantile above the median.

    MLPerf's early stopping (with one miss allowed): so many that, were the quantile higher, one or
    none beyond the value would come by chance in 1% at most. 64 for the p90, 130 for the p95, 662
    for the p99.
    """
    count = 2
    while share**count + count * (1 - share) * share ** (count - 1) > 0.01:
        count += 1
    return count


def paired_ratio(these: Mapping[int, float], those: Mapping[int, float]) -> Estimate | None:
    """Return how many times `those` the numbers `these` are, paired by round.

    Both map a round to that launch's number. The rounds that both have are compared with one
    another, so drift from round to round cancels: the exponential of the median of the log
    ratios, with its interval (Kalibera & Jones 2013 on ratios; pairing as in matched designs).
    Numbers that are not above zero have no ratio, and are left out.
    """
    rounds = [r for r in sorted(these.keys() & those.keys()) if these[r] > 0 and those[r] > 0]
    logs = estimate([math.log(these[r] / those[r]) for r in rounds])
    if logs is None:
        return None
    low = None if logs.low is None else math.exp(logs.low)
    high = None if logs.high is None else math.exp(logs.high)
    return Estimate(math.exp(logs.median), low, high, logs.basis, logs.launches)


def inverse(ratio: Estimate) -> Estimate:
    """Return a ratio the other way round."""
    return Estimate(
        1 / ratio.median,
        None if ratio.high is None else 1 / ratio.high,
        None if ratio.low is None else 1 / ratio.low,
        ratio.basis,
        ratio.launches,
    )


def difference_is_shown(ratio: Estimate) -> bool:
    """Tell whether an interval of a ratio leaves out 1. A range or a single pair shows nothing."""
    if ratio.basis != "interval" or ratio.low is None or ratio.high is None:
        return False
    return ratio.low > 1 or ratio.high < 1


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
    from scipy.stats import spearmanr, theilslopes

    places = np.arange(count, dtype=np.float64)
    rho = float(spearmanr(places, values).statistic)
    slope = float(theilslopes(values, places).slope)
    return Drift(rho, rho * (count - 1) ** 0.5, slope * (count - 1) / float(np.median(values)))


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
