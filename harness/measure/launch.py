"""One launch: stage, start, wait, collect, check.

A launch always ends in a ledger entry: what the runner reported and what went wrong on the way
both become its status. Only two things pass through as exceptions: trouble with the device, which
is not this launch's fault, and an interrupt by the user. Not here: which launches run, and when.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from harness.analysis.fidelity import compare, is_good_enough
from harness.cancellation import Cancellation
from harness.devices.base import Device, JobExit, JobResult, JobStatus, Recorder
from harness.errors import (
    BadRecord,
    HarnessError,
    NotSupported,
    RunnerCrashed,
    RunnerFailed,
    RunnerTimeout,
    Stopped,
    WrongOutput,
)
from harness.runners.pack import RunnerPack
from harness.schema.artifact import Artifact, ExportedModel, Fidelity
from harness.schema.device import Conditions
from harness.schema.job import Job, Loop, Pass, TensorSource
from harness.schema.plan import Case, Measure, Plan
from harness.schema.power import PowerSource
from harness.schema.record import Interrupted, LaunchRecord, Trace, parse_record
from harness.schema.sweep import LaunchError, LedgerEntry, PlannedLaunch, Status

# Loading may take minutes on a slow phone; the loops have limits of their own.
_PATIENCE_SECONDS = 120.0
# A profile needs no more inferences than it takes to average.
_PROFILE_ITERATIONS = 20
# The energy pass works for a time, however many inferences that is: the most that a job can ask for.
_MOST_ITERATIONS = 1_000_000_000


@dataclass(frozen=True)
class LaunchTask:
    """Everything that one launch needs. `attempt` counts from 1."""

    sweep: str
    planned: PlannedLaunch
    attempt: int
    plan: Plan
    case: Case
    model: ExportedModel
    artifact: Artifact

    @property
    def key(self) -> str:
        """The launch's name on the device, unique across all sweeps."""
        return f"{self.sweep}-{self.planned.index:04d}-{self.attempt}"


@dataclass(frozen=True)
class Finished:
    """A launch that ended: the host's account of it, the runner's record (None: nothing), and what
    was recorded beside it. `parsed` is the record as it reads, None if it is not whole.
    """

    entry: LedgerEntry
    record: bytes | None
    parsed: LaunchRecord | None
    sidecar: tuple[Trace, ...] = ()


def run_launch(
    device: Device,
    pack: RunnerPack,
    task: LaunchTask,
    cancellation: Cancellation,
    *,
    known: bool = False,
    before: Conditions | None = None,
    power: PowerSource | None = None,
    recorder: Recorder | None = None,
) -> Finished:
    """Run one launch to its end, or take up again one that an earlier host started.

    A job of that name that is on the device already is taken up (`known`), not started. What it
    leaves on the device stays there: the caller calls `device.forget(order.key)` when the
    result is safe. `before` are the device's conditions when it began; they are read now if it is not
    taken up. `power` is the source in the energy pass; `recorder` records it beside the runner, and
    its trouble never ends the launch. Raises DeviceError, after which the job may still run or have
    ended, and Stopped with the job killed, unless it had ended by itself just before.
    """
    started_unix, started_ns = time.time(), time.monotonic_ns()
    after = None
    result, status = JobResult(None, ""), JobStatus("absent")
    problem: RunnerTimeout | NotSupported | None = None
    sidecar = _Sidecar(recorder, known=known)
    try:
        if not known:
            before = before or device.conditions()
        with sidecar:
            if not known:
                device.start(make_job(device, task, power), pack)
            try:
                status = _wait(device, task, cancellation)
            except Stopped:
                if not _is_good(_parse(device.fetch(task.key), task)):
                    raise
        result = device.fetch(task.key)
        after = device.conditions()
    except (RunnerTimeout, NotSupported) as error:
        problem = error
    host_ns = time.monotonic_ns() - started_ns
    parsed = _parse(result, task)
    verdict = _judge(task, result, parsed, status, problem)
    entry = LedgerEntry(
        device=device.info.id,
        case=task.case.id,
        status=verdict.status,
        index=task.planned.index,
        round=task.planned.round,
        measured_pass=task.planned.measured_pass,
        attempt=task.attempt,
        sha256=hashlib.sha256(result.record).hexdigest() if result.record else None,
        error=verdict.error,
        fidelity=verdict.fidelity,
        before=before,
        after=after,
        started_unix=started_unix,
        host_ns=host_ns,
        runner_ns=status.exit.end_ns - status.exit.start_ns if status.exit else None,
        power=power,
        sidecar_error=sidecar.error,
    )
    whole = parsed if isinstance(parsed, LaunchRecord) else None
    return Finished(entry, result.record, whole, sidecar.traces)


