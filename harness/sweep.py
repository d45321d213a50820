"""A sweep: the loop over devices, rounds and cases, with its ledger; and its resumption.

Rounds are outermost, so that drift spreads over all cases. A failed launch ends that launch, a
lost device ends that device; the others go on. Whatever dies at any moment, a resumed sweep
collects what had finished and runs only what the ledger lacks.
Not here: what one launch does (`launch.py`), how files stay whole (`ledger.py`), printing.
"""

from __future__ import annotations

import fcntl
import os
import platform
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import tomli_w

from harness.devices.base import Device
from harness.errors import DeviceError, DeviceLost, RuntimePackError, Stopped, SweepError
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
    LEVELS,
    SWEEP_VERSION,
    ArtifactsFile,
    DeviceFinding,
    DeviceInfo,
    Host,
    LaunchError,
    LedgerEntry,
    PlannedLaunch,
    Sweep,
    SweepFile,
    append_entry,
    read_sweep,
    write_whole,
)
from harness.plan import Case, EngineName, Plan, slug
from harness.runtimes import RuntimePack
from harness.stop import Stop

# Memory repeats well, and a profile is there to explain: neither needs every round.
PASS_ROUNDS: dict[Pass, int] = {"memory": 3, "profile": 1}


Findings = Mapping[str, tuple[DeviceFinding, ...]]


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


def schedule(plan: Plan, device: str) -> tuple[PlannedLaunch, ...]:
    """Return every launch on one device in the order it will run: seeded, round by round."""
    cases = [case.id for case in plan.cases()]
    launches: list[PlannedLaunch] = []
    for number in range(1, plan.plan.rounds + 1):
        wanted = [
            (case, measured_pass)
            for measured_pass in plan.measure.passes
            if number <= PASS_ROUNDS.get(measured_pass, number)
            for case in cases
        ]
        random.Random(f"{plan.plan.seed}/{device}/{number}").shuffle(wanted)
        launches += [
            PlannedLaunch(index=index, round=number, case=case, measured_pass=measured_pass)
            for index, (case, measured_pass) in enumerate(wanted, len(launches) + 1)
        ]
    return tuple(launches)


def estimate_seconds(plan: Plan) -> float:
    """Estimate how long measuring takes, without exports: a second or so around each launch."""
    measure = plan.measure
    busy: dict[Pass, float] = {
        "latency": measure.warmup_seconds + measure.min_seconds,
        "memory": 0.2,
        "profile": measure.warmup_seconds + 0.5,
    }
    launches = schedule(plan, plan.plan.devices[0])
    return sum(1.0 + busy[launch.measured_pass] for launch in launches)


def create_sweep(
    output: Path,
    plan: Plan,
    devices: Sequence[DeviceInfo],
    command: Sequence[str],
    accepted: Sequence[str] = (),
    findings: Findings | None = None,
) -> Path:
    """Make a new sweep folder under `output`, with its sweep.json; return the folder.

    `findings` are those of the devices' examination, `accepted` the keys of those that may stand.
    """
    created = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(created))
    name = f"{stamp}-{slug(plan.plan.name)}"
    folder, number = output / name, 1
    while folder.exists():
        number += 1
        folder = output / f"{name}-{number}"
    file = SweepFile(
        sweep_version=SWEEP_VERSION,
        # Two hosts may begin the same plan in the same second, and share a phone.
        id=f"{folder.name}-{secrets.token_hex(2)}",
        created_unix=created,
        command=tuple(command),
        directory=str(Path.cwd()),
        plan_name=plan.plan.name,
        plan_sha256=plan.sha256(),
        plan=plan,
        host=describe_host(),
        devices=tuple(devices),
        schedule={info.id: schedule(plan, info.id) for info in devices},
        accepted=tuple(accepted),
        findings=dict(findings or {}),
    )
    write_whole(folder / "plan.toml", plan_as_toml(plan).encode())
    write_whole(folder / "sweep.json", file.model_dump_json(indent=1).encode())
    return folder


def note_examination(folder: Path, accepted: Sequence[str], findings: Findings) -> None:
    """Add to a sweep's sweep.json what a later examination found, and what was accepted then.

    Of two findings of one key, the graver stays; nothing that was written down is lost.
    """
    with _locked(folder):
        file = read_sweep(folder).file
        merged = {
            device: _graver(file.findings.get(device, ()), findings.get(device, ()))
            for device in dict.fromkeys([*file.findings, *findings])
        }
        keys = tuple(dict.fromkeys([*file.accepted, *accepted]))
        file = file.model_copy(update={"accepted": keys, "findings": merged})
        write_whole(folder / "sweep.json", file.model_dump_json(indent=1).encode())


def _graver(
    before: Sequence[DeviceFinding], now: Sequence[DeviceFinding]
) -> tuple[DeviceFinding, ...]:
    by_key = {finding.key: finding for finding in before}
    for finding in now:
        known = by_key.get(finding.key)
        if known is None or LEVELS.index(finding.level) <= LEVELS.index(known.level):
            by_key[finding.key] = finding
    return tuple(sorted(by_key.values(), key=lambda finding: LEVELS.index(finding.level)))


def plan_as_toml(plan: Plan) -> str:
    """Return the plan as a plan file: what was given, without defaults."""
    return tomli_w.dumps(plan.model_dump(mode="json", exclude_unset=True, exclude_none=True))


def describe_host() -> Host:
    """Describe this computer's software, without importing any of it."""
    return Host(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        harness=version("phonebench"),
        torch=version("torch"),
    )


