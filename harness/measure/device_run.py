"""One device's part of a sweep: bring it what it needs, run what the ledger lacks, leave it.

A loop over launches, and for each a loop over what is due next. Every attempt gets its line in the
ledger, after its record is safe; only then does the device forget it.
Not here: the sweep as a whole (`sweep.py`), what is due next (`next_step.py`), what one launch does
(`launch.py`), what counts (`analysis/validity.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from harness.cancellation import Cancellation
from harness.devices.base import Device
from harness.errors import (
    DeviceError,
    DeviceLost,
    EnergyRefused,
    HarnessError,
    MeterError,
    RunnerPackError,
    Stopped,
)
from harness.measure.attempt import Attempt, LaunchTask
from harness.measure.charging import EnergyPass, open_energy_pass
from harness.measure.cooldown import Cooldown, cool
from harness.measure.jobs import make_job, stage_files
from harness.measure.launch import run_launch
from harness.measure.next_step import (
    EnergyState,
    GiveUp,
    Outcome,
    Run,
    Step,
    Stop,
    TakeUp,
    next_step,
)
from harness.measure.patience import PATIENCE, Patience
from harness.measure.progress import Pace, Progress
from harness.measure.resume import find_baseline, has_ended, missing_launches
from harness.measure.unplugged import run_detached
from harness.results.folder import Sweep
from harness.results.launches import keep_launch
from harness.runners.pack import RunnerPack
from harness.schema.artifact import ExportedModel
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.plan import EngineName, Plan
from harness.schema.sweep import LedgerEntry


@dataclass(frozen=True)
class Services:
    """What a sweep is given from outside: it knows no concrete device or engine."""

    open_device: Callable[[DeviceInfo, str], Device]
    runner_pack: Callable[[EngineName, DeviceInfo], RunnerPack]
    observe: Callable[[Progress], None]
    warn: Callable[[str], None]
    patience: Patience = PATIENCE


@dataclass(frozen=True)
class DeviceRun:
    """One device's part of a sweep, ready to be measured: `jobs` of it are on the device already."""

    device: Device
    tasks: Sequence[LaunchTask]
    packs: dict[EngineName, RunnerPack]
    jobs: frozenset[str]


# --- before: bring the device what it needs ------------------------------------------------------


def prepare(
    sweep: Sweep,
    models: Sequence[ExportedModel],
    info: DeviceInfo,
    services: Services,
    devices: ExitStack,
) -> DeviceRun | None:
    """Open a device and bring all it needs to it; None if nothing is left to do, or it fails.

    The device is left as it was found when `devices` closes.
    """
    tasks, skipped = missing_launches(sweep, models, info.id)
    for entry in skipped:
        keep_launch(sweep.folder, entry)
    if not tasks:
        return None
    try:
        device = services.open_device(info, f"sweep {sweep.file.id}")
        devices.callback(_leave, device, services)
        _check_same_device(device, info)
        device.apply(sweep.file.plan.device)
        engines = dict.fromkeys(task.case.engine for task in tasks)
        packs = {engine: services.runner_pack(engine, info) for engine in engines}
        for pack in packs.values():
            device.install(pack)
        for task in tasks:
            stage_files(device, task)
        jobs = _clear(sweep, tasks, device)
    except (DeviceError, RunnerPackError) as error:
        services.warn(str(error))
        return None
    return DeviceRun(device, tasks, packs, jobs)


def _check_same_device(device: Device, info: DeviceInfo) -> None:
    if device.info.fingerprint != info.fingerprint:
        raise DeviceError(
            f"{info.id} is not the device that this sweep began on: {device.info.name} now, "
            f"{info.name} then",
            "Attach that device again, or start a new sweep.",
        )


def _leave(device: Device, services: Services) -> None:
    """Leave a device as it was found; trouble with that must not hide an earlier error."""
    try:
        device.restore()
    except (DeviceError, RunnerPackError) as error:
        services.warn(str(error))
    finally:
        device.close()


