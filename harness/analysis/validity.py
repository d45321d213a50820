"""What happened around a launch -> valid, suspect or invalid, with reasons.

One function a question, one table of limits with their sources; docs/validity.md is the same for
people. Statistics use valid launches only. What a device does not tell is no reason. Not here: what
is done about it (`visit.py` retries, the report shows).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.energy import measure_energy
from harness.analysis.power import EnergyTrouble
from harness.schema.device import Conditions
from harness.schema.job import Pass
from harness.schema.plan import Plan
from harness.schema.power import CHARGING
from harness.schema.record import LaunchRecord, Mark, Samples, Trace
from harness.schema.sweep import LedgerEntry
from harness.schema.validity import Reason, Validity


@dataclass(frozen=True)
class Limits:
    """Where a launch begins to be doubtful, and where that number comes from."""

    # A comparison calls no difference below 3%: what a clock may fall without being able to make one.
    clock_fall: float = 0.03
    # The steps of a phone's clock lie 5 to 15% apart: one step down for a part of the loop is usual.
    mean_clock_fall: float = 0.10
    # What time_in_state counts in: a mean clock over a warm-up of 0.2 s is known to 5%.
    tick_seconds: float = 0.01
    # A single reading of a clock catches the governor at any of its steps, which lie 5 to 15% apart.
    clock_reading_fall: float = 0.20
    # The skin of a phone follows its surroundings within a degree or two; a computer's sensor sits
    # on the die and moves by ten within a second.
    skin_celsius: float = 2.0
    die_celsius: float = 10.0
    # AndroidX Benchmark refuses below it: phones save power on a low battery.
    battery_percent: float = 25.0
    # In cores, of what the launch's threads need and others took. A tenth of a core is what a phone
    # at rest uses for itself; half a core halves what one thread gets.
    crowded_cores: float = 0.15
    overrun_cores: float = 0.5
    # In switches a second. Linux gives a slice of 3 to 4 ms where two compete for a core: 50 of them
    # take up to 20% of the time. Calm launches on two cores of a virtual machine had 0 to 12.
    involuntary_switches: float = 50.0
    # Of the inferences. The median moves when half of them are hit.
    interrupted_share: float = 0.25
    # The extremes of 6 samples enclose the median with 97% confidence (1 - 2/2^6), of 5 with 94%.
    samples: int = 6
    # Iterations resemble those before them, so that a test alone would find a drift in most launches:
    # it must be larger than what launches differ by, too (5% on two cores of a virtual machine, where
    # one launch in fifty that nothing disturbed drifted by more than 10%).
    drift_share: float = 0.10
    drift_p: float = 1e-3
    # Of one core, of the life of the process: what reading probes may cost. Where times are measured
    # nothing is read beside it, only at marks; in the energy pass it is work that idle knows too, and
    # a gauge that only `cmd battery` tells of takes four processes a second.
    probe_share_at_marks: float = 0.10
    probe_share_beside: float = 0.05
    # NTP slews by 0.5 ms a second, and jumps from 128 ms on; a computer that slept was away longer.
    clock_step_seconds: float = 2.0


LIMITS = Limits()

LABELS = {
    "failed": "failed",
    "interrupted": "interrupted",
    "output_mismatch": "wrong output",
    "requested_not_actual": "not as requested",
    "status_rose": "throttled",
    "clock_limited": "throttled",
    "clock_moved": "clock moved",
    "core_offline": "core offline",
    "not_cooled": "not cooled",
    "charging": "charging",
    "low_battery": "low battery",
    "competing_load": "competing load",
    "involuntary_switches": "preempted",
    "too_few_samples": "too few samples",
    "drift_within": "drift",
    "probe_cost": "probe cost",
    "clock_stepped": "clock stepped",
    "sensor_lost": "sensor lost",
    "recorder_failed": "power not recorded",
    "no_power_trace": "no power readings",
    "gauge_constant": "gauge stuck",
    "gauge_jump": "gauge jumped",
    "gauge_gaps": "gauge gaps",
    "gauge_disagrees": "gauge disagrees",
    "too_few_readings": "too few readings",
    "trace_clock": "clock of the readings",
    "not_calibrated": "gauge not calibrated",
    "no_idle": "no idle baseline",
    "baseline_moved": "idle power moved",
    "meter_stopped": "meter stopped",
}
"""What each key is called where there is room for a word or two."""

# Troubles with energy that another try may well not have.
_PASSING_TROUBLE = {"gauge_gaps", "gauge_jump", "baseline_moved", "meter_stopped"}
# Findings of the examination (`doctor.py`) that the user may accept, and what they then excuse.
_EXCUSES = {
    "battery-low": {"low_battery"},
    "busy": {"competing_load", "involuntary_switches"},
    "cores-offline": {"core_offline"},
}
_ACCEPT_ALL = "all"


@dataclass(frozen=True)
class _Seen:
    """All that is known around one launch. `baseline`: the device when the sweep began."""

    entry: LedgerEntry
    record: LaunchRecord | None
    sidecar: Sequence[Trace]
    plan: Plan
    baseline: Conditions | None

    @property
    def steady(self) -> Samples | None:
        return self.record.samples.get("steady") if self.record else None

    @property
    def loop(self) -> tuple[Mark, Mark] | None:
        """The marks around the steady loop."""
        return self.record.loop if self.record else None


def judge(
    entry: LedgerEntry,
    record: LaunchRecord | None,
    sidecar: Sequence[Trace],
    plan: Plan,
    accepted: Collection[str] = (),
    baseline: Conditions | None = None,
) -> Validity:
    """Judge one launch by all that was recorded around it.

    `record` is None if none is whole; `beside` was recorded beside it; `accepted` are the keys of
    findings before the sweep that were accepted, which excuse what follows from them; `baseline` is the
    device when the sweep began.
    """
    seen = _Seen(entry, record, sidecar, plan, baseline)
    findings = _EXCUSES if _ACCEPT_ALL in accepted else set(accepted) & _EXCUSES.keys()
    excused = set().union(*(_EXCUSES[finding] for finding in findings))
    found = [reason for question in _QUESTIONS for reason in question(seen)]
    found.sort(key=lambda reason: reason.level)  # "invalid" < "suspect"
    reasons: dict[str, Reason] = {}
    for reason in found:
        if reason.key not in excused:
            reasons.setdefault(reason.key, reason)
    ordered = tuple(reasons.values())
    return Validity(level=ordered[0].level if ordered else "valid", reasons=ordered)


def may_pass(validity: Validity) -> bool:
    """Tell whether a launch that does not count may do so at another try: all its reasons pass."""
    return validity.level != "valid" and all(reason.passing for reason in validity.reasons)


def status_is_above(now: Conditions, before: Conditions) -> bool:
    """Tell whether Android's thermal status is higher than it was; what is unknown is not."""
    if now.thermal_status is None or before.thermal_status is None:
        return False
    return now.thermal_status > before.thermal_status


