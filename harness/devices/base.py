"""What the harness needs of a phone, in terms of jobs.

A device is anything with the methods of `Device`. A job is one runner process; it is started
detached and outlives the connection and the host, and everything it leaves stays on the device
until `forget`. So a host that died can be followed by another that collects.
Not here: what a job measures (`job.py`) and when jobs run (`sweep.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from harness.cancellation import Cancellation
from harness.runners.pack import RunnerPack
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Job, Pass, Probe
from harness.schema.plan import DeviceSettings
from harness.schema.power import PowerSource
from harness.schema.record import Trace


class JobExit(BaseModel):
    """How a runner process ended, as its supervisor on the device wrote it down.

    One of `exit_code` and `signal` is set. Times are the device's CLOCK_MONOTONIC.
    """

    model_config = ConfigDict(frozen=True)

    exit_code: int | None
    signal: int | None
    start_ns: int
    end_ns: int
    max_rss_bytes: int


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    absent: the device knows nothing of it; running; finished: `exit` says how; vanished: it was
    started, and neither runs nor has ended (the device rebooted, or somebody killed everything).
    """

    state: Literal["absent", "running", "finished", "vanished"]
    exit: JobExit | None = None


@dataclass(frozen=True)
class JobResult:
    """What a job left: the result file's bytes (None if there is none), and its last words."""

    record: bytes | None
    stderr_tail: str


@dataclass(frozen=True)
class Attached:
    """A device that can be seen. Without `info` it cannot be used, and `advice` says what to do."""

    id: str
    state: str
    advice: str = ""
    info: DeviceInfo | None = None


class Device(Protocol):
    """One phone, or this computer. Errors are DeviceError; DeviceLost when it went away."""

    @property
    def info(self) -> DeviceInfo:
        """What the device is; asked once, when it is opened."""

    def conditions(self) -> Conditions:
        """Read the state of the device now. What it does not tell is None."""

    def apply(self, settings: DeviceSettings) -> None:
        """Change the device's settings, each noted on the device before, for `restore`.

        Raises NotSupported if the device has no such setting.
        """

    def resolve_cores(self, affinity: str) -> tuple[int, ...]:
        """Return the cores that "big" or "little" names; NotSupported if it has no such groups."""

    def probes(self, measured_pass: Pass) -> Sequence[Probe]:
        """Return what can be read here while a launch of that pass runs: memory, clocks, heat.

        What this device does not let be read is not among them. Power is not: see below.
        """

    def power_sources(self) -> Sequence[PowerSource]:
        """Return the device's sources of power, the best first; those that cannot be used say why."""

    def recorder(self, source: PowerSource) -> Recorder | None:
        """Return what records this source beside a launch; None if the runner samples it itself."""

    def stage(self, path: Path, sha256: str) -> str:
        """Bring a file to the device, unless a file of that hash is there; return its path."""

    def install(self, pack: RunnerPack) -> None:
        """Bring a runner pack to the device, unless it is there."""

    def start(self, job: Job, pack: RunnerPack) -> None:
        """Start a job detached. Its name, `job.launch`, must be new to the device."""

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, also one that an earlier host started."""

    def wait(self, launch: str, seconds: float, cancellation: Cancellation) -> JobStatus:
        """Wait until a job no longer runs, at most `seconds`; return where it stands then.

        When `stop` is set it returns at once, or raises Stopped.
        """

    def kill(self, launch: str) -> None:
        """End a job with all its processes, and return when it is gone."""

    def fetch(self, launch: str) -> JobResult:
        """Collect what a job left. It stays on the device until `forget`."""

    def forget(self, launch: str) -> None:
        """Remove what a job left on the device."""

    def jobs(self) -> Sequence[str]:
        """Name the jobs that the device has not been told to forget, of any sweep."""

    def restore(self) -> None:
        """Put back everything that was changed on the device."""

    def close(self) -> None:
        """Let go of the device, so that another host may use it."""

    def clean(self) -> int:
        """Remove everything of ours from the device, jobs that run too; return the bytes it held."""


@dataclass(frozen=True)
class QueueView:
    """What a phone with a queue of jobs shows: how many are left, and whether a charger feeds it."""

    left: int
    charging: bool


class Recorder(Protocol):
    """Records power beside a launch: rails by the phone's own tracing, or an external meter."""

    def start(self) -> None:
        """Begin to record. Raises DeviceError or MeterError."""

    def stop(self) -> tuple[Trace, ...]:
        """End, and return what was recorded, in the device's CLOCK_MONOTONIC nanoseconds."""


class Phone(Protocol):
    """What a device on a battery can do beyond `Device`, so that charging can be kept from it."""

    @property
    def info(self) -> DeviceInfo:
        """What the phone is."""

    def apply(self, settings: DeviceSettings) -> None:
        """Change settings."""

    def read_current(self, source: PowerSource) -> float | None:
        """Read the gauge's raw current now."""

    def enqueue(
        self, jobs: Sequence[tuple[Job, RunnerPack]], patience_seconds: int, rest_seconds: int
    ) -> None:
        """Leave jobs with it that it starts by itself while it runs on its battery."""

    def look_at_queue(self) -> QueueView | None:
        """Tell how the queue stands; None if the phone is away."""

    def cancel_queue(self) -> None:
        """Forget the jobs that have not begun."""


@runtime_checkable
class BatteryDevice(Device, Phone, Protocol):
    """A device with a battery whose charging can be kept off."""
