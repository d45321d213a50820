"""This computer as a device: the same jobs, run beside the harness.

Not here: building the runner (`harness/runners/`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from harness.cancellation import Cancellation
from harness.devices import kernel_files as probes
from harness.devices.base import Attached, JobExit, JobResult, JobStatus, Recorder
from harness.devices.local import rapl
from harness.devices.processes import start_ticks
from harness.errors import CommandTimeout, DeviceError, DeviceNotFound, NotSupported, StorageError
from harness.runners.pack import RunnerPack
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Job, Pass, Probe
from harness.schema.plan import DeviceSettings
from harness.schema.power import PowerSource
from harness.storage.cache import cache_folder
from harness.storage.files import write_whole
from harness.storage.locks import lock_file

_NAME = "local"
_POLL_SECONDS = 0.02
# A host may die between making a job's folder and starting the job; a job that shows no sign of
# life for this long was never started.
_START_GRACE_SECONDS = 2.0

_T = TypeVar("_T")


def discover() -> list[Attached]:
    """List this computer."""
    return [Attached(_NAME, "ready", info=_identify())]


def open_device(device: str, purpose: str) -> LocalDevice:
    """Open this computer; `purpose` is what another harness is told while it is held."""
    if device != _NAME:
        raise DeviceNotFound(f"there is no device {device!r}", "`phonebench devices` lists them.")
    return LocalDevice(_folder(), purpose)


def read_power_sources(device: str) -> Sequence[PowerSource]:  # noqa: ARG001 - there is one
    """Return this computer's source of power."""
    return rapl.describe_sources()


def lock_path() -> Path:
    """Return the file that is locked while a harness measures here."""
    return _folder() / "lock"


def _folder() -> Path:
    return cache_folder() / "devices" / _NAME