def fell(before: Sequence[int] | None, after: Sequence[int] | None) -> bool:
    """Tell whether the limit of any core's clock fell. Where cores came or went, none is compared."""
    if not before or not after or len(before) != len(after):
        return False
    return any(b < a * (1 - LIMITS.clock_fall) for a, b in zip(before, after, strict=True))


def _invalid(key: str, text: str, *, passing: bool = False) -> Reason:
    return Reason(key=key, level="invalid", text=text, passing=passing)


def _suspect(key: str, text: str, *, passing: bool = False) -> Reason:
    return Reason(key=key, level="suspect", text=text, passing=passing)


# --- the launch itself --------------------------------------------------------------------------


def _bad_end(seen: _Seen) -> Iterable[Reason]:
    entry = seen.entry
    if entry.status == "ok":
        return
    message = entry.error.message if entry.error else "no reason was given"
    if entry.error is not None and entry.error.kind == "WrongOutput":
        yield _invalid("output_mismatch", message)
    elif entry.status == "interrupted":
        yield _invalid("interrupted", message, passing=True)
    else:
        yield _invalid("failed", message)


def _not_as_requested(seen: _Seen) -> Iterable[Reason]:
    if seen.record is None or seen.record.actual is None or seen.record.header.job is None:
        return
    asked, actual = seen.record.header.job, seen.record.actual
    wanted: dict[str, tuple[object, object]] = {
        "threads": (asked.threads, actual.threads),
        "memory format": (asked.memory_format, actual.memory_format),
    }
    if asked.affinity is not None:
        wanted["cores"] = (sorted(asked.affinity), sorted(actual.affinity))
    if asked.quantized_engine is not None:
        wanted["quantized kernels"] = (asked.quantized_engine, actual.quantized_engine)
    wrong = [
        f"{name}: {got} instead of {want}" for name, (want, got) in wanted.items() if got != want
    ]
    if wrong:
        yield _invalid("requested_not_actual", "; ".join(wrong))


