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

from harness.analysis.validity import judge
from harness.cancellation import Cancellation
from harness.devices.base import Device
from harness.errors import (
    DeviceError,
    DeviceLost,
    EnergyRefused,
    MeterError,
    RunnerPackError,
    Stopped,
)
from harness.measure.charging import EnergyPass, open_energy_pass
from harness.measure.cooldown import Cooldown, cool
from harness.measure.launch import (
    Finished,
    LaunchTask,
    as_launch_error,
    failed_entry,
    interrupted_entry,
    make_job,
    run_launch,
    stage_files,
)
from harness.measure.resume import deserves_another, find_baseline, has_ended, missing_launches
from harness.measure.schedule import estimate_launch_seconds
from harness.measure.unplugged import run_detached
from harness.results.folder import Sweep, append_entry
from harness.runners.pack import RunnerPack
from harness.schema.artifact import ExportedModel
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Pass
from harness.schema.plan import EngineName, Plan, slug
from harness.schema.record import write_sidecar
from harness.schema.sweep import LaunchError, LedgerEntry
from harness.storage.files import write_whole


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
    cooldown: Cooldown | None = None
    again: int = 0


@dataclass(frozen=True)
class Tools:
    """What a sweep is given from outside: it knows no concrete device, engine or exporter."""

    export: Callable[[Plan], tuple[ExportedModel, ...]]
    open_device: Callable[[DeviceInfo, str], Device]
    runner_pack: Callable[[EngineName, DeviceInfo], RunnerPack]
    observe: Callable[[Progress], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class DeviceRun:
    """One device's part of a sweep: all that it needs is on it."""

    device: Device
    tasks: Sequence[LaunchTask]
    packs: dict[EngineName, RunnerPack]
    known_jobs: frozenset[str]


def prepare(
    sweep: Sweep,
    models: Sequence[ExportedModel],
    info: DeviceInfo,
    tools: Tools,
    devices: ExitStack,
) -> DeviceRun | None:
    """Open a device and bring all it needs to it; None if nothing is left to do, or it fails.

    The device is left as it was found when `devices` closes.
    """
    tasks, skipped = missing_launches(sweep, models, info.id)
    for entry in skipped:
        append_entry(sweep.folder, entry)
    if not tasks:
        return None
    try:
        device = tools.open_device(info, f"sweep {sweep.file.id}")
        devices.callback(_leave, device, tools)
        _check_same_device(device, info)
        device.apply(sweep.file.plan.device)
        engines = dict.fromkeys(task.case.engine for task in tasks)
        packs = {engine: tools.runner_pack(engine, info) for engine in engines}
        for pack in packs.values():
            device.install(pack)
        for task in tasks:
            stage_files(device, task)
        known_jobs = _clear(sweep, tasks, device)
    except (DeviceError, RunnerPackError) as error:
        tools.warn(str(error))
        return None
    return DeviceRun(device, tasks, packs, known_jobs)


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
    except (DeviceError, RunnerPackError) as error:
        tools.warn(str(error))
    finally:
        device.close()


def measure(sweep: Sweep, run: DeviceRun, tools: Tools, cancellation: Cancellation) -> None:
    """Run all launches of one device; it may go away for good, and the others go on."""
    try:
        _Measuring(sweep, run, tools, cancellation).run()
    except Stopped:
        return
    except DeviceError as error:
        tools.warn(str(error))


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

    def __init__(
        self, sweep: Sweep, run: DeviceRun, tools: Tools, cancellation: Cancellation
    ) -> None:
        self._sweep, self._part, self._tools, self._cancellation = sweep, run, tools, cancellation
        self._device = run.device
        self._pace = _Pace(run.tasks)
        self._tries = Counter(
            entry.index for entry in sweep.entries if has_ended(entry, self._device.info.id)
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
        for task in self._part.tasks:
            if self._cancellation.is_set():
                return
            self._tell(task)
            entry = self._run(task)
            self._pace.note(task, entry)
            self._done += 1
            self._tell(task, entry)

    def _tell(
        self, task: LaunchTask, entry: LedgerEntry | None = None, cooldown: Cooldown | None = None
    ) -> None:
        step = self._pace.progress(self._device.info.id, self._done, task, entry)
        self._tools.observe(replace(step, cooldown=cooldown, again=self._again))

    def _run(self, task: LaunchTask) -> LedgerEntry:
        """Run a launch until it counts, or its tries are used up, or another would end no better."""
        left = task.plan.measure.retries - self._tries[task.planned.index]
        while True:
            entry = self._try(task)
            if left <= 0 or not deserves_another(entry) or self._runs_detached(task):
                return entry
            left -= 1
            self._again += 1
            self._tell(task, entry)
            task = replace(task, attempt=entry.attempt + 1)

    def _try(self, task: LaunchTask) -> LedgerEntry:
        """Run a launch of any pass; energy that is refused becomes an entry that says why."""
        if task.planned.measured_pass != "energy":
            return self._run_task(task, None)
        try:
            energy = self._open_energy(task.plan)
            if energy.is_detached and not self._is_known(task):
                return self._interrupt(task, _NOT_REACHED)
            with energy.around_launch(self._device):
                return self._run_task(task, energy)
        except (EnergyRefused, MeterError) as error:
            entry = failed_entry(self._device.info.id, task, error)
            entry = entry.model_copy(update={"validity": judge(entry, None, (), task.plan)})
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
            task
            for task in self._part.tasks
            if task.planned.measured_pass == "energy" and not self._is_known(task)
        ]
        jobs = [
            (make_job(self._device, task, energy.source), self._part.packs[task.case.engine])
            for task in wanted
        ]
        refusal = None
        try:
            if jobs:
                run_detached(self._device, energy, jobs, plan, self._tools.warn, self._cancellation)
        except EnergyRefused as error:  # what it did before that counts
            refusal = error
        done = self._part.known_jobs.union(self._device.jobs())
        self._part = replace(self._part, known_jobs=done)
        if refusal is not None:
            if not any(self._is_known(task) for task in wanted):
                raise refusal
            self._tools.warn(str(refusal))

    def _runs_detached(self, task: LaunchTask) -> bool:
        """Tell whether another try of a launch needs the phone to be sent away once more."""
        energy = self._energy
        of_energy = task.planned.measured_pass == "energy"
        return of_energy and isinstance(energy, EnergyPass) and energy.is_detached

    def _is_known(self, task: LaunchTask) -> bool:
        return not self._part.known_jobs.isdisjoint({task.key, _previous(task).key})

    def _interrupt(self, task: LaunchTask, error: LaunchError) -> LedgerEntry:
        entry = interrupted_entry(self._device.info.id, task, error)
        append_entry(self._sweep.folder, entry)
        return entry

    def _run_task(self, task: LaunchTask, energy: EnergyPass | None) -> LedgerEntry:
        """Run one launch, again if it was interrupted; every attempt gets its line in the ledger.

        A job that outlived the host or the connection that began it is taken up where it stands.
        Raises DeviceError when the device is in trouble twice: then it is given up for this run.
        """
        if _previous(task).key in self._part.known_jobs:
            task = _previous(task)
        known = task.key in self._part.known_jobs
        try:
            entry = self._attempt(task, energy, known=known)
            if entry.status != "interrupted" or self._runs_detached(task):
                return entry
            known = False
        except DeviceLost:
            raise
        except DeviceError:  # it is in the ledger; a second one is not forgiven
            known = self._device.poll(task.key).state != "absent"
        if not known:
            task = replace(task, attempt=task.attempt + 1)
        return self._attempt(task, energy, known=known)

    def _attempt(self, task: LaunchTask, energy: EnergyPass | None, *, known: bool) -> LedgerEntry:
        device, folder = self._device, self._sweep.folder
        name = (task.planned.index, task.attempt)
        try:
            if not known:
                self._begun[name] = self._cool(task)
            before, cooled_seconds = self._begun.get(name, (None, None))
            finished = run_launch(
                device,
                self._part.packs[task.case.engine],
                task,
                self._cancellation,
                known=known,
                before=before,
                power=energy.source if energy else None,
                recorder=energy.recorder if energy else None,
            )
        except (DeviceError, Stopped) as error:
            entry = interrupted_entry(device.info.id, task, as_launch_error(error))
            before, cooled_seconds = self._begun.get(name, (None, None))
            known_of_it = {"before": before, "cooled_seconds": cooled_seconds}
            append_entry(folder, entry.model_copy(update=known_of_it))
            if isinstance(error, Stopped):
                device.forget(task.key)
            raise
        if self._baseline is None:
            self._baseline = finished.entry.before
        entry = finished.entry.model_copy(update={"cooled_seconds": cooled_seconds})
        entry = self._judge(entry, finished, task.plan)
        entry = _keep(folder, replace(finished, entry=entry))
        device.forget(task.key)
        self._part = replace(self._part, known_jobs=self._part.known_jobs - {task.key})
        return entry

    def _cool(self, task: LaunchTask) -> tuple[Conditions, float | None]:
        """Let the device cool before a launch; return its conditions then, and the seconds waited."""
        limit_seconds = task.plan.measure.cooldown_seconds
        if limit_seconds == 0:
            return self._device.conditions(), None
        return cool(
            self._device,
            self._baseline,
            limit_seconds,
            self._cancellation,
            lambda cooldown: self._tell(task, cooldown=cooldown),
        )

    def _judge(self, entry: LedgerEntry, finished: Finished, plan: Plan) -> LedgerEntry:
        accepted = self._sweep.file.accepted
        validity = judge(entry, finished.parsed, finished.sidecar, plan, accepted, self._baseline)
        return entry.model_copy(update={"validity": validity})


def _clear(sweep: Sweep, tasks: Sequence[LaunchTask], device: Device) -> frozenset[str]:
    """Remove this sweep's jobs that are in the ledger: a host may have died between the two.

    Returns the jobs that may still be taken up. Raises DeviceError if a job of another sweep runs.
    """
    name = device.info.id
    ended = {(e.index, e.attempt) for e in sweep.entries if has_ended(e, name)}
    wanted = {
        o.key
        for task in tasks
        for o in (task, _previous(task))
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


def _previous(task: LaunchTask) -> LaunchTask:
    return replace(task, attempt=task.attempt - 1)


def _keep(folder: Path, finished: Finished) -> LedgerEntry:
    """Store a launch: first its records, whole, then the line that vouches for them."""
    entry = finished.entry
    suffix = "" if entry.attempt == 1 else f".retry{entry.attempt - 1}"
    stem = f"launches/{slug(entry.device)}/{entry.index:04d}-{entry.case}{suffix}"
    if finished.record is not None:
        write_whole(folder / f"{stem}.jsonl", finished.record)
        entry = entry.model_copy(update={"file": f"{stem}.jsonl"})
    if finished.sidecar:
        write_whole(folder / f"{stem}.sidecar.jsonl", write_sidecar(finished.sidecar))
        entry = entry.model_copy(update={"sidecar_file": f"{stem}.sidecar.jsonl"})
    append_entry(folder, entry)
    return entry


class _Pace:
    """How fast launches of each pass go, and so how long the rest will take."""

    def __init__(self, tasks: Sequence[LaunchTask]) -> None:
        self.missing_launches = tasks
        self._seconds: dict[tuple[str, Pass], list[float]] = {}

    def note(self, task: LaunchTask, entry: LedgerEntry) -> None:
        key = (task.case.id, task.planned.measured_pass)
        seconds = (entry.host_ns or 0) / 1e9 + (entry.cooled_seconds or 0.0)
        self._seconds.setdefault(key, []).append(seconds)

    def progress(
        self, device: str, done: int, task: LaunchTask, entry: LedgerEntry | None = None
    ) -> Progress:
        current = f"{task.case.id} ({task.planned.measured_pass})"
        return Progress(device, done, len(self.missing_launches), current, self._left(done), entry)

    def _left(self, done: int) -> float | None:
        """Sum what the remaining launches took before; of unseen passes, what the plan lets expect."""
        if not self._seconds:
            return None
        return sum(self._expect(task) for task in self.missing_launches[done:])

    def _expect(self, task: LaunchTask) -> float:
        measured_pass = task.planned.measured_pass
        own = self._seconds.get((task.case.id, measured_pass))
        alike = [
            s for (_, of), seconds in self._seconds.items() if of == measured_pass for s in seconds
        ]
        seen = own or alike
        return fmean(seen) if seen else estimate_launch_seconds(task.plan, measured_pass)
