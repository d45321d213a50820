"""Power traces -> joules an inference, net of idle, with an interval that says what it covers.

Every source becomes readings: mean power over an interval of time. Those that lie wholly within a
phase count for it; one that saw both sides of a change of phase belongs to neither. Pure
functions on traces. Not here: where power is read (`devices/`), and calibration
(`calibration.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    METER_POWER,
    RAIL,
    RAPL_ENERGY,
    VOLTAGE,
    Calibration,
    PowerSource,
    SourceKind,
)
from harness.records import LaunchRecord, Trace

Array = npt.NDArray[np.float64]

_Z95 = 1.96


@dataclass(frozen=True)
class Limits:
    """What is too little or too wild to be believed, and where each number comes from."""

    # Two readings are the least of which a spread can be told; a block has to tell its thirds apart.
    idle_readings: int = 2
    block_readings: int = 6
    # So many refreshes without any change are no coincidence: a gauge's lowest digit moves.
    constant_refreshes: int = 10
    # A phone's peaks are two or three times its steady load; five times is a wrong digit. But for
    # milliseconds, which a gauge does not show, a phone may draw ten times as much.
    jump_factor: float = 5.0
    jump_seconds: float = 1.0
    # A phone awake does not fall to a tenth of its draw for a moment (this part of a phase) and
    # return; to a half it may, where the work has to wait.
    dip_share: float = 0.9
    dip_length: float = 0.2
    # What a reading at the beginning of a phase may keep of the phase before: less does no harm.
    unsettled_share: float = 0.02
    unsettled_readings: int = 1
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
    # Idle that moves by more than a third of the net power is another idle: net of which?
    baseline_share: float = 0.33
    # Fuel gauges state 1% and less for current; where nothing confirms the scale, twice that.
    scale_share: float = 0.002
    unconfirmed_scale_share: float = 0.02
    # Intel updates the counter about every millisecond (Software Developer's Manual 3B, 15.10).
    rapl_update_seconds: float = 0.001
    # A cell is between 2.5 and 4.5 V; packs of phones and tablets have one to four in series.
    lowest_volts: float = 2.0
    highest_volts: float = 20.0
    # Beyond the launch by more than this, times are of another clock.
    clock_slack_seconds: float = 2.0
    # Lag-1 correlation of fewer readings is noise.
    readings_for_correlation: int = 10
    # What the scatter of the whole launch weighs beside an idle's own, in readings (simulated: the
    # interval then holds with 3 readings an idle, and is not wider than it must with 13).
    readings_of_prior: int = 4


LIMITS = Limits()


@dataclass(frozen=True)
class Energy:
    """What one launch of the energy pass consumed.

    `joules_per_inference` is net of idle: (block_watts - idle_watts) x seconds / iterations, where
    the block is the steady loop and idle is interpolated between the baselines before and after it.
    [low, high] is its 95% interval; `shares` says what makes it wide: each component's half-width in
    joules an inference ("quantization", "refresh", "baseline drift", "sampling", "scale", "clock").
    """

    source: SourceKind
    source_name: str
    joules_per_inference: float
    low: float
    high: float
    block_watts: float
    idle_before_watts: float
    idle_after_watts: float
    seconds: float
    iterations: int
    readings: int
    shares: dict[str, float]


@dataclass(frozen=True)
class EnergyTrouble:
    """Why a launch has no energy. Keys are those of `validity.py`; the text says what was seen."""

    key: str
    text: str


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


class _Trouble(Exception):
    """Leaves the measuring wherever it cannot go on; becomes an EnergyTrouble."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def measure_energy(
    record: LaunchRecord, beside: Sequence[Trace], source: PowerSource
) -> Energy | EnergyTrouble:
    """Work out what one launch consumed; never raises for what a gauge or a meter may answer."""
    try:
        phases = _phases(record)
        whole = _Phase(phases[0].begin_ns, phases[2].end_ns)
        power = _readings(record, beside, source, whole)
        _check_jumps(source, power, phases)
        if source.calibration is not None:
            _check_charge(record, source.calibration)
        return _net(record, source, power, phases)
    except _Trouble as trouble:
        return EnergyTrouble(trouble.key, str(trouble))


