"""The record format: what a runner writes about one launch, and how the host reads it.

A result is JSON Lines: `header` first, then `mark`, `actual`, `samples`, `operators`, `trace`,
`sampling`, `output` and `error` records in the order things happened, and `end` last. `end` counts and
checksums every byte before it, so a file cut or changed at any byte is never taken for a
short result: without a good `end`, the launch was interrupted and none of its numbers count.

History of the format
    1   the first.
    2   `trace` records are written, `sampling` says what they cost; jobs have probes, and there is an
        energy pass.
    3   marks tell the anonymous and the file-backed part of RSS.

Times are CLOCK_MONOTONIC nanoseconds of the device, one clock for samples, marks and traces.
Not here: what the host saw around a launch (`sweep.py`) and what is derived from samples.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from harness.errors import BadRecord
from harness.schema.base import Frozen
from harness.schema.job import Dtype, Job

RECORD_VERSION = 3

Phase = Literal["cold_load", "warm_load", "first_inference", "warmup", "steady"]


class Engine(Frozen):
    """The library that ran the model, as it names itself at run time."""

    name: str
    version: str


class Runner(Frozen):
    """The program that wrote the record."""

    version: str
    compiler: str


class SeenDevice(Frozen):
    """The device as the runner saw it from inside."""

    machine: str
    kernel: str
    cpus_online: int
    page_bytes: int
    memory_total_bytes: int
    cpuset: str | None


class Clock(Frozen):
    """The clock behind every time in the record, and the cost of one reading of it."""

    name: Literal["CLOCK_MONOTONIC"]
    resolution_ns: int
    read_cost_ns: int


class Header(Frozen):
    """The first record: versions, the job as it was asked, the device from inside.

    `job` is None, and `launch` empty, when the job itself was refused. `exec_ns` is the time just before the runner was executed (None if nobody noted it), and
    `main_ns` the time at which its main function began: the difference is the process start.
    """

    type: Literal["header"]
    record_version: int
    launch: str
    engine: Engine
    runner: Runner
    device: SeenDevice
    clock: Clock
    exec_ns: int | None
    main_ns: int
    unix_ns: int
    job: Job | None


class Mark(Frozen):
    """A moment between phases, with the memory of the process at that moment.

    `rss_bytes` (VmRSS), `vm_hwm_bytes` (VmHWM) and `swap_bytes` (VmSwap) are read from
    /proc/self/status, and so are `rss_anon_bytes` and `rss_file_bytes`, the parts of RSS that are
    anonymous and of files (shared memory is the rest); `pss_bytes` from /proc/self/smaps_rollup, in the memory pass only, because it
    costs milliseconds. `cost_ns` is what taking the mark cost.
    """

    type: Literal["mark"]
    name: str
    time_ns: int
    cost_ns: int
    rss_bytes: int
    rss_anon_bytes: int | None
    rss_file_bytes: int | None
    vm_hwm_bytes: int
    swap_bytes: int
    pss_bytes: int | None
    os_threads: int


class Actual(Frozen):
    """What the runner found in force, read back rather than assumed.

    `model_resident_fraction` is the share of the model file's pages still in the page cache just
    before the cold load (mincore); 0 means that the load really came from storage.
    """

    type: Literal["actual"]
    threads: int
    affinity: tuple[int, ...]
    memory_format: str
    quantized_engine: str | None
    model_resident_fraction: float | None


class Counters(Frozen):
    """What the process used over a loop of inferences (differences, not totals).

    `iterations` counts the inferences: there may be fewer samples, evenly thinned, in the memory and
    the energy pass, where room for all would cost memory.
    """

    iterations: int
    wall_ns: int
    cpu_ns: int
    voluntary_switches: int
    involuntary_switches: int
    minor_faults: int
    major_faults: int


class Samples(Frozen):
    """The raw times of one phase: when each began, and how long it took."""

    type: Literal["samples"]
    phase: Phase
    start_ns: list[int]
    duration_ns: list[int]
    counters: Counters | None

    @property
    def iterations(self) -> int:
        """How many inferences there were; the samples may be thinned."""
        return self.counters.iterations if self.counters else len(self.duration_ns)


class Operator(Frozen):
    """One operator of the profile pass; `self_ns` leaves out the operators that it called."""

    name: str
    calls: int
    self_ns: int
    total_ns: int


class Operators(Frozen):
    """The profile: every operator, summed over `iterations` inferences."""

    type: Literal["operators"]
    iterations: int
    operators: list[Operator]


class Trace(Frozen):
    """A quantity followed over time. A reading that failed has no point in it: see `Sampling`."""

    type: Literal["trace"]
    name: str
    unit: str
    time_ns: list[int]
    values: list[float]

    def ends(self, begin_ns: int, end_ns: int) -> tuple[int, int] | None:
        """Return the places of the readings that stand for the ends of a span; None if there are none.

        What is read at marks is read just after them. The next reading of a series may come long
        after the end, when the device is at rest: there the last one before the end counts.
        """
        first, beyond = map(int, np.searchsorted(np.asarray(self.time_ns), (begin_ns, end_ns)))
        last = beyond - 1 if beyond - first > 1 else beyond
        return (first, last) if first < last < len(self.values) else None

    def rate(self, begin_ns: int, end_ns: int) -> float | None:
        """Return how fast a counter grew over a span, a second; None if that was not read."""
        ends = self.ends(begin_ns, end_ns)
        if ends is None:
            return None
        first, last = ends
        seconds = (self.time_ns[last] - self.time_ns[first]) / 1e9
        return (self.values[last] - self.values[first]) / seconds if seconds > 0 else None


class ProbeFailure(Frozen):
    """A channel that could not be read `count` times, and why, the last time."""

    channel: str
    count: int
    reason: str


class Sampling(Frozen):
    """What reading the job's probes cost: CPU and wall time of all readings, and what failed."""

    type: Literal["sampling"]
    reads: int
    cpu_ns: int
    wall_ns: int
    failures: tuple[ProbeFailure, ...]


