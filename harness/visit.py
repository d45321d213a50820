"""One device's part of a sweep: bring it what it needs, run what the ledger lacks, leave it.

A failed launch ends that launch, a lost device ends its part. Every attempt gets its line in the
ledger, after its record is safe; only then does the device forget it.
Not here: the sweep as a whole (`sweep.py`), what one launch does (`launch.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from harness.devices.base import Device
from harness.errors import DeviceError, DeviceLost, RuntimePackError, Stopped
from harness.export.artifact import Artifact, ExportedModel
from harness.job import Pass
from harness.launch import (
    Finished,
    Order,
    as_launch_error,
    interrupted_entry,
    run_launch,
    stage_files,
)
from harness.ledger import (
    DeviceInfo,
    LaunchError,
    LedgerEntry,
    Sweep,
    append_entry,
    write_whole,
)
from harness.plan import Case, EngineName, Plan, slug
from harness.runtimes import RuntimePack
from harness.stop import Stop


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands: told after every step. `entry` is what has just ended, if anything."""

    device: str
    done: int
    total: int
    current: str
    seconds_left: float | None
    entry: LedgerEntry | None = None


@dataclass(frozen=True)
class Tools:
    """What a sweep is given from outside: it knows no concrete device, engine or exporter."""

    export: Callable[[Plan], tuple[ExportedModel, ...]]
    open_device: Callable[[DeviceInfo, str], Device]
    runtime_pack: Callable[[EngineName, DeviceInfo], RuntimePack]
    observe: Callable[[Progress], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class Visit:
    """One device's part of a sweep: all that it needs is on it."""

    device: Device
    orders: Sequence[Order]
    packs: dict[EngineName, RuntimePack]
    known_jobs: frozenset[str]


def prepare(
    sweep: Sweep,
    models: Sequence[ExportedModel],
    info: DeviceInfo,
    tools: Tools,
    devices: ExitStack,
) -> Visit | None:
    """Open a device and bring all it needs to it; None if nothing is left to do, or it fails.

    The device is left as it was found when `devices` closes.
    """
    orders, skipped = missing_launches(sweep, models, info.id)
    for entry in skipped:
        append_entry(sweep.folder, entry)
    if not orders:
        return None
    try:
        device = tools.open_device(info, f"sweep {sweep.file.id}")
        devices.callback(_leave, device, tools)
        _check_same_device(device, info)
        device.apply(sweep.file.plan.device)
        engines = dict.fromkeys(order.case.engine for order in orders)
        packs = {engine: tools.runtime_pack(engine, info) for engine in engines}
        for pack in packs.values():
            device.install(pack)
        for order in orders:
            stage_files(device, order)
        known_jobs = _clear(sweep, orders, device)
    except (DeviceError, RuntimePackError) as error:
        tools.warn(str(error))
        return None
    return Visit(device, orders, packs, known_jobs)


def _check_same_device(device: Device, info: DeviceInfo) -> None:
    if device.info.fingerprint != info.fingerprint:
        raise DeviceError(
            f"{info.id} is not the device that this sweep began on: {device.info.name} now, "
            f"{info.name} then",
            "Attach that device again, or start a new sweep.",
        )


def _leave(device: Device, tools: Tools) -> None:
    """Leave a device as it was found; trouble with that must not hide an earlier error."""
    try:
        device.restore()
    except (DeviceError, RuntimePackError) as error:
        tools.warn(str(error))
    finally:
        device.close()


def measure(sweep: Sweep, visit: Visit, tools: Tools, stop: Stop) -> None:
    """Run all launches of one device; it may go away for good, and the others go on."""
    device, pace = visit.device, _Pace(visit.orders)
    try:
        for number, order in enumerate(visit.orders):
            if stop.is_set():
                return
            tools.observe(pace.progress(device.info.id, number, order))
            entry = _run_order(sweep.folder, order, visit, stop)
            pace.note(order, entry)
            tools.observe(pace.progress(device.info.id, number + 1, order, entry))
    except Stopped:
        return
    except DeviceError as error:
        tools.warn(str(error))


def _clear(sweep: Sweep, orders: Sequence[Order], device: Device) -> frozenset[str]:
    """Remove this sweep's jobs that are in the ledger: a host may have died between the two.

    Returns the jobs that may still be taken up. Raises DeviceError if a job of another sweep runs.
    """
    wanted = {o.key for order in orders for o in (order, _previous(order))}
    left = set()
    for job in device.jobs():
        if job in wanted:
            left.add(job)
        elif job.startswith(f"{sweep.file.id}-"):
            device.forget(job)
        elif device.poll(job).state == "running":
            raise DeviceError(
                f"{device.info.id} still runs {job}, which a host that is gone has left",
                "Wait until it has ended, or go on with that sweep: `phonebench run --resume`.",
            )
    return frozenset(left)


def _run_order(folder: Path, order: Order, visit: Visit, stop: Stop) -> LedgerEntry:
    """Run one launch, again if it was interrupted; every attempt gets its line in the ledger.

    A job that outlived the host or the connection that began it is taken up where it stands.
    Raises DeviceError when the device is in trouble twice: then it is given up for this run.
    """
    if _previous(order).key in visit.known_jobs:
        order = _previous(order)
    known = order.key in visit.known_jobs
    try:
        entry = _attempt(folder, order, visit, stop, known=known)
        if entry.status != "interrupted":
            return entry
        known = False
    except DeviceLost:
        raise
    except DeviceError:  # it is in the ledger; a second one is not forgiven
        known = visit.device.poll(order.key).state != "absent"
    if not known:
        order = replace(order, attempt=order.attempt + 1)
    return _attempt(folder, order, visit, stop, known=known)


def _attempt(folder: Path, order: Order, visit: Visit, stop: Stop, *, known: bool) -> LedgerEntry:
    device = visit.device
    try:
        finished = run_launch(device, visit.packs[order.case.engine], order, stop, known=known)
    except (DeviceError, Stopped) as error:
        append_entry(folder, interrupted_entry(device.info.id, order, as_launch_error(error)))
        if isinstance(error, Stopped):
            device.forget(order.key)
        raise
    entry = _keep(folder, finished)
    device.forget(order.key)
    return entry


def _previous(order: Order) -> Order:
    return replace(order, attempt=order.attempt - 1)


def _keep(folder: Path, finished: Finished) -> LedgerEntry:
    """Store a launch: first the runner's record, whole, then the line that vouches for it."""
    entry = finished.entry
    if finished.record is not None:
        suffix = "" if entry.attempt == 1 else f".retry{entry.attempt - 1}"
        name = f"launches/{slug(entry.device)}/{entry.index:04d}-{entry.case}{suffix}.jsonl"
        write_whole(folder / name, finished.record)
        entry = entry.model_copy(update={"file": name})
    append_entry(folder, entry)
    return entry


def missing_launches(
    sweep: Sweep, models: Sequence[ExportedModel], device: str
) -> tuple[list[Order], list[LedgerEntry]]:
    """Return what the ledger lacks for a device: launches to run, and cases to be skipped."""
    own = [entry for entry in sweep.entries if entry.device == device]
    ended = {entry.index for entry in own if entry.status in ("ok", "failed")}
    attempts = {entry.index: entry.attempt for entry in own}
    told = {entry.case for entry in own if entry.index is None}
    by_name = {model.name: model for model in models}
    artifacts = {a.variant: a for model in models for a in model.artifacts}
    cases = sweep.cases()
    skipped = [
        _skip(device, case, by_name[case.variant.model], artifacts.get(case.variant.id))
        for case in cases.values()
        if case.id not in told and not _can_run(artifacts.get(case.variant.id))
    ]
    orders = []
    for planned in sweep.file.schedule[device]:
        case = cases[planned.case]
        artifact = artifacts.get(case.variant.id)
        if planned.index in ended or artifact is None or not _can_run(artifact):
            continue
        attempt = attempts.get(planned.index, 0) + 1
        model = by_name[case.variant.model]
        orders.append(
            Order(sweep.file.id, planned, attempt, sweep.file.plan, case, model, artifact)
        )
    return orders, skipped


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


class _Pace:
    """How fast launches of each pass go, and so how long the rest will take."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.missing_launches = orders
        self._seconds: dict[tuple[str, Pass], list[float]] = {}

    def note(self, order: Order, entry: LedgerEntry) -> None:
        key = (order.case.id, order.planned.measured_pass)
        self._seconds.setdefault(key, []).append((entry.host_ns or 0) / 1e9)

    def progress(
        self, device: str, done: int, order: Order, entry: LedgerEntry | None = None
    ) -> Progress:
        current = f"{order.case.id} ({order.planned.measured_pass})"
        return Progress(device, done, len(self.missing_launches), current, self._left(done), entry)

    def _left(self, done: int) -> float | None:
        """Sum what the remaining launches took before; unseen cases count as the average."""
        known = {key: sum(values) / len(values) for key, values in self._seconds.items()}
        if not known:
            return None
        average = sum(known.values()) / len(known)
        return sum(
            known.get((order.case.id, order.planned.measured_pass), average)
            for order in self.missing_launches[done:]
        )
