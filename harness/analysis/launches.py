"""One launch as numbers: what the report needs of a result file, and nothing more of it.

The raw samples are read, reduced and let go, so that a report of thousands of launches stays
small. Not here: numbers over several launches (`summary.py`), and traces (`timeline.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from harness.analysis.memory import Growth, growth, peak_until
from harness.analysis.stats import sorted_quantile
from harness.errors import BadRecord
from harness.results.launches import read_checked
from harness.schema.artifact import Fidelity
from harness.schema.device import Conditions
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.job import Pass
from harness.schema.power import PowerSource
from harness.schema.record import Actual, LaunchRecord, Operators, Phase
from harness.schema.record import Header as RecordHeader
from harness.schema.sweep import LaunchError, LedgerEntry, Status
from harness.schema.validity import Validity

PEAK_DEFINITION = "max(vm_hwm, rss + swap)"
FAINT_SAMPLES = 32
P90_ITERATIONS = 10


@dataclass(frozen=True)
class Launch:
    """The host's account of one launch, and the numbers of its result if it is ok.

    Only launches with status ok have numbers, and `reason` says why the others have none. A file
    that the ledger calls ok but that is missing, changed or cut short makes its launch
    "interrupted" here: the files are the database. Only those that are valid too count.
    """

    entry: LedgerEntry
    device: str
    case: str
    index: int
    round: int
    measured_pass: Pass
    attempt: int
    status: Status
    reason: str
    advice: str
    file: str | None
    started_unix: float | None
    before: Conditions | None
    after: Conditions | None
    fidelity: Fidelity | None
    host_ns: int | None
    runner_ns: int | None
    cooled_seconds: float | None
    validity: Validity
    power: PowerSource | None
    sidecar_file: str | None
    numbers: Numbers | None

    @property
    def counts(self) -> bool:
        """Whether its numbers go into the statistics: it is ok, and nothing speaks against it."""
        return self.numbers is not None and self.validity.level == "valid"


@dataclass(frozen=True)
class Numbers:
    """What one ok launch measured; None for what its pass does not measure.

    `median_ns` and `p90_ns` are of the steady iterations, `warm_load_ns` the median of the warm
    loads. `peak_bytes` is the most the process held until the steady loop ended, and
    `model_bytes` what that grew since the engine was ready; `rss_bytes`, `pss_bytes` and
    `swap_bytes` are those of that moment. `clock_khz` is the mean clock of the fastest core in the
    steady loop, and `sampling_share` the CPU time of all probes over the wall time of the
    launch. `faint_ns` is an even selection of the steady iterations, for drawing.
    """

    iterations: int
    median_ns: float | None
    p90_ns: float | None
    cold_load_ns: float | None
    warm_load_ns: float | None
    first_inference_ns: float | None
    process_start_ns: float | None
    peak_bytes: int | None
    model_bytes: int | None
    rss_bytes: int | None
    pss_bytes: int | None
    swap_bytes: int | None
    growth: Growth | None
    energy: Energy | EnergyTrouble | None
    clock_khz: float | None
    sampling_share: float | None
    cpu_per_wall: float | None
    involuntary_switches_per_second: float | None
    header: RecordHeader
    actual: Actual | None
    operators: Operators | None
    faint_ns: npt.NDArray[np.int64]


def read_launch(folder: Path, entry: LedgerEntry) -> Launch:
    """Read what a ledger entry of a launch stands for; `folder` is the sweep's."""
    assert entry.index is not None
    assert entry.round is not None
    assert entry.measured_pass is not None
    status, error, numbers = entry.status, entry.error, None
    if status == "ok":
        try:
            numbers = numbers_of(read_checked(folder, entry), entry.energy)
        except BadRecord as bad:
            status, error = (
                "interrupted",
                LaunchError(kind=bad.kind, message=bad.message, advice=bad.advice),
            )
    return Launch(
        entry=entry,
        device=entry.device,
        case=entry.case,
        index=entry.index,
        round=entry.round,
        measured_pass=entry.measured_pass,
        attempt=entry.attempt,
        status=status,
        reason=f"{error.kind}: {error.message}" if error else "",
        advice=error.advice if error else "",
        file=entry.file,
        started_unix=entry.started_unix,
        before=entry.before,
        after=entry.after,
        fidelity=entry.fidelity,
        host_ns=entry.host_ns,
        runner_ns=entry.runner_ns,
        cooled_seconds=entry.cooled_seconds,
        validity=entry.validity or Validity(level="valid"),
        power=entry.power,
        sidecar_file=entry.sidecar_file,
        numbers=numbers,
    )