def _clear(sweep: Sweep, tasks: Sequence[LaunchTask], device: Device) -> frozenset[str]:
    """Remove this sweep's jobs that are in the ledger: a host may have died between the two.

    Returns the jobs that may still be taken up. Raises DeviceError if a job of another sweep runs.
    """
    name = device.info.id
    ended = {(e.index, e.attempt) for e in sweep.entries if has_ended(e, name)}
    wanted = {
        attempt.key
        for task in tasks
        for attempt in (task, task.at(task.attempt - 1))
        if (attempt.planned.index, attempt.attempt) not in ended
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


# --- measuring ------------------------------------------------------------------------------------


def measure(sweep: Sweep, part: DeviceRun, services: Services, cancellation: Cancellation) -> None:
    """Run all launches of one device; it may go away for good, and the others go on."""
    try:
        _Measuring(sweep, part, services, cancellation).run()
    except Stopped:
        return
    except DeviceError as error:
        services.warn(str(error))


_NOT_REACHED = DeviceError(
    "the phone did not come to this launch while it was unplugged",
    "phonebench run --resume runs what is left.",
)


class _Measuring:
    """The launches of one device, from the first to the last.

    `_baseline` is the device as it was before the sweep's first launch: what the gate waits for. It
    is in the ledger, so that a resumed sweep keeps it. `_jobs` are those that are on the device, and
    `_accounts` the ledger's latest lines of its launches, by index and attempt.
    `_energy` is how energy is measured here, or why it is not, decided before the first such launch.
    """

    def __init__(
        self, sweep: Sweep, part: DeviceRun, services: Services, cancellation: Cancellation
    ) -> None:
        self._sweep, self._services, self._cancellation = sweep, services, cancellation
        self._device, self._tasks, self._packs = part.device, part.tasks, part.packs
        self._jobs = set(part.jobs)
        self._baseline = find_baseline(sweep, part.device.info.id)
        self._energy: EnergyPass | EnergyRefused | MeterError | None = None
        self._accounts: dict[int, dict[int, LedgerEntry]] = defaultdict(dict)
        for entry in sweep.entries:
            if entry.device == part.device.info.id and entry.index is not None:
                self._accounts[entry.index][entry.attempt] = entry
        self._pace = Pace(part.tasks)
        self._done = self._again = 0

    def run(self) -> None:
        """Run every launch. Raises DeviceError when the device is given up, and Stopped."""
        for task in self._tasks:
            if self._cancellation.is_set():
                return
            self._tell(task)
            entry = self._finish(task)
            self._pace.note(task, entry)
            self._done += 1
            self._tell(task, entry)

    def _tell(
        self, task: LaunchTask, entry: LedgerEntry | None = None, cooldown: Cooldown | None = None
    ) -> None:
        step = Progress(
            device=self._device.info.id,
            done=self._done,
            total=len(self._tasks),
            current=f"{task.case.id} ({task.planned.measured_pass})",
            seconds_left=self._pace.seconds_left(self._done),
            entry=entry,
            cooldown=cooldown,
            again=self._again,
        )
        self._services.observe(step)

    def _finish(self, task: LaunchTask) -> LedgerEntry:
        """Do for one launch what is due next, until nothing is; return its last account.

        Raises the trouble because of which the device is given up, and Stopped.
        """
        accounts = self._accounts[task.planned.index]
        earlier = [accounts[attempt] for attempt in sorted(accounts)]
        made: list[Outcome] = []
        while True:
            match self._next_step(task, earlier, made):
                case Run(attempt=number, again=again):
                    if again:
                        self._again += 1
                        self._tell(task, made[-1].entry)
                    made.append(self._make(task.at(number), known=False))
                case TakeUp(attempt=number):
                    made.append(self._make(task.at(number), known=True))
                case GiveUp(trouble=trouble):
                    raise trouble
                case Stop(why="ended"):
                    return made[-1].entry
                case Stop():
                    return self._leave_out(task)

    def _next_step(
        self, task: LaunchTask, earlier: Sequence[LedgerEntry], made: Sequence[Outcome]
    ) -> Step:
        energy = self._energy_state(task)  # first: a phone may do its jobs meanwhile
        attempts = range(1, task.attempt + len(made) + 1)
        jobs = {number for number in attempts if task.at(number).key in self._jobs}
        return next_step(earlier, made, jobs, task.plan.measure.retries, energy)

    def _make(self, task: LaunchTask, *, known: bool) -> Outcome:
        """Make one attempt, and write down what became of it.

        Raises Stopped, and DeviceError when the device does not even tell whether its job is there.
        """
        attempt = Attempt(self._device.info.id, task)
        try:
            self._carry_out(attempt, known=known)
        except Stopped as error:
            attempt.interrupt(error)
            self._keep(attempt)
            self._device.forget(task.key)
            raise
        except (EnergyRefused, MeterError) as error:
            attempt.fail(error)
            return Outcome(self._keep(attempt))
        except DeviceError as error:
            attempt.interrupt(error)
            entry = self._keep(attempt)
            if not isinstance(error, DeviceLost):
                self._look_for(task)
            return Outcome(entry, error)
        entry = self._keep(attempt)
        self._forget(task)
        return Outcome(entry)

    def _carry_out(self, attempt: Attempt, *, known: bool) -> None:
        """Let the device cool and run the launch, or take it up: it keeps what was before it then."""
        task = attempt.task
        energy = self._energy if task.is_energy and isinstance(self._energy, EnergyPass) else None
        if known:
            account = self._accounts[task.planned.index].get(task.attempt)
            if account is not None:
                attempt.before, attempt.cooled_seconds = account.before, account.cooled_seconds
        else:
            if energy is not None:
                energy.check_charging(self._device)
            attempt.before, attempt.cooled_seconds = self._cool(task)
            self._baseline = self._baseline or attempt.before
        attempt.power = energy.source if energy else None
        run_launch(
            self._device,
            self._packs[task.case.engine],
            attempt,
            self._cancellation,
            known=known,
            recorder=energy.recorder if energy else None,
        )

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
            self._services.patience,
        )

    def _leave_out(self, task: LaunchTask) -> LedgerEntry:
        """Write down why a launch did not begin: its energy is refused, or the phone was back too soon."""
        attempt = Attempt(self._device.info.id, task)
        if isinstance(self._energy, HarnessError):
            attempt.fail(self._energy)
        else:
            attempt.interrupt(_NOT_REACHED)
        return self._keep(attempt)

    def _keep(self, attempt: Attempt) -> LedgerEntry:
        entry = attempt.close(self._sweep.file.accepted, self._baseline)
        keep_launch(self._sweep.folder, entry, attempt.content, attempt.sidecar)
        self._accounts[attempt.task.planned.index][entry.attempt] = entry
        return entry

    def _forget(self, task: LaunchTask) -> None:
        """Let the device forget a job whose result is safe. A second trouble with that is raised."""
        try:
            self._device.forget(task.key)
        except DeviceLost:
            raise
        except DeviceError:
            self._device.forget(task.key)
        self._jobs.discard(task.key)

    def _look_for(self, task: LaunchTask) -> None:
        """Find out whether the job of an attempt that was cut short is on the device."""
        if self._device.poll(task.key).state == "absent":
            self._jobs.discard(task.key)
        else:
            self._jobs.add(task.key)

    # --- energy ---

    def _energy_state(self, task: LaunchTask) -> EnergyState:
        if not task.is_energy:
            return "not wanted"
        if self._energy is None:
            self._energy = self._open_energy(task.plan)
        if not isinstance(self._energy, EnergyPass):
            return "refused"
        return "detached" if self._energy.is_detached else "ready"

    def _open_energy(self, plan: Plan) -> EnergyPass | EnergyRefused | MeterError:
        """Return how energy is measured here, or why it is not."""
        warn, patience = self._services.warn, self._services.patience
        try:
            energy = open_energy_pass(self._device, plan, warn, patience)
            if energy.is_detached:
                self._run_detached(energy, plan)
        except (EnergyRefused, MeterError) as error:
            return error
        return energy

    def _run_detached(self, energy: EnergyPass, plan: Plan) -> None:
        """Let the phone run its energy launches by itself; they are taken up like any others then.

        Raises EnergyRefused if it was not unplugged, unless it has done some of them.
        """
        wanted = [task for task in self._tasks if task.is_energy and not self._is_there(task)]
        jobs = [
            (make_job(self._device, task, energy.source), self._packs[task.case.engine])
            for task in wanted
        ]
        if not jobs:
            return
        warn, patience = self._services.warn, self._services.patience
        try:
            run_detached(self._device, energy, jobs, plan, warn, self._cancellation, patience)
        except EnergyRefused as error:
            self._jobs.update(self._device.jobs())
            if not any(map(self._is_there, wanted)):
                raise
            warn(str(error))  # what it did before that counts
        self._jobs.update(self._device.jobs())

    def _is_there(self, task: LaunchTask) -> bool:
        """Tell whether a job of a launch is on the device: of its next attempt, or the one before."""
        return not self._jobs.isdisjoint({task.key, task.at(task.attempt - 1).key})
