"""Rules on what was recorded: enough inferences, a steady course, probes, clocks and sensors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from harness.analysis.rules.rule import LIMITS, Around, Breach, Rule
from harness.schema.job import Pass
from harness.schema.record import Trace


def _too_few_samples(around: Around) -> Iterable[Breach]:
    if around.entry.measured_pass != "latency" or around.steady is None:
        return
    count = len(around.steady.duration_ns)
    wanted = min(LIMITS.samples, around.plan.measure.min_iterations)
    if count < wanted:
        yield Breach(
            f"{count} inferences say little about a median, {wanted} are needed: raise "
            "measure.max_seconds"
        )


def _drift_within(around: Around) -> Iterable[Breach]:
    """Compare the last third of the loop with the first (Mann-Whitney)."""
    if around.entry.measured_pass != "latency" or around.steady is None:
        return
    durations = np.asarray(around.steady.duration_ns, dtype=np.float64)
    third = len(durations) // 3
    if third < LIMITS.samples:
        return
    first, last = durations[:third], durations[-third:]
    change = float(np.median(last) / max(np.median(first), 1.0)) - 1
    if abs(change) <= LIMITS.drift_share:
        return
    from scipy.stats import mannwhitneyu  # takes most of a second, and few launches need it

    if mannwhitneyu(first, last).pvalue < LIMITS.drift_p:
        yield Breach(
            f"the last third of its inferences took {abs(change):.1%} "
            f"{'longer' if change > 0 else 'less'} than the first third"
        )


def _probe_cost(around: Around) -> Iterable[Breach]:
    share = around.record.sampling_share if around.record else None
    if share is None or around.entry.measured_pass is None:
        return
    if share > _PROBE_SHARES[around.entry.measured_pass]:
        yield Breach(f"reading its probes took {share:.1%} of a core")


_PROBE_SHARES: dict[Pass, float] = {
    "latency": LIMITS.probe_share_at_marks,
    "profile": LIMITS.probe_share_at_marks,
    "memory": LIMITS.probe_share_beside,
    "energy": LIMITS.probe_share_beside,
}


def _clock_stepped(around: Around) -> Iterable[Breach]:
    entry = around.entry
    if entry.after is not None and entry.started_unix is not None and entry.host_ns is not None:
        step = entry.after.unix - entry.started_unix - entry.host_ns / 1e9
        if abs(step) > LIMITS.clock_step_seconds:
            yield Breach(f"this computer's clock moved by {step:+.0f} s, or it slept")
    traces = (*(around.record.traces if around.record else ()), *around.sidecar)
    back = [trace.name for trace in traces if np.any(np.diff(_times(trace)) < 0)]
    if back:
        yield Breach(
            f"the times of {', '.join(back[:3])} go back: the device's clock is not steady",
            level="invalid",
        )


def _times(trace: Trace) -> npt.NDArray[np.int64]:
    return np.asarray(trace.time_ns, dtype=np.int64)


def _sensor_lost(around: Around) -> Iterable[Breach]:
    """Find what could be read first, and no longer at the end of the loop."""
    if around.record is None or around.record.sampling is None or around.loop is None:
        return
    job = around.record.header.job
    periods = {
        channel.name: probe.period_seconds or 0.0
        for probe in (job.probes if job else ())
        for channel in probe.channels
    }
    for failure in around.record.sampling.failures:
        trace = around.record.trace(failure.channel)
        if trace is None or not trace.time_ns or failure.reason.startswith("full"):
            continue
        # After a gap long ago, none may have been due yet in the last period of the loop.
        due_ns = around.loop[1].time_ns - periods.get(failure.channel, 0.0) * 1e9
        if trace.time_ns[-1] < due_ns:
            yield Breach(f"{failure.channel} could no longer be read: {failure.reason}")


RULES = (
    Rule(
        key="too-few-samples",
        levels=("suspect",),
        label="too few samples",
        advice="Raise measure.min_iterations or measure.min_seconds.",
        when=f"fewer than {LIMITS.samples} inferences were timed, and the plan did not ask for so few "
        "(latency pass)",
        check=_too_few_samples,
    ),
    Rule(
        key="drift-within",
        levels=("suspect",),
        label="drift",
        advice="Raise measure.warmup_seconds, or let the device cool.",
        when="the median of the last third of its inferences differs from the first third's by more "
        f"than {LIMITS.drift_share:.0%}, with p < {LIMITS.drift_p:g} (Mann-Whitney; latency pass)",
        check=_drift_within,
        passing=True,
    ),
    Rule(
        key="probe-cost",
        levels=("suspect",),
        label="probe cost",
        advice="Measure with fewer probes, or on a device that reads them faster.",
        when="reading the probes took more than a share of one core: "
        f"{LIMITS.probe_share_at_marks:.0%} in the latency and profile pass, where they are read at "
        f"marks, outside of what is timed; {LIMITS.probe_share_beside:.0%} in the memory and the "
        "energy pass",
        check=_probe_cost,
    ),
    Rule(
        key="clock-stepped",
        levels=("suspect", "invalid"),
        label="clock stepped",
        advice="Switch off the automatic setting of the clock while measuring.",
        when=f"this computer's clock moved by more than {LIMITS.clock_step_seconds:g} s against its "
        "steady clock, or it slept: suspect. Times that the device recorded go back: invalid",
        check=_clock_stepped,
        passing=True,
    ),
    Rule(
        key="sensor-lost",
        levels=("suspect",),
        label="sensor lost",
        advice="Look whether the sensor still answers (`phonebench doctor`).",
        when="what could be read at first could not be read when the loop ended. What could never be "
        "read is no reason",
        check=_sensor_lost,
        passing=True,
    ),
)
