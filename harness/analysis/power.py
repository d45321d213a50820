"""Traces of a source of power -> readings: mean power over intervals of time, or why there are none.

What a gauge, a meter, rails or RAPL left becomes one shape here, and what cannot be believed is refused with
its reason. Pure functions on traces. Not here: joules (`energy.py`), and where power is read (`devices/`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.schema.energy import EnergyTrouble, TroubleKey
from harness.schema.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    METER_POWER,
    RAIL,
    RAPL_ENERGY,
    VOLTAGE,
    Calibration,
    PowerSource,
)
from harness.schema.record import LaunchRecord, Trace

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """What of a source is too wild to be believed, and where each number comes from."""

    # So many refreshes without any change are no coincidence: a gauge's lowest digit moves.
    constant_refreshes: int = 10
    # A sampler late by three refreshes has missed readings, whatever the reason.
    gap_refreshes: float = 3.0
    meter_gap_seconds: float = 1.0
    # A phone awake draws more: a meter that shows less feeds another phone, or none.
    meter_least_watts: float = 0.05
    # The least that a phone awake draws; one that a charger feeds draws nothing from its battery.
    discharging_amperes: float = 0.02
    # The current and the charge counter come from one shunt: beyond 15% one of them is wrong. Their
    # comparison needs so many steps of the counter.
    charge_disagreement: float = 0.15
    charge_steps: int = 20
    # Intel updates the counter about every millisecond (Software Developer's Manual 3B, 15.10).
    rapl_update_seconds: float = 0.001
    # A cell is between 2.5 and 4.5 V; packs of phones and tablets have one to four in series.
    lowest_volts: float = 2.0
    highest_volts: float = 20.0
    # Beyond the launch by more than this, times are of another clock.
    clock_slack_seconds: float = 2.0


LIMITS = Limits()


@dataclass(frozen=True)
class PowerReadings:
    """What a source said, as mean power over intervals in order of time; arrays of one shape (n,).

    `quantum_watts` is the least step between two readings (0: none to speak of), and
    `jitter_seconds` how far the ends of an interval may be from what they say. `counted_watts` is the
    same power by the charge counter, reading by reading, where there is one that was found to agree;
    `counted_step` is its least step, in joules.
    """

    begin_ns: npt.NDArray[np.int64]
    end_ns: npt.NDArray[np.int64]
    watts: Array
    quantum_watts: float = 0.0
    jitter_seconds: float = 0.0
    counted_watts: Array | None = None
    counted_step: float = 0.0


class Trouble(Exception):
    """Leaves the measuring wherever it cannot go on; becomes an EnergyTrouble."""

    def __init__(self, key: TroubleKey, text: str) -> None:
        super().__init__(text)
        self.key = key


def read_power(
    record: LaunchRecord, sidecar: Sequence[Trace], source: PowerSource
) -> PowerReadings | EnergyTrouble:
    """Return the power over a launch, as far as its source told: for plots and traces."""
    try:
        return make_readings(record, sidecar, source, None)
    except Trouble as trouble:
        return EnergyTrouble(key=trouble.key, text=str(trouble))


# --- phases --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """A stretch of a launch, in the device's CLOCK_MONOTONIC."""

    begin_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / 1e9


def find_phases(record: LaunchRecord) -> tuple[Phase, Phase, Phase]:
    """Return idle before, the block, idle after."""
    names = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
    times = []
    for name in names:
        mark = record.mark(name)
        if mark is None:
            raise Trouble("no-idle", f"the launch has no mark {name}: no idle to subtract")
        times.append(mark.time_ns)
    before, block, after = (Phase(*pair) for pair in itertools.pairwise(times))
    if min(before.seconds, block.seconds, after.seconds) <= 0:
        raise Trouble("no-idle", "the launch did not idle before and after its work")
    return before, block, after


# --- traces -> readings --------------------------------------------------------------------------


def make_readings(
    record: LaunchRecord, sidecar: Sequence[Trace], source: PowerSource, whole: Phase | None
) -> PowerReadings:
    """Return the readings of a source. With `whole`, what happened within it has to be sound."""
    match source.kind:
        case "gauge":
            return _gauge(record, source, whole)
        case "meter":
            return _meter(record, sidecar, whole, source.clock_uncertainty_ns / 1e9)
        case "rails":
            traces = [trace for trace in sidecar if trace.name.startswith(RAIL)]
            return _counters(record, traces, source, whole, source.clock_uncertainty_ns / 1e9)
        case "rapl":
            traces = [trace for trace in record.traces if trace.name.startswith(RAPL_ENERGY)]
            return _counters(record, traces, source, whole, LIMITS.rapl_update_seconds)


