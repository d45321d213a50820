"""What a sweep's ledger lacks of a device's launches, and what its lines say of them. Pure.

Not here: what is due next for one launch (`next_step.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.validity import may_pass
from harness.errors import EnergyRefused, MeterError
from harness.measure.attempt import LaunchTask
from harness.results.folder import Sweep
from harness.schema.artifact import Artifact, ExportedModel
from harness.schema.device import Conditions
from harness.schema.plan import Case
from harness.schema.sweep import LaunchError, LedgerEntry

_REFUSALS = (EnergyRefused.__name__, MeterError.__name__)


def deserves_another(entry: LedgerEntry) -> bool:
    """Tell whether a launch does not count for reasons that may be gone at another try."""
    return entry.status == "ok" and entry.validity is not None and may_pass(entry.validity)


def find_baseline(sweep: Sweep, device: str) -> Conditions | None:
    """Return a device's conditions before the first launch of a sweep that has any."""
    own = (entry.before for entry in sweep.entries if entry.device == device)
    return next((before for before in own if before is not None), None)


def missing_launches(
    sweep: Sweep, models: Sequence[ExportedModel], device: str
) -> tuple[list[LaunchTask], list[LedgerEntry]]:
    """Return what the ledger lacks for a device: launches to run, and cases to be skipped.

    A launch that does not count is run again as long as it has tries left.
    """
    own = [entry for entry in sweep.entries if entry.device == device]
    ended = settled_launches(sweep, device)
    attempts = {entry.index: entry.attempt for entry in own if not was_refused(entry)}
    told = {entry.case for entry in own if entry.index is None}
    by_name = {model.name: model for model in models}
    artifacts = {a.variant: a for model in models for a in model.artifacts}
    cases = sweep.cases()
    skipped = [
        _skip(device, case, by_name[case.variant.model], artifacts.get(case.variant.id))
        for case in cases.values()
        if case.id not in told and not _can_run(artifacts.get(case.variant.id))
    ]
    tasks = []
    for planned in sweep.file.schedule[device]:
        case = cases[planned.case]
        artifact = artifacts.get(case.variant.id)
        if planned.index in ended or artifact is None or not _can_run(artifact):
            continue
        attempt = attempts.get(planned.index, 0) + 1
        model = by_name[case.variant.model]
        tasks.append(
            LaunchTask(sweep.file.id, planned, attempt, sweep.file.plan, case, model, artifact)
        )
    return tasks, skipped


def settled_launches(sweep: Sweep, device: str) -> dict[int, LedgerEntry]:
    """Return the last attempt of each launch that is done, by index: no other is to be made."""
    tries: dict[int, list[LedgerEntry]] = {}
    for entry in sweep.entries:
        if entry.index is not None and has_ended(entry, device):
            tries.setdefault(entry.index, []).append(entry)
    retries = sweep.file.plan.measure.retries
    return {
        index: entries[-1]
        for index, entries in tries.items()
        if not deserves_another(entries[-1]) or len(entries) > retries
    }


def has_ended(entry: LedgerEntry, device: str) -> bool:
    """Tell whether an entry is of a launch on that device that came to an end, good or bad."""
    return entry.device == device and is_end(entry)


def is_end(entry: LedgerEntry) -> bool:
    """Tell whether an entry is of a launch that came to an end, good or bad: that was a try."""
    launched = entry.index is not None and not was_refused(entry)
    return launched and entry.status in ("ok", "failed")


def was_refused(entry: LedgerEntry) -> bool:
    """Tell whether a launch never began, for energy could not be measured then.

    A later account of the same attempt takes its place: there is nothing that it could hide.
    """
    return entry.error is not None and entry.error.kind in _REFUSALS


def _can_run(artifact: Artifact | None) -> bool:
    return artifact is not None and artifact.status == "ok"


def _skip(device: str, case: Case, model: ExportedModel, artifact: Artifact | None) -> LedgerEntry:
    """Make the entry of a case without an artifact: skipped on purpose, or failed to export."""
    source = artifact or model
    return LedgerEntry(
        device=device,
        case=case.id,
        status="skipped" if source.status == "skipped" else "failed",
        error=LaunchError(kind="ExportError", message=source.reason, advice=source.advice),
    )
