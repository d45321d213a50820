"""Joules out of power traces: right, with an interval that holds, and no number from nonsense."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from harness.analysis.energy import PhaseLengths, measure_energy, needed_phases
from harness.analysis.power import PowerReadings, charge_ratio, find_refreshes, read_power
from harness.analysis.validity import RULES
from harness.schema.energy import Energy, EnergyTrouble, TroubleKey
from harness.schema.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    RAIL,
    SLOWEST_POLL_SECONDS,
    VOLTAGE,
    PowerSource,
)
from harness.schema.record import LaunchRecord, ProbeFailure, Trace
from harness.schema.sweep import LedgerEntry
from tests.fakes.energy import Gauge, Load, launch, meter, rails, rapl, trace, without
from tests.places import REPOSITORY

DOCS = REPOSITORY / "docs/energy.md"
RUNS = 30
RAILS = PowerSource(kind="rails", name="rails", clock_uncertainty_ns=1_000_000)
METER = PowerSource(kind="meter", name="meter", clock_uncertainty_ns=50_000_000)


def measured(gauge: Gauge, load: Load) -> tuple[Energy, float]:
    """Return what is measured of a load, and the truth."""
    watts = load.watts()
    found = measure_energy(launch(load, gauge.traces(watts, load.seed)), (), gauge.source())
    assert isinstance(found, Energy), found
    return found, load.joules(watts)


def errors_and_coverage(gauge: Gauge, load: Load, runs: int = RUNS) -> tuple[float, float]:
    """Return the largest relative error over seeded runs, and how often the interval held."""
    pairs = [measured(gauge, replace(load, seed=seed)) for seed in range(runs)]
    errors = [abs(found.joules_per_inference / truth - 1) for found, truth in pairs]
    held = [found.low_joules <= truth <= found.high_joules for found, truth in pairs]
    return max(errors), float(np.mean(held))


@pytest.mark.parametrize("kind", ["mean", "instant"])
@pytest.mark.parametrize("step", [0.001, 0.01])
def test_a_gauge_of_one_hertz_is_true_within_two_percent(kind: str, step: float) -> None:
    worst, coverage = errors_and_coverage(Gauge(1.0, step, kind), Load())
    assert worst < 0.02
    assert coverage >= 0.9


@pytest.mark.parametrize("kind", ["mean", "instant"])
@pytest.mark.parametrize("step", [0.001, 0.01])
def test_a_gauge_of_four_seconds_is_true_within_five_percent(kind: str, step: float) -> None:
    worst, coverage = errors_and_coverage(Gauge(4.0, step, kind), Load())
    assert worst < 0.05
    assert coverage >= 0.9


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("unit", [1e-6, 1e-3])
def test_both_signs_and_both_scales_mean_the_same(sign: int, unit: float) -> None:
    found, truth = measured(Gauge(sign=sign, amperes_per_unit=unit), Load(noise=0.0))
    assert found.joules_per_inference == pytest.approx(truth, rel=0.01)


def test_a_baseline_that_drifts_is_interpolated_and_widens_the_interval() -> None:
    steady, _ = measured(Gauge(), Load(noise=0.01))
    drifting, truth = measured(Gauge(), Load(noise=0.01, drift=0.3))
    assert drifting.joules_per_inference == pytest.approx(truth, rel=0.01)
    assert drifting.shares_joules["baseline drift"] > 3 * steady.shares_joules["baseline drift"]


@pytest.mark.parametrize("seed", range(8))
def test_the_interval_covers_a_load_that_sits_between_two_steps(seed: int) -> None:
    # Without noise nothing averages out: the gauge is off by up to half a step, in every reading.
    load = Load(noise=0.0, idle=0.4 + 0.006 * seed, work=0.3)
    found, truth = measured(Gauge(4.0, 0.01), load)
    assert found.low_joules <= truth <= found.high_joules
    assert found.shares_joules["quantization"] > 5 * found.shares_joules["sampling"]


def test_noise_that_lasts_longer_than_a_refresh_widens_the_interval() -> None:
    def sampling(noise_seconds: float) -> float:
        load = Load(noise=0.1, noise_seconds=noise_seconds)
        record = without(launch(load, Gauge(kind="instant").traces(load.watts())), CHARGE)
        found = measure_energy(record, (), Gauge().source())
        assert isinstance(found, Energy)
        return found.shares_joules["sampling"]

    assert sampling(5.0) > 2 * sampling(0.1)


def test_readings_that_saw_both_sides_of_a_change_are_left_out() -> None:
    load = Load(noise=0.0)
    watts = load.watts()
    found = measure_energy(launch(load, Gauge(4.0).traces(watts)), (), Gauge(4.0).source())
    assert isinstance(found, Energy)
    assert found.block_watts == pytest.approx(1.9, rel=0.003)
    assert found.idle_before_watts == pytest.approx(0.4, rel=0.01)
    assert found.idle_after_watts == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize("late_polls", [2, 4])
def test_a_gauge_that_publishes_late_is_understood(late_polls: int) -> None:
    def late(values: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full(late_polls, values[0]), values[:-late_polls]])

    load = Load(noise=0.02)
    watts = load.watts()
    record = launch(load, Gauge().traces(watts))
    for name in (CURRENT, VOLTAGE):
        record = changed(record, name, with_values(late))
    found = measure_energy(record, (), Gauge().source())
    assert isinstance(found, Energy)
    assert found.joules_per_inference == pytest.approx(load.joules(watts), rel=0.005)


def test_a_charge_counter_tells_that_readings_miss_nothing_between_them() -> None:
    load = Load(noise=0.1, noise_seconds=5.0)
    traces = Gauge().traces(load.watts())
    alone = measure_energy(without(launch(load, traces), CHARGE), (), Gauge().source())
    counted = measure_energy(launch(load, traces), (), Gauge().source())
    assert isinstance(alone, Energy)
    assert isinstance(counted, Energy)
    assert counted.joules_per_inference == alone.joules_per_inference
    assert counted.shares_joules["sampling"] < alone.shares_joules["sampling"] / 3


def test_the_shares_make_up_the_interval() -> None:
    found, _ = measured(Gauge(), Load())
    half = (found.high_joules - found.low_joules) / 2
    assert half == pytest.approx(np.sqrt(sum(share**2 for share in found.shares_joules.values())))
    assert set(found.shares_joules) == {
        "quantization",
        "refresh",
        "baseline drift",
        "sampling",
        "scale",
    }


def test_a_charge_counter_that_did_not_agree_at_calibration_widens_the_interval() -> None:
    load, gauge = Load(), Gauge()
    traces = tuple(t for t in gauge.traces(load.watts()) if t.name != CHARGE)
    source = gauge.source()
    assert source.calibration is not None
    off = source.calibration.model_copy(update={"charge_ratio": 1.04})
    found = measure_energy(launch(load, traces), (), source.model_copy(update={"calibration": off}))
    assert isinstance(found, Energy)
    assert found.shares_joules["scale"] == pytest.approx(0.04 * found.joules_per_inference)


# --- the other sources ---------------------------------------------------------------------------


def test_power_rails_add_up_to_the_truth() -> None:
    load = Load()
    watts = load.watts()
    found = measure_energy(launch(load), rails(watts, names=("A", "B", "C")), RAILS)
    assert isinstance(found, Energy)
    truth = load.joules(watts)
    assert found.joules_per_inference == pytest.approx(truth, rel=0.01)
    assert found.low_joules <= truth <= found.high_joules


def test_rails_that_begin_at_different_times_count_where_all_are_there() -> None:
    load = Load(noise=0.0)
    one, two = rails(load.watts())
    late = two.model_copy(update={"time_ns": two.time_ns[4:], "values": two.values[4:]})
    found = measure_energy(launch(load), [one, late], RAILS)
    assert isinstance(found, Energy)
    assert found.joules_per_inference == pytest.approx(0.015, rel=0.01)


def test_rapl_goes_on_where_its_counter_wraps_around() -> None:
    load = Load()
    watts = load.watts()
    source = PowerSource(kind="rapl", name="rapl", wraps_at=30e6)
    found = measure_energy(launch(load, tuple(rapl(watts, 30e6))), (), source)
    assert isinstance(found, Energy)
    assert found.joules_per_inference == pytest.approx(load.joules(watts), rel=0.01)


@pytest.mark.parametrize("late_seconds", [-0.04, 0.04])
def test_a_meter_whose_clock_is_a_little_off_stays_true(late_seconds: float) -> None:
    load = Load(noise=0.0)
    watts = load.watts()
    found = measure_energy(launch(load), meter(watts, late_seconds), METER)
    assert isinstance(found, Energy)
    truth = load.joules(watts)
    assert found.low_joules <= truth <= found.high_joules
    assert found.joules_per_inference == pytest.approx(truth, rel=0.001)


# --- trouble -------------------------------------------------------------------------------------


def changed(record: LaunchRecord, name: str, change: Callable[[Trace], Trace]) -> LaunchRecord:
    """Return the record with one trace changed."""
    return replace(record, traces=tuple(change(t) if t.name == name else t for t in record.traces))


def with_values(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Trace], Trace]:
    return lambda trace: trace.model_copy(
        update={"values": change(np.asarray(trace.values)).tolist()}
    )


def cut(begin: float, end: float) -> Callable[[Trace], Trace]:
    """Drop a part of a trace, given as parts of its length."""

    def change(trace: Trace) -> Trace:
        keep = [n for n in range(len(trace.values))
                if not begin <= n / len(trace.values) < end]  # fmt: skip
        return trace.model_copy(
            update={
                "time_ns": [trace.time_ns[n] for n in keep],
                "values": [trace.values[n] for n in keep],
            }
        )

    return change


def wild(index: float, factor: float, seconds: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Multiply the readings of one refresh."""

    def change(values: np.ndarray) -> np.ndarray:
        first = int(index * len(values))
        values = values.copy()
        values[first : first + round(4 * seconds)] *= factor
        return values

    return change


