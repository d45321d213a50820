"""Rules on heat and clocks: throttling, and cores that went. The start gate asks some of them too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from harness.analysis.rules.rule import LIMITS, Around, Breach, Rule
from harness.schema.device import Conditions
from harness.schema.record import Trace


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


def _status_rose(around: Around) -> Iterable[Breach]:
    before, after = around.entry.before, around.entry.after
    for then, when in ((before, "before the launch"), (around.baseline, "when the sweep began")):
        if then is not None and after is not None and status_is_above(after, then):
            yield Breach(
                f"thermal status {after.thermal_status} after it, {then.thermal_status} {when}"
            )
    if (
        before is not None
        and around.baseline is not None
        and status_is_above(before, around.baseline)
    ):
        yield Breach(
            f"thermal status {before.thermal_status} before it, {around.baseline.thermal_status} "
            "when the sweep began"
        )


def _clock_limited(around: Around) -> Iterable[Breach]:
    before, after, baseline = around.entry.before, around.entry.after, around.baseline
    for then, now, text in (
        (before, after, "the highest clock of a core fell during the launch"),
        (baseline, before, "the highest clock of a core was lower than when the sweep began"),
        (baseline, after, "the highest clock of a core was lower than when the sweep began"),
    ):
        if then and now and fell(then.clock_limits_khz, now.clock_limits_khz):
            clocks = _first_fall(then.clock_limits_khz or (), now.clock_limits_khz or ())
            yield Breach(f"{text}: {clocks}")
    for trace in _traces(around, "_clock_limit"):
        highest, lowest = trace.values[0], min(trace.values)
        if lowest < highest * (1 - LIMITS.clock_fall):
            core = trace.name.removesuffix("_clock_limit")
            text = f"the highest clock of {core} fell from {_mhz(highest)} to {_mhz(lowest)} MHz"
            yield Breach(text)


def _first_fall(before: Sequence[int], after: Sequence[int]) -> str:
    places = range(len(before))
    core = next(n for n in places if after[n] < before[n] * (1 - LIMITS.clock_fall))
    return f"core {core} from {_mhz(before[core])} to {_mhz(after[core])} MHz"


def _mhz(khz: float) -> str:
    return f"{khz / 1000:.0f}"


def _clock_moved(around: Around) -> Iterable[Breach]:
    """Compare the clock late in the loop with the clock early in it, of the fastest core used.

    With pauses between the inferences the governor lowers the clocks, and should.
    """
    if around.loop is None or around.plan.measure.delay_seconds > 0:
        return
    counted = _used_cores(around, "_cycles")
    clocks = _mean_clocks(around, counted) if counted else _read_clocks(around)
    if clocks is None:
        return
    early, late, limit = clocks
    if late < early * (1 - limit):
        text = f"the clock fell from {_mhz(early)} to {_mhz(late)} MHz while it was measured"
        yield Breach(text)


def _mean_clocks(around: Around, traces: Sequence[Trace]) -> tuple[float, float, float] | None:
    """Return early and late mean clocks in kHz, by time_in_state, and what fall is too much.

    None if they are not known. The shorter a span, the less is known of its mean; none is above the
    core's highest clock.
    """
    spans = _spans(around)
    if spans is None:
        return None
    means = [[_mean_clock(around, trace, *span) for trace in traces] for span in spans]
    known = [[mean for mean in span if mean is not None] for span in means]
    if not all(known):
        return None
    unsure = sum(LIMITS.tick_seconds * 1e9 / max(1, end - begin) for begin, end in spans)
    return max(known[0]), max(known[1]), LIMITS.mean_clock_fall + unsure


def _mean_clock(around: Around, cycles: Trace, begin_ns: int, end_ns: int) -> float | None:
    mean = cycles.rate(begin_ns, end_ns)
    name = cycles.name.removesuffix("_cycles") + "_clock_limit"
    limit = around.record.trace(name) if around.record else None
    if mean is None or limit is None or not limit.values:
        return mean
    return min(mean, max(limit.values))


def _spans(around: Around) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return two spans of time to compare: the loop's first and last third, else warm-up and loop.

    A loop that was only looked at where it began and ended cannot be cut.
    """
    if around.loop is None or around.record is None:
        return None
    begin, end = around.loop[0].time_ns, around.loop[1].time_ns
    within = max((_count(trace, begin, end) for trace in _traces(around, "_cycles")), default=0)
    if within >= 9:  # so that each third has two
        third = (end - begin) // 3
        return (begin, begin + third), (end - third, end)
    warm = around.record.mark("first_inference_done")
    if warm is None or around.loop[0].name != "warmup_done":
        return None
    return (warm.time_ns, begin), (begin, end)


