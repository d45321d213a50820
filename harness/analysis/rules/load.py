"""Rules on what else works on the device, and on what is left in its battery."""

from __future__ import annotations

from collections.abc import Iterable

from harness.analysis.rules.rule import LIMITS, Around, Breach, Rule


def _competing_load(around: Around) -> Iterable[Breach]:
    """Compare what others used of the cores with what the launch left to them.

    They take time, and no memory that would be counted here.
    """
    if around.entry.measured_pass == "memory":
        return
    record, steady, loop = around.record, around.steady, around.loop
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
        yield Breach(text, level="invalid")
    elif missing > LIMITS.crowded_cores:
        yield Breach(text)


def _involuntary_switches(around: Around) -> Iterable[Breach]:
    """Count how often a single thread had to give up its core.

    Several threads that wait for each other by yielding count thousands a second of their own.
    """
    if around.entry.measured_pass not in ("latency", "energy") or around.record is None:
        return
    job, counters = around.record.header.job, around.steady.counters if around.steady else None
    if counters is None or counters.wall_ns <= 0 or job is None or job.threads > 1:
        return
    rate = counters.involuntary_switches / (counters.wall_ns / 1e9)
    share = counters.involuntary_switches / max(1, counters.iterations)
    if rate > LIMITS.involuntary_switches and share > LIMITS.interrupted_share:
        yield Breach(
            f"it was made to wait for others {rate:.0f} times a second, {share:.1f} times an inference"
        )


def _battery_low(around: Around) -> Iterable[Breach]:
    percent = around.entry.before.battery_percent if around.entry.before else None
    if percent is not None and percent < LIMITS.battery_percent:
        yield Breach(f"the battery was at {percent:.0f}%: phones save power then")


RULES = (
    Rule(
        key="competing-load",
        levels=("suspect", "invalid"),
        label="competing load",
        advice="Close what else runs on the device.",
        when="others took more of the cores than the launch left them, over its loop: by more than "
        f"{LIMITS.crowded_cores:g} of a core it is suspect, by more than {LIMITS.overrun_cores:g} "
        "invalid (not in the memory pass)",
        check=_competing_load,
        passing=True,
        excused_by="busy",
    ),
    Rule(
        key="involuntary-switches",
        levels=("suspect",),
        label="preempted",
        advice="Close what else runs, or use fewer threads than cores.",
        when="a single thread had to give up its core more than "
        f"{LIMITS.involuntary_switches:g} times a second and more than once in "
        f"{1 / LIMITS.interrupted_share:g} inferences (latency and energy pass)",
        check=_involuntary_switches,
        passing=True,
        excused_by="busy",
    ),
    Rule(
        key="battery-low",
        levels=("suspect",),
        label="low battery",
        advice="Charge the battery before measuring.",
        when=f"the battery is below {LIMITS.battery_percent:g}%",
        check=_battery_low,
        excused_by="battery-low",
    ),
)