class Output(Frozen):
    """One output tensor of one check sample; values raw, little-endian, row-major, base64."""

    type: Literal["output"]
    sample: int
    index: int
    dtype: Dtype
    shape: tuple[int, ...]
    base64: str

    def values(self) -> npt.NDArray[Any]:
        """Return the tensor. Shape: `shape`. Raises BadRecord if the bytes do not fill it."""
        try:
            raw = base64.b64decode(self.base64, validate=True)
            return np.frombuffer(raw, dtype=np.dtype(self.dtype)).reshape(self.shape)
        except (ValueError, TypeError) as error:
            raise BadRecord(
                f"output {self.index} of check sample {self.sample} is damaged: {error}"
            ) from error


class RunnerFault(Frozen):
    """What went wrong in the runner, and in which phase."""

    type: Literal["error"]
    kind: Literal[
        "job",
        "model_load",
        "missing_operator",
        "input",
        "inference",
        "signal",
        "storage",
        "internal",
    ]
    phase: str
    message: str


class End(Frozen):
    """The last record. `bytes` and `crc32` (zlib's) cover everything before this line."""

    type: Literal["end"]
    status: Literal["ok", "failed"]
    time_ns: int
    records: int
    bytes: int
    crc32: int


AnyRecord = Annotated[
    Header | Mark | Actual | Samples | Operators | Trace | Sampling | Output | RunnerFault | End,
    Field(discriminator="type"),
]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyRecord)


@dataclass(frozen=True)
class Interrupted:
    """A result without a good end: the launch was cut short, and no number of it counts."""

    reason: str


@dataclass(frozen=True)
class LaunchRecord:
    """One complete result. `error` is set if and only if the runner itself reported failure."""

    header: Header
    marks: tuple[Mark, ...]
    actual: Actual | None
    samples: dict[Phase, Samples]
    operators: Operators | None
    traces: tuple[Trace, ...]
    sampling: Sampling | None
    outputs: tuple[Output, ...]
    error: RunnerFault | None
    end: End

    def durations_ns(self, phase: Phase) -> npt.NDArray[np.int64]:
        """Return the durations of a phase, shape (n,); empty if the phase did not run."""
        samples = self.samples.get(phase)
        return np.asarray(samples.duration_ns if samples else [], dtype=np.int64)

    @property
    def loop(self) -> tuple[Mark, Mark] | None:
        """The marks around the steady loop; None if the launch never came to its end."""
        begin = self.mark("idle_before_done") or self.mark("warmup_done")
        end = self.mark("steady_done")
        return (begin, end) if begin and end else None

    @property
    def sampling_share(self) -> float | None:
        """What reading its probes took of one core, over the whole launch; None if there were none."""
        if self.sampling is None:
            return None
        return self.sampling.cpu_ns / max(self.end.time_ns - self.header.main_ns, 1)

    def mark(self, name: str) -> Mark | None:
        """Return the mark of that name, or None if the launch never reached it."""
        return next((mark for mark in self.marks if mark.name == name), None)

    def trace(self, name: str) -> Trace | None:
        """Return the trace of that name, or None if nothing was recorded."""
        return next((trace for trace in self.traces if trace.name == name), None)


def read_record(path: Path) -> LaunchRecord | Interrupted:
    """Read one result file; see `parse_record`."""
    return parse_record(path.read_bytes(), path.name)


