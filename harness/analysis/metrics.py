"""Every number that is measured of a launch, one row each: whoever shows numbers loops over them.

A row says how the number is worked out of what was recorded, in which pass, how launches combine
into a case's number, what it is in words, and where it is shown. To add a number is to add a row
here, and its test. Names end with their unit, and so numbers are kept, exported and compared in it:
times in milliseconds (`_ms`), sizes in `_bytes`, `_joules`, `_watts`, clocks in `_khz`, rates
`_per_second`. Not here: reading files (`launches.py`), energy, growth and peaks themselves
(`energy.py`, `memory.py`), and pixels.

    METRICS[0].of(recorded)         # 12.3, milliseconds; None: this launch does not have it
    find("latency_p50_ms").label    # "Median latency"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.analysis.memory import Growth, growth, peak_until
from harness.analysis.stats import (
    Estimate,
    Interval,
    estimate,
    estimate_with_own,
    fewest_samples,
    middle_of,
    sorted_quantile,
)
from harness.analysis.words import Unit
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.job import Pass
from harness.schema.record import Counters, LaunchRecord, Mark, Phase
from harness.schema.sweep import LedgerEntry

# The numbers that verdicts and doubts are about: found by name, as any other.
LATENCY, ENERGY, PEAK = "latency_p50_ms", "energy_joules", "peak_bytes"
GROWTH, SWITCHES = "growth_bytes_per_inference", "involuntary_switches_per_second"
ITERATIONS, SAMPLING = "iterations", "sampling_share"
PEAK_DEFINITION = "max(vm_hwm, rss + swap)"


@dataclass(frozen=True)
class Recorded:
    """All that is known of one launch that ended well, while its numbers are worked out."""

    entry: LedgerEntry
    record: LaunchRecord

    @property
    def energy(self) -> Energy | EnergyTrouble | None:
        """What it consumed, as it was worked out when the launch was judged."""
        return self.entry.energy

    @cached_property
    def steady_ms(self) -> npt.NDArray[np.float64]:
        """The durations of the steady iterations, sorted."""
        return np.sort(self.record.durations_ns("steady")) / 1e6

    @cached_property
    def growth(self) -> Growth | None:
        """How fast memory grew; None where that was not measured, or says nothing."""
        return growth(self.record) if self.entry.measured_pass == "memory" else None

    @property
    def counters(self) -> Counters | None:
        """What the process used over the steady loop."""
        samples = self.record.samples.get("steady")
        return samples.counters if samples else None

    @property
    def done(self) -> Mark | None:
        """The mark at the end of the steady loop."""
        return self.record.mark("steady_done")


Combine = Callable[[Sequence[float], Sequence[Interval]], Estimate | None]


def median_over_launches(values: Sequence[float], _: Sequence[Interval]) -> Estimate | None:
    """Combine launches whose numbers have no interval of their own."""
    return estimate(values)


@dataclass(frozen=True)
class Metric:
    """One number: how it is made, what it means, and where it is shown.

    `of` works it out of a launch; None where the launch does not have it. Only launches of
    `measured_pass` are asked, and counted in a case's number; None: those of every pass, and cases
    have no such number. Launches of fewer steady iterations than `least_samples` have none. `interval` is the launch's own 95% interval, if it has one, and `combine`
    makes the case's number out of its launches'. `better` says in which direction; "" is neither.
    `compared`: it is shown against the baseline's. `absent` says why a launch that counts may lack it.

    On the page it stands in a column of the table of cases ("cases") or of the folded one below
    ("more"), headed by `label`; or with `note` in small under the number called `under`; or nowhere.
    `shows_interval`: with what is known of it. `short` heads its column in the terminal, "" for none.
    """

    name: str
    unit: Unit
    measured_pass: Pass | None
    of: Callable[[Recorded], float | None]
    label: str
    definition: str
    better: Literal["lower", "higher", ""] = ""
    least_samples: int = 0
    interval: Callable[[Recorded], Interval | None] | None = None
    combine: Combine = median_over_launches
    compared: bool = False
    absent: str = "not measured"
    place: Literal["cases", "more", ""] = "more"
    under: str = ""
    note: str = ""
    shows_interval: bool = False
    short: str = ""

    def value(self, seen: Recorded) -> float | None:
        """Return a launch's number; None if it has none, or rests on too few samples."""
        return self.of(seen) if len(seen.steady_ms) >= self.least_samples else None


