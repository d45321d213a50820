"""One device's part of a sweep: bring it what it needs, run what the ledger lacks, leave it.

Before each launch the device cools; after it, the launch is judged, and one that may not count for a
reason that passes is tried again. A failed launch ends that launch, a lost device ends its part. Every
attempt gets its line in the ledger, after its record is safe; only then does the device forget it.
Not here: the sweep as a whole (`sweep.py`), what one launch does (`launch.py`), what counts
(`validity.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from harness.cooling import Cooling, cool
from harness.devices.base import Device
from harness.energy_pass import EnergyPass, open_energy_pass, run_detached
from harness.errors import (
    DeviceError,
    DeviceLost,
    EnergyRefused,
    MeterError,
    RuntimePackError,
    Stopped,
)
from harness.export.artifact import Artifact, ExportedModel
from harness.job import Pass
from harness.launch import (
    Finished,
    Order,
    as_launch_error,
    failed_entry,
    interrupted_entry,
    make_job,
    run_launch,
    stage_files,
)
from harness.ledger import (
    Conditions,
    DeviceInfo,
    LaunchError,
    LedgerEntry,
    Sweep,
    append_entry,
    write_whole,
)
from harness.plan import Case, EngineName, Plan, slug
from harness.records import write_beside
from harness.runtimes import RuntimePack
from harness.schedule import estimate_launch_seconds
from harness.stop import Stop
from harness.validity import judge, may_pass


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands: told after every step. `entry` is what has just ended, if anything.

    `cooling` is set while the next launch waits for the device to cool; `again` counts the launches
    that were tried again.
    """

    device: str
    done: int
    total: int
    current: str
    seconds_left: float | None
    entry: LedgerEntry | None = None
    cooling: Cooling | None = None
    again: int = 0


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
    try:
        _Measuring(sweep, visit, tools, stop).run()
    except Stopped:
        return
    except DeviceError as error:
        tools.warn(str(error))


_REFUSALS = (EnergyRefused.__name__, MeterError.__name__)
_NOT_REACHED = LaunchError(
    kind="DeviceError",
    message="the phone did not come to this launch while it was unplugged",
    advice="phonebench run --resume runs what is left.",
)


