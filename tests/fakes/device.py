"""A device in memory: it speaks the harness's own protocol of jobs, and breaks where told to.

A third implementation of `devices.base.Device`, beside this computer and a phone, so that the
real sweep can be driven through faults without a process being started.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.cancellation import Cancellation
from harness.devices.base import JobExit, JobResult, JobStatus, Recorder
from harness.errors import CommandFailed
from harness.runners.pack import RunnerPack
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Job, Pass, Probe
from harness.schema.plan import DeviceSettings
from harness.schema.power import PowerSource
from harness.schema.record import (
    Counters,
    Output,
    ProbeFailure,
    RunnerFault,
    Trace,
)
from tests.fakes.records import RecordBuilder, make_counters, make_header, make_samples

OUTPUT = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
"""What the fake model answers to every check sample."""

_EXIT = JobExit(exit_code=0, signal=None, start_ns=0, end_ns=1_000_000, max_rss_bytes=1)
_FINISHED = JobStatus("finished", _EXIT)


def device_info(name: str = "fake", fingerprint: str = "f00d") -> DeviceInfo:
    return DeviceInfo(
        id=name,
        name=f"a fake called {name}",
        kind="local",
        fingerprint=fingerprint,
        system="none",
        abi="none",
        cpu="none",
        cores=2,
        memory_total_bytes=1 << 30,
    )


LOOP_BEGIN_NS, LOOP_END_NS = 1_000_000_000, 2_000_000_000
"""When the steady loop of a good record runs."""

_MARKS_NS = {
    "main": 2,
    "engine_ready": 500_000_000,
    "first_inference_done": 800_000_000,
    "warmup_done": LOOP_BEGIN_NS,
    "steady_done": LOOP_END_NS,
    "end": 2_100_000_000,
}
_END_NS = 2_200_000_000
_ENERGY_MARKS_NS = {"warmup_done": 900_000_000, "idle_before_done": LOOP_BEGIN_NS}
COUNTERS = make_counters(60, LOOP_END_NS - LOOP_BEGIN_NS, involuntary_switches=1)


def good_record(
    job: Job,
    *,
    duration_ns: Sequence[int] = (5, 6, 7) * 20,
    counters: Counters = COUNTERS,
    actual: dict[str, Any] | None = None,
    traces: Sequence[Trace] = (),
    failures: Sequence[ProbeFailure] = (),
    sampling_cpu_ns: int = 0,
) -> bytes:
    """Return the result of a launch in which all went well, but for what is given otherwise."""
    times = {**_MARKS_NS, **(_ENERGY_MARKS_NS if job.measured_pass == "energy" else {})}
    builder = _begin(job)
    for name, time_ns in sorted(times.items(), key=lambda mark: mark[1]):
        builder.mark(name, time_ns)
    asked = {
        "threads": job.threads,
        "affinity": job.affinity or (0, 1),
        "memory_format": job.memory_format,
        "quantized_engine": job.quantized_engine,
    }
    starts = [LOOP_BEGIN_NS + 10 * n for n in range(len(duration_ns))]
    return (
        builder.actual(**{**asked, **(actual or {})})
        .add(make_samples("steady", starts, duration_ns, counters), *traces)
        .sampling(
            sum(len(trace.values) for trace in traces), sampling_cpu_ns, sampling_cpu_ns, failures
        )
        .add(*_outputs(job, OUTPUT))
        .write(_END_NS)
    )


def wrong_record(job: Job) -> bytes:
    """Return the result of a launch that ran well and computed nonsense."""
    return _begin(job).add(*_outputs(job, -OUTPUT)).write(_END_NS)


def failed_record(job: Job) -> bytes:
    """Return the result of a launch whose model has an operator that the engine lacks."""
    fault = RunnerFault(
        type="error", kind="missing_operator", phase="cold_load", message="no aten::nope"
    )
    return _begin(job).add(fault).write(_END_NS, "failed")


def _outputs(job: Job, values: np.ndarray) -> list[Output]:
    content = base64.b64encode(values.tobytes()).decode()
    return [
        Output(
            type="output", sample=n, index=0, dtype="float32", shape=values.shape, base64=content
        )
        for n in range(len(job.checks))
    ]


def _begin(job: Job) -> RecordBuilder:
    return RecordBuilder(make_header(job.launch, 2, exec_ns=1, job=job))


@dataclass
class Storage:
    """What is on the device: it survives the host, the connection, and the harness."""

    jobs: dict[str, JobStatus] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    started: list[Job] = field(default_factory=list)


@dataclass
class FakeDevice:
    """Jobs end at once, with the record that `answer` makes of them.

    `on_wait(n)` is called when a job of this device is waited for, for the n-th time (from 1): it
    may raise what a real device would. `climate(n)` are the conditions that are read for the n-th time,
    as far as they matter. `source` is what measures power here. Two of these with one `storage` are two hosts that come to
    the same phone, one after the other.
    """

    info: DeviceInfo = field(default_factory=device_info)
    storage: Storage = field(default_factory=Storage)
    answer: Callable[[Job], bytes | None] = good_record
    on_wait: Callable[[int], None] = lambda n: None
    climate: Callable[[int], dict[str, Any]] = lambda n: {}
    source: PowerSource | None = None
    recorder_of: Callable[[PowerSource], Recorder | None] = lambda source: None
    state: JobStatus = _FINISHED
    killed: list[str] = field(default_factory=list)
    restored: int = 0
    closed: int = 0
    waits: int = 0
    readings: int = 0
    hangs: bool = False

    def conditions(self) -> Conditions:
        self.readings += 1
        return Conditions(unix=time.time(), load_1min=0.0, **self.climate(self.readings))

    def apply(self, settings: DeviceSettings) -> None:
        pass

    def resolve_cores(self, affinity: str) -> tuple[int, ...]:
        return (0,)

    def probes(self, measured_pass: Pass) -> Sequence[Probe]:
        """Return what can be read here while a launch of that pass runs."""
        return ()

    def power_sources(self) -> Sequence[PowerSource]:
        """Return the sources of power, the best first."""
        return () if self.source is None else (self.source,)

    def recorder(self, source: PowerSource) -> Recorder | None:
        """Return what records a source beside a launch."""
        return self.recorder_of(source)

    def stage(self, path: Path, sha256: str) -> str:
        return str(path)

    def install(self, pack: RunnerPack) -> None:
        pass

    def start(self, job: Job, pack: RunnerPack) -> None:
        if job.launch in self.storage.jobs:
            raise CommandFailed(f"{job.launch} was started twice")
        self.storage.started.append(job)
        self.storage.jobs[job.launch] = self.state
        record = self.answer(job)
        if record is not None:
            self.storage.records[job.launch] = record

    def poll(self, launch: str) -> JobStatus:
        return self.storage.jobs.get(launch, JobStatus("absent"))

    def wait(self, launch: str, seconds: float, cancellation: Cancellation) -> JobStatus:
        self.waits += 1
        self.on_wait(self.waits)
        if self.hangs:
            cancellation.wait_for(None, 10)
            return JobStatus("running")
        return self.poll(launch)

    def kill(self, launch: str) -> None:
        self.killed.append(launch)
        self.storage.jobs[launch] = JobStatus("vanished")
        self.storage.records.pop(launch, None)

    def fetch(self, launch: str) -> JobResult:
        return JobResult(self.storage.records.get(launch), "last words")

    def forget(self, launch: str) -> None:
        self.storage.jobs.pop(launch, None)
        self.storage.records.pop(launch, None)

    def jobs(self) -> list[str]:
        return list(self.storage.jobs)

    def restore(self) -> None:
        self.restored += 1

    def close(self) -> None:
        self.closed += 1

    def clean(self) -> int:
        self.storage.jobs.clear()
        self.storage.records.clear()
        return 0
