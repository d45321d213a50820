"""Power traces -> joules an inference, net of idle, with an interval that says what it covers.

Every source becomes readings: mean power over an interval of time. Those that lie wholly within a
phase count for it; one that saw both sides of a change of phase belongs to neither. Pure
functions. Not here: what a source's traces say (`power.py`), where power is read (`devices/`), and
what a gauge means (`gauge.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.power import (
    Array,
    Phase,
    PowerReadings,
    Trouble,
    check_charge,
    find_phases,
    make_readings,
)
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.plan import Measure
from harness.schema.power import SLOWEST_POLL_SECONDS, Calibration, PowerSource
from harness.schema.record import LaunchRecord, Trace

_Z95 = 1.96


@dataclass(frozen=True)
class Limits:
    """What is too little or too wild for an energy, and where each number comes from."""

    # Two readings are the least of which a spread can be told; a block has to tell its thirds apart.
    idle_readings: int = 2
    block_readings: int = 6
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
    # Idle that moves by more than a third of the net power is another idle: net of which?
    baseline_share: float = 0.33
    # Fuel gauges state 1% and less for current; where nothing confirms the scale, twice that.
    scale_share: float = 0.002
    unconfirmed_scale_share: float = 0.02
    # Lag-1 correlation of fewer readings is noise.
    readings_for_correlation: int = 10
    # What the scatter of the whole launch weighs beside an idle's own, in readings (simulated: the
    # interval then holds with 3 readings an idle, and is not wider than it must with 13).
    readings_of_prior: int = 4


LIMITS = Limits()


@dataclass(frozen=True)
class PhaseLengths:
    """How long a launch has to idle, before and after its work, and to work. Seconds."""

    baseline_seconds: float
    energy_seconds: float

    def __str__(self) -> str:
        return (
            f"measure.baseline_seconds = {self.baseline_seconds:g} and measure.energy_seconds = "
            f"{self.energy_seconds:g}, or more"
        )

    def exceed(self, measure: Measure) -> bool:
        """Tell whether a launch of this plan is too short."""
        return (
            measure.baseline_seconds < self.baseline_seconds
            or measure.energy_seconds < self.energy_seconds
        )


def shortest_phases(refresh_seconds: float, poll_seconds: float) -> PhaseLengths:
    """Return the least lengths that hold enough readings of a gauge, wherever its refreshes fall.

    A reading reaches back by a refresh and a poll, the next one ends a refresh later, and each is seen
    up to a poll late. In tenths of a second, rounded up.
    """

    def hold(readings: int) -> float:
        seconds = (readings + 1) * refresh_seconds + 2 * poll_seconds
        return math.ceil(round(seconds * 10, 6)) / 10

    return PhaseLengths(hold(LIMITS.idle_readings), hold(LIMITS.block_readings))


def needed_phases(source: PowerSource) -> PhaseLengths | None:
    """Return the shortest phases of a source that is refreshed seldom: None for all but gauges."""
    probe = source.current_probe
    if source.calibration is None or probe is None:
        return None
    poll_seconds = probe.period_seconds or SLOWEST_POLL_SECONDS
    return shortest_phases(source.calibration.refresh_seconds, poll_seconds)


def measure_energy(
    record: LaunchRecord, sidecar: Sequence[Trace], source: PowerSource
) -> Energy | EnergyTrouble:
    """Work out what one launch consumed; never raises for what a gauge or a meter may answer."""
    try:
        phases = find_phases(record)
        whole = Phase(phases[0].begin_ns, phases[2].end_ns)
        power = make_readings(record, sidecar, source, whole)
        _check_jumps(source, power, phases)
        if source.calibration is not None:
            check_charge(record, source.calibration)
        return _net(record, source, power, phases)
    except Trouble as trouble:
        needed = needed_phases(source) if trouble.key == "too-few-readings" else None
        longer = f". This gauge needs {needed}" if needed is not None else ""
        return EnergyTrouble(key=trouble.key, text=str(trouble) + longer)


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
    phases: tuple[Phase, Phase, Phase],
) -> Energy:
    steady = record.samples.get("steady")
    iterations = steady.iterations if steady else 0
    if iterations < 1:
        raise Trouble("too-few-readings", "the launch did no inference in its block")
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
    half = math.hypot(*widths.values()) * scale
    if not np.isfinite([net * scale, half, seconds]).all():
        raise Trouble("no-power-trace", f"the readings of {source.name} are beyond all bounds")
    return Energy(
        joules_per_inference=net * scale,
        low_joules=net * scale - half,
        high_joules=net * scale + half,
        block_watts=block.watts,
        idle_before_watts=before.watts,
        idle_after_watts=after.watts,
        seconds=seconds,
        iterations=iterations,
        readings=before.count + block.count + after.count,
        shares_joules={name: width * scale for name, width in widths.items()},
    )


def _within(power: PowerReadings, phase: Phase) -> npt.NDArray[np.bool_]:
    """Tell which readings lie within a phase for sure."""
    margin_ns = power.jitter_seconds * 1e9
    begins_within = power.begin_ns >= phase.begin_ns + margin_ns
    return begins_within & (power.end_ns <= phase.end_ns - margin_ns)


def _check_jumps(
    source: PowerSource, power: PowerReadings, phases: tuple[Phase, Phase, Phase]
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
        raise Trouble(
            "gauge-jump",
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


def _median(power: PowerReadings, phase: Phase) -> float:
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


def _level(power: PowerReadings, phase: Phase, previous: float, name: str, least: int) -> _Level:
    inside = _within(power, phase)
    first = np.flatnonzero(inside)
    inside[first[: _unsettled(power.watts[inside], previous, least, power.quantum_watts)]] = False
    watts = power.watts[inside]
    if len(watts) < least:
        raise Trouble(
            "too-few-readings",
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
    phases: tuple[Phase, Phase, Phase],
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
        raise Trouble(
            "baseline-moved",
            f"idle moved from {before.watts:.3g} W to {after.watts:.3g} W, and the work drew "
            f"{net:.3g} W more: something else was running, or the phone had not settled",
        )