def _too_few_samples(seen: _Seen) -> Iterable[Reason]:
    if seen.entry.measured_pass != "latency" or seen.steady is None:
        return
    count = len(seen.steady.duration_ns)
    wanted = min(LIMITS.samples, seen.plan.measure.min_iterations)
    if count < wanted:
        yield _suspect(
            "too_few_samples",
            f"{count} inferences say little about a median, {wanted} are needed: raise "
            "measure.max_seconds",
        )


def _drift_within(seen: _Seen) -> Iterable[Reason]:
    """Compare the last third of the loop with the first (Mann-Whitney)."""
    if seen.entry.measured_pass != "latency" or seen.steady is None:
        return
    durations = np.asarray(seen.steady.duration_ns, dtype=np.float64)
    third = len(durations) // 3
    if third < LIMITS.samples:
        return
    first, last = durations[:third], durations[-third:]
    change = float(np.median(last) / max(np.median(first), 1.0)) - 1
    if abs(change) <= LIMITS.drift_share:
        return
    from scipy.stats import mannwhitneyu  # takes most of a second, and few launches need it

    if mannwhitneyu(first, last).pvalue < LIMITS.drift_p:
        yield _suspect(
            "drift_within",
            f"the last third of its inferences took {abs(change):.1%} "
            f"{'longer' if change > 0 else 'less'} than the first third",
            passing=True,
        )


# --- heat and clocks ----------------------------------------------------------------------------


def _status_rose(seen: _Seen) -> Iterable[Reason]:
    before, after = seen.entry.before, seen.entry.after
    for then, when in ((before, "before the launch"), (seen.baseline, "when the sweep began")):
        if then is not None and after is not None and status_is_above(after, then):
            yield _invalid(
                "status_rose",
                f"thermal status {after.thermal_status} after it, {then.thermal_status} {when}",
                passing=True,
            )
    if before is not None and seen.baseline is not None and status_is_above(before, seen.baseline):
        yield _invalid(
            "status_rose",
            f"thermal status {before.thermal_status} before it, {seen.baseline.thermal_status} when "
            "the sweep began",
            passing=True,
        )


def _clock_limited(seen: _Seen) -> Iterable[Reason]:
    before, after, baseline = seen.entry.before, seen.entry.after, seen.baseline
    for then, now, text in (
        (before, after, "the highest clock of a core fell during the launch"),
        (baseline, before, "the highest clock of a core was lower than when the sweep began"),
        (baseline, after, "the highest clock of a core was lower than when the sweep began"),
    ):
        if then and now and fell(then.clock_limits_khz, now.clock_limits_khz):
            clocks = _first_fall(then.clock_limits_khz or (), now.clock_limits_khz or ())
            yield _invalid("clock_limited", f"{text}: {clocks}", passing=True)
    for trace in _traces(seen, "_clock_limit"):
        highest, lowest = trace.values[0], min(trace.values)
        if lowest < highest * (1 - LIMITS.clock_fall):
            core = trace.name.removesuffix("_clock_limit")
            text = f"the highest clock of {core} fell from {_mhz(highest)} to {_mhz(lowest)} MHz"
            yield _invalid("clock_limited", text, passing=True)


