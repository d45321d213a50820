"""A launch's own files in the sweep folder: kept whole, read once and checked, found by its name.

Not here: numbers of a launch (`analysis/launches.py`), and what is made of it (`report/perfetto.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import BadRecord, SweepError
from harness.results.folder import Sweep, append_entry
from harness.schema.plan import slug
from harness.schema.record import (
    Interrupted,
    LaunchRecord,
    Trace,
    parse_record,
    parse_sidecar,
    write_sidecar,
)
from harness.schema.sweep import LedgerEntry, PlannedLaunch
from harness.storage.files import write_whole

_ADVICE = "Take the file from a copy of the sweep, or measure in a new one."


def name_files(device: str, planned: PlannedLaunch, attempt: int) -> str:
    """Return what the files of an attempt are called, in the sweep folder and without an ending."""
    again = "" if attempt == 1 else f".retry{attempt - 1}"
    return f"launches/{slug(device)}/{planned.index:04d}-{planned.case}{again}"


def keep_launch(
    folder: Path, entry: LedgerEntry, record: bytes | None = None, sidecar: Sequence[Trace] = ()
) -> None:
    """Store a launch: first its files, whole, then the line in the ledger that vouches for them.

    The entry names the files that there are. Raises StorageError.
    """
    if entry.file is not None and record is not None:
        write_whole(folder / entry.file, record)
    if entry.sidecar_file is not None:
        write_whole(folder / entry.sidecar_file, write_sidecar(sidecar))
    append_entry(folder, entry)


def check_record(
    content: bytes, name: str, sha256: str | None = None
) -> LaunchRecord | Interrupted:
    """Check what a runner left, from the device or from the folder; `name` is what errors call it.

    Returns Interrupted if it was cut. Raises BadRecord if it is not the file of that hash, of
    another version, or was changed.
    """
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise BadRecord(f"{name} is not the file that the ledger saw (its sha256)", _ADVICE)
    return parse_record(content, name)


def read_checked(folder: Path, entry: LedgerEntry) -> LaunchRecord:
    """Read a launch's record; `folder` is the sweep's.

    Raises BadRecord if it is missing, changed or cut, or tells of an error where the ledger has none.
    """
    name = f"launch {entry.index}.{entry.attempt} of {entry.device}"
    ended = f"{entry.status}{f': {entry.error.message}' if entry.error else ''}"
    if entry.file is None:
        advice = _ADVICE if entry.status == "ok" else ""
        raise BadRecord(f"{name} left no record; it is {ended}", advice)
    record = check_record(_read(folder, entry.file), entry.file, entry.sha256)
    if isinstance(record, Interrupted):
        told = "" if entry.status == "ok" else f"{name} is {ended}; "
        raise BadRecord(f"{told}{entry.file}: {record.reason}", _ADVICE)
    if record.error is not None and entry.status == "ok":
        raise BadRecord(f"{entry.file}: {record.error.kind}: {record.error.message}", _ADVICE)
    return record


def read_sidecar(folder: Path, entry: LedgerEntry) -> tuple[tuple[Trace, ...], str]:
    """Read what was recorded beside a launch; and why that is missing, although there was some."""
    if entry.sidecar_file is None:
        return (), entry.sidecar_error.message if entry.sidecar_error else ""
    try:
        return parse_sidecar(_read(folder, entry.sidecar_file), entry.sidecar_file), ""
    except BadRecord as error:
        return (), error.message


def _read(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except OSError as error:
        raise BadRecord(f"cannot read {file}: {error.strerror or error}", _ADVICE) from error


def find_launch(sweep: Sweep, name: str) -> LedgerEntry:
    """Return the account of the launch called `[DEVICE:]INDEX[.ATTEMPT]`, or by its file's path.

    Without an attempt it is the last one. Raises SweepError, naming what there is instead.
    """
    launches = [entry for entry in sweep.entries if entry.index is not None]
    by_path = [entry for entry in launches if _is_file_of(sweep, entry, name)]
    if by_path:
        return by_path[-1]
    named = re.fullmatch(
        r"(?:(?P<device>.+):)?(?P<index>[0-9]{1,9})(?:\.(?P<attempt>[0-9]{1,9}))?", name
    )
    found = [entry for entry in launches if named and _is_named(entry, named)]
    if not found:
        raise SweepError(f"{sweep.folder} has no launch {name!r}", _what_there_is(sweep, launches))
    devices = sorted({entry.device for entry in found})
    if len(devices) > 1:
        raise SweepError(
            f"{len(devices)} devices of this sweep have a launch {name}",
            "Name one: " + ", ".join(f"{device}:{name}" for device in devices) + ".",
        )
    return max(found, key=lambda entry: entry.attempt)


def _is_file_of(sweep: Sweep, entry: LedgerEntry, name: str) -> bool:
    if entry.file is None or not name.endswith(".jsonl"):
        return False
    return name == entry.file or Path(name).resolve() == (sweep.folder / entry.file).resolve()


def _is_named(entry: LedgerEntry, named: re.Match[str]) -> bool:
    return (
        named["device"] in (None, entry.device)
        and entry.index == int(named["index"])
        and (named["attempt"] is None or entry.attempt == int(named["attempt"]))
    )


def _what_there_is(sweep: Sweep, launches: Sequence[LedgerEntry]) -> str:
    """Tell how launches of this sweep are called, or why there is none."""
    if not launches:
        reasons = {entry.error.message: entry.case for entry in sweep.entries if entry.error}
        never = [f" {case} was never launched: {reason}." for reason, case in reasons.items()]
        return "No launch of it has ended." + "".join(never)
    parts = []
    for device in sorted({entry.device for entry in launches}):
        own = [entry for entry in launches if entry.device == device]
        indexes = [entry.index for entry in own if entry.index is not None]
        again = [f"{entry.index}.{entry.attempt}" for entry in own if entry.attempt > 1]
        retries = f" (tried again: {', '.join(again[:5])}{', ...' if again[5:] else ''})"
        parts.append(f"{device}: {min(indexes)} to {max(indexes)}{retries if again else ''}")
    return (
        f"There is {'; '.join(parts)}. Name one as INDEX, INDEX.ATTEMPT or DEVICE:INDEX, or by its "
        "file's path."
    )
