"""An Android phone over adb, put together of parts: jobs that outlive the cable, and a phone left as it was found.

Everything of ours on the phone lies in one folder; android_runner/README.md lists what, and which script put it
there. Not here: what each part does.

    shell.py     scripts under our lock; waiting for a phone that went away
    lock.py      whose phone it is
    files.py     models and runner packs
    jobs.py      one launch each
    queue.py     jobs while no cable feeds the phone
    settings.py  what is changed, and put back
    gauge.py, rails.py   its own sources of power
    facts.py, health.py  what its answers mean
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cancellation import Cancellation
from harness.devices import kernel_files, monsoon
from harness.devices.android import facts, gauge, rails
from harness.devices.android.adb import Adb, list_phones
from harness.devices.android.files import PhoneFiles
from harness.devices.android.jobs import PhoneJobs
from harness.devices.android.lock import LOCK_EXPIRES_SECONDS, PhoneLock
from harness.devices.android.queue import PhoneQueue
from harness.devices.android.scripts import program, script
from harness.devices.android.settings import PhoneSettings
from harness.devices.android.shell import GuardedShell
from harness.devices.base import Attached, JobExit, JobResult, JobStatus, QueueView, Recorder
from harness.devices.calibrations import read_calibration
from harness.errors import CommandFailed, DeviceError, DeviceLost, DeviceNotFound, NotSupported
from harness.runners.pack import RunnerPack
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Job, Pass, Probe
from harness.schema.plan import DeviceSettings
from harness.schema.power import PowerSource

_STATES = {
    "unauthorized": "Unlock the phone and accept this computer's key on its screen.",
    "authorizing": "Unlock the phone and accept this computer's key on its screen.",
    "offline": "Unplug it and plug it in again; if that does not help: adb kill-server.",
    "no permissions": "This user may not use the USB device: install Debian's android-sdk-platform-tools"
    "-common (udev rules), plug the phone in again.",
    "recovery": "The phone is in recovery mode: boot it into the system.",
    "sideload": "The phone is in sideload mode: boot it into the system.",
    "bootloader": "The phone is in its bootloader: boot it into the system.",
    "connecting": "Wait a moment.",
}


@dataclass(frozen=True)
class Timing:
    """How patient a host is, and how long it may be silent.

    `patience_seconds`: how long a phone that went away may take to come back (a cable, a reboot).
    A holder of the lock without a sign of life for `lock_expires_seconds`, and without a running
    job, is gone; twice that, and the watchdog, which looks every `watchdog_seconds`, undoes what
    it had changed.
    """

    patience_seconds: float = 90.0
    lock_expires_seconds: int = LOCK_EXPIRES_SECONDS
    heartbeat_seconds: float = 15.0
    watchdog_seconds: int = 30
    await_seconds: float = 20.0


def discover() -> list[Attached]:
    """List every phone that adb knows, with what to do about those that cannot be used."""
    try:
        listed = list_phones()
    except DeviceError as error:
        return [Attached("adb", error.message, error.advice)]
    return [_discover_one(serial, state) for serial, state in listed.items()]


def _discover_one(serial: str, state: str) -> Attached:
    if state != "device":
        return Attached(serial, state, _explain_state(state))
    try:
        answer = Adb(serial).try_shell(program(script("questions/identify")))
    except DeviceError as error:
        return Attached(serial, "does not answer", error.message)
    info, _ = facts.describe(serial, answer.text)
    return Attached(serial, "ready", info=info)


def open_device(serial: str, purpose: str) -> AndroidPhone:
    """Open a phone for use, and take its lock."""
    return AndroidPhone(serial, purpose)


def read_power_sources(serial: str) -> Sequence[PowerSource]:
    """Return a phone's sources of power, without its lock."""
    asked = program(script("questions/identify"), script("questions/power_sources"))
    answer = Adb(serial).shell(asked).text
    info, _ = facts.describe(serial, answer)
    return _describe_sources(answer, info)