def parse_record(content: bytes, name: str) -> LaunchRecord | Interrupted:
    """Read and check a result, given as bytes; `name` is what errors call it.

    Returns Interrupted for a result that was cut at any byte, also inside its end record.
    Raises BadRecord for one of another version, and for one that is whole but wrong.
    """
    lines = content.split(b"\n")
    tail = lines.pop()  # what follows the last newline: nothing, in a whole file
    if lines:
        _check_version(lines[0], name)
    if tail or not lines:
        return Interrupted("the result is cut short: it does not finish with an end record")
    end = _parse_line(lines[-1], name, len(lines), cut_is_fine=True)
    if not isinstance(end, End):
        return Interrupted("the result has no end record")
    body = content[: len(content) - len(lines[-1]) - 1]
    if (end.bytes, end.crc32, end.records) != (len(body), zlib.crc32(body), len(lines)):
        raise BadRecord(
            f"{name} was changed after the runner wrote it: its checksum does not match",
            "The launch has to be measured again; check the storage and the cable.",
        )
    return _assemble([_parse_line(line, name, n) for n, line in enumerate(lines, 1)], name)


def write_records(
    records: Sequence[BaseModel], time_ns: int, status: Literal["ok", "failed"] = "ok"
) -> bytes:
    """Return records as a file: one a line, and the end record that vouches for them."""
    body = b"".join(record.model_dump_json().encode() + b"\n" for record in records)
    end = End(
        type="end",
        status=status,
        time_ns=time_ns,
        records=len(records) + 1,
        bytes=len(body),
        crc32=zlib.crc32(body),
    )
    return body + end.model_dump_json().encode() + b"\n"


def write_sidecar(traces: Sequence[Trace]) -> bytes:
    """Return traces that were recorded beside a launch, as a file."""
    time_ns = max((trace.time_ns[-1] for trace in traces if trace.time_ns), default=0)
    return write_records(traces, time_ns)


def parse_sidecar(content: bytes, name: str) -> tuple[Trace, ...]:
    """Read what `write_sidecar` made. Raises BadRecord for bytes that were cut or changed."""
    body, _, last = content.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n" if body else b""
    end = _parse_line(last, name, 0, cut_is_fine=True)
    if not isinstance(end, End) or (end.bytes, end.crc32) != (len(body), zlib.crc32(body)):
        raise BadRecord(
            f"{name} is cut short or was changed: its checksum does not match",
            "What was recorded beside this launch is lost; the launch has to be measured again.",
        )
    lines = body.split(b"\n")[:-1]
    records = [_parse_line(line, name, number) for number, line in enumerate(lines, 1)]
    return tuple(record for record in records if isinstance(record, Trace))


def _check_version(first_line: bytes, name: str) -> None:
    try:
        header = json.loads(first_line)
        version = header["record_version"] if header["type"] == "header" else None
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(
            f"{name} is not a phonebench result: its first line is no header",
            "See docs/record-format.md for what a result looks like.",
        ) from error
    if version != RECORD_VERSION:
        raise BadRecord(
            f"{name} has record version {version!r}; this phonebench reads version {RECORD_VERSION}",
            "Read it with the phonebench that wrote it, or measure again.",
        )


def _parse_line(line: bytes, name: str, number: int, *, cut_is_fine: bool = False) -> Any:
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        if cut_is_fine:
            return None
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadRecord(f"{name} line {number}: {where or 'record'}: {problem['msg']}") from error


def _assemble(records: list[Any], name: str) -> LaunchRecord:
    def every(kind: type[Any]) -> list[Any]:
        return [record for record in records if isinstance(record, kind)]

    headers, ends, errors = every(Header), every(End), every(RunnerFault)
    if not isinstance(records[0], Header) or len(headers) != 1 or len(ends) != 1:
        raise BadRecord(f"{name} must have one header, first, and one end, last")
    if (ends[0].status == "failed") != bool(errors):
        raise BadRecord(f"{name} ends as {ends[0].status} with {len(errors)} error records")
    samples: dict[Phase, Samples] = {}
    for record in every(Samples):
        if record.phase in samples or len(record.start_ns) != len(record.duration_ns):
            raise BadRecord(f"{name} has uneven or repeated samples for {record.phase}")
        samples[record.phase] = record
    for trace in every(Trace):
        if len(trace.time_ns) != len(trace.values):
            raise BadRecord(f"{name} has an uneven trace of {trace.name}")
    return LaunchRecord(
        header=headers[0],
        marks=tuple(every(Mark)),
        actual=next(iter(every(Actual)), None),
        samples=samples,
        operators=next(iter(every(Operators)), None),
        traces=tuple(every(Trace)),
        sampling=next(iter(every(Sampling)), None),
        outputs=tuple(every(Output)),
        error=next(iter(errors), None),
        end=ends[0],
    )