class _Measuring:
    """The launches of one device, from the first to the last.

    `baseline` is the device as it was before the sweep's first launch: what the gate waits for. It
    is in the ledger, so that a resumed sweep keeps it. `begun` are the conditions before each attempt,
    and the seconds it waited: a launch that is taken up keeps those with which it began.
    """

    def __init__(self, sweep: Sweep, visit: Visit, tools: Tools, stop: Stop) -> None:
        self._sweep, self._visit, self._tools, self._stop = sweep, visit, tools, stop
        self._device = visit.device
        self._pace = _Pace(visit.orders)
        self._tries = Counter(
            entry.index for entry in sweep.entries if _has_ended(entry, self._device.info.id)
        )
        self._baseline = find_baseline(sweep, self._device.info.id)
        self._begun: dict[tuple[int | None, int], tuple[Conditions | None, float | None]] = {
            (entry.index, entry.attempt): (entry.before, entry.cooled_seconds)
            for entry in sweep.entries
            if entry.device == self._device.info.id
        }
        self._energy: EnergyPass | EnergyRefused | MeterError | None = None
        self._done = self._again = 0

    def run(self) -> None:
        """Run every launch. Raises DeviceError when the device is given up, and Stopped."""
        for order in self._visit.orders:
            if self._stop.is_set():
                return
            self._tell(order)
            entry = self._run(order)
            self._pace.note(order, entry)
            self._done += 1
            self._tell(order, entry)

    def _tell(
        self, order: Order, entry: LedgerEntry | None = None, cooling: Cooling | None = None
    ) -> None:
        step = self._pace.progress(self._device.info.id, self._done, order, entry)
        self._tools.observe(replace(step, cooling=cooling, again=self._again))

    def _run(self, order: Order) -> LedgerEntry:
        """Run a launch until it counts, or its tries are used up, or another would end no better."""
        left = order.plan.measure.retries - self._tries[order.planned.index]
        while True:
            entry = self._try(order)
            if left <= 0 or not deserves_another(entry) or self._runs_detached(order):
                return entry
            left -= 1
            self._again += 1
            self._tell(order, entry)
            order = replace(order, attempt=entry.attempt + 1)

    def _try(self, order: Order) -> LedgerEntry:
        """Run a launch of any pass; energy that is refused becomes an entry that says why."""
        if order.planned.measured_pass != "energy":
            return self._run_order(order, None)
        try:
            energy = self._open_energy(order.plan)
            if energy.is_detached and not self._is_known(order):
                return self._interrupt(order, _NOT_REACHED)
            with energy.around_launch(self._device):
                return self._run_order(order, energy)
        except (EnergyRefused, MeterError) as error:
            entry = failed_entry(self._device.info.id, order, error)
            entry = entry.model_copy(update={"validity": judge(entry, None, (), order.plan)})
            append_entry(self._sweep.folder, entry)
            return entry

    def _open_energy(self, plan: Plan) -> EnergyPass:
        """Return how energy is measured here, decided once. Raises EnergyRefused or MeterError."""
        if self._energy is None:
            try:
                self._energy = open_energy_pass(self._device, plan, self._tools.warn)
                if self._energy.is_detached:
                    self._run_detached(self._energy, plan)
            except (EnergyRefused, MeterError) as error:
                self._energy = error
        if isinstance(self._energy, Exception):
            raise self._energy
        return self._energy

    def _run_detached(self, energy: EnergyPass, plan: Plan) -> None:
        """Let the phone run its energy launches by itself; they are taken up like any others then."""
        wanted = [
            order
            for order in self._visit.orders
            if order.planned.measured_pass == "energy" and not self._is_known(order)
        ]
        jobs = [
            (make_job(self._device, order, energy.source), self._visit.packs[order.case.engine])
            for order in wanted
        ]
        refusal = None
        try:
            if jobs:
                run_detached(self._device, energy, jobs, plan, self._tools.warn, self._stop)
        except EnergyRefused as error:  # what it did before that counts
            refusal = error
        done = self._visit.known_jobs.union(self._device.jobs())
        self._visit = replace(self._visit, known_jobs=done)
        if refusal is not None:
            if not any(self._is_known(order) for order in wanted):
                raise refusal
            self._tools.warn(str(refusal))

    def _runs_detached(self, order: Order) -> bool:
        """Tell whether another try of a launch needs the phone to be sent away once more."""
        energy = self._energy
        of_energy = order.planned.measured_pass == "energy"
        return of_energy and isinstance(energy, EnergyPass) and energy.is_detached

    def _is_known(self, order: Order) -> bool:
        return not self._visit.known_jobs.isdisjoint({order.key, _previous(order).key})

    def _interrupt(self, order: Order, error: LaunchError) -> LedgerEntry:
        entry = interrupted_entry(self._device.info.id, order, error)
        append_entry(self._sweep.folder, entry)
        return entry

    def _run_order(self, order: Order, energy: EnergyPass | None) -> LedgerEntry:
        """Run one launch, again if it was interrupted; every attempt gets its line in the ledger.

        A job that outlived the host or the connection that began it is taken up where it stands.
        Raises DeviceError when the device is in trouble twice: then it is given up for this run.
        """
        if _previous(order).key in self._visit.known_jobs:
            order = _previous(order)
        known = order.key in self._visit.known_jobs
        try:
            entry = self._attempt(order, energy, known=known)
            if entry.status != "interrupted" or self._runs_detached(order):
                return entry
            known = False
        except DeviceLost:
            raise
        except DeviceError:  # it is in the ledger; a second one is not forgiven
            known = self._device.poll(order.key).state != "absent"
        if not known:
            order = replace(order, attempt=order.attempt + 1)
        return self._attempt(order, energy, known=known)

    def _attempt(self, order: Order, energy: EnergyPass | None, *, known: bool) -> LedgerEntry:
        device, folder = self._device, self._sweep.folder
        name = (order.planned.index, order.attempt)
        try:
            if not known:
                self._begun[name] = self._cool(order)
            before, cooled_seconds = self._begun.get(name, (None, None))
            finished = run_launch(
                device,
                self._visit.packs[order.case.engine],
                order,
                self._stop,
                known=known,
                before=before,
                power=energy.source if energy else None,
                recorder=energy.recorder if energy else None,
            )
        except (DeviceError, Stopped) as error:
            entry = interrupted_entry(device.info.id, order, as_launch_error(error))
            before, cooled_seconds = self._begun.get(name, (None, None))
            known_of_it = {"before": before, "cooled_seconds": cooled_seconds}
            append_entry(folder, entry.model_copy(update=known_of_it))
            if isinstance(error, Stopped):
                device.forget(order.key)
            raise
        if self._baseline is None:
            self._baseline = finished.entry.before
        entry = finished.entry.model_copy(update={"cooled_seconds": cooled_seconds})
        entry = self._judge(entry, finished, order.plan)
        entry = _keep(folder, replace(finished, entry=entry))
        device.forget(order.key)
        self._visit = replace(self._visit, known_jobs=self._visit.known_jobs - {order.key})
        return entry

    def _cool(self, order: Order) -> tuple[Conditions, float | None]:
        """Let the device cool before a launch; return its conditions then, and the seconds waited."""
        limit_seconds = order.plan.measure.cooldown_seconds
        if limit_seconds == 0:
            return self._device.conditions(), None
        return cool(
            self._device,
            self._baseline,
            limit_seconds,
            self._stop,
            lambda cooling: self._tell(order, cooling=cooling),
        )

    def _judge(self, entry: LedgerEntry, finished: Finished, plan: Plan) -> LedgerEntry:
        accepted = self._sweep.file.accepted
        validity = judge(entry, finished.parsed, finished.beside, plan, accepted, self._baseline)
        return entry.model_copy(update={"validity": validity})