def _first_fall(before: Sequence[int], after: Sequence[int]) -> str:
    places = range(len(before))
    core = next(n for n in places if after[n] < before[n] * (1 - LIMITS.clock_fall))
    return f"core {core} from {_mhz(before[core])} to {_mhz(after[core])} MHz"


def _mhz(khz: float) -> str:
    return f"{khz / 1000:.0f}"


def _clock_moved(seen: _Seen) -> Iterable[Reason]:
    """Compare the clock late in the loop with the clock early in it, of the fastest core used.

    With pauses between the inferences the governor lowers the clocks, and should.
    """
    if seen.loop is None or seen.plan.measure.delay_seconds > 0:
        return
    counted = _used_cores(seen, "_cycles")
    clocks = _mean_clocks(seen, counted) if counted else _read_clocks(seen)
    if clocks is None:
        return
    early, late, limit = clocks
    if late < early * (1 - limit):
        text = f"the clock fell from {_mhz(early)} to {_mhz(late)} MHz while it was measured"
        yield _invalid("clock_moved", text, passing=True)


def _mean_clocks(seen: _Seen, traces: Sequence[Trace]) -> tuple[float, float, float] | None:
    """Return early and late mean clocks in kHz, by time_in_state, and what fall is too much.

    None if they are not known. The shorter a span, the less is known of its mean; none is above the
    core's highest clock.
    """
    spans = _spans(seen)
    if spans is None:
        return None
    means = [[_mean_clock(seen, trace, *span) for trace in traces] for span in spans]
    known = [[mean for mean in span if mean is not None] for span in means]
    if not all(known):
        return None
    unsure = sum(LIMITS.tick_seconds * 1e9 / max(1, end - begin) for begin, end in spans)
    return max(known[0]), max(known[1]), LIMITS.mean_clock_fall + unsure


def _mean_clock(seen: _Seen, cycles: Trace, begin_ns: int, end_ns: int) -> float | None:
    mean = cycles.rate(begin_ns, end_ns)
    name = cycles.name.removesuffix("_cycles") + "_clock_limit"
    limit = seen.record.trace(name) if seen.record else None
    if mean is None or limit is None or not limit.values:
        return mean
    return min(mean, max(limit.values))


def _spans(seen: _Seen) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return two spans of time to compare: the loop's first and last third, else warm-up and loop.

    A loop that was only looked at where it began and ended cannot be cut.
    """
    if seen.loop is None or seen.record is None:
        return None
    begin, end = seen.loop[0].time_ns, seen.loop[1].time_ns
    within = max((_count(trace, begin, end) for trace in _traces(seen, "_cycles")), default=0)
    if within >= 9:  # so that each third has two
        third = (end - begin) // 3
        return (begin, begin + third), (end - third, end)
    warm = seen.record.mark("first_inference_done")
    if warm is None or seen.loop[0].name != "warmup_done":
        return None
    return (warm.time_ns, begin), (begin, end)


def _read_clocks(seen: _Seen) -> tuple[float, float, float] | None:
    """Return the highest clock in kHz as it was read when the loop began and before it ended, and
    what fall is too much.
    """
    assert seen.loop is not None
    begin, end = seen.loop[0].time_ns, seen.loop[1].time_ns
    if seen.entry.measured_pass == "energy":  # it began idle, at any clock
        begin += (end - begin) // 3
    known = [
        (trace.values[ends[0]], trace.values[ends[1]])
        for trace in _used_cores(seen, "_clock")
        if (ends := trace.ends(begin, end))
    ]
    if not known:
        return None
    early, late = max(early for early, _ in known), max(late for _, late in known)
    return early, late, LIMITS.clock_reading_fall


def _used_cores(seen: _Seen, quantity: str) -> list[Trace]:
    """Return a quantity's traces of the cores that the launch could run on."""
    actual = seen.record.actual if seen.record else None
    cores = {f"cpu{core}{quantity}" for core in actual.affinity} if actual else set()
    found = _traces(seen, quantity)
    return [trace for trace in found if not cores or trace.name in cores]