class _Sidecar:
    """What a recorder records while a launch runs. Its trouble is kept, and never raised."""

    def __init__(self, recorder: Recorder | None, *, known: bool) -> None:
        self.traces: tuple[Trace, ...] = ()
        self.error: LaunchError | None = None
        self._recorder = None if known else recorder
        if known and recorder is not None:
            self.error = LaunchError(
                kind="DeviceError", message="the launch was taken up when it ran already"
            )

    def __enter__(self) -> Self:
        if self._recorder is not None:
            try:
                self._recorder.start()
            except HarnessError as error:
                self.error, self._recorder = as_launch_error(error), None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._recorder is not None:
            try:
                self.traces = self._recorder.stop()
            except HarnessError as trouble:
                self.error = as_launch_error(trouble)


def failed_entry(device: str, task: LaunchTask, error: HarnessError) -> LedgerEntry:
    """Make the entry of a launch that was not started, because it cannot be."""
    return _entry_without_result(device, task, "failed", as_launch_error(error))


def interrupted_entry(device: str, task: LaunchTask, error: LaunchError) -> LedgerEntry:
    """Make the entry of a launch that was cut short; a resumed sweep runs it again."""
    return _entry_without_result(device, task, "interrupted", error)


def _entry_without_result(
    device: str, task: LaunchTask, status: Status, error: LaunchError
) -> LedgerEntry:
    return LedgerEntry(
        device=device,
        case=task.case.id,
        status=status,
        index=task.planned.index,
        round=task.planned.round,
        measured_pass=task.planned.measured_pass,
        attempt=task.attempt,
        error=error,
    )


def stage_files(device: Device, task: LaunchTask) -> tuple[str, str]:
    """Bring the launch's artifact and check inputs to the device; return their paths there."""
    model, artifact = task.model, task.artifact
    assert artifact.path is not None
    assert artifact.manifest is not None
    assert model.checks_path is not None
    return (
        device.stage(artifact.path, artifact.manifest.sha256),
        device.stage(model.checks_path, model.checks_sha256),
    )


def make_job(device: Device, task: LaunchTask, power: PowerSource | None = None) -> Job:
    """Write the launch's job, in the device's own paths; `power` is sampled by it where it can be."""
    measure, case = task.plan.measure, task.case
    model, manifest, measured_pass = (
        task.model,
        task.artifact.manifest,
        task.planned.measured_pass,
    )
    assert manifest is not None
    model_file, checks_file = stage_files(device, task)
    checks = tuple(
        tuple(
            TensorSource(
                shape=t.shape, dtype=t.dtype, file=checks_file, offset_bytes=t.offset_bytes
            )
            for t in sample
        )
        for sample in model.checks
    )
    return Job(
        launch=task.key,
        engine=case.engine,
        measured_pass=measured_pass,
        model_file=model_file,
        threads=case.threads,
        affinity=_resolve_cores(device, case.affinity),
        memory_format=case.variant.memory_format,
        quantized_engine=manifest.quantized_engine,
        inputs=checks[0],
        checks=checks,
        warm_loads=measure.warm_loads if measured_pass == "latency" else 0,
        warmup=_warmup(measure),
        steady=_steady(measure, measured_pass),
        delay_seconds=measure.delay_seconds,
        baseline_seconds=measure.baseline_seconds if measured_pass == "energy" else 0.0,
        probes=(*device.probes(measured_pass), *(power.probes if power is not None else ())),
    )


def _resolve_cores(device: Device, affinity: str) -> tuple[int, ...] | None:
    """Return the cores that an affinity means on this device; None for "all"."""
    if affinity == "all":
        return None
    if affinity in ("big", "little"):
        return device.resolve_cores(affinity)
    return parse_cores(affinity)


def parse_cores(affinity: str) -> tuple[int, ...]:
    """Return the cores of "0,2-3" as (0, 2, 3)."""
    cores: set[int] = set()
    for part in affinity.split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cores))


def _warmup(measure: Measure) -> Loop:
    return Loop(
        min_iterations=measure.warmup_iterations,
        min_seconds=measure.warmup_seconds,
        max_iterations=measure.max_iterations,
        max_seconds=measure.max_seconds,
    )


def _steady(measure: Measure, measured_pass: Pass) -> Loop:
    if measured_pass == "energy":
        return Loop(
            min_iterations=1,
            min_seconds=measure.energy_seconds,
            max_iterations=_MOST_ITERATIONS,
            max_seconds=measure.energy_seconds,
        )
    profile = measured_pass == "profile"
    iterations = measure.min_iterations
    return Loop(
        min_iterations=min(_PROFILE_ITERATIONS, iterations) if profile else iterations,
        min_seconds=0.0 if profile else measure.min_seconds,
        max_iterations=measure.max_iterations,
        max_seconds=measure.max_seconds,
    )


def longest_seconds(task: LaunchTask) -> float:
    """Return after how long a launch that is still busy is killed."""
    measure = task.plan.measure
    limit = measure.timeout_seconds or _PATIENCE_SECONDS + 2 * measure.max_seconds
    if task.planned.measured_pass == "energy":
        limit += measure.energy_seconds + 2 * measure.baseline_seconds
    return limit


