"""How often an interval of the median holds the median, and how wide it is: three kinds, simulated.

The one in use (`harness.analysis.stats.estimate`), the exact one of order statistics, and the
percentile bootstrap, over launches that differ by 1.5%: alike, in two groups, and each like the one
before. Prints the table of docs/how-numbers-are-made.md, and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from harness.analysis.stats import estimate

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float] | None

LAUNCH_NOISE = 0.015
SLOW_SHARE, SLOWER = 0.45, 1.1
CORRELATION = 0.5
RESAMPLES = 1000


def alike(count: int, rng: np.random.Generator) -> tuple[Floats, float]:
    return np.exp(LAUNCH_NOISE * rng.standard_normal(count)), 1.0


def in_two_groups(count: int, rng: np.random.Generator) -> tuple[Floats, float]:
    levels = np.exp(LAUNCH_NOISE * rng.standard_normal(count))
    slow = rng.random(count) < SLOW_SHARE
    middle = LAUNCH_NOISE * float(stats.norm.ppf(0.5 / (1 - SLOW_SHARE)))
    return np.where(slow, SLOWER * levels, levels), float(np.exp(middle))


def each_like_the_one_before(count: int, rng: np.random.Generator) -> tuple[Floats, float]:
    noise = rng.standard_normal(count)
    for place in range(1, count):
        noise[place] = CORRELATION * noise[place - 1] + (1 - CORRELATION**2) ** 0.5 * noise[place]
    return np.exp(LAUNCH_NOISE * noise), 1.0


def in_use(values: Floats, _: np.random.Generator) -> Interval:
    found = estimate(values.tolist())
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def exact(values: Floats, _: np.random.Generator) -> Interval:
    outer = int(stats.binom.ppf(0.025, len(values), 0.5))
    ordered = np.sort(values)
    return (float(ordered[outer - 1]), float(ordered[-outer])) if outer else None


def bootstrap(values: Floats, rng: np.random.Generator) -> Interval:
    medians = np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000, help="sweeps in each cell")
    trials = parser.parse_args().trials
    found = {}
    print("| launches | interpolated (used) | exact | bootstrap |\n| --- | --- | --- | --- |")
    for make in (alike, in_two_groups, each_like_the_one_before):
        for count in (5, 8, 10, 20):
            cells = [judge(make, find, count, trials) for find in (in_use, exact, bootstrap)]
            name = f"{count}, {make.__name__.replace('_', ' ')}"
            words = (f"{100 * c[0]:.1f}%, {100 * c[1]:.2g}%" if c else "none" for c in cells)
            print(f"| {name} | {' | '.join(words)} |", flush=True)
            found[name] = cells[0]
    print(json.dumps(found))


def judge(
    make: Callable[[int, np.random.Generator], tuple[Floats, float]],
    find: Callable[[Floats, np.random.Generator], Interval],
    count: int,
    trials: int,
) -> tuple[float, float] | None:
    """Return how often the interval held the true median, and its mean width."""
    rng = np.random.default_rng(count)
    hits, width = 0, 0.0
    for _ in range(trials):
        values, truth = make(count, rng)
        interval = find(values, np.random.default_rng(0))
        if interval is None:
            return None
        hits += interval[0] <= truth <= interval[1]
        width += interval[1] - interval[0]
    return hits / trials, width / trials


if __name__ == "__main__":
    main()