def good() -> LaunchRecord:
    load = Load()
    return launch(load, Gauge().traces(load.watts()))


def trouble(record: LaunchRecord, source: PowerSource | None = None) -> EnergyTrouble:
    found = measure_energy(record, (), source or Gauge().source())
    assert isinstance(found, EnergyTrouble), found
    return found


def test_nothing_to_read_is_told_with_the_reason() -> None:
    failure = ProbeFailure(channel=CURRENT, count=93, reason="Permission denied")
    load = Load()
    record = launch(load, Gauge().traces(load.watts()), (failure,))
    found = trouble(without(record, CURRENT))
    assert found.key == "no-power-trace"
    assert "93 failed: Permission denied" in found.text


@pytest.mark.parametrize("name", [CURRENT, VOLTAGE])
def test_without_current_or_voltage_there_is_no_energy(name: str) -> None:
    assert trouble(without(good(), name)).key == "no-power-trace"


def test_readings_that_are_no_numbers_are_garbage() -> None:
    record = changed(good(), CURRENT, with_values(lambda v: np.where(v > v[0], np.nan, v)))
    assert trouble(record).key == "no-power-trace"


def test_a_voltage_in_millivolts_is_understood_and_a_wild_one_is_not() -> None:
    in_mv = changed(good(), VOLTAGE, with_values(lambda v: v / 1000))
    found, truth = measure_energy(in_mv, (), Gauge().source()), measured(Gauge(), Load())[0]
    assert isinstance(found, Energy)
    assert found.joules_per_inference == pytest.approx(truth.joules_per_inference)
    assert trouble(changed(good(), VOLTAGE, with_values(lambda v: v * 0))).key == "no-power-trace"


