"""A whole run: begin a sweep or resume one, then carry it out. What `phonebench run` does.

Here, and only here, a sweep meets the drivers, the packs and the exporter there are. Whoever is
interested is told through `Observers`. Not here: the sweep itself (`sweep.py`), printing (`cli/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import runners
from harness.devices import registry
from harness.doctor.examine import examine_before, examine_for, refuse_unfit
from harness.errors import DeviceError, SweepError
from harness.export.exporter import export_models
from harness.export.sources import check_sources
from harness.measure.device_run import Services
from harness.measure.progress import Progress
from harness.measure.sweep import (
    check_same_plan,
    create_sweep,
    hold,
    is_complete,
    note_examination,
    run_sweep,
    unfinished_devices,
)
from harness.results.folder import Sweep, read_sweep
from harness.schema.plan import Plan
from harness.storage.cache import cache_folder


@dataclass(frozen=True)
class Observers:
    """Who is told what, while it happens.

    `say`: what is being exported or built; `observe`: every step of a device; `warn`: trouble that
    ends less than the run.
    """

    say: Callable[[str], None]
    observe: Callable[[Progress], None]
    warn: Callable[[str], None]


@dataclass(frozen=True)
class Ending:
    """How a run ended: the sweep as it is now, whether nothing is left to do, or who stopped it."""

    sweep: Sweep
    complete: bool
    stopped: bool


def begin(plan: Plan, output: Path, command: Sequence[str], accepted: Sequence[str] = ()) -> Path:
    """Check that a plan can be run here, and make its sweep folder under `output`; return that.

    Models are looked up in the current folder. `accepted` are keys of serious findings that may
    stand. Nothing is started: whatever is wrong raises PlanError, DeviceError or DeviceUnfit.
    """
    check_sources(plan, Path.cwd())
    infos = registry.find_devices(plan.plan.devices)
    findings = examine_before(infos, plan)
    refuse_unfit(findings, accepted)
    return create_sweep(output, plan, infos, command, accepted, findings)


def resume(
    folder: Path,
    accepted: Sequence[str],
    warn: Callable[[str], None],
    plan: Plan | None = None,
) -> None:
    """Check that a sweep can go on, and note in it what an examination of its devices finds now.

    What it accepted before stands. A device that is away is not waited for: the sweep goes on with
    the others. Raises SweepError if it is no sweep, or not one of `plan`, and DeviceUnfit.
    """
    with hold(folder) as sweep:
        if plan is not None:
            check_same_plan(sweep, plan)
        findings = {}
        for info in unfinished_devices(sweep):
            try:
                findings[info.id] = examine_for(info, sweep.file.plan)
            except DeviceError as error:
                warn(f"{info.id} was not examined: {error.message}")
        refuse_unfit(findings, [*sweep.file.accepted, *accepted])
        if findings:
            note_examination(sweep, accepted, findings)


def carry_out(
    folder: Path, told: Observers, mobile_python: str | None = None, *, fresh: bool = False
) -> Ending:
    """Export what a sweep needs, and run what its ledger lacks.

    `mobile_python` takes the place of the plan's; `fresh` uses no export of before. Ctrl-C ends it
    in good order. Raises SweepError, or StorageError when something cannot be written: then, too,
    the sweep can be resumed.
    """
    services = Services(
        open_device=registry.open_device,
        runner_pack=lambda engine, info: runners.pack_for(engine, info, progress=told.say),
        observe=told.observe,
        warn=told.warn,
    )
    stopped = False
    with hold(folder) as sweep:
        try:
            models = export_models(
                sweep.file.plan,
                root=_root(sweep),
                cache=cache_folder(),
                mobile_python=mobile_python,
                fresh=fresh,
                progress=told.say,
            )
            run_sweep(sweep, models, services)
        except KeyboardInterrupt:
            stopped = True
        sweep = read_sweep(folder)
    return Ending(sweep, complete=is_complete(sweep) and not stopped, stopped=stopped)


def _root(sweep: Sweep) -> Path:
    """Return the folder that models are looked up in: where the sweep was begun."""
    root = Path(sweep.file.directory)
    if not root.is_dir():
        raise SweepError(
            f"the folder that {sweep.folder} was begun in is gone: {root}",
            "Its models are looked up there: put it back, or start a new sweep.",
        )
    return root