def check_same_plan(sweep: Sweep, plan: Plan) -> None:
    """Raise SweepError if `plan` is not the one that the sweep began with."""
    if plan.sha256() == sweep.file.plan_sha256:
        return
    before, now = sweep.file.plan.model_dump(), plan.model_dump()
    changed = [key for key in now if before[key] != now[key]]
    raise SweepError(
        f"the plan has changed since {sweep.folder} was begun: {', '.join(changed)} differ",
        "Resume without naming the plan (the folder has its own copy), or start a new sweep.",
    )


def run_sweep(folder: Path, tools: Tools) -> bool:
    """Run what the sweep's ledger lacks. Returns whether every launch now has a good end.

    Devices are prepared one after the other, then measured in parallel: so nothing is pushed while
    something is measured. Raises KeyboardInterrupt after an orderly stop, and StorageError when
    the folder cannot be written; in both cases the folder can be resumed.
    """
    with _locked(folder), closing(Stop()) as stop, ExitStack() as devices:
        sweep = read_sweep(folder)
        models = _artifacts(sweep, tools)
        visits = [_prepare(sweep, models, info, tools, devices) for info in sweep.file.devices]
        ready = [visit for visit in visits if visit is not None]
        _in_parallel([partial(_measure, sweep, visit, tools, stop) for visit in ready], stop)
    return is_complete(read_sweep(folder))


def _in_parallel(works: Sequence[Callable[[], None]], stop: Stop) -> None:
    """Do all works at once. What goes wrong in one, or Ctrl-C, stops the others in good order."""
    if not works:
        return
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if any(not future.done() or future.exception() for future in futures):
                stop.set()
    for future in futures:
        future.result()


def is_complete(sweep: Sweep) -> bool:
    """Tell whether every planned launch ended ok, or belongs to a case that was skipped."""
    return not unfinished_devices(sweep)


def unfinished_devices(sweep: Sweep) -> list[DeviceInfo]:
    """Return the devices on which a planned launch has no good end."""
    good = {(entry.device, entry.index) for entry in sweep.entries if entry.status == "ok"}
    skipped = {(entry.device, entry.case) for entry in sweep.entries if entry.status == "skipped"}
    return [
        info
        for info in sweep.file.devices
        if not all(
            (info.id, launch.index) in good or (info.id, launch.case) in skipped
            for launch in sweep.file.schedule[info.id]
        )
    ]


def count_unfinished(sweep: Sweep) -> int:
    """Count the launches that a resumed sweep would run: they have no end, or were interrupted."""
    if not sweep.models:
        return sum(map(len, sweep.file.schedule.values()))
    return sum(len(_orders(sweep, sweep.models, info.id)[0]) for info in sweep.file.devices)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second harness off the same folder."""
    # Not a file in it: each may be replaced.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepError(
                f"{folder} is being run by another phonebench",
                "Wait until it is done; then look at it, or resume it.",
            ) from error
        yield
    finally:
        os.close(descriptor)


def _artifacts(sweep: Sweep, tools: Tools) -> tuple[ExportedModel, ...]:
    """Export, or find again what was exported; a resumed sweep measures the very same files."""
    models = tools.export(sweep.file.plan)
    if not sweep.models:
        content = ArtifactsFile(models=models).model_dump_json(indent=1)
        write_whole(sweep.folder / "artifacts.json", content.encode())
        return models
    before = {a.variant: _digest(a) for model in sweep.models for a in model.artifacts}
    now = {a.variant: _digest(a) for model in models for a in model.artifacts}
    changed = sorted(variant for variant in before if now.get(variant) != before[variant])
    if changed:
        raise SweepError(
            f"{sweep.folder} was begun with other artifacts: {', '.join(changed)} now export "
            "differently",
            "The model's code, its data or torch has changed since: start a new sweep.",
        )
    return models


def _digest(artifact: Artifact) -> str:
    return artifact.manifest.sha256 if artifact.manifest else artifact.status


@dataclass(frozen=True)
class _Visit:
    """One device's part of a sweep: all that it needs is on it."""

    device: Device
    orders: Sequence[Order]
    packs: dict[EngineName, RuntimePack]
    known_jobs: frozenset[str]


def _prepare(
    sweep: Sweep,
    models: Sequence[ExportedModel],
    info: DeviceInfo,
    tools: Tools,
    devices: ExitStack,
) -> _Visit | None:
    """Open a device and bring all it needs to it; None if nothing is left to do, or it fails.

    The device is left as it was found when `devices` closes.
    """
    orders, skipped = _orders(sweep, models, info.id)
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
    return _Visit(device, orders, packs, known_jobs)


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


def _measure(sweep: Sweep, visit: _Visit, tools: Tools, stop: Stop) -> None:
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


def _run_order(folder: Path, order: Order, visit: _Visit, stop: Stop) -> LedgerEntry:
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


def _attempt(folder: Path, order: Order, visit: _Visit, stop: Stop, *, known: bool) -> LedgerEntry:
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


def _orders(
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
        self._orders = orders
        self._seconds: dict[tuple[str, Pass], list[float]] = {}

    def note(self, order: Order, entry: LedgerEntry) -> None:
        key = (order.case.id, order.planned.measured_pass)
        self._seconds.setdefault(key, []).append((entry.host_ns or 0) / 1e9)

    def progress(
        self, device: str, done: int, order: Order, entry: LedgerEntry | None = None
    ) -> Progress:
        current = f"{order.case.id} ({order.planned.measured_pass})"
        return Progress(device, done, len(self._orders), current, self._left(done), entry)

    def _left(self, done: int) -> float | None:
        """Sum what the remaining launches took before; unseen cases count as the average."""
        known = {key: sum(values) / len(values) for key, values in self._seconds.items()}
        if not known:
            return None
        average = sum(known.values()) / len(known)
        return sum(
            known.get((order.case.id, order.planned.measured_pass), average)
            for order in self._orders[done:]
        )