def _traces(seen: _Seen, suffix: str) -> list[Trace]:
    """Return the traces of every core ("cpuN" and the suffix) that have any point."""
    if seen.record is None:
        return []
    return [
        trace
        for trace in seen.record.traces
        if trace.values
        and trace.name.endswith(suffix)
        and trace.name.removeprefix("cpu").removesuffix(suffix).isdigit()
    ]


def _count(trace: Trace, begin_ns: int, end_ns: int) -> int:
    times = np.asarray(trace.time_ns)
    return int(np.count_nonzero((times > begin_ns) & (times < end_ns)))


def _core_offline(seen: _Seen) -> Iterable[Reason]:
    """Count the cores that told a clock: one that is offline tells none."""
    after = seen.entry.after
    for then, when in ((seen.entry.before, "before it"), (seen.baseline, "when the sweep began")):
        if then is None or after is None or not then.clocks_khz or not after.clocks_khz:
            continue
        if len(after.clocks_khz) < len(then.clocks_khz):
            yield _invalid(
                "core_offline",
                f"{len(after.clocks_khz)} cores were online after it, {len(then.clocks_khz)} {when}",
                passing=True,
            )


def _not_cooled(seen: _Seen) -> Iterable[Reason]:
    limit, waited = seen.plan.measure.cooldown_seconds, seen.entry.cooled_seconds
    if waited is None or limit == 0 or waited < limit:
        return
    before = seen.entry.before.temperature_celsius if seen.entry.before else None
    celsius = "" if before is None else f", at {before:.1f} °C"
    yield _suspect(
        "not_cooled",
        f"it began{celsius} before the device had cooled to where the sweep began, after "
        f"{waited:.0f} s: raise measure.cooldown_seconds",
    )


# --- others on the device -----------------------------------------------------------------------


def _competing_load(seen: _Seen) -> Iterable[Reason]:
    """Compare what others used of the cores with what the launch left to them.

    They take time, and no memory that would be counted here.
    """
    if seen.entry.measured_pass == "memory":
        return
    record, steady, loop = seen.record, seen.steady, seen.loop
    trace = record.trace("cpu_busy") if record else None
    if record is None or steady is None or steady.counters is None or loop is None or trace is None:
        return
    busy = trace.rate(loop[0].time_ns, loop[1].time_ns)
    if busy is None or steady.counters.wall_ns <= 0:
        return
    own_cores = steady.counters.cpu_ns / steady.counters.wall_ns
    other_cores = max(0.0, busy / 1e9 - own_cores)
    job, actual = record.header.job, record.actual
    cores = record.header.device.cpus_online
    own = min(job.threads if job else 1, len(actual.affinity) if actual else cores)
    spare_cores = max(0, cores - own)
    missing = other_cores - spare_cores
    text = f"other processes kept {other_cores:.1f} cores busy, and it left them {spare_cores}"
    if missing > LIMITS.overrun_cores:
        yield _invalid("competing_load", text, passing=True)
    elif missing > LIMITS.crowded_cores:
        yield _suspect("competing_load", text, passing=True)