@dataclass(frozen=True)
class _Series:
    """A trace as arrays, checked: times increase, values are finite, at least one is there."""

    name: str
    time_ns: npt.NDArray[np.int64]
    values: Array

    def at(self, time_ns: npt.NDArray[np.int64]) -> Array:
        """Return the latest value at each time (the first one before there was any)."""
        index = np.searchsorted(self.time_ns, time_ns, side="right") - 1
        return self.values[np.maximum(index, 0)]


def _series(record: LaunchRecord, trace: Trace | None, name: str) -> _Series:
    if trace is None or not trace.values:
        raise Trouble("no-power-trace", f"no reading of {name}{_failures(record, name)}")
    times = np.asarray(trace.time_ns, dtype=np.int64)
    values = np.asarray(trace.values, dtype=np.float64)
    if len(times) != len(values) or not np.isfinite(values).all():
        raise Trouble("no-power-trace", f"the readings of {name} are garbage")
    if (np.diff(times) <= 0).any():
        raise Trouble("trace-clock", f"the times of {name} do not increase: a clock was set")
    slack = int(LIMITS.clock_slack_seconds * 1e9)
    outside = times[-1] < record.header.main_ns - slack or times[0] > record.end.time_ns + slack
    if outside:
        raise Trouble("trace-clock", f"the times of {name} are not those of this launch")
    return _Series(name, times, values)


def _failures(record: LaunchRecord, name: str) -> str:
    """Quote what went wrong with reading a channel."""
    failures = record.sampling.failures if record.sampling else ()
    for failure in failures:
        if failure.channel == name:
            return f" ({failure.count} failed: {failure.reason})"
    return ""


def _check_cover(
    record: LaunchRecord, series: _Series, whole: Phase | None, most_seconds: float, key: TroubleKey
) -> None:
    """See that there is no hole within the phases, nor at either end of them."""
    if whole is None:
        return
    inside = (series.time_ns > whole.begin_ns) & (series.time_ns < whole.end_ns)
    edges = np.concatenate([[whole.begin_ns], series.time_ns[inside], [whole.end_ns]])
    gaps = np.diff(edges) / 1e9
    longest = int(np.argmax(gaps))
    if gaps[longest] > most_seconds:
        since = (edges[longest] - whole.begin_ns) / 1e9
        raise Trouble(
            key,
            f"{series.name} was silent for {gaps[longest]:.1f} s, from {since:.1f} s on"
            + _failures(record, series.name),
        )


def _gauge(record: LaunchRecord, source: PowerSource, whole: Phase | None) -> PowerReadings:
    calibration = source.calibration
    if calibration is None:
        raise Trouble("not-calibrated", f"{source.name} is not calibrated: its sign and scale")
    current = _series(record, record.trace(CURRENT), CURRENT)
    volts = _volts(_series(record, record.trace(VOLTAGE), VOLTAGE))
    poll_ns = float(np.median(np.diff(current.time_ns))) if len(current.values) > 1 else 0.0
    longest = max(LIMITS.gap_refreshes * calibration.refresh_seconds, 5 * poll_ns / 1e9)
    for series in (current, volts):
        _check_cover(record, series, whole, longest, "gauge-gaps")
    if whole is not None:
        _check_alive(current, calibration, whole, find_phases(record)[1])
    refreshes = find_refreshes(current.time_ns, current.values, calibration.refresh_seconds)
    if not len(refreshes):
        raise Trouble("too-few-readings", f"{source.name} gave a single reading")
    middle = refreshes + int(calibration.refresh_seconds * 5e8)
    amperes = current.at(middle) * calibration.sign * calibration.amperes_per_unit
    if source.sees_charging:
        _check_discharging(record, amperes, refreshes, whole)
    counted, step = _count(record, calibration, refreshes, middle)
    volts_now = volts.at(middle)
    return PowerReadings(
        refreshes - int(poll_ns + calibration.refresh_seconds * 1e9),
        refreshes,
        amperes * volts_now,
        calibration.quantum * calibration.amperes_per_unit * float(np.median(volts_now)),
        counted_watts=None if counted is None else counted * volts_now,
        counted_step=step * float(np.median(volts_now)),
    )