class AndroidPhone:
    """One phone, held by this harness until `close`."""

    def __init__(self, serial: str, purpose: str, timing: Timing | None = None) -> None:
        timing = timing or Timing()
        self._shell = shell = GuardedShell(serial, timing.patience_seconds)
        state = shell.adb.state()
        if state != "device":
            raise DeviceNotFound(
                f"{serial} cannot be used: adb says {state}", _explain_state(state)
            )
        if not shell.is_back(shell.deadline()):
            raise DeviceLost(f"{serial} does not finish booting", "Look at its screen.")
        identity = shell.ask(script("questions/identify")).text
        self.info, self._cores = facts.describe(serial, identity)
        expires_seconds = timing.lock_expires_seconds
        self._lock = PhoneLock(shell, expires_seconds, timing.heartbeat_seconds)
        self._settings = PhoneSettings(shell, timing.watchdog_seconds, 2 * expires_seconds)
        self._files, self._jobs = PhoneFiles(shell), PhoneJobs(shell, timing.await_seconds)
        self._queue = PhoneQueue(shell, self._settings)
        self._readable: kernel_files.Readable | None = None
        self._lock.take(purpose)
        shell.on_reboot = self._settings.apply_again
        try:
            self._files.look()
            self.restore()
        except BaseException:
            self.close()
            raise

    # --- what it is, and how it is now ---------------------------------------------------------

    def conditions(self) -> Conditions:
        """Read load, memory, battery, temperature and clocks."""
        answer = self._shell.run(script("questions/conditions")).text
        return facts.parse_conditions(answer, time.time())

    def resolve_cores(self, affinity: str) -> tuple[int, ...]:
        """Return the cores of the highest ("big") or lowest ("little") clock."""
        cores = facts.select_cores(affinity, self._cores)
        if cores is None:
            raise NotSupported(
                f"{self.info.id} has no {affinity} cores: its cores' clocks are "
                f"{self.info.details['max_clocks_khz']} kHz",
                'Use affinity "all", or name cores by their numbers.',
            )
        return cores

    def probes(self, measured_pass: Pass) -> Sequence[Probe]:
        """Return what the phone lets be read while a launch of that pass runs."""
        if self._readable is None:
            answer = self._shell.run(script("questions/probes")).text
            self._readable = kernel_files.parse_readable(facts.sections(answer))
        return kernel_files.make_probes(self._readable, measured_pass)

    def read_clock(self) -> tuple[int, int]:
        """Read the phone's CLOCK_MONOTONIC before and after next to nothing."""
        answer = self._shell.run(script("questions/clock")).text
        try:
            told = JobExit.model_validate_json(answer)
        except ValueError as error:
            raise CommandFailed(f"{self.info.id} does not tell its clock: {answer!r}") from error
        return told.start_ns, told.end_ns

    # --- power ---------------------------------------------------------------------------------

    def power_sources(self) -> Sequence[PowerSource]:
        """Return the phone's rails and its fuel gauge, as they are now, and an external meter."""
        answer = self._shell.run(script("questions/power_sources")).text
        return _describe_sources(answer, self.info)

    def recorder(self, source: PowerSource) -> Recorder | None:
        """Return what records rails or a meter; None for the gauge, which the runner reads."""
        match source.kind:
            case "rails":
                return rails.RailsRecorder(self._shell)
            case "meter":
                return monsoon.MeterRecorder(self.read_clock)
        return None

    def read_current(self, source: PowerSource) -> float | None:
        """Read the gauge's raw current now; None if it does not read as a number."""
        reading = gauge.make_reading(source)
        if reading is None:
            return None
        return gauge.parse_reading(source, self._shell.try_run(reading).text)

    # --- files and jobs ------------------------------------------------------------------------

    def stage(self, path: Path, sha256: str) -> str:
        """Bring a file to the phone's store, verified there by its hash, unless it is there."""
        return self._files.stage(path, sha256)

    def install(self, pack: RunnerPack) -> None:
        """Bring a runner pack to the phone, unless it is there; it appears whole."""
        self._files.install(pack)

    def start(self, job: Job, pack: RunnerPack) -> None:
        """Start a job in a session of its own, under a supervisor that notes how it ends."""
        self._jobs.start(job, pack)

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, from what its supervisor wrote and from the running system."""
        return self._jobs.poll(launch)

    def wait(self, launch: str, seconds: float, cancellation: Cancellation) -> JobStatus:
        """Wait for a job to end. The phone sleeps meanwhile: nothing polls beside the job."""
        return self._jobs.wait(launch, seconds, cancellation)

    def kill(self, launch: str) -> None:
        """End a job with all its processes."""
        self._jobs.kill(launch)

    def fetch(self, launch: str) -> JobResult:
        """Collect what a job left, verified by its hash on the phone."""
        return self._jobs.fetch(launch)

    def forget(self, launch: str) -> None:
        """Remove a job's folder, together with whatever is asked of the phone next."""
        self._jobs.forget(launch)

    def jobs(self) -> Sequence[str]:
        """Name the jobs whose folders are still there."""
        return self._jobs.names()

    # --- while no cable feeds it ---------------------------------------------------------------

    def enqueue(
        self,
        jobs: Sequence[tuple[Job, RunnerPack]],
        patience_seconds: int,
        rest_seconds: int,
    ) -> None:
        """Leave jobs with the phone that it starts by itself, in turn, while it runs on its battery."""
        self._queue.enqueue(jobs, patience_seconds, rest_seconds)

    def look_at_queue(self) -> QueueView | None:
        """Tell how many jobs are left, and whether a charger feeds the phone; None if it is away."""
        return self._queue.look()

    def cancel_queue(self) -> None:
        """Forget the jobs that have not begun; one that runs goes on."""
        self._queue.cancel()

    # --- how it is left ------------------------------------------------------------------------

    def apply(self, settings: DeviceSettings) -> None:
        """Change settings; how to undo each is on the phone before it is changed."""
        self._settings.apply(settings)

    def restore(self) -> None:
        """Undo every changed setting, also those that a host which died had changed."""
        self._settings.restore()

    def close(self) -> None:
        """Let go of the phone."""
        self._lock.let_go(*self._jobs.removals())

    def clean(self) -> int:
        """Remove everything of ours from the phone, jobs that run too; return the bytes it held."""
        for launch in self.jobs():
            if self.poll(launch).state == "running":
                self.kill(launch)
        self._lock.stop_beating()
        return self._files.remove_all()


def _describe_sources(answer: str, info: DeviceInfo) -> tuple[PowerSource, ...]:
    """Return a phone's sources, the best first."""
    found = facts.sections(answer)
    gauged = gauge.describe_source(found, read_calibration(info.fingerprint), info.id)
    return (rails.describe_source(found), gauged, monsoon.describe_source())


def _explain_state(state: str) -> str:
    """Return what to do about a phone that adb does not show as "device"."""
    return next((advice for name, advice in _STATES.items() if state.startswith(name)), "")
