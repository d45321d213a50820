"""The sweep folder: its files, and how they stay whole when anything dies at any moment.

    sweep.json            what was asked (written first); plan.toml is its plan, to run again
    artifacts.json        what each model and variant became
    launches/DEVICE/NNNN-CASE.jsonl   the runner's results, byte for byte, each renamed into place
    ledger.jsonl          one line a finished launch: the host's account of it, append only

The files are the database; every table is derived from them. Not here: running anything.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import StorageError, SweepError
from harness.export.artifact import ExportedModel, Fidelity
from harness.job import Pass
from harness.plan import Case, Plan
from harness.power import PowerSource

SWEEP_VERSION = 1

Status = Literal["ok", "failed", "skipped", "interrupted"]
Level = Literal["serious", "warning", "ok"]
LEVELS: tuple[Level, ...] = ("serious", "warning", "ok")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DeviceInfo(_Model):
    """What a device is. `fingerprint` stays the same as long as its hardware and system do.

    `kind` is the device's key in `devices.TRANSPORTS`.
    """

    id: str
    name: str
    kind: str
    fingerprint: str
    system: str
    abi: str
    cpu: str
    cores: int
    memory_total_bytes: int
    details: dict[str, str] = {}


class Conditions(_Model):
    """The state of a device at one moment. None: this device does not tell.

    `load_1min` is the kernel's load average; clocks are per online core, in core order, and so are
    `clock_limits_khz` (scaling_max_freq: what thermal mitigation leaves of the highest clock).
    `thermal_status` is Android's: 0 none, 1 light, 2 moderate, 3 severe, up to 6 shutdown.
    """

    unix: float
    load_1min: float | None = None
    memory_available_bytes: int | None = None
    temperature_celsius: float | None = None
    clocks_khz: tuple[int, ...] | None = None
    clock_limits_khz: tuple[int, ...] | None = None
    governor: str | None = None
    battery_percent: float | None = None
    charging: bool | None = None
    thermal_status: int | None = None


class Host(_Model):
    """The computer that ran the sweep."""

    system: str
    python: str
    harness: str
    torch: str
    git: str | None = None


class PlannedLaunch(_Model):
    """One entry of a device's schedule; `index` is its place in it, from 1."""

    index: int
    round: int
    case: str
    measured_pass: Pass


class DeviceFinding(_Model):
    """One thing that was looked at before measuring: what was found, and what to do about it."""

    key: str
    level: Level
    found: str
    advice: str = ""


class SweepFile(_Model):
    """sweep.json: what was asked. `command` is the exact command line that made it.

    `findings` are those of the examination before the sweep, by device; `accepted` holds the keys
    of the serious ones ("all": any) that it was told to measure in spite of.
    """

    sweep_version: int
    id: str
    created_unix: float
    command: tuple[str, ...]
    directory: str
    plan_name: str
    plan_sha256: str
    plan: Plan
    host: Host
    devices: tuple[DeviceInfo, ...]
    schedule: dict[str, tuple[PlannedLaunch, ...]]
    accepted: tuple[str, ...] = ()
    findings: dict[str, tuple[DeviceFinding, ...]] = {}


class LaunchError(_Model):
    """Why a launch has no good result."""

    kind: str
    message: str
    advice: str = ""


ValidityLevel = Literal["valid", "suspect", "invalid"]


class Reason(_Model):
    """One thing that speaks against a launch. `passing`: it may be gone at another try."""

    key: str
    level: Literal["suspect", "invalid"]
    text: str
    passing: bool = False


class Validity(_Model):
    """Whether a launch may count: as bad as the worst of its reasons. See `validity.py`."""

    level: ValidityLevel
    reasons: tuple[Reason, ...] = ()


class LedgerEntry(_Model):
    """The host's account of one launch, or of one case that could not be launched at all.

    For a skipped case, `index`, `round` and `measured_pass` are None. `attempt` counts from 1: a
    retry is an entry of its own. `file` is relative to the sweep folder; None if the runner left
    nothing. `fidelity` compares the outputs on the device with the reference.
    `runner_ns` is the life of the runner process, `host_ns` the whole launch as the host saw it;
    `cooled_seconds` is what the start gate waited before it. `power` is the source of power in the
    energy pass, and `beside_file` holds what was recorded beside the runner, if anything was;
    `beside_error` says why that recording failed.
    """

    device: str
    case: str
    status: Status
    index: int | None = None
    round: int | None = None
    measured_pass: Pass | None = None
    attempt: int = 1
    file: str | None = None
    sha256: str | None = None
    error: LaunchError | None = None
    fidelity: Fidelity | None = None
    before: Conditions | None = None
    after: Conditions | None = None
    started_unix: float | None = None
    host_ns: int | None = None
    runner_ns: int | None = None
    cooled_seconds: float | None = None
    validity: Validity | None = None
    power: PowerSource | None = None
    beside_file: str | None = None
    beside_error: LaunchError | None = None