def find(name: str) -> Metric:
    """Return the row of that name. Raises KeyError."""
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise KeyError(name)


# --- how numbers are worked out ------------------------------------------------------------------


def _quantile(share: float) -> Callable[[Recorded], float | None]:
    return lambda seen: sorted_quantile(seen.steady_ms, share) if len(seen.steady_ms) else None


def _median_ms(phase: Phase) -> Callable[[Recorded], float | None]:
    def of(seen: Recorded) -> float | None:
        durations = seen.record.durations_ns(phase)
        return float(np.median(durations)) / 1e6 if len(durations) else None

    return of


def _process_start_ms(seen: Recorded) -> float | None:
    header = seen.record.header
    return None if header.exec_ns is None else (header.main_ns - header.exec_ns) / 1e6


def _at_end(field: str) -> Callable[[Recorded], float | None]:
    """Return a reading of memory when the steady loop ended."""

    def of(seen: Recorded) -> float | None:
        value: int | None = getattr(seen.done, field, None)
        return value

    return of


def _peak(seen: Recorded) -> float | None:
    return peak_until(seen.record, "steady_done")


def _model_cost(seen: Recorded) -> float | None:
    peak, baseline = _peak(seen), peak_until(seen.record, "engine_ready")
    return None if peak is None or baseline is None else peak - baseline


def _cpu_per_wall(seen: Recorded) -> float | None:
    counters = seen.counters
    return counters.cpu_ns / counters.wall_ns if counters and counters.wall_ns else None


def _involuntary_switches(seen: Recorded) -> float | None:
    counters = seen.counters
    if counters is None or not counters.wall_ns:
        return None
    return counters.involuntary_switches / (counters.wall_ns / 1e9)


_CYCLES = re.compile(r"cpu\d+_cycles")


def _mean_clock_khz(seen: Recorded) -> float | None:
    """Return the mean clock of the steady loop of the core that ran fastest, from time_in_state.

    Cycles are counted as the sum of clock x time by cpufreq, so their difference over the time
    between two readings is the mean clock, however often it changed.
    """
    loop = seen.record.loop
    if loop is None:
        return None
    begin, done = loop
    cycles = (trace for trace in seen.record.traces if _CYCLES.fullmatch(trace.name))
    rates = (trace.rate(begin.time_ns, done.time_ns) for trace in cycles)
    return max((rate for rate in rates if rate is not None), default=None)


def _energy(get: Callable[[Energy], float]) -> Callable[[Recorded], float | None]:
    def of(seen: Recorded) -> float | None:
        return get(seen.energy) if isinstance(seen.energy, Energy) else None

    return of


def _energy_interval(per: Callable[[Energy], float]) -> Callable[[Recorded], Interval | None]:
    """Return the interval of a launch's energy, in joules an inference times what `per` says."""

    def interval(seen: Recorded) -> Interval | None:
        energy = seen.energy
        if not isinstance(energy, Energy):
            return None
        return energy.low_joules * per(energy), energy.high_joules * per(energy)

    return interval


def _inferences_per_second(energy: Energy) -> float:
    return energy.iterations / energy.seconds


def _growth_interval(seen: Recorded) -> Interval | None:
    return (seen.growth.low, seen.growth.high) if seen.growth else None


def _iterations(seen: Recorded) -> float:
    samples = seen.record.samples.get("steady")
    return samples.iterations if samples else 0


