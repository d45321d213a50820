"""What the statistics promise, tried on data whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from harness.analysis.doubt_checks import THRESHOLDS
from harness.analysis.stats import (
    Estimate,
    difference_is_shown,
    drift,
    estimate,
    estimate_with_own,
    fewest_samples,
    middle_of,
    paired_ratio,
    separation,
    sorted_quantile,
    variation,
)
from tests.fakes.sweeps import iterations_ns

Floats = npt.NDArray[np.float64]

latencies = st.floats(min_value=1e3, max_value=1e12)
LAUNCH_NOISE = 0.015


def launch_medians(truth: float, count: int, rng: np.random.Generator) -> list[float]:
    """Medians of launches whose iterations are autocorrelated and whose levels differ."""
    levels = truth * np.exp(LAUNCH_NOISE * rng.standard_normal(count))
    return [float(np.median(iterations_ns(level, 40, rng))) for level in levels]


def share_of_intervals_that_hold(
    truth: float, make: Callable[[np.random.Generator], list[float]], trials: int
) -> float:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(trials):
        found = estimate(make(rng))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    return hits / trials


def test_no_launches_give_no_estimate() -> None:
    assert estimate([]) is None


def test_one_launch_gives_a_median_and_nothing_else() -> None:
    assert estimate([7.0]) == Estimate(7.0, None, None, "single", 1)


def test_two_to_four_launches_give_their_range_and_say_so() -> None:
    assert estimate([3.0, 1.0, 2.0]) == Estimate(2.0, 1.0, 3.0, "range", 3)


def test_five_launches_give_an_interval() -> None:
    found = estimate([3.0, 1.0, 2.0, 5.0, 4.0])
    assert found == Estimate(3.0, 1.0, 5.0, "interval", 5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        estimate([1.0, bad])


@pytest.mark.parametrize("count", [6, 8, 11, 20, 31])
def test_the_interval_lies_between_the_exact_ones_that_are_wider_and_narrower(count: int) -> None:
    values = np.random.default_rng(count).lognormal(0, 0.1, count)
    found = estimate(values.tolist())
    exact: Any = reference.quantile_test(values, p=0.5).confidence_interval(0.95)
    ordered = np.sort(values)
    outer = int(np.searchsorted(ordered, exact.low))
    assert exact.high == ordered[-1 - outer]
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert exact.low <= found.low <= ordered[outer + 1]
    assert ordered[-2 - outer] <= found.high <= exact.high


def two_groups(truth: float, count: int, rng: np.random.Generator) -> list[float]:
    """Medians of launches of which three in ten are slower by 40%: `truth` is their median."""
    slow = rng.random(count) < 0.3
    middle = np.exp(LAUNCH_NOISE * reference.norm.ppf(0.5 / 0.7))
    levels = truth / middle * np.exp(LAUNCH_NOISE * rng.standard_normal(count))
    return [float(level) for level in np.where(slow, levels * 1.4, levels)]


@pytest.mark.parametrize("make", [launch_medians, two_groups])
@pytest.mark.parametrize("launches", [5, 8, 10, 20])
def test_the_interval_holds_the_truth_as_often_as_it_says(
    launches: int, make: Callable[[float, int, np.random.Generator], list[float]]
) -> None:
    share = share_of_intervals_that_hold(1e6, lambda rng: make(1e6, launches, rng), trials=600)
    assert 0.91 <= share <= 0.98


def test_an_interval_of_pooled_iterations_would_miss_the_truth_most_of_the_time() -> None:
    def pooled(rng: np.random.Generator) -> list[float]:
        levels = 1e6 * np.exp(LAUNCH_NOISE * rng.standard_normal(10))
        return [float(t) for level in levels for t in iterations_ns(level, 100, rng)]

    assert share_of_intervals_that_hold(1e6, pooled, trials=150) < 0.6


def test_an_interval_for_thousands_of_launches_costs_no_more() -> None:
    found = estimate(np.random.default_rng(1).normal(100, 1, 10_000).tolist())
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0.01 < found.high - found.low < 0.1


@given(st.lists(latencies, min_size=1, max_size=40))
def test_the_median_lies_within_its_bounds_and_they_within_the_data(values: list[float]) -> None:
    found = estimate(values)
    assert found is not None
    assert found.launches == len(values)
    if found.low is not None and found.high is not None:
        assert min(values) <= found.low <= found.median <= found.high <= max(values)


@given(st.lists(latencies, min_size=1, max_size=30), st.randoms())
def test_the_order_of_launches_changes_no_estimate(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert estimate(shuffled) == estimate(values)


@given(st.lists(latencies, min_size=1, max_size=30), st.sampled_from([2.0, 0.5, 1024.0]))
def test_another_unit_changes_only_the_unit(values: list[float], factor: float) -> None:
    found, other = estimate(values), estimate([value * factor for value in values])
    assert found is not None
    assert other is not None
    assert other.median == found.median * factor
    assert other.low == (None if found.low is None else found.low * factor)
    assert other.high == (None if found.high is None else found.high * factor)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[int], share: float) -> None:
    ordered = np.sort(np.array(values, dtype=np.int64))
    assert sorted_quantile(ordered, share) == pytest.approx(float(np.quantile(ordered, share)))


def test_launches_that_are_sure_of_themselves_leave_what_lies_between_them() -> None:
    values = [9.0, 10.0, 11.0, 12.0, 13.0]
    exact = estimate_with_own(values, [(value, value) for value in values])
    assert exact == estimate(values)


def test_what_a_launch_does_not_know_is_added_in_quadrature() -> None:
    found = estimate_with_own([10.0, 10.0, 10.0], [(7.0, 14.0)] * 3)
    assert found == Estimate(10.0, 7.0, 14.0, "range", 3)
    wide = estimate_with_own([9.0, 10.0, 11.0, 12.0, 13.0], [(v - 2, v + 2) for v in range(9, 14)])
    assert wide is not None
    assert wide.high == pytest.approx(11 + 8**0.5)
    assert estimate_with_own([], []) is None


def test_the_middle_launch_keeps_its_own_interval() -> None:
    found = middle_of([3.0, 1.0, 2.0], [(2.0, 4.0), (0.0, 2.0), (1.5, 2.5)])
    assert found == Estimate(2.0, 1.5, 2.5, "interval", 3)
    assert middle_of([], []) is None


@pytest.mark.parametrize(("share", "count"), [(0.9, 64), (0.95, 130), (0.99, 662)])
def test_a_quantile_takes_as_many_samples_as_mlperf_asks_for(share: float, count: int) -> None:
    assert fewest_samples(share) == count
    chance = [reference.binom.cdf(1, n, 1 - share) for n in (count - 1, count)]
    assert chance[1] <= 0.01 < chance[0]


def test_a_ratio_is_the_median_of_the_paired_ratios() -> None:
    found = paired_ratio({1: 20.0, 2: 22.0, 3: 30.0}, {1: 10.0, 2: 10.0, 3: 10.0})
    assert found is not None
    assert found.median == pytest.approx(2.2)
    assert (found.basis, found.launches) == ("range", 3)


def test_rounds_that_only_one_side_has_are_left_out() -> None:
    found = paired_ratio({1: 20.0, 2: 1.0}, {1: 10.0, 3: 1.0})
    assert found is not None
    assert found.median == pytest.approx(2.0)
    assert found.launches == 1


def test_without_a_common_round_there_is_no_ratio() -> None:
    assert paired_ratio({1: 20.0}, {2: 10.0}) is None
    assert paired_ratio({1: 20.0}, {1: 0.0}) is None


def test_pairing_by_round_cancels_what_the_rounds_share() -> None:
    rng = np.random.default_rng(3)
    weather = {r: 1e6 * float(np.exp(0.3 * rng.standard_normal())) for r in range(10)}
    noise = {r: float(np.exp(0.01 * rng.standard_normal())) for r in range(10)}
    found = paired_ratio(weather, {r: weather[r] / 1.05 * noise[r] for r in range(10)})
    assert found is not None
    assert found.median == pytest.approx(1.05, abs=0.01)
    assert difference_is_shown(found)


@given(st.lists(st.tuples(latencies, latencies), min_size=1, max_size=25))
@settings(max_examples=60)
def test_the_other_way_round_a_ratio_is_its_inverse(pairs: list[tuple[float, float]]) -> None:
    one = {r: a for r, (a, _) in enumerate(pairs)}
    other = {r: b for r, (_, b) in enumerate(pairs)}
    forth, back = paired_ratio(one, other), paired_ratio(other, one)
    assert forth is not None
    assert back is not None
    assert forth.median * back.median == pytest.approx(1.0)


def test_two_equal_cases_seldom_show_a_difference() -> None:
    rng = np.random.default_rng(5)
    shown = 0
    for _ in range(400):
        a, b = (dict(enumerate(launch_medians(1e6, 10, rng))) for _ in "ab")
        ratio = paired_ratio(a, b)
        assert ratio is not None
        shown += difference_is_shown(ratio)
    assert shown / 400 < 0.09


def test_a_range_never_shows_a_difference() -> None:
    assert not difference_is_shown(Estimate(2.0, 1.9, 2.1, "range", 3))
    assert not difference_is_shown(Estimate(2.0, None, None, "single", 1))
    assert difference_is_shown(Estimate(2.0, 1.9, 2.1, "interval", 5))


def test_variation_is_the_coefficient_of_variation() -> None:
    assert variation([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert variation([9.0]) is None


def test_drift_finds_a_trend_and_its_size() -> None:
    found = drift([100.0, 101.0, 102.0, 103.0, 104.0, 105.0, 106.0, 107.0, 108.0, 110.0])
    assert found is not None
    assert found.rho == pytest.approx(1.0)
    assert found.change == pytest.approx(0.09, abs=0.01)


def test_drift_ranks_as_scipy_does_with_ties() -> None:
    values = [1.0, 3.0, 2.0, 2.0, 5.0, 4.0, 4.0, 4.0, 7.0]
    found = drift(values)
    assert found is not None
    assert found.rho == pytest.approx(reference.spearmanr(range(len(values)), values).statistic)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [5.0] * 12])
def test_too_few_or_equal_launches_show_no_drift(values: list[float]) -> None:
    assert drift(values) is None


def chance(find: Callable[[Floats], bool], count: int) -> float:
    rng = np.random.default_rng(17)
    return float(np.mean([find(100 + rng.standard_normal(count)) for _ in range(1000)]))


@pytest.mark.parametrize("count", [8, 10, 20])
def test_chance_alone_seldom_looks_like_drift(count: int) -> None:
    def drifts(values: Floats) -> bool:
        found = drift(values.tolist())
        return found is not None and abs(found.z) > THRESHOLDS.drift_z

    assert chance(drifts, count) < 0.02


@pytest.mark.parametrize("count", [8, 10, 20])
def test_chance_alone_seldom_looks_like_two_groups(count: int) -> None:
    def splits(values: Floats) -> bool:
        return (separation(values.tolist()) or 0) > THRESHOLDS.separation

    assert chance(splits, count) < 0.02


def test_two_groups_of_launches_are_seen() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(100, 0.5, 6), rng.normal(110, 0.5, 4)])
    assert (separation(values.tolist()) or 0) > THRESHOLDS.separation


def test_equal_launches_are_one_group() -> None:
    assert separation([1.0] * 10) == 0.0
    assert separation([1.0, 2.0]) is None