def _involuntary_switches(seen: _Seen) -> Iterable[Reason]:
    """Count how often a single thread had to give up its core.

    Several threads that wait for each other by yielding count thousands a second of their own.
    """
    if seen.entry.measured_pass not in ("latency", "energy") or seen.record is None:
        return
    job, counters = seen.record.header.job, seen.steady.counters if seen.steady else None
    if counters is None or counters.wall_ns <= 0 or job is None or job.threads > 1:
        return
    rate = counters.involuntary_switches / (counters.wall_ns / 1e9)
    share = counters.involuntary_switches / max(1, counters.iterations)
    if rate > LIMITS.involuntary_switches and share > LIMITS.interrupted_share:
        yield _suspect(
            "involuntary_switches",
            f"it was made to wait for others {rate:.0f} times a second, {share:.1f} times an inference",
            passing=True,
        )


def _low_battery(seen: _Seen) -> Iterable[Reason]:
    percent = seen.entry.before.battery_percent if seen.entry.before else None
    if percent is not None and percent < LIMITS.battery_percent:
        yield _suspect("low_battery", f"the battery was at {percent:.0f}%: phones save power then")


# --- probes, clocks and sensors -----------------------------------------------------------------


def _probe_cost(seen: _Seen) -> Iterable[Reason]:
    share = seen.record.sampling_share if seen.record else None
    if share is None or seen.entry.measured_pass is None:
        return
    if share > _PROBE_SHARES[seen.entry.measured_pass]:
        yield _suspect("probe_cost", f"reading its probes took {share:.1%} of a core")


_PROBE_SHARES: dict[Pass, float] = {
    "latency": LIMITS.probe_share_at_marks,
    "profile": LIMITS.probe_share_at_marks,
    "memory": LIMITS.probe_share_beside,
    "energy": LIMITS.probe_share_beside,
}


def _clock_stepped(seen: _Seen) -> Iterable[Reason]:
    entry = seen.entry
    if entry.after is not None and entry.started_unix is not None and entry.host_ns is not None:
        step = entry.after.unix - entry.started_unix - entry.host_ns / 1e9
        if abs(step) > LIMITS.clock_step_seconds:
            text = f"this computer's clock moved by {step:+.0f} s, or it slept"
            yield _suspect("clock_stepped", text, passing=True)
    traces = (*(seen.record.traces if seen.record else ()), *seen.sidecar)
    back = [trace.name for trace in traces if np.any(np.diff(_times(trace)) < 0)]
    if back:
        text = f"the times of {', '.join(back[:3])} go back: the device's clock is not steady"
        yield _invalid("clock_stepped", text, passing=True)


def _times(trace: Trace) -> npt.NDArray[np.int64]:
    return np.asarray(trace.time_ns, dtype=np.int64)


def _sensor_lost(seen: _Seen) -> Iterable[Reason]:
    """Find what could be read first, and no longer at the end of the loop."""
    if seen.record is None or seen.record.sampling is None or seen.loop is None:
        return
    job = seen.record.header.job
    periods = {
        channel.name: probe.period_seconds or 0.0
        for probe in (job.probes if job else ())
        for channel in probe.channels
    }
    for failure in seen.record.sampling.failures:
        trace = seen.record.trace(failure.channel)
        if trace is None or not trace.time_ns or failure.reason.startswith("full"):
            continue
        # After a gap long ago, none may have been due yet in the last period of the loop.
        due_ns = seen.loop[1].time_ns - periods.get(failure.channel, 0.0) * 1e9
        if trace.time_ns[-1] < due_ns:
            text = f"{failure.channel} could no longer be read: {failure.reason}"
            yield _suspect("sensor_lost", text, passing=True)


# --- energy -------------------------------------------------------------------------------------


def _charging(seen: _Seen) -> Iterable[Reason]:
    """Find a charger on a battery that is the source of power, where nothing followed it.

    Where its status was followed, `energy.py` judges it beside the current: a phone whose charging is
    suspended says "not charging", as one does that its cable feeds.
    """
    source, before, after = seen.entry.power, seen.entry.before, seen.entry.after
    if source is None or not source.sees_charging:
        return
    trace = seen.record.trace(CHARGING) if seen.record else None
    if trace is not None and trace.values:
        return
    if before is None:  # it ran on its own, and is collected now that it is on its charger again
        return
    if before.charging or (after and after.charging):
        yield _invalid("charging", "the battery was charged meanwhile, and is what is measured")


