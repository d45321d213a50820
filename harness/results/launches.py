"""One launch of a sweep, found by the name that a person gives it, with its files read and checked.

Not here: numbers of a launch (`report/launches.py`), and what is made of it (`perfetto.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadRecord, SweepError
from harness.results.folder import Sweep
from harness.schema.device import DeviceInfo
from harness.schema.record import Interrupted, LaunchRecord, Trace, parse_record, read_sidecar
from harness.schema.sweep import LedgerEntry


@dataclass(frozen=True)
class ChosenLaunch:
    """A launch with all that was recorded of it.

    `beside` is what was recorded beside the runner; `beside_trouble` says why that is missing
    although there was some.
    """

    sweep: str
    device: DeviceInfo
    entry: LedgerEntry
    record: LaunchRecord
    sidecar: tuple[Trace, ...]
    sidecar_trouble: str


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


def read_chosen(sweep: Sweep, entry: LedgerEntry) -> ChosenLaunch:
    """Read all files of a launch. Raises BadRecord if the runner's is missing, changed or cut."""
    record = _read_record(sweep.folder, entry)
    sidecar, trouble = _read_beside(sweep.folder, entry)
    device = next(info for info in sweep.file.devices if info.id == entry.device)
    return ChosenLaunch(sweep.file.id, device, entry, record, sidecar, trouble)


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


def _read_record(folder: Path, entry: LedgerEntry) -> LaunchRecord:
    name = f"launch {entry.index}.{entry.attempt} of {entry.device}"
    why = f": {entry.error.message}" if entry.error else ""
    if entry.file is None:
        raise BadRecord(f"{name} left no record; it is {entry.status}{why}")
    try:
        content = (folder / entry.file).read_bytes()
    except OSError as error:
        raise BadRecord(f"cannot read {entry.file}: {error.strerror or error}") from error
    if entry.sha256 is not None and hashlib.sha256(content).hexdigest() != entry.sha256:
        raise BadRecord(
            f"{entry.file} is not the file that the ledger saw (its sha256)",
            "Take the file from a copy of the sweep.",
        )
    record = parse_record(content, entry.file)
    if isinstance(record, Interrupted):
        raise BadRecord(f"{name} is {entry.status}{why}; {entry.file}: {record.reason}")
    return record


def _read_beside(folder: Path, entry: LedgerEntry) -> tuple[tuple[Trace, ...], str]:
    if entry.sidecar_file is None:
        return (), entry.sidecar_error.message if entry.sidecar_error else ""
    try:
        return read_sidecar(folder / entry.sidecar_file), ""
    except OSError as error:
        return (), f"cannot read {entry.sidecar_file}: {error.strerror or error}"
    except BadRecord as error:
        return (), error.message