def deserves_another(entry: LedgerEntry) -> bool:
    """Tell whether a launch does not count for reasons that may be gone at another try."""
    return entry.status == "ok" and entry.validity is not None and may_pass(entry.validity)


def find_baseline(sweep: Sweep, device: str) -> Conditions | None:
    """Return a device's conditions before the first launch of a sweep that has any."""
    own = (entry.before for entry in sweep.entries if entry.device == device)
    return next((before for before in own if before is not None), None)


def _clear(sweep: Sweep, orders: Sequence[Order], device: Device) -> frozenset[str]:
    """Remove this sweep's jobs that are in the ledger: a host may have died between the two.

    Returns the jobs that may still be taken up. Raises DeviceError if a job of another sweep runs.
    """
    name = device.info.id
    ended = {(e.index, e.attempt) for e in sweep.entries if _has_ended(e, name)}
    wanted = {
        o.key
        for order in orders
        for o in (order, _previous(order))
        if (o.planned.index, o.attempt) not in ended
    }
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


def _previous(order: Order) -> Order:
    return replace(order, attempt=order.attempt - 1)


def _keep(folder: Path, finished: Finished) -> LedgerEntry:
    """Store a launch: first its records, whole, then the line that vouches for them."""
    entry = finished.entry
    suffix = "" if entry.attempt == 1 else f".retry{entry.attempt - 1}"
    stem = f"launches/{slug(entry.device)}/{entry.index:04d}-{entry.case}{suffix}"
    if finished.record is not None:
        write_whole(folder / f"{stem}.jsonl", finished.record)
        entry = entry.model_copy(update={"file": f"{stem}.jsonl"})
    if finished.beside:
        write_whole(folder / f"{stem}.beside.jsonl", write_beside(finished.beside))
        entry = entry.model_copy(update={"beside_file": f"{stem}.beside.jsonl"})
    append_entry(folder, entry)
    return entry


def missing_launches(
    sweep: Sweep, models: Sequence[ExportedModel], device: str
) -> tuple[list[Order], list[LedgerEntry]]:
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


def settled_launches(sweep: Sweep, device: str) -> dict[int, LedgerEntry]:
    """Return the last attempt of each launch that is done, by index: no other is to be made."""
    tries: dict[int, list[LedgerEntry]] = {}
    for entry in sweep.entries:
        if entry.index is not None and _has_ended(entry, device):
            tries.setdefault(entry.index, []).append(entry)
    retries = sweep.file.plan.measure.retries
    return {
        index: entries[-1]
        for index, entries in tries.items()
        if not deserves_another(entries[-1]) or len(entries) > retries
    }


def _has_ended(entry: LedgerEntry, device: str) -> bool:
    launched = entry.device == device and entry.index is not None and not was_refused(entry)
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


class _Pace:
    """How fast launches of each pass go, and so how long the rest will take."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.missing_launches = orders
        self._seconds: dict[tuple[str, Pass], list[float]] = {}

    def note(self, order: Order, entry: LedgerEntry) -> None:
        key = (order.case.id, order.planned.measured_pass)
        seconds = (entry.host_ns or 0) / 1e9 + (entry.cooled_seconds or 0.0)
        self._seconds.setdefault(key, []).append(seconds)

    def progress(
        self, device: str, done: int, order: Order, entry: LedgerEntry | None = None
    ) -> Progress:
        current = f"{order.case.id} ({order.planned.measured_pass})"
        return Progress(device, done, len(self.missing_launches), current, self._left(done), entry)

    def _left(self, done: int) -> float | None:
        """Sum what the remaining launches took before; of unseen passes, what the plan lets expect."""
        if not self._seconds:
            return None
        return sum(self._expect(order) for order in self.missing_launches[done:])

    def _expect(self, order: Order) -> float:
        measured_pass = order.planned.measured_pass
        own = self._seconds.get((order.case.id, measured_pass))
        alike = [
            s for (_, of), seconds in self._seconds.items() if of == measured_pass for s in seconds
        ]
        seen = own or alike
        return fmean(seen) if seen else estimate_launch_seconds(order.plan, measured_pass)