def _count(
    record: LaunchRecord,
    calibration: Calibration,
    refreshes: npt.NDArray[np.int64],
    middle: npt.NDArray[np.int64],
) -> tuple[Array | None, float]:
    """Return the mean current between refreshes by the charge counter (A), and its step (A x s)."""
    trace = record.trace(CHARGE)
    if calibration.charge_ratio is None or trace is None or len(refreshes) < 2:
        return None, 0.0
    steps = np.abs(np.diff(trace.values))
    if not steps.any():
        return None, 0.0
    counter = _series(record, trace, CHARGE)
    coulombs = 3.6e-3 * calibration.charge_ratio
    before = np.concatenate([[counter.values[0]], counter.at(middle)[:-1]])
    periods = np.diff(refreshes, prepend=refreshes[0] - (refreshes[1] - refreshes[0])) / 1e9
    counted = (before - counter.at(middle)) * coulombs / periods
    return np.asarray(counted), float(steps[steps > 0].min()) * coulombs


def find_refreshes(
    time_ns: npt.NDArray[np.int64], values: Array, refresh_seconds: float
) -> npt.NDArray[np.int64]:
    """Return when a polled gauge was refreshed, as far as its changes tell; shape (n,).

    Each is the first poll that could see it. Between changes, refreshes that brought the same
    value again are put where the gauge's own period has them.
    """
    period = refresh_seconds * 1e9
    changes = time_ns[1:][np.diff(values) != 0].astype(np.float64)
    if not len(changes):
        return np.arange(time_ns[0], time_ns[-1], period).astype(np.int64)
    found = list(np.arange(changes[0], time_ns[0], -period)[::-1])
    for change in changes[1:]:
        gap = change - found[-1]
        if gap < period / 2:
            continue  # polls that fell within one refresh: it is one
        count = max(1, round(gap / period))
        found += list(found[-1] + gap * np.arange(1, count + 1) / count)
    found += list(np.arange(found[-1] + period, time_ns[-1] + 1.0, period))
    return np.asarray(found).astype(np.int64)


def _volts(voltage: _Series) -> _Series:
    """Return the voltage in V, whether the gauge's driver speaks in uV, as it should, or in mV."""
    middle = float(np.median(voltage.values))
    for factor in (1.0, 1e3):
        if LIMITS.lowest_volts <= middle * factor <= LIMITS.highest_volts:
            return _Series(voltage.name, voltage.time_ns, voltage.values * factor)
    raise Trouble("no-power-trace", f"{voltage.name} says {middle:g} V, which no battery has")


def _check_alive(current: _Series, calibration: Calibration, whole: Phase, block: Phase) -> None:
    """See that the current moved: over the launch, and from the work on if it froze before that.

    One that froze during the work shows an idle that moved.
    """
    for begin_ns, when in (
        (whole.begin_ns, "all the time"),
        (block.begin_ns, "since the work began"),
    ):
        inside = (current.time_ns >= begin_ns) & (current.time_ns <= whole.end_ns)
        seen = np.unique(current.values[inside])
        seconds = (whole.end_ns - begin_ns) / 1e9
        if len(seen) == 1 and seconds > LIMITS.constant_refreshes * calibration.refresh_seconds:
            raise Trouble(
                "gauge-constant",
                f"the gauge said {seen[0]:g} {when}, at work as at rest: it is frozen, or the load is "
                "below its lowest digit",
            )


def _check_discharging(
    record: LaunchRecord,
    amperes: Array,
    refreshes: npt.NDArray[np.int64],
    whole: Phase | None,
) -> None:
    """See that the battery alone feeds the phone: its gauge tells nothing of a charger's power."""
    if whole is None:
        return
    inside = amperes[(refreshes >= whole.begin_ns) & (refreshes <= whole.end_ns)]
    if len(inside) and np.median(inside) < 0:
        raise Trouble("charging", "the battery was charged while it was measured: see its current")
    charging = record.trace(CHARGING)
    plugged = charging is not None and any(
        value > 0 and whole.begin_ns <= time <= whole.end_ns
        for time, value in zip(charging.time_ns, charging.values, strict=False)
    )
    # A phone whose charging is suspended says "Not charging", and one with a full battery too. Only
    # the former draws all it needs from the battery, also when it rests.
    if plugged and (not len(inside) or inside.min() < LIMITS.discharging_amperes):
        raise Trouble("charging", "the phone was plugged in or charged while it was measured")


def check_charge(record: LaunchRecord, calibration: Calibration) -> None:
    """Compare the current with the charge counter, where that moved far enough to tell."""
    if calibration.charge_ratio is None:
        return
    ratio = charge_ratio(record, calibration.sign * calibration.amperes_per_unit)
    if ratio is None:
        return
    if abs(ratio / calibration.charge_ratio - 1) > LIMITS.charge_disagreement:
        raise Trouble(
            "gauge-disagrees",
            f"the current says {ratio:.2f} times what the charge counter says, and said "
            f"{calibration.charge_ratio:.2f} times when it was calibrated",
        )