# --- the table -----------------------------------------------------------------------------------

# A slow model has no more in a second or two: fewer than MLPerf's 64 are a doubt (`few_iterations`).
P90_SAMPLES = 10
P95_SAMPLES, P99_SAMPLES = fewest_samples(0.95), fewest_samples(0.99)

METRICS: tuple[Metric, ...] = (
    Metric(
        LATENCY, "ms", "latency", _quantile(0.5), "Median latency",
        "Each launch gives the median of its steady iterations (one inference each, inputs ready, "
        "after warm-up, monotonic clock); this is the median of those over the launches that count.",
        better="lower", compared=True, place="cases", shows_interval=True, short="latency",
    ),
    Metric(
        "latency_p90_ms", "ms", "latency", _quantile(0.9), "p90",
        f"As the median latency, from each launch's 90th percentile, if it has {P90_SAMPLES} samples or "
        "more; below 64 it is a hint.",
        better="lower", least_samples=P90_SAMPLES, absent="too few iterations", place="cases",
        shows_interval=True,
    ),
    Metric(
        "latency_p95_ms", "ms", "latency", _quantile(0.95), "p95",
        f"As the median latency, from each launch's 95th percentile, if it has {P95_SAMPLES} samples "
        "or more (MLPerf's early stopping: fewer cannot tell it with 99% confidence).",
        better="lower", least_samples=P95_SAMPLES, absent="too few iterations",
    ),
    Metric(
        "latency_p99_ms", "ms", "latency", _quantile(0.99), "p99",
        f"As the p95, from each launch's 99th percentile, if it has {P99_SAMPLES} samples or more.",
        better="lower", least_samples=P99_SAMPLES, absent="too few iterations",
    ),
    Metric(
        "first_inference_ms", "ms", "latency", _median_ms("first_inference"), "First inference",
        "The first inference after the cold load; memory is allocated and caches are filled here.",
        better="lower", place="cases",
    ),
    Metric(
        "cold_load_ms", "ms", "latency", _median_ms("cold_load"), "Load, cold",
        "Loading the model file into the engine, once, after its pages were dropped from the page "
        "cache. What could not be dropped is stated above.",
        better="lower", place="cases",
    ),
    Metric(
        "warm_load_ms", "ms", "latency", _median_ms("warm_load"), "Load, warm",
        "Loading the same file again in the same process; the median of several loads.",
        better="lower", place="", under="cold_load_ms", note="warm",
    ),
    Metric(
        "process_start_ms", "ms", "latency", _process_start_ms, "Process start",
        "From just before the runner was executed to the start of its main function.",
        better="lower",
    ),
    Metric(
        "cpu_per_wall", "1", "latency", _cpu_per_wall, "CPU per wall",
        "CPU time of the process over wall time of the steady loop: 1.0 is one busy core.",
    ),
    Metric(
        "clock_khz", "kHz", "latency", _mean_clock_khz, "Clock",
        "The mean clock of the fastest core in the steady loop of the latency pass, from cpufreq's "
        "time_in_state at the marks around it.", absent="the device does not tell",
    ),
    Metric(
        SWITCHES, "1/s", "latency", _involuntary_switches,
        "Involuntary switches",
        "How often a second the kernel took a core away from the process during the steady loop.",
        better="lower",
    ),
    Metric(
        ENERGY, "J", "energy", _energy(lambda e: e.joules_per_inference), "Energy",
        "Joules an inference, net of idle: the power of the steady loop of the energy pass less "
        "the idle power before and after it, times its time, over its inferences. The median over "
        "the launches that count. Its interval covers what lies between launches (with fewer than "
        "5, their range) and within one (steps and refresh of the gauge, drift of the idle, "
        "sampling, scale), added in quadrature: the steps and the scale are common to all "
        "launches, and no number of them makes these smaller.",
        better="lower", interval=_energy_interval(lambda _: 1.0), combine=estimate_with_own,
        compared=True, place="cases", shows_interval=True, short="energy",
    ),
    Metric(
        "net_watts", "W", "energy",
        _energy(lambda e: e.joules_per_inference * _inferences_per_second(e)), "Power",
        "The energy an inference times the inferences a second: power net of idle.",
        better="lower", interval=_energy_interval(_inferences_per_second),
        combine=estimate_with_own, place="cases",
    ),
    Metric(
        "block_watts", "W", "energy", _energy(lambda e: e.block_watts), "Power, in all",
        "The power of the steady loop with idle in it.",
        better="lower", place="", under="net_watts", note="in all",
    ),
    Metric(
        "idle_before_watts", "W", "energy", _energy(lambda e: e.idle_before_watts), "Idle, before",
        "The power of the device at rest, before the steady loop of the energy pass.", place="",
    ),
    Metric(
        "idle_after_watts", "W", "energy", _energy(lambda e: e.idle_after_watts), "Idle, after",
        "The same, after the steady loop.", place="",
    ),
    Metric(
        PEAK, "bytes", "memory", _peak, "Peak memory",
        f"{PEAK_DEFINITION}: the process's resident high-water mark (VmHWM) when the steady loop "
        "ended, or resident plus swapped at any mark or reading until then, if that is more. From "
        "the memory pass, which times nothing.",
        better="lower", compared=True, place="cases", short="peak",
    ),
    Metric(
        "model_bytes", "bytes", "memory", _model_cost, "Model's memory",
        "The peak, less the peak until the engine was ready, before the model was loaded.",
        better="lower", place="", under=PEAK, note="model",
    ),
    Metric(
        GROWTH, "bytes/inference", "memory",
        lambda seen: seen.growth.bytes_per_inference if seen.growth else None, "Grows by",
        "How fast resident and swapped memory grow with each inference of the steady loop, with "
        "its 95% interval; shown where growth is beyond doubt in most memory launches.",
        better="lower", interval=_growth_interval, combine=middle_of, place="", under=PEAK,
        note="grows by", shows_interval=True,
    ),
    Metric(
        "rss_bytes", "bytes", "memory", _at_end("rss_bytes"), "RSS",
        "The process's resident pages (VmRSS) when the steady loop of the memory pass ended, those "
        "it shares with others in full. Numbers of different definitions are not compared.",
        better="lower",
    ),
    Metric(
        "rss_anon_bytes", "bytes", "memory", _at_end("rss_anon_bytes"), "RSS, anonymous",
        "What of RSS is no file's (RssAnon): heaps, stacks, weights that were read into memory.",
        better="lower", absent="the kernel does not tell",
    ),
    Metric(
        "rss_file_bytes", "bytes", "memory", _at_end("rss_file_bytes"), "RSS, of files",
        "What of RSS is mapped from files (RssFile): libraries, and a model that is mapped. The "
        "kernel can drop these pages and read them again.",
        better="lower", absent="the kernel does not tell",
    ),
    Metric(
        "pss_bytes", "bytes", "memory", _at_end("pss_bytes"), "PSS",
        "As RSS, with shared pages divided among their users (smaps_rollup).",
        better="lower",
    ),
    Metric(
        "swap_bytes", "bytes", "memory", _at_end("swap_bytes"), "Swap",
        "What was swapped out by then (VmSwap; on Android, into zram).",
        better="lower",
    ),
    Metric(
        ITERATIONS, "1", None, _iterations, "Iterations",
        "Inferences of the steady loop.", place="",
    ),
    Metric(
        SAMPLING, "1", None, lambda seen: seen.record.sampling_share, "Sampling",
        "What reading the probes cost: CPU time of all readings over the wall time of the launch. "
        "The report gives the median over the launches of a pass.", place="",
    ),
)  # fmt: skip
"""In the order in which they are shown."""