def _wait(device: Device, task: LaunchTask, cancellation: Cancellation) -> JobStatus:
    limit = longest_seconds(task)
    try:
        status = device.wait(task.key, limit, cancellation)
        if cancellation.is_set() and status.state == "running":
            raise Stopped("the user wants to stop")
    except Stopped:
        device.kill(task.key)
        raise
    if status.state == "running":
        device.kill(task.key)
        raise RunnerTimeout(
            f"{task.case.id} was still busy after {limit:.0f} s and was killed",
            "Give it longer with measure.timeout_seconds, or look at what the model does.",
        )
    return status


@dataclass(frozen=True)
class _Verdict:
    status: Status
    error: LaunchError | None = None
    fidelity: Fidelity | None = None


_Parsed = LaunchRecord | Interrupted | BadRecord


def _parse(result: JobResult, task: LaunchTask) -> _Parsed:
    """Read what a job left, once: large records take milliseconds."""
    try:
        return parse_record(result.record or b"", task.key)
    except BadRecord as error:
        return error


def _judge(
    task: LaunchTask,
    result: JobResult,
    parsed: _Parsed,
    status: JobStatus,
    problem: HarnessError | None,
) -> _Verdict:
    """Turn what came back into a status. Nothing that is not whole and right counts as ok."""
    try:
        if problem is not None:
            raise problem
        if status.state == "vanished" and not _is_good(parsed):
            message = "the runner is gone without a trace; the device may have restarted"
            return _Verdict("interrupted", LaunchError(kind="DeviceError", message=message))
        record = _complete_record(task, parsed, result.stderr_tail, status.exit)
        fidelity = compare_outputs(task.model, record)
    except HarnessError as error:
        return _Verdict("failed", as_launch_error(error))
    wrong = _find_wrong(task, fidelity)
    if wrong is not None:
        return _Verdict("failed", as_launch_error(wrong), fidelity)
    return _Verdict("ok", fidelity=fidelity)


def _is_good(parsed: _Parsed) -> bool:
    """Tell whether a runner came to the good end of its work, whatever became of it then."""
    return isinstance(parsed, LaunchRecord) and parsed.end.status == "ok"


def as_launch_error(error: HarnessError) -> LaunchError:
    """Return an error as the ledger keeps it."""
    return LaunchError(kind=error.kind, message=error.message, advice=error.advice)


def _complete_record(
    task: LaunchTask, record: _Parsed, stderr_tail: str, ended: JobExit | None
) -> LaunchRecord:
    last_words = f"; its last words: {stderr_tail.strip()[-300:]}" if stderr_tail else ""
    if isinstance(record, BadRecord):
        raise record
    if isinstance(record, Interrupted):
        raise RunnerCrashed(
            f"the runner {_describe(ended)} before it finished{last_words}",
            "Signal 9 is often the system short of memory." if ended and ended.signal == 9 else "",
        )
    if record.header.launch != task.key:
        raise BadRecord(f"the device returned {record.header.launch}, not {task.key}")
    if record.error is not None:
        raise RunnerFailed(
            f"{record.error.kind} error in phase {record.error.phase}: {record.error.message}",
            _advise(record.error.kind, task.case.affinity),
        )
    return record


def _advise(kind: str, affinity: str) -> str:
    if kind == "job" and affinity != "all":
        return f'The plan\'s affinity is "{affinity}": name cores that the device has, from 0 on.'
    return _ADVICE.get(kind, "")


_ADVICE = {
    "missing_operator": "The engine's build has no such operator: export with another recipe, or "
    "use an engine that has it.",
    "input": "Compare the shapes and dtypes in the plan's inputs with what the model takes.",
    "inference": "Compare the shapes and dtypes in the plan's inputs with what the model takes.",
    "storage": "Free some space on the device.",
}


def _describe(ended: JobExit | None) -> str:
    if ended is None:
        return "stopped"
    if ended.signal is not None:
        return f"was ended by signal {ended.signal}"
    return f"ended with exit code {ended.exit_code}"


def compare_outputs(model: ExportedModel, record: LaunchRecord) -> Fidelity | None:
    """Compare the outputs in a record with the model's reference; None if it has none."""
    if model.reference_path is None:
        return None
    with np.load(model.reference_path) as reference:
        expected = {key: reference[key] for key in reference.files}
    actual = {f"{output.sample}/{output.index}": output.values() for output in record.outputs}
    return compare(expected, actual)


def _find_wrong(task: LaunchTask, fidelity: Fidelity | None) -> WrongOutput | None:
    """Tell what is wrong with the outputs: a fast wrong answer is a failure."""
    floor = task.plan.measure.min_sqnr_db
    if floor is None:
        floor = task.artifact.min_sqnr_db
    if fidelity is None or is_good_enough(fidelity, floor):
        return None
    seen = "not a finite number" if fidelity.sqnr_db is None else f"{fidelity.sqnr_db:.1f} dB"
    wanted = "finite numbers are needed" if floor is None else f"at least {floor:.0f} dB is needed"
    return WrongOutput(
        f"the outputs on the device are wrong: their SQNR against the reference is {seen}, and "
        f"{wanted} of {task.case.variant.recipe}",
        "Such outputs cannot be compared: this device computes the model otherwise than the host."
        if fidelity.sqnr_db is None
        else "If the loss is expected, lower measure.min_sqnr_db in the plan.",
    )