def _read_clocks(around: Around) -> tuple[float, float, float] | None:
    """Return the highest clock in kHz as it was read when the loop began and before it ended, and
    what fall is too much.
    """
    assert around.loop is not None
    begin, end = around.loop[0].time_ns, around.loop[1].time_ns
    if around.entry.measured_pass == "energy":  # it began idle, at any clock
        begin += (end - begin) // 3
    known = [
        (trace.values[ends[0]], trace.values[ends[1]])
        for trace in _used_cores(around, "_clock")
        if (ends := trace.ends(begin, end))
    ]
    if not known:
        return None
    early, late = max(early for early, _ in known), max(late for _, late in known)
    return early, late, LIMITS.clock_reading_fall


def _used_cores(around: Around, quantity: str) -> list[Trace]:
    """Return a quantity's traces of the cores that the launch could run on."""
    actual = around.record.actual if around.record else None
    cores = {f"cpu{core}{quantity}" for core in actual.affinity} if actual else set()
    found = _traces(around, quantity)
    return [trace for trace in found if not cores or trace.name in cores]


def _traces(around: Around, suffix: str) -> list[Trace]:
    """Return the traces of every core ("cpuN" and the suffix) that have any point."""
    if around.record is None:
        return []
    return [
        trace
        for trace in around.record.traces
        if trace.values
        and trace.name.endswith(suffix)
        and trace.name.removeprefix("cpu").removesuffix(suffix).isdigit()
    ]


def _count(trace: Trace, begin_ns: int, end_ns: int) -> int:
    times = np.asarray(trace.time_ns)
    return int(np.count_nonzero((times > begin_ns) & (times < end_ns)))


def _cores_offline(around: Around) -> Iterable[Breach]:
    """Count the cores that told a clock: one that is offline tells none."""
    after = around.entry.after
    for then, when in (
        (around.entry.before, "before it"),
        (around.baseline, "when the sweep began"),
    ):
        if then is None or after is None or not then.clocks_khz or not after.clocks_khz:
            continue
        if len(after.clocks_khz) < len(then.clocks_khz):
            yield Breach(
                f"{len(after.clocks_khz)} cores were online after it, {len(then.clocks_khz)} {when}"
            )


def _not_cooled(around: Around) -> Iterable[Breach]:
    limit, waited = around.plan.measure.cooldown_seconds, around.entry.cooled_seconds
    if waited is None or limit == 0 or waited < limit:
        return
    before = around.entry.before.temperature_celsius if around.entry.before else None
    celsius = "" if before is None else f", at {before:.1f} °C"
    yield Breach(
        f"it began{celsius} before the device had cooled to where the sweep began, after "
        f"{waited:.0f} s: raise measure.cooldown_seconds"
    )


_COOL_LONGER = "Let the device cool longer (measure.cooldown_seconds), or work it less."

RULES = (
    Rule(
        key="status-rose",
        levels=("invalid",),
        label="throttled",
        advice=_COOL_LONGER,
        when="Android's thermal status before or after it is above that at the sweep's start, or rose "
        "during it",
        check=_status_rose,
        passing=True,
    ),
    Rule(
        key="clock-limited",
        levels=("invalid",),
        label="throttled",
        advice=_COOL_LONGER,
        when="the highest clock that any core may have (`scaling_max_freq`) fell by more than "
        f"{LIMITS.clock_fall:.0%} during it, at any mark of it, or since the sweep's start",
        check=_clock_limited,
        passing=True,
    ),
    Rule(
        key="clock-moved",
        levels=("invalid",),
        label="clock moved",
        advice="Fix the clocks (device.fixed_performance, or device.governor as root).",
        when="the mean clock of the fastest core that it could use (`time_in_state`) fell by more than "
        f"{LIMITS.mean_clock_fall:.0%} and what is not known of it: from warm-up to loop, or from the "
        "first third of the loop to the last where it was followed; without `time_in_state`, the "
        f"clock that was read in the loop fell by more than {LIMITS.clock_reading_fall:.0%}. Not "
        "judged with `delay_seconds`: pauses lower clocks",
        check=_clock_moved,
        passing=True,
    ),
    Rule(
        key="cores-offline",
        levels=("invalid",),
        label="core offline",
        advice="Switch off what parks cores, or pin the case to cores that stay.",
        when="fewer cores tell a clock after it than before it or at the sweep's start",
        check=_cores_offline,
        passing=True,
        excused_by="cores-offline",
    ),
    Rule(
        key="not-cooled",
        levels=("suspect",),
        label="not cooled",
        advice="Raise measure.cooldown_seconds, or measure in a cooler place.",
        when="it began at the gate's limit",
        check=_not_cooled,
    ),
)