class ArtifactsFile(_Model):
    """artifacts.json."""

    models: tuple[ExportedModel, ...]


@dataclass(frozen=True)
class Sweep:
    """A sweep folder as read: everything but the launches' own files, which load on demand.

    `entries` holds the latest account of each attempt: one that was interrupted, as far as the
    host could see, may have been collected later. `torn_lines` counts lines that a crash cut.
    """

    folder: Path
    file: SweepFile
    models: tuple[ExportedModel, ...]
    entries: tuple[LedgerEntry, ...]
    torn_lines: int

    def cases(self) -> dict[str, Case]:
        """Return the plan's cases by id, in the plan's order."""
        return {case.id: case for case in self.file.plan.cases()}


def read_sweep(folder: Path) -> Sweep:
    """Read a sweep folder. Raises SweepError if it is not one, or is damaged."""
    path = folder / "sweep.json"
    try:
        content = json.loads(path.read_bytes())
        version = content["sweep_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(
            f"{folder} is not a sweep folder: it has no readable sweep.json",
            "Name a folder that `phonebench run` made (they are under sweeps/).",
        ) from error
    if version != SWEEP_VERSION:
        raise SweepError(
            f"{folder} is a sweep of version {version!r}; this phonebench reads {SWEEP_VERSION}",
            "Read it with the phonebench that wrote it.",
        )
    artifacts = folder / "artifacts.json"
    models: tuple[ExportedModel, ...] = ()
    try:
        file = SweepFile.model_validate(content)
        path = artifacts
        if artifacts.exists():
            models = ArtifactsFile.model_validate_json(artifacts.read_bytes()).models
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SweepError(
            f"{path} is damaged: {where}{': ' if where else ''}{first['msg']}",
            "Take the file from a copy of the sweep. Without artifacts.json, a sweep can be resumed.",
        ) from error
    entries, torn = _read_ledger(folder / "ledger.jsonl")
    return Sweep(folder, file, models, entries, torn)


def begun_unix(sweep_json: Path) -> float:
    """Return when a sweep was begun; of a file that does not tell, a time before all others."""
    try:
        return float(json.loads(sweep_json.read_bytes())["created_unix"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _read_ledger(path: Path) -> tuple[tuple[LedgerEntry, ...], int]:
    """Read the whole lines; a line torn by a crash is counted, not trusted."""
    if not path.exists():
        return (), 0
    entries, torn = [], 0
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        try:
            entries.append(LedgerEntry.model_validate_json(line))
        except ValidationError:
            torn += 1
    latest = {(e.device, e.case, e.index, e.attempt): e for e in entries}
    return tuple(latest.values()), torn


def append_entry(folder: Path, entry: LedgerEntry) -> None:
    """Append one line to the ledger and flush it to storage.

    A line torn by an earlier crash is closed first, so that it cannot swallow this one.
    """
    path = folder / "ledger.jsonl"
    line = entry.model_dump_json(exclude_defaults=True).encode() + b"\n"
    with _storage(path), path.open("ab+") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)  # several devices write at once
        ledger.seek(0, os.SEEK_END)
        if ledger.tell() > 0:
            ledger.seek(-1, os.SEEK_END)
            if ledger.read(1) != b"\n":
                line = b"\n" + line
        ledger.write(line)
        ledger.flush()
        os.fsync(ledger.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either wholly there, on storage, or not at all.

    What is no file (a pipe, /dev/null) is written into, never replaced. Raises StorageError.
    """
    with _storage(path):
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, if it is not there. Raises StorageError."""
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder, so that a rename in it survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except IsADirectoryError as error:
        raise StorageError(f"cannot write {path}: it is a folder", "Name a file in it.") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"cannot write {path}: a file stands where its path needs a folder",
            "Name another place.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            "Free some space or fix the permissions.",
        ) from error