def test_a_gauge_that_never_moves_is_frozen() -> None:
    found = trouble(changed(good(), CURRENT, with_values(lambda v: v * 0 + 420_000)))
    assert found.key == "gauge-constant"
    assert "420000" in found.text


def test_a_gauge_that_freezes_before_the_work_has_no_answer_of_zero() -> None:
    def freeze(values: np.ndarray) -> np.ndarray:
        first = int(0.15 * len(values))
        return np.where(np.arange(len(values)) < first, values, values[first])

    load = Load(noise=0.0)
    record = without(launch(load, Gauge().traces(load.watts())), CHARGE)
    found = trouble(changed(record, CURRENT, with_values(freeze)))
    assert found.key == "gauge-constant"
    assert "since the work began" in found.text


def test_a_gauge_that_freezes_at_work_is_told() -> None:
    def freeze(values: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(values)) < len(values) // 2, values, values[len(values) // 2])

    found = trouble(changed(without(good(), CHARGE), CURRENT, with_values(freeze)))
    assert found.key == "baseline-moved"


def test_a_single_reading_is_no_power() -> None:
    def first(trace: Trace) -> Trace:
        return trace.model_copy(update={"time_ns": trace.time_ns[:1], "values": trace.values[:1]})

    found = read_power(changed(good(), CURRENT, first), (), Gauge().source())
    assert isinstance(found, EnergyTrouble)
    assert found.key == "too-few-readings"