def read_power(
    record: LaunchRecord, beside: Sequence[Trace], source: PowerSource
) -> PowerReadings | EnergyTrouble:
    """Return the power over a launch, as far as its source told: for plots and traces."""
    try:
        return _readings(record, beside, source, None)
    except _Trouble as trouble:
        return EnergyTrouble(trouble.key, str(trouble))


# --- phases --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Phase:
    begin_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


def _phases(record: LaunchRecord) -> tuple[_Phase, _Phase, _Phase]:
    """Return idle before, the block, idle after."""
    names = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
    times = []
    for name in names:
        mark = record.mark(name)
        if mark is None:
            raise _Trouble("no_idle", f"the launch has no mark {name}: no idle to subtract")
        times.append(mark.time_ns)
    before, block, after = (_Phase(*pair) for pair in itertools.pairwise(times))
    if min(before.seconds, block.seconds, after.seconds) <= 0:
        raise _Trouble("no_idle", "the launch did not idle before and after its work")
    return before, block, after


def _iterations(record: LaunchRecord) -> int:
    steady = record.samples.get("steady")
    if steady is None:
        return 0
    return steady.counters.iterations if steady.counters else len(steady.duration_ns)


# --- traces -> readings --------------------------------------------------------------------------


def _readings(
    record: LaunchRecord, beside: Sequence[Trace], source: PowerSource, whole: _Phase | None
) -> PowerReadings:
    """Return the readings of a source. With `whole`, what happened within it has to be sound."""
    match source.kind:
        case "gauge":
            return _gauge(record, source, whole)
        case "meter":
            return _meter(record, beside, whole, source.clock_uncertainty_ns / 1e9)
        case "rails":
            traces = [trace for trace in beside if trace.name.startswith(RAIL)]
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
        raise _Trouble("no_power_trace", f"no reading of {name}{_failures(record, name)}")
    times = np.asarray(trace.time_ns, dtype=np.int64)
    values = np.asarray(trace.values, dtype=np.float64)
    if len(times) != len(values) or not np.isfinite(values).all():
        raise _Trouble("no_power_trace", f"the readings of {name} are garbage")
    if (np.diff(times) <= 0).any():
        raise _Trouble("trace_clock", f"the times of {name} do not increase: a clock was set")
    slack = int(LIMITS.clock_slack_seconds * 1e9)
    outside = times[-1] < record.header.main_ns - slack or times[0] > record.end.time_ns + slack
    if outside:
        raise _Trouble("trace_clock", f"the times of {name} are not those of this launch")
    return _Series(name, times, values)


def _failures(record: LaunchRecord, name: str) -> str:
    """Quote what went wrong with reading a channel."""
    failures = record.sampling.failures if record.sampling else ()
    for failure in failures:
        if failure.channel == name:
            return f" ({failure.count} failed: {failure.reason})"
    return ""