def _no_energy(seen: _Seen) -> Iterable[Reason]:
    entry, record = seen.entry, seen.record
    if entry.status != "ok" or entry.power is None or record is None:
        return
    if entry.sidecar_error is not None:
        text = f"power was not recorded: {entry.sidecar_error.message}"
        yield _invalid("recorder_failed", text, passing=True)
        return
    energy = measure_energy(record, seen.sidecar, entry.power)
    if isinstance(energy, EnergyTrouble):
        # A charger that was kept off when the pass began has come, and may go again.
        came = energy.key == "charging" and seen.plan.device.energy_charging != "as-is"
        passing = came or energy.key in _PASSING_TROUBLE
        yield _invalid(energy.key, energy.text, passing=passing)


_QUESTIONS: tuple[Callable[[_Seen], Iterable[Reason]], ...] = (
    _bad_end,
    _not_as_requested,
    _status_rose,
    _clock_limited,
    _clock_moved,
    _core_offline,
    _not_cooled,
    _competing_load,
    _involuntary_switches,
    _low_battery,
    _charging,
    _no_energy,
    _too_few_samples,
    _drift_within,
    _probe_cost,
    _clock_stepped,
    _sensor_lost,
)


# What helps against each reason that takes launches out of the statistics (see docs/validity.md).
REASON_ADVICE: dict[str, str] = {
    "failed": "See what happened in the table of launches that do not count.",
    "interrupted": "Go on with `phonebench run --resume FOLDER`.",
    "output_mismatch": "Look at the recipe's fidelity on the host, then at the engine.",
    "status_rose": "Let the device cool longer (measure.cooldown_seconds), or work it less.",
    "clock_limited": "Let the device cool longer (measure.cooldown_seconds), or work it less.",
    "clock_moved": "Fix the clocks (device.fixed_performance, or device.governor as root).",
    "core_offline": "Switch off what parks cores, or pin the case to cores that stay.",
    "charging": "Keep the charger off in the energy pass: device.energy_charging.",
    "low_battery": "Charge the battery before measuring.",
    "competing_load": "Close what else runs on the device.",
    "involuntary_switches": "Close what else runs, or use fewer threads than cores.",
    "too_few_samples": "Raise measure.min_iterations or measure.min_seconds.",
    "drift_within": "Raise measure.warmup_seconds, or let the device cool.",
    "probe_cost": "Measure with fewer probes, or on a device that reads them faster.",
    "requested_not_actual": "Ask for settings that the device can give.",
    "not_cooled": "Raise measure.cooldown_seconds, or measure in a cooler place.",
    "clock_stepped": "Switch off the automatic setting of the clock while measuring.",
    "sensor_lost": "Look whether the sensor still answers (`phonebench doctor`).",
    "not_calibrated": "Calibrate the gauge: `phonebench calibrate DEVICE`.",
    "no_power_trace": "Look which sources of power answer (`phonebench doctor`).",
    "gauge_constant": "Use another source of power: this gauge does not follow the load.",
    "gauge_jump": "Measure again; if it comes back, use another source of power.",
    "gauge_gaps": "Measure again; if it comes back, use another source of power.",
    "gauge_disagrees": "Calibrate the gauge again: `phonebench calibrate DEVICE`.",
    "too_few_readings": "Raise measure.energy_seconds and measure.baseline_seconds.",
    "baseline_moved": "Close what else runs, and let the device settle before measuring.",
    "recorder_failed": "Look at what records power beside the launch (`phonebench doctor`).",
    "trace_clock": "Measure again; if it comes back, use another source of power.",
    "no_idle": "Measure again with a runner of this version.",
    "meter_stopped": "Look at the meter and its cable.",
}
