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
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from harness.job import Job, Pass, Probe
from harness.ledger import Conditions, DeviceInfo
from harness.plan import DeviceSettings
from harness.power import PowerSource, Recorder
from harness.runtimes import RuntimePack
from harness.stop import Stop


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

    def install(self, pack: RuntimePack) -> None:
        """Bring a runtime pack to the device, unless it is there."""

    def start(self, job: Job, pack: RuntimePack) -> None:
        """Start a job detached. Its name, `job.launch`, must be new to the device."""

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, also one that an earlier host started."""

    def wait(self, launch: str, seconds: float, stop: Stop) -> JobStatus:
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