def _check_cover(
    record: LaunchRecord, series: _Series, whole: _Phase | None, most_seconds: float, key: str
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
        raise _Trouble(
            key,
            f"{series.name} was silent for {gaps[longest]:.1f} s, from {since:.1f} s on"
            + _failures(record, series.name),
        )


def _gauge(record: LaunchRecord, source: PowerSource, whole: _Phase | None) -> PowerReadings:
    calibration = source.calibration
    if calibration is None:
        raise _Trouble("not_calibrated", f"{source.name} is not calibrated: its sign and scale")
    current = _series(record, record.trace(CURRENT), CURRENT)
    volts = _volts(_series(record, record.trace(VOLTAGE), VOLTAGE))
    poll_ns = float(np.median(np.diff(current.time_ns))) if len(current.values) > 1 else 0.0
    longest = max(LIMITS.gap_refreshes * calibration.refresh_seconds, 5 * poll_ns / 1e9)
    for series in (current, volts):
        _check_cover(record, series, whole, longest, "gauge_gaps")
    if whole is not None:
        _check_alive(current, calibration, whole, _phases(record)[1])
    refreshes = find_refreshes(current.time_ns, current.values, calibration.refresh_seconds)
    if not len(refreshes):
        raise _Trouble("too_few_readings", f"{source.name} gave a single reading")
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
    raise _Trouble("no_power_trace", f"{voltage.name} says {middle:g} V, which no battery has")


def _check_alive(current: _Series, calibration: Calibration, whole: _Phase, block: _Phase) -> None:
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
            raise _Trouble(
                "gauge_constant",
                f"the gauge said {seen[0]:g} {when}, at work as at rest: it is frozen, or the load is "
                "below its lowest digit",
            )


def _check_discharging(
    record: LaunchRecord,
    amperes: Array,
    refreshes: npt.NDArray[np.int64],
    whole: _Phase | None,
) -> None:
    """See that the battery alone feeds the phone: its gauge tells nothing of a charger's power."""
    if whole is None:
        return
    inside = amperes[(refreshes >= whole.begin_ns) & (refreshes <= whole.end_ns)]
    if len(inside) and np.median(inside) < 0:
        raise _Trouble("charging", "the battery was charged while it was measured: see its current")
    charging = record.trace(CHARGING)
    plugged = charging is not None and any(
        value > 0 and whole.begin_ns <= time <= whole.end_ns
        for time, value in zip(charging.time_ns, charging.values, strict=False)
    )
    # A phone whose charging is suspended says "Not charging", and one with a full battery too. Only
    # the former draws all it needs from the battery, also when it rests.
    if plugged and (not len(inside) or inside.min() < LIMITS.discharging_amperes):
        raise _Trouble("charging", "the phone was plugged in or charged while it was measured")


def _check_charge(record: LaunchRecord, calibration: Calibration) -> None:
    """Compare the current with the charge counter, where that moved far enough to tell."""
    if calibration.charge_ratio is None:
        return
    ratio = charge_ratio(record, calibration.sign * calibration.amperes_per_unit)
    if ratio is None:
        return
    if abs(ratio / calibration.charge_ratio - 1) > LIMITS.charge_disagreement:
        raise _Trouble(
            "gauge_disagrees",
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
    record: LaunchRecord, beside: Sequence[Trace], whole: _Phase | None, jitter_seconds: float
) -> PowerReadings:
    found = next((trace for trace in beside if trace.name == METER_POWER), None)
    power = _series(record, found, METER_POWER)
    _check_cover(record, power, whole, LIMITS.meter_gap_seconds, "meter_stopped")
    if len(power.values) < 2:
        raise _Trouble("too_few_readings", "the meter gave a single reading")
    middle = float(np.median(power.values))
    if middle < LIMITS.meter_least_watts:
        raise _Trouble(
            "no_power_trace", f"the meter shows {middle:.3g} W: it does not feed what was measured"
        )
    return PowerReadings(
        power.time_ns[:-1], power.time_ns[1:], power.values[1:], jitter_seconds=jitter_seconds
    )


def _counters(
    record: LaunchRecord,
    traces: Sequence[Trace],
    source: PowerSource,
    whole: _Phase | None,
    jitter_seconds: float,
) -> PowerReadings:
    """Turn counters of energy (uJ), one or several, into the mean power between their updates."""
    if not traces:
        name = RAIL if source.kind == "rails" else RAPL_ENERGY
        raise _Trouble("no_power_trace", f"no reading of {name}{_failures(record, name)}")
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
        raise _Trouble("no_power_trace", f"{source.name}: the counters of energy stood still")
    longest = max(
        LIMITS.gap_refreshes * float(np.median(np.diff(grid))) / 1e9, LIMITS.meter_gap_seconds
    )
    _check_cover(record, _Series(source.name, grid, total), whole, longest, "gauge_gaps")
    watts = np.diff(total) * 1e3 / np.diff(grid)
    return PowerReadings(grid[:-1], grid[1:], watts, jitter_seconds=jitter_seconds)


def _unwrap(counter: _Series, wraps_at: float | None) -> _Series:
    falls = np.diff(counter.values) < 0
    if falls.any() and wraps_at is None:
        raise _Trouble("gauge_jump", f"{counter.name} fell, which a counter of energy never does")
    turns = np.concatenate([[0], np.cumsum(falls)])
    return _Series(counter.name, counter.time_ns, counter.values + turns * (wraps_at or 0.0))


# --- readings -> joules --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Level:
    """The mean power of one phase, and what is known of it (all in watts).

    `middle_ns` is when, on average; `spread` the readings' variance and `effective` how many
    independent ones they are worth; `uncovered` what the time without a reading may change; `missed`
    how far the readings are from what the charge counter counted meanwhile, where that tells.
    """

    watts: float
    middle_ns: float
    count: int
    effective: float
    spread: float
    uncovered: float
    stuck: float
    missed: float


def _net(
    record: LaunchRecord,
    source: PowerSource,
    power: PowerReadings,
    phases: tuple[_Phase, _Phase, _Phase],
) -> Energy:
    iterations = _iterations(record)
    if iterations < 1:
        raise _Trouble("too_few_readings", "the launch did no inference in its block")
    rest, work, _ = (_median(power, phase) for phase in phases)
    # Before the first idle there was work, too: the warm-up.
    before = _level(power, phases[0], work, "idle before the work", LIMITS.idle_readings)
    block = _level(power, phases[1], rest, "the work", LIMITS.block_readings)
    after = _level(power, phases[2], work, "idle after the work", LIMITS.idle_readings)
    late = (block.middle_ns - before.middle_ns) / (after.middle_ns - before.middle_ns)
    net = block.watts - (before.watts * (1 - late) + after.watts * late)
    widths = _widths(source, power, phases, (before, block, after), late, net)
    _check_baseline(before, after, net, widths)
    seconds = phases[1].seconds
    scale = seconds / iterations
    half = float(np.sqrt(sum(width**2 for width in widths.values()))) * scale
    return Energy(
        source=source.kind,
        source_name=source.name,
        joules_per_inference=net * scale,
        low=net * scale - half,
        high=net * scale + half,
        block_watts=block.watts,
        idle_before_watts=before.watts,
        idle_after_watts=after.watts,
        seconds=seconds,
        iterations=iterations,
        readings=before.count + block.count + after.count,
        shares={name: width * scale for name, width in widths.items()},
    )


def _within(power: PowerReadings, phase: _Phase) -> npt.NDArray[np.bool_]:
    """Tell which readings lie within a phase for sure."""
    margin_ns = power.jitter_seconds * 1e9
    begins_within = power.begin_ns >= phase.begin_ns + margin_ns
    return begins_within & (power.end_ns <= phase.end_ns - margin_ns)


def _check_jumps(
    source: PowerSource, power: PowerReadings, phases: tuple[_Phase, _Phase, _Phase]
) -> None:
    """Refuse readings that no phone draws: dropping the wild one would trust its neighbours."""
    if source.kind != "gauge":
        power = _over_seconds(power)
    levels = [np.median(power.watts[_within(power, p)]) for p in phases if _within(power, p).any()]
    if not levels:
        return
    highest = max(abs(float(level)) for level in levels)
    seen = (power.end_ns >= phases[0].begin_ns) & (power.begin_ns <= phases[2].end_ns)
    wild = seen & (np.abs(power.watts) > LIMITS.jump_factor * highest)
    for phase in phases:
        inside = np.flatnonzero(_within(power, phase))
        if len(inside) >= LIMITS.block_readings:
            wild[inside] |= _is_dip(power.watts[inside])
    if wild.any():
        first = int(np.argmax(wild))
        since = (power.end_ns[first] - phases[0].begin_ns) / 1e9
        raise _Trouble(
            "gauge_jump",
            f"{source.name} jumped to {power.watts[first]:.3g} W at {since:.1f} s, against "
            f"{highest:.3g} W at most otherwise",
        )


def _over_seconds(power: PowerReadings) -> PowerReadings:
    """Return the means over a second each, or over a reading where that is longer."""
    slot = (power.end_ns - power.begin_ns[0]) // int(LIMITS.jump_seconds * 1e9)
    first = np.flatnonzero(np.diff(slot, prepend=-1))
    lengths = power.end_ns - power.begin_ns
    joules = np.add.reduceat(power.watts * lengths, first)
    return PowerReadings(
        power.begin_ns[first],
        power.end_ns[np.append(first[1:], len(slot)) - 1],
        joules / np.add.reduceat(lengths, first),
        jitter_seconds=power.jitter_seconds,
    )


def _is_dip(watts: Array) -> npt.NDArray[np.bool_]:
    """Tell which readings fall far below their phase for a moment, and are not its scatter."""
    middle = float(np.median(watts))
    scatter = 1.4826 * float(np.median(np.abs(watts - middle)))
    low = watts < middle - max(LIMITS.dip_share * abs(middle), 10 * scatter)
    return np.asarray(low & (low.mean() < LIMITS.dip_length), dtype=np.bool_)


def _median(power: PowerReadings, phase: _Phase) -> float:
    watts = power.watts[_within(power, phase)]
    return float(np.median(watts)) if len(watts) else 0.0


def _unsettled(watts: Array, previous: float, least: int, quantum: float) -> int:
    """Return how many readings at the beginning of a phase still show the phase before.

    A gauge that publishes late, or filters for longer than its period, says at first what was. Such
    readings lie on the side of the phase before, farther off than the others scatter.
    """
    if len(watts) <= least:
        return 0
    for count in range(LIMITS.unsettled_readings + 1):
        later = watts[count + 1 :]
        level = float(np.median(later))
        scatter = 1.4826 * float(np.median(np.abs(later - level)))
        far = max(4 * scatter, 2 * quantum, LIMITS.unsettled_share * abs(previous - level))
        if (watts[count] - level) * np.sign(previous - level) <= far:
            return count
    return 0  # it never settles: that is the power's own doing


def _level(power: PowerReadings, phase: _Phase, previous: float, name: str, least: int) -> _Level:
    inside = _within(power, phase)
    first = np.flatnonzero(inside)
    inside[first[: _unsettled(power.watts[inside], previous, least, power.quantum_watts)]] = False
    watts = power.watts[inside]
    if len(watts) < least:
        raise _Trouble(
            "too_few_readings",
            f"{len(watts)} of the readings lie wholly within {name} ({phase.seconds:.1f} s); "
            f"at least {least} are needed",
        )
    lengths = (power.end_ns - power.begin_ns)[inside].astype(np.float64)
    middles = (power.begin_ns[inside] + power.end_ns[inside]) / 2
    spread = float(np.var(watts, ddof=1))
    span = (power.end_ns[inside][-1] - power.begin_ns[inside][0]) / 1e9
    thirds = [float(np.mean(part)) for part in np.array_split(watts, 3) if len(part)]
    mean = float(np.average(watts, weights=lengths))
    return _Level(
        watts=mean,
        middle_ns=float(np.average(middles, weights=lengths)),
        count=len(watts),
        effective=_effective(watts),
        spread=spread,
        uncovered=max(0.0, 1 - span / phase.seconds) * max(abs(third - mean) for third in thirds),
        stuck=_stuck(spread, power.quantum_watts),
        missed=_missed(power, inside, mean),
    )


def _missed(power: PowerReadings, inside: npt.NDArray[np.bool_], mean: float) -> float:
    """Return how far readings may be from the mean of their phase, by the charge counter.

    Readings that are moments leave out what is between them, and readings that are means leave out
    nothing, however much the power varies: a counter tells the two apart.
    """
    if power.counted_watts is None:
        return float("inf")
    seconds = float(inside.sum()) * float(np.median(np.diff(power.end_ns))) / 1e9
    counted = float(np.mean(power.counted_watts[inside]))
    return abs(counted - mean) + power.counted_step / seconds


def _effective(watts: Array) -> float:
    """Return how many independent readings these are worth, by their lag-1 correlation.

    The estimate is corrected for its bias in short series (Marriott and Pope, 1954).
    """
    count = len(watts)
    deviation = watts - watts.mean()
    power = float(np.sum(deviation**2))
    if count < LIMITS.readings_for_correlation or power == 0:
        return float(count)
    lag = float(np.sum(deviation[1:] * deviation[:-1])) / power
    lag = min(max(lag + (1 + 3 * lag) / count, 0.0), 0.95)
    return max(1.0, count * (1 - lag) / (1 + lag))


def _stuck(spread: float, quantum: float) -> float:
    """Return the share of the quantization error that readings of this variance do not average out.

    1 when all sit on one step. A spread of sigma before quantization leaves exp(-2 (pi sigma /
    quantum)^2) of it (Widrow and Kollar, Quantization Noise, chapter 4).
    """
    if quantum <= 0:
        return 0.0
    sigma_squared = max(0.0, spread - quantum**2 / 12)
    return float(np.exp(-2 * np.pi**2 * sigma_squared / quantum**2))


def _widths(
    source: PowerSource,
    power: PowerReadings,
    phases: tuple[_Phase, _Phase, _Phase],
    levels: tuple[_Level, _Level, _Level],
    late: float,
    net: float,
) -> dict[str, float]:
    """Return the half-width of each component of the 95% interval, in watts of net power."""
    before, block, after = levels
    shares = (1 - late, 1.0, late)

    def steps(level: _Level) -> float:
        left = level.stuck + (1 - level.stuck) / level.count
        return float(power.quantum_watts / np.sqrt(12) * np.sqrt(left))

    # Both idles may sit on one and the same step: their errors add up.
    idle_steps = (1 - late) * steps(before) + late * steps(after)
    # A counter's update may be that much older than its reading says, at both ends of a phase.
    late_seconds = power.jitter_seconds if source.kind in ("rails", "rapl") else 0.0
    jitter = [
        share * abs(level.watts) * late_seconds * np.sqrt(2 / 12) / phase.seconds
        for share, level, phase in zip(shares, levels, phases, strict=True)
    ]
    uncovered = [share * lv.uncovered for share, lv in zip(shares, levels, strict=True)]
    widths = {
        "quantization": _Z95 * float(np.hypot(steps(block), idle_steps)),
        "refresh": float(np.sqrt(np.sum(np.square([*uncovered, *(_Z95 * j for j in jitter)])))),
        "baseline drift": abs(after.watts - before.watts) / 2,
        "sampling": _sampling(levels, shares),
    }
    if source.kind == "gauge":
        widths["scale"] = abs(net) * _scale_share(source.calibration)
    if source.clock_uncertainty_ns:
        widths["clock"] = abs(net) * 2 * source.clock_uncertainty_ns / 1e9 / phases[1].seconds
    return widths


def _sampling(levels: tuple[_Level, _Level, _Level], shares: tuple[float, float, float]) -> float:
    """Return the half-width from the scatter of readings (t of the degrees of freedom at hand).

    An idle has few readings to know its scatter by: what all scatter together stands beside them,
    with the weight of a few. Where a charge counter tells that less was missed, it is believed.
    """
    before, block, after = levels
    free = [level.count - 1 for level in levels]
    together = sum(n * lv.spread for n, lv in zip(free, levels, strict=True)) / sum(free)
    known, prior = free[0] + free[2], LIMITS.readings_of_prior
    own = free[0] * before.spread + free[2] * after.spread
    idle = (own + prior * together) / (known + prior)
    from scipy.special import stdtrit  # slow to load, and only this needs it

    worth = max(2.0, sum(level.effective for level in levels) - 3)
    quantile = float(stdtrit(worth, 0.975))
    halves = [
        share * min(quantile * float(np.sqrt(spread / level.effective)), level.missed)
        for share, spread, level in zip(shares, (idle, block.spread, idle), levels, strict=True)
    ]
    return float(np.sqrt(np.sum(np.square(halves))))


def _scale_share(calibration: Calibration | None) -> float:
    if calibration is None or calibration.charge_ratio is None:
        return LIMITS.unconfirmed_scale_share
    return max(LIMITS.scale_share, abs(calibration.charge_ratio - 1))


def _check_baseline(before: _Level, after: _Level, net: float, widths: dict[str, float]) -> None:
    """Refuse a launch whose idle moved: the same work would have had two answers."""
    moved = abs(after.watts - before.watts)
    noise = 2 * float(np.hypot(widths["quantization"], widths["sampling"]))
    if moved > LIMITS.baseline_share * abs(net) and moved > noise:
        raise _Trouble(
            "baseline_moved",
            f"idle moved from {before.watts:.3g} W to {after.watts:.3g} W, and the work drew "
            f"{net:.3g} W more: something else was running, or the phone had not settled",
        )