@pytest.mark.parametrize("where", [0.08, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("factor", [100, -100, 0.001])
def test_one_wild_reading_refuses_the_launch(where: float, factor: float) -> None:
    found = trouble(changed(good(), CURRENT, with_values(wild(where, factor))))
    assert found.key == "gauge-jump"


def test_a_gauge_that_stops_or_goes_away_for_a_while_is_told() -> None:
    for begin, end in ((0.4, 0.6), (0.9, 1.0), (0.0, 0.1)):
        found = trouble(changed(good(), CURRENT, cut(begin, end)))
        assert found.key == "gauge-gaps"
        assert "silent" in found.text


def test_a_short_hole_in_the_polls_does_no_harm() -> None:
    found = measure_energy(changed(good(), CURRENT, cut(0.5, 0.51)), (), Gauge().source())
    assert isinstance(found, Energy)


def test_phases_shorter_than_the_gauge_needs_give_too_few_readings() -> None:
    load = Load(baseline=5.0)
    found = trouble(launch(load, Gauge(4.0).traces(load.watts())), Gauge(4.0).source())
    assert found.key == "too-few-readings"
    assert "idle before the work" in found.text


def outcomes(gauge: Gauge, load: Load) -> list[Energy | EnergyTrouble]:
    """Return what launches give whose phases begin at different moments between two refreshes."""
    found = []
    for seed in range(6):
        shaken = replace(load, seed=seed)
        traces = gauge.traces(shaken.watts(), seed)
        found.append(measure_energy(launch(shaken, traces), (), gauge.source()))
    return found


@pytest.mark.parametrize("kind", ["mean", "instant"])
@pytest.mark.parametrize(
    ("refresh", "poll"),
    [(0.25, None), (0.7, None), (1.0, None), (1.0, 1.0), (3.3, 1.0), (6.0, None), (10.0, None)],
)
def test_the_shortest_phases_give_energy_wherever_the_refreshes_fall_and_shorter_ones_name_them(
    refresh: float, poll: float | None, kind: str
) -> None:
    gauge = Gauge(refresh, kind=kind, poll=poll)
    needed = needed_phases(gauge.source())
    assert needed is not None
    enough = Load(baseline=needed.baseline_seconds, block=needed.energy_seconds)
    assert all(isinstance(found, Energy) for found in outcomes(gauge, enough))
    # As many refreshes as readings: each reading reaches back by one more.
    for short in (replace(enough, baseline=2 * refresh), replace(enough, block=6 * refresh)):
        for found in outcomes(gauge, short):
            assert isinstance(found, EnergyTrouble)
            assert found.key == "too-few-readings"
            assert str(needed) in found.text


def test_only_a_gauge_asks_for_long_phases() -> None:
    assert needed_phases(RAILS) is None
    assert needed_phases(METER) is None


def test_the_docs_say_how_long_phases_have_to_be() -> None:
    row = r"^\| ([\d.]+) s \| ([\d.]+)(?: \(`cmd battery`: (\d+)\))? \| ([\d.]+)(?: \((\d+)\))? \|$"
    told = re.findall(row, DOCS.read_text(), flags=re.MULTILINE)
    assert len(told) == 4
    for refresh, idle, asked_idle, block, asked_block in told:
        needed = needed_phases(exact(Gauge(float(refresh))))
        assert needed == PhaseLengths(float(idle), float(block))
        if asked_idle:
            asked = needed_phases(exact(Gauge(float(refresh), poll=SLOWEST_POLL_SECONDS)))
            assert asked == PhaseLengths(float(asked_idle), float(asked_block))


def exact(gauge: Gauge) -> PowerSource:
    """Return a gauge whose period was found without any error."""
    found = gauge.calibration().model_copy(update={"refresh_seconds": gauge.refresh})
    return gauge.source().model_copy(update={"calibration": found})


def test_the_docs_name_every_trouble_and_which_of_them_pass() -> None:
    section = DOCS.read_text().partition("## When there is no energy")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)`( \(passing.*?\))? \|", section, flags=re.MULTILINE)
    assert {key for key, _ in rows} == set(get_args(TroubleKey))
    passing = {key for key, mark in rows if mark}
    told = {rule.key for rule in RULES if rule.passing or rule.passing_words}
    assert passing == told & set(get_args(TroubleKey))


def test_a_phone_that_charges_has_no_energy() -> None:
    plugged = changed(good(), CHARGING, with_values(lambda v: v + 1))
    fed = changed(plugged, CURRENT, with_values(lambda v: v - 800_000))
    assert trouble(fed).key == "charging"
    # A charger may feed the phone alone while the battery rests.
    resting = changed(plugged, CURRENT, with_values(lambda v: np.where(v < 200_000, 0, v)))
    assert trouble(resting).key == "charging"


def test_charging_shows_in_the_current_even_where_the_status_is_hidden() -> None:
    fed = changed(without(good(), CHARGING), CURRENT, with_values(lambda v: v - 800_000))
    assert trouble(fed).key == "charging"


def test_a_plugged_phone_that_lives_on_its_battery_can_be_measured() -> None:
    suspended = changed(good(), CHARGING, with_values(lambda v: v + 1))
    assert isinstance(measure_energy(suspended, (), Gauge().source()), Energy)


def test_a_clock_that_steps_is_told() -> None:
    def back(trace: Trace) -> Trace:
        half = len(trace.time_ns) // 2
        times = [t - (30_000_000_000 if n > half else 0) for n, t in enumerate(trace.time_ns)]
        return trace.model_copy(update={"time_ns": times})

    assert trouble(changed(good(), CURRENT, back)).key == "trace-clock"


def test_times_of_another_clock_are_told() -> None:
    load = Load()
    far = [
        t.model_copy(update={"time_ns": [time + 10**15 for time in t.time_ns]})
        for t in rails(load.watts())
    ]
    found = measure_energy(launch(load), far, RAILS)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "trace-clock"


def test_a_gauge_without_calibration_is_refused() -> None:
    source = Gauge().source().model_copy(update={"calibration": None})
    assert trouble(good(), source).key == "not-calibrated"


@pytest.mark.parametrize("mark", ["warmup_done", "idle_before_done", "idle_after_done"])
def test_a_launch_without_idle_has_nothing_to_subtract(mark: str) -> None:
    assert trouble(without(good(), mark)).key == "no-idle"


def test_a_baseline_that_becomes_another_is_told() -> None:
    def later(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[int(0.82 * len(values)) :] += 200_000
        return values

    record = changed(without(good(), CHARGE), CURRENT, with_values(later))
    found = trouble(record)
    assert found.key == "baseline-moved"
    assert "W" in found.text


def test_a_current_that_contradicts_the_charge_counter_is_told() -> None:
    load = Load(block=240.0)
    traces = Gauge().traces(load.watts())
    record = changed(launch(load, traces), CHARGE, with_values(lambda v: v[0] + (v - v[0]) * 0.6))
    found = trouble(record)
    assert found.key == "gauge-disagrees"
    assert "1.6" in found.text


def test_a_meter_that_stops_is_told() -> None:
    load = Load()
    (samples,) = meter(load.watts())
    found = measure_energy(launch(load), [cut(0.5, 1.0)(samples)], METER)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "meter-stopped"


def test_a_meter_that_feeds_nothing_has_no_answer_of_zero() -> None:
    load = Load()
    (samples,) = meter(load.watts())
    found = measure_energy(launch(load), [with_values(lambda v: v * 0.001)(samples)], METER)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "no-power-trace"
    assert "does not feed" in found.text


def test_a_peak_of_milliseconds_is_no_jump_and_one_of_seconds_is() -> None:
    load = Load()
    (samples,) = meter(load.watts())

    def measured_with(seconds: float) -> Energy | EnergyTrouble:
        peak = with_values(wild(0.5, 12.0, seconds * 25))(samples)
        return measure_energy(launch(load), [peak], METER)

    assert isinstance(measured_with(0.02), Energy)
    jumped = measured_with(2.0)
    assert isinstance(jumped, EnergyTrouble)
    assert jumped.key == "gauge-jump"


def test_a_counter_that_leaps_is_told() -> None:
    load = Load()
    leaps = [
        with_values(lambda v: v + 1e9 * (np.arange(len(v)) > len(v) // 2))(t)
        for t in rails(load.watts())
    ]
    found = measure_energy(launch(load), leaps, RAILS)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "gauge-jump"


@pytest.mark.parametrize("source", [RAILS, METER], ids=["rails", "meter"])
def test_nothing_beside_is_no_power_trace(source: PowerSource) -> None:
    found = measure_energy(launch(Load()), [], source)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "no-power-trace"


def test_rails_that_stand_still_or_stop_are_told() -> None:
    load = Load()
    still = [with_values(lambda v: v * 0 + 5)(t) for t in rails(load.watts())]
    found = measure_energy(launch(load), still, RAILS)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "no-power-trace"
    stopped = [cut(0.5, 1.0)(t) for t in rails(load.watts())]
    found = measure_energy(launch(load), stopped, RAILS)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "gauge-gaps"


def test_a_counter_that_falls_is_told() -> None:
    load = Load()
    fallen = [with_values(wild(0.5, 0.5))(t) for t in rails(load.watts())]
    found = measure_energy(launch(load), fallen, RAILS)
    assert isinstance(found, EnergyTrouble)
    assert found.key == "gauge-jump"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_gauge_says_is_a_number_or_a_reason(seed: int) -> None:
    rng = np.random.default_rng(seed)
    load = Load(block=20.0, baseline=5.0)
    record = launch(load, Gauge().traces(load.watts()))
    for name in (CURRENT, VOLTAGE, CHARGE, CHARGING):
        match rng.integers(0, 5):
            case 0:
                record = changed(record, name, with_values(lambda v: rng.normal(size=len(v)) * 1e5))
            case 1:
                record = changed(record, name, with_values(lambda v: np.zeros(len(v))))
            case 2:
                record = changed(record, name, cut(rng.random(), 1.0))
            case 3:
                record = changed(record, name, cut(0.01, 1.0))
    assert isinstance(measure_energy(record, (), Gauge().source()), Energy | EnergyTrouble)
    assert isinstance(read_power(record, (), Gauge().source()), PowerReadings | EnergyTrouble)


@pytest.mark.parametrize("factor", [1e120, 1e200, 1e290])
def test_power_beyond_all_bounds_is_a_reason_that_the_ledger_can_keep(factor: float) -> None:
    with np.errstate(all="ignore"):
        wild = changed(good(), CURRENT, with_values(lambda v: v * factor))
        found = measure_energy(without(wild, CHARGE), (), Gauge().source())
    entry = LedgerEntry(device="phone", case="net", status="ok", energy=found)
    assert LedgerEntry.model_validate_json(entry.model_dump_json()).energy == found


# --- the parts -----------------------------------------------------------------------------------


def test_refreshes_that_bring_the_same_value_are_put_between_the_others() -> None:
    times = np.arange(0, 20, 0.25) * 1e9
    values = np.where(times < 8e9, 5.0, 7.0)
    values[times >= 13e9] = 6.0
    found = find_refreshes(times.astype(np.int64), values, 1.0) / 1e9
    assert found.tolist() == pytest.approx(list(range(1, 20)), abs=0.01)


def test_the_charge_ratio_needs_a_counter_that_falls() -> None:
    record = good()
    assert charge_ratio(record, 1e-6) == pytest.approx(1.0, abs=0.01)
    for change in (lambda v: -v, lambda v: v * 0):
        assert charge_ratio(changed(record, CHARGE, with_values(change)), 1e-6) is None


def test_power_can_be_read_without_an_idle() -> None:
    load = Load()
    watts = load.watts()
    record = without(launch(load, Gauge().traces(watts)), "idle_after_done")
    found = read_power(record, (), Gauge().source())
    assert isinstance(found, PowerReadings)
    assert found.watts.max() < 2.5
    assert (np.diff(found.end_ns) > 0).all()
    assert trace(f"{RAIL}x", "uJ", [0.0], [1.0]).name == "rail:x"
