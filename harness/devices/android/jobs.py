"""Jobs on a phone: started detached under a supervisor, awaited, collected, forgotten.

A job is a folder (`jobs/LAUNCH`): what supervise and the runner write there outlives the connection and the
host, until it is forgotten. Not here: jobs that the phone starts by itself (`queue.py`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from harness.cancellation import Cancellation
from harness.devices.android.files import pack_folder
from harness.devices.android.scripts import Script, script
from harness.devices.android.shell import GuardedShell
from harness.devices.base import JobExit, JobResult, JobStatus
from harness.errors import CommandFailed, CommandTimeout
from harness.runners.pack import SUPERVISE, RunnerPack
from harness.schema.job import Job

_FETCH_TRIES = 3
_FETCH_SECONDS = 120.0
_KILL_SECONDS = 10.0
_KILL_POLL_SECONDS = 0.1


def place_job(place: str, job: Job, pack: RunnerPack) -> Script:
    """Return what lays out a job: among the others (`jobs`), or with those that wait (`queue`)."""
    packed = pack_folder(pack)
    supervise = f"{packed}/{SUPERVISE}"
    run = script(
        "jobs/run",
        *pack.command_in(packed),
        launch=job.launch,
        supervise=supervise,
        threads=job.threads,
    )
    return script(
        "jobs/place",
        place=place,
        launch=job.launch,
        job=job.model_dump_json(),
        run=run.text,
        supervise=supervise,
    )


class PhoneJobs:
    """The jobs of one phone. A wait is cut into pieces of `await_seconds`, should the link die silently."""

    def __init__(self, shell: GuardedShell, await_seconds: float) -> None:
        self._shell, self._await_seconds = shell, await_seconds
        self._forgotten: list[str] = []

    def start(self, job: Job, pack: RunnerPack) -> None:
        """Start a job in a session of its own, under a supervisor that notes how it ends."""
        place = place_job("jobs", job, pack)
        self._shell.run(*self.removals(), place, script("jobs/start", launch=job.launch))

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, from what its supervisor wrote and from the running system."""
        return _parse_status(self._shell.run(script("jobs/poll", launch=launch)).text)

    def wait(self, launch: str, seconds: float, cancellation: Cancellation) -> JobStatus:
        """Wait for a job to end. The phone sleeps meanwhile: nothing polls beside the job."""
        deadline = time.monotonic() + seconds
        poll = script("jobs/poll", launch=launch)
        self._shell.is_quiet = True
        try:
            while True:
                piece = min(max(deadline - time.monotonic(), 0.0), self._await_seconds)
                answer = self._shell.try_run(
                    script("jobs/await", launch=launch, seconds=f"{piece:.1f}"),
                    poll,
                    seconds=piece + 20.0,
                    cancellation=cancellation,
                )
                status = _parse_status(answer.text)
                if status.state != "running" or time.monotonic() >= deadline:
                    return status
        finally:
            self._shell.is_quiet = False

    def kill(self, launch: str) -> None:
        """End a job with all its processes."""
        kill = script("jobs/kill", launch=launch)
        poll = script("jobs/poll", launch=launch)
        deadline = time.monotonic() + _KILL_SECONDS
        # Again and again: a job that was just started cannot be killed before it has a number.
        while _parse_status(self._shell.try_run(kill, poll).text).state == "running":
            if time.monotonic() > deadline:
                raise CommandTimeout(
                    f"{self._shell.serial}: the job {launch} does not end when killed"
                )
            time.sleep(_KILL_POLL_SECONDS)

    def fetch(self, launch: str) -> JobResult:
        """Collect what a job left, verified by its hash on the phone."""
        fetch = script("jobs/fetch", launch=launch)
        for _ in range(_FETCH_TRIES):
            result = _parse_result(self._shell.run(fetch, seconds=_FETCH_SECONDS).stdout)
            if result is not None:
                return result
        raise CommandFailed(
            f"{self._shell.serial}: the result of {launch} arrives damaged",
            "Try another cable or port. The result is still on the phone: run --resume.",
        )

    def forget(self, launch: str) -> None:
        """Remove a job's folder, together with whatever is asked of the phone next."""
        self._forgotten.append(launch)

    def names(self) -> Sequence[str]:
        """Name the jobs whose folders are still there."""
        return self._shell.run(*self.removals(), script("jobs/list")).text.split()

    def removals(self) -> list[Script]:
        """Return what removes the jobs that were forgotten; a round trip of its own is saved."""
        forgotten, self._forgotten = self._forgotten, []
        return [script("jobs/forget", *forgotten)] if forgotten else []


def _parse_status(answer: str) -> JobStatus:
    state, _, rest = answer.partition("\n")
    match state.strip():
        case "absent":
            return JobStatus("absent")
        case "running":
            return JobStatus("running")
        case "finished":
            return JobStatus("finished", JobExit.model_validate_json(rest))
    return JobStatus("vanished")


def _parse_result(answer: bytes) -> JobResult | None:
    """Read what fetch.sh prints; None if the result is not what its hash says."""
    header, _, rest = answer.partition(b"\n")
    if header == b"none":
        return JobResult(None, rest.decode("utf-8", "replace"))
    digest, _, size = header.decode("ascii", "replace").partition(" ")
    record_bytes = int(size) if size.isdigit() else 0
    record, stderr = rest[:record_bytes], rest[record_bytes:]
    if hashlib.sha256(record).hexdigest() != digest:
        return None
    return JobResult(record, stderr.decode("utf-8", "replace"))
