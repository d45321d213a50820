"""One launch: start, wait, collect, check.

An attempt always ends with a status: what the runner reported and what went wrong on the way both
become one. Only two things pass through as exceptions: trouble with the device, which is not this
launch's fault, and an interrupt by the user. Not here: which launches run, and when
(`next_step.py`, `device_run.py`), and their jobs (`jobs.py`).
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import numpy as np

from harness.analysis.fidelity import compare, is_good_enough
from harness.cancellation import Cancellation
from harness.devices.base import Device, JobExit, JobResult, JobStatus, Recorder
from harness.errors import (
    BadRecord,
    DeviceError,
    HarnessError,
    NotSupported,
    RunnerCrashed,
    RunnerFailed,
    RunnerTimeout,
    Stopped,
    WrongOutput,
)
from harness.measure.attempt import Attempt, LaunchTask, as_launch_error
from harness.measure.jobs import longest_seconds, make_job
from harness.results.launches import check_record
from harness.runners.pack import RunnerPack
from harness.schema.artifact import ExportedModel, Fidelity
from harness.schema.record import Interrupted, LaunchRecord, Trace
from harness.schema.sweep import LaunchError


def run_launch(
    device: Device,
    pack: RunnerPack,
    attempt: Attempt,
    cancellation: Cancellation,
    *,
    known: bool = False,
    recorder: Recorder | None = None,
) -> None:
    """Run one launch to its end, or take up again one that an earlier host started.

    A job of that name that is on the device already is taken up (`known`), not started. What it
    leaves on the device stays there: the caller calls `device.forget` when the result is safe.
    `recorder` records power beside the runner, and its trouble never ends the launch. Raises
    DeviceError, after which the job may still run or have ended, and Stopped with the job killed,
    unless it had ended by itself just before.
    """
    task, started_unix, started_ns = attempt.task, time.time(), time.monotonic_ns()
    result, status, after = JobResult(None, ""), JobStatus("absent"), None
    problem: RunnerTimeout | NotSupported | None = None
    sidecar = _Sidecar(recorder, known=known)
    try:
        with sidecar:
            if not known:
                device.start(make_job(device, task, attempt.power), pack)
            status = _wait(device, task, cancellation)
        result = device.fetch(task.key)
        after = device.conditions()
    except (RunnerTimeout, NotSupported) as error:
        problem = error
    attempt.host_ns = time.monotonic_ns() - started_ns
    attempt.started_unix, attempt.after = started_unix, after
    attempt.runner_ns = status.exit.end_ns - status.exit.start_ns if status.exit else None
    attempt.content = result.record
    attempt.sidecar, attempt.sidecar_error = sidecar.traces, sidecar.error
    try:
        if problem is not None:
            raise problem
        _check(attempt, result, status)
    except HarnessError as error:
        attempt.fail(error)


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


def _wait(device: Device, task: LaunchTask, cancellation: Cancellation) -> JobStatus:
    """Wait for a job to end; one that does not, or that is not wanted any more, is killed.

    Raises DeviceError, RunnerTimeout, and Stopped unless it left a good record all the same.
    """
    limit = longest_seconds(task)
    try:
        status = device.wait(task.key, limit, cancellation)
        if cancellation.is_set() and status.state == "running":
            raise Stopped("the user wants to stop")
    except Stopped:
        device.kill(task.key)
        if _is_good(_parse(device.fetch(task.key), task)):
            return JobStatus("finished")
        raise
    if status.state == "running":
        device.kill(task.key)
        raise RunnerTimeout(
            f"{task.case.id} was still busy after {limit:.0f} s and was killed",
            "Give it longer with measure.timeout_seconds, or look at what the model does.",
        )
    return status


_Parsed = LaunchRecord | Interrupted | BadRecord


def _parse(result: JobResult, task: LaunchTask) -> _Parsed:
    """Read what a job left, once: large records take milliseconds."""
    try:
        return check_record(result.record or b"", task.key)
    except BadRecord as error:
        return error


def _is_good(parsed: _Parsed) -> bool:
    """Tell whether a runner came to the good end of its work, whatever became of it then."""
    return isinstance(parsed, LaunchRecord) and parsed.end.status == "ok"


def _check(attempt: Attempt, result: JobResult, status: JobStatus) -> None:
    """Hold what came back against what was asked. Nothing that is not whole and right counts as ok.

    Raises RunnerError for whatever is wrong with it.
    """
    task, parsed = attempt.task, _parse(result, attempt.task)
    attempt.record = parsed if isinstance(parsed, LaunchRecord) else None
    if status.state == "vanished" and not _is_good(parsed):
        message = "the runner is gone without a trace; the device may have restarted"
        attempt.interrupt(DeviceError(message))
        return
    record = _complete_record(task, parsed, result.stderr_tail, status.exit)
    attempt.fidelity = compare_outputs(task.model, record)
    _check_outputs(task, attempt.fidelity)


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


def _check_outputs(task: LaunchTask, fidelity: Fidelity | None) -> None:
    """Raise WrongOutput if the outputs are too far off: a fast wrong answer is a failure."""
    floor = task.plan.measure.min_sqnr_db
    if floor is None:
        floor = task.artifact.min_sqnr_db
    if fidelity is None or is_good_enough(fidelity, floor):
        return
    seen = "not a finite number" if fidelity.sqnr_db is None else f"{fidelity.sqnr_db:.1f} dB"
    wanted = "finite numbers are needed" if floor is None else f"at least {floor:.0f} dB is needed"
    raise WrongOutput(
        f"the outputs on the device are wrong: their SQNR against the reference is {seen}, and "
        f"{wanted} of {task.case.variant.recipe}",
        "Such outputs cannot be compared: this device computes the model otherwise than the host."
        if fidelity.sqnr_db is None
        else "If the loss is expected, lower measure.min_sqnr_db in the plan.",
    )