def charge_ratio(
    record: LaunchRecord, amperes_per_raw: float, least_steps: int = LIMITS.charge_steps
) -> float | None:
    """Return the integral of the drawn current over the fall of the charge counter (both in uAh).

    From the counter's first step to its last, for between them lie whole steps; and from idle to
    idle, for there it does not matter how far the gauge's current is behind. None where there are too
    few steps to tell, or where the counter rose.
    """
    current, counter = record.trace(CURRENT), record.trace(CHARGE)
    first, last = record.mark("warmup_done"), record.mark("idle_after_done")
    if current is None or counter is None or first is None or last is None:
        return None
    counter_ns, counted = _between(counter, first.time_ns, last.time_ns)
    steps = np.flatnonzero(np.diff(counted) != 0) + 1
    if len(steps) < least_steps:
        return None
    begin, end = counter_ns[steps[0]], counter_ns[steps[-1]]
    fell = counted[steps[0]] - counted[steps[-1]]
    time_ns, raw = _between(current, begin, end)
    if fell <= 0 or len(raw) < 2:
        return None
    edges = np.concatenate([[begin], time_ns, [end]])
    held = np.concatenate([raw[:1], raw]) * amperes_per_raw
    return float(np.sum(held * np.diff(edges)) / 3.6e12 * 1e6 / fell)


def _between(trace: Trace, begin_ns: int, end_ns: int) -> tuple[npt.NDArray[np.int64], Array]:
    time_ns = np.asarray(trace.time_ns, dtype=np.int64)
    inside = (time_ns >= begin_ns) & (time_ns <= end_ns)
    return time_ns[inside], np.asarray(trace.values, dtype=np.float64)[inside]


def _meter(
    record: LaunchRecord, sidecar: Sequence[Trace], whole: Phase | None, jitter_seconds: float
) -> PowerReadings:
    found = next((trace for trace in sidecar if trace.name == METER_POWER), None)
    power = _series(record, found, METER_POWER)
    _check_cover(record, power, whole, LIMITS.meter_gap_seconds, "meter-stopped")
    if len(power.values) < 2:
        raise Trouble("too-few-readings", "the meter gave a single reading")
    middle = float(np.median(power.values))
    if middle < LIMITS.meter_least_watts:
        raise Trouble(
            "no-power-trace", f"the meter shows {middle:.3g} W: it does not feed what was measured"
        )
    return PowerReadings(
        power.time_ns[:-1], power.time_ns[1:], power.values[1:], jitter_seconds=jitter_seconds
    )


def _counters(
    record: LaunchRecord,
    traces: Sequence[Trace],
    source: PowerSource,
    whole: Phase | None,
    jitter_seconds: float,
) -> PowerReadings:
    """Turn counters of energy (uJ), one or several, into the mean power between their updates."""
    if not traces:
        name = RAIL if source.kind == "rails" else RAPL_ENERGY
        raise Trouble("no-power-trace", f"no reading of {name}{_failures(record, name)}")
    rising = [_unwrap(_series(record, trace, trace.name), source.wraps_at) for trace in traces]
    begin = max(series.time_ns[0] for series in rising)
    end = min(series.time_ns[-1] for series in rising)
    grid = max(rising, key=lambda series: len(series.time_ns)).time_ns
    grid = grid[(grid >= begin) & (grid <= end)]
    total = np.zeros(len(grid))
    for series in rising:
        total += np.interp(grid, series.time_ns, series.values)
    updated = np.concatenate([[True], np.diff(total) > 0]) if len(grid) else np.zeros(0, bool)
    grid, total = grid[updated], total[updated]
    if len(grid) < 2:
        raise Trouble("no-power-trace", f"{source.name}: the counters of energy stood still")
    longest = max(
        LIMITS.gap_refreshes * float(np.median(np.diff(grid))) / 1e9, LIMITS.meter_gap_seconds
    )
    _check_cover(record, _Series(source.name, grid, total), whole, longest, "gauge-gaps")
    watts = np.diff(total) * 1e3 / np.diff(grid)
    return PowerReadings(grid[:-1], grid[1:], watts, jitter_seconds=jitter_seconds)


def _unwrap(counter: _Series, wraps_at: float | None) -> _Series:
    falls = np.diff(counter.values) < 0
    if falls.any() and wraps_at is None:
        raise Trouble("gauge-jump", f"{counter.name} fell, which a counter of energy never does")
    turns = np.concatenate([[0], np.cumsum(falls)])
    return _Series(counter.name, counter.time_ns, counter.values + turns * (wraps_at or 0.0))