def numbers_of(record: LaunchRecord, energy: Energy | EnergyTrouble | None = None) -> Numbers:
    """Reduce a complete result to its numbers; `energy` is what it consumed."""
    steady = np.sort(record.durations_ns("steady"))
    samples = record.samples.get("steady")
    counters = samples.counters if samples else None
    wall_ns = counters.wall_ns if counters else 0
    started_ns = record.header.exec_ns
    done = record.mark("steady_done")
    peak, baseline = peak_until(record, "steady_done"), peak_until(record, "engine_ready")
    return Numbers(
        iterations=samples.iterations if samples else 0,
        median_ns=sorted_quantile(steady, 0.5) if len(steady) else None,
        p90_ns=sorted_quantile(steady, 0.9) if len(steady) >= P90_ITERATIONS else None,
        cold_load_ns=_median(record, "cold_load"),
        warm_load_ns=_median(record, "warm_load"),
        first_inference_ns=_median(record, "first_inference"),
        process_start_ns=None if started_ns is None else float(record.header.main_ns - started_ns),
        peak_bytes=peak,
        model_bytes=None if peak is None or baseline is None else peak - baseline,
        rss_bytes=done.rss_bytes if done else None,
        pss_bytes=done.pss_bytes if done else None,
        swap_bytes=done.swap_bytes if done else None,
        growth=growth(record) if _is_memory_pass(record) else None,
        energy=energy,
        clock_khz=_mean_clock_khz(record),
        sampling_share=record.sampling_share,
        cpu_per_wall=counters.cpu_ns / wall_ns if counters and wall_ns else None,
        involuntary_switches_per_second=counters.involuntary_switches / (wall_ns / 1e9)
        if counters and wall_ns
        else None,
        header=record.header,
        actual=record.actual,
        operators=record.operators,
        faint_ns=_thin(steady, FAINT_SAMPLES),
    )


_CYCLES = re.compile(r"cpu\d+_cycles")


def _mean_clock_khz(record: LaunchRecord) -> float | None:
    """Return the mean clock of the steady loop of the core that ran fastest, from time_in_state.

    Cycles are counted as the sum of clock x time by cpufreq, so their difference over the time
    between two readings is the mean clock, however often it changed.
    """
    if record.loop is None:
        return None
    begin, done = record.loop
    cycles = (trace for trace in record.traces if _CYCLES.fullmatch(trace.name))
    rates = (trace.rate(begin.time_ns, done.time_ns) for trace in cycles)
    return max((rate for rate in rates if rate is not None), default=None)


def _is_memory_pass(record: LaunchRecord) -> bool:
    return record.header.job is not None and record.header.job.measured_pass == "memory"


def _median(record: LaunchRecord, phase: Phase) -> float | None:
    samples = record.samples.get(phase)
    return float(median(samples.duration_ns)) if samples and samples.duration_ns else None


def _thin(ordered: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return at most `count` of the sorted durations, evenly by rank, both ends included."""
    if len(ordered) <= count:
        return ordered
    # A copy, so that the rest can be let go.
    thinned: npt.NDArray[np.int64] = ordered[np.arange(count) * (len(ordered) - 1) // (count - 1)]
    return thinned
