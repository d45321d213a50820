"""The sweep folder: its files, and how they stay whole when anything dies at any moment.

    sweep.json            what was asked (written first); plan.toml is its plan, to run again
    artifacts.json        what each model and variant became
    launches/DEVICE/NNNN-CASE.jsonl   the runner's results, byte for byte, each renamed into place
    ledger.jsonl          one line a finished launch: the host's account of it, append only

The files are the database; every table is derived from them. Not here: a launch's own files
(`launches.py`), and running anything.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.errors import SweepError
from harness.schema.artifact import ExportedModel
from harness.schema.plan import Case
from harness.schema.sweep import SWEEP_VERSION, ArtifactsFile, LedgerEntry, SweepFile
from harness.storage.files import storage_errors
from harness.storage.locks import lock_file


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
    with storage_errors(path), path.open("ab+") as ledger:
        lock_file(ledger, wait=True)  # several devices write at once
        ledger.seek(0, os.SEEK_END)
        if ledger.tell() > 0:
            ledger.seek(-1, os.SEEK_END)
            if ledger.read(1) != b"\n":
                line = b"\n" + line
        ledger.write(line)
        ledger.flush()
        os.fsync(ledger.fileno())