class LocalDevice:
    """This computer, held by one harness at a time: two would disturb each other's numbers."""

    def __init__(self, folder: Path, purpose: str) -> None:
        self._jobs = folder / "jobs"
        try:
            self._jobs.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(folder / "lock", purpose)
        except OSError as error:
            raise StorageError(
                f"cannot use {folder}: {error.strerror}",
                "Free some space or fix the permissions, or set PHONEBENCH_CACHE to a folder "
                "that can be written.",
            ) from error
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.info = _identify()
        self._readable = _find_readable()

    def conditions(self) -> Conditions:
        """Read load, free memory, temperature and clocks, as far as this computer tells them."""
        return read_conditions()

    def apply(self, settings: DeviceSettings) -> None:
        """Change nothing: these settings are a phone's."""

    def resolve_cores(self, affinity: str) -> tuple[int, ...]:
        """Return the cores of the highest ("big") or lowest ("little") clock."""
        cores = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"), key=_cpu_number)
        clocks = {_cpu_number(c): _read(c / "cpuinfo_max_freq", int) or 0 for c in cores}
        if len(set(clocks.values())) < 2:
            raise NotSupported(
                f"this computer has no {affinity} cores: all its cores are alike",
                'Use affinity "all", or name cores by their numbers.',
            )
        wanted = (max if affinity == "big" else min)(clocks.values())
        return tuple(number for number, khz in clocks.items() if khz == wanted)

    def probes(self, measured_pass: Pass) -> Sequence[Probe]:
        """Return what this computer lets be read while a launch of that pass runs."""
        return probes.make_probes(self._readable, measured_pass)

    def power_sources(self) -> Sequence[PowerSource]:
        """Return RAPL, with the reason where it cannot be read."""
        return rapl.describe_sources()

    def recorder(self, source: PowerSource) -> Recorder | None:  # noqa: ARG002
        """Return nothing: the runner reads RAPL itself."""
        return None

    def stage(self, path: Path, sha256: str) -> str:  # noqa: ARG002 - the file is here already
        """Return the file's own path: nothing has to be sent."""
        return str(path.resolve())

    def install(self, pack: RunnerPack) -> None:
        """Do nothing: the pack is where it was built."""

    def start(self, job: Job, pack: RunnerPack) -> None:
        """Start a job in a session of its own, so that it outlives this process."""
        folder = self._jobs / job.launch
        try:
            folder.mkdir()
            write_whole(folder / "job.json", job.model_dump_json().encode())
            command = [pack.supervise, folder, "--", *pack.command_in(str(pack.folder))]
            self._children[job.launch] = subprocess.Popen(
                [*map(str, command), str(folder / "job.json"), str(folder / "result.jsonl")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(f"cannot start a job in {folder}: {error.strerror}") from error

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, from the files that its supervisor writes."""
        folder = self._jobs / launch
        if not folder.exists():
            return JobStatus("absent")
        # The order matters: the exit file is written before the process is gone.
        process = _read_process(folder)
        alive = process is not None and _is_alive(process)
        if (folder / "exit").exists():
            return JobStatus(
                "finished", JobExit.model_validate_json((folder / "exit").read_bytes())
            )
        child = self._children.get(launch)
        if alive or (child is not None and child.poll() is None):
            return JobStatus("running")
        return JobStatus("running" if process is None and _is_young(folder) else "vanished")

    def wait(self, launch: str, seconds: float, cancellation: Cancellation) -> JobStatus:
        """Wait for a job to end; own jobs wake this process at once, others are polled."""
        deadline = time.monotonic() + seconds
        child = self._children.get(launch)
        if child is not None and child.poll() is None:
            descriptor = os.pidfd_open(child.pid)
            try:
                cancellation.wait_for(descriptor, seconds)
            finally:
                os.close(descriptor)
            child.poll()  # reaps it
        while (status := self.poll(launch)).state == "running":
            left = deadline - time.monotonic()
            if left <= 0 or cancellation.is_set():
                break
            cancellation.wait_for(None, min(left, _POLL_SECONDS))
        return status

    def kill(self, launch: str) -> None:
        """End a job: its supervisor is asked, and forced if it does not listen."""
        folder = self._jobs / launch
        child = self._children.get(launch)
        if child is not None and child.poll() is None:
            child.terminate()
            if not self._still_runs(launch, 2.0):
                return
        process = _read_process(folder)
        if process is not None and _is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process[0], signal.SIGKILL)
        if self._still_runs(launch, 5.0):
            raise CommandTimeout(
                f"the job in {folder} does not end, not even when killed",
                f"Look at process {process[0] if process else 'unknown'}.",
            )

    def _still_runs(self, launch: str, seconds: float) -> bool:
        """Tell whether a job still runs after some time, at most."""
        never = Cancellation()
        try:
            return self.wait(launch, seconds, never).state == "running"
        finally:
            never.close()

    def fetch(self, launch: str) -> JobResult:
        """Read what a job left: its whole result, else the part it came to write."""
        folder = self._jobs / launch
        record = next(
            (
                p.read_bytes()
                for n in ("result.jsonl", "result.jsonl.partial")
                if (p := folder / n).exists()
            ),
            None,
        )
        stderr = folder / "stderr"
        tail = stderr.read_text(errors="replace")[-2000:] if stderr.exists() else ""
        return JobResult(record, tail)

    def forget(self, launch: str) -> None:
        """Remove a job's folder."""
        self._children.pop(launch, None)
        shutil.rmtree(self._jobs / launch, ignore_errors=True)

    def jobs(self) -> list[str]:
        """Name the jobs whose folders are still there."""
        return sorted(folder.name for folder in self._jobs.iterdir())

    def restore(self) -> None:
        """Do nothing: nothing is changed on this computer."""

    def close(self) -> None:
        """Let another harness use this computer."""
        self._lock.close()

    def clean(self) -> int:
        """Remove every job, ended or not; return the bytes that they held."""
        used = sum(path.lstat().st_size for path in self._jobs.rglob("*"))
        for launch in self.jobs():
            self.kill(launch)
            self.forget(launch)
        return used


def read_conditions() -> Conditions:
    """Read load, free memory, temperature and clocks, as far as this computer tells them."""
    cpufreq = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"), key=_cpu_number)
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    temperatures = [value for zone in zones if (value := _read(zone, _millidegrees)) is not None]

    def clocks(name: str) -> tuple[int, ...] | None:
        found = (_read(core / name, int) for core in cpufreq)
        return tuple(khz for khz in found if khz is not None) or None

    return Conditions(
        unix=time.time(),
        load_1min=_read(Path("/proc/loadavg"), lambda text: float(text.split()[0])),
        memory_available_bytes=_read(Path("/proc/meminfo"), _meminfo("MemAvailable")),
        temperature_celsius=max(temperatures, default=None),
        clocks_khz=clocks("scaling_cur_freq"),
        clock_limits_khz=clocks("scaling_max_freq"),
        governor=_read(cpufreq[0] / "scaling_governor", str.strip) if cpufreq else None,
    )


def _find_readable() -> probes.Readable:
    """Return which of the kernel's files this computer lets be read."""
    cores = [core for core in Path(probes.CPU).glob("cpu[0-9]*") if core.is_dir()]
    files = [Path(probes.STAT), *(core / file for core in cores for file in probes.CORE_FILES)]
    zones = [
        probes.Zone(zone.name, name, millidegrees)
        for zone in Path(probes.ZONES).glob("thermal_zone[0-9]*")
        if (name := _read(zone / "type", str.strip)) is not None
        and (millidegrees := _read(zone / "temp", int)) is not None
    ]
    readable = frozenset(str(file) for file in files if _read(file, str.strip) is not None)
    return probes.Readable(readable, tuple(zones))


def _take_lock(path: Path, purpose: str) -> io.TextIOWrapper:
    lock = path.open("a+", encoding="utf-8")
    try:
        lock_file(lock, wait=False)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "somebody"
        lock.close()
        raise DeviceError(
            f"this computer is being measured already, by {holder}",
            "Wait until it is done: two at once would disturb each other's numbers.",
        ) from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()}: {purpose}")
    lock.flush()
    return lock


def _identify() -> DeviceInfo:
    cpu = _read(Path("/proc/cpuinfo"), _cpu_model) or platform.processor() or "unknown"
    cores = os.cpu_count() or 1
    memory = _read(Path("/proc/meminfo"), _meminfo("MemTotal")) or 0
    system = f"{platform.system()} {platform.release()}"
    distribution = _distribution()
    identity = json.dumps([cpu, cores, memory, system, distribution, platform.machine()])
    return DeviceInfo(
        id=_NAME,
        name=f"this computer ({cpu})",
        kind="local",
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        system=system,
        abi=platform.machine(),
        cpu=cpu,
        cores=cores,
        memory_total_bytes=memory,
        details={"distribution": distribution},
    )


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _cpu_model(cpuinfo: str) -> str:
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next(
        value.strip() for key, _, value in lines if key.strip() in {"model name", "Hardware"}
    )


def _meminfo(key: str) -> Callable[[str], int]:
    def read(meminfo: str) -> int:
        line = next(line for line in meminfo.splitlines() if line.startswith(f"{key}:"))
        return int(line.split()[1]) * 1024

    return read


def _millidegrees(text: str) -> float:
    return int(text) / 1000


def _cpu_number(path: Path) -> int:
    return int(path.parent.name.removeprefix("cpu"))


def _read(path: Path, parse: Callable[[str], _T]) -> _T | None:
    """Read one value from the kernel; None where this computer does not tell it."""
    try:
        return parse(path.read_text())
    except (OSError, ValueError, StopIteration, IndexError):
        return None


def _read_process(folder: Path) -> tuple[int, int] | None:
    """Return the runner's process id and start time (in clock ticks since boot)."""
    try:
        pid, began = (folder / "pid").read_text().split()
        return int(pid), int(began)
    except (OSError, ValueError):
        return None


def _is_alive(process: tuple[int, int]) -> bool:
    """Tell whether that very process still runs: the id alone may have been given away."""
    pid, began = process
    return start_ticks(pid) == began


def _is_young(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < _START_GRACE_SECONDS
    except OSError:
        return False
