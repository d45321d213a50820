"""A sweep: how it is made and held, and the loop over its devices.

Rounds are outermost, so that drift spreads over all cases. A failed launch ends that launch, a
lost device ends that device; the others go on. Whatever dies at any moment, a resumed sweep
collects what had finished and runs only what the ledger lacks.
Not here: one device's part (`device_run.py`), which devices and exports there are (`runs.py`).
"""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import tomli_w

from harness.cancellation import Cancellation
from harness.errors import StorageError, SweepError
from harness.measure.device_run import Services, measure, prepare
from harness.measure.resume import missing_launches, settled_launches, was_refused
from harness.measure.schedule import schedule
from harness.results.folder import Sweep, read_sweep
from harness.schema.artifact import Artifact, ExportedModel
from harness.schema.device import LEVELS, DeviceFinding, DeviceInfo
from harness.schema.plan import Plan, slug
from harness.schema.sweep import SWEEP_VERSION, ArtifactsFile, Host, SweepFile
from harness.storage.files import write_whole
from harness.storage.locks import lock_folder

Findings = Mapping[str, tuple[DeviceFinding, ...]]


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


def note_examination(sweep: Sweep, accepted: Sequence[str], findings: Findings) -> None:
    """Add to the sweep.json of a sweep that is held what a later examination found, and accepted.

    Of two findings of one key, the graver stays; nothing that was written down is lost.
    """
    file = sweep.file
    merged = {
        device: _graver(file.findings.get(device, ()), findings.get(device, ()))
        for device in dict.fromkeys([*file.findings, *findings])
    }
    keys = tuple(dict.fromkeys([*file.accepted, *accepted]))
    file = file.model_copy(update={"accepted": keys, "findings": merged})
    write_whole(sweep.folder / "sweep.json", file.model_dump_json(indent=1).encode())


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


@contextmanager
def hold(folder: Path) -> Iterator[Sweep]:
    """Read a sweep, and keep a second harness off its folder. Raises SweepError.

    What cannot be written meanwhile is said together with how to go on.
    """
    with _locked(folder):
        try:
            yield read_sweep(folder)
        except StorageError as error:
            resume = f"Then go on with: phonebench run --resume {folder}"
            raise StorageError(error.message, f"{error.advice} {resume}") from error


def run_sweep(sweep: Sweep, models: Sequence[ExportedModel], services: Services) -> None:
    """Run what the ledger of a sweep that is held lacks.

    Devices are prepared one after the other, then measured in parallel: so nothing is pushed while
    something is measured. Raises SweepError if `models` are not those that it was begun with,
    KeyboardInterrupt after an orderly stop, and StorageError when the folder cannot be written.
    """
    _keep_models(sweep, models)
    with closing(Cancellation()) as cancellation, ExitStack() as devices:
        runs = [prepare(sweep, models, info, services, devices) for info in sweep.file.devices]
        ready = [run for run in runs if run is not None]
        _in_parallel(
            [partial(measure, sweep, run, services, cancellation) for run in ready], cancellation
        )


def _in_parallel(works: Sequence[Callable[[], None]], cancellation: Cancellation) -> None:
    """Do all works at once. What goes wrong in one, or Ctrl-C, stops the others in good order."""
    if not works:
        return
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if any(not future.done() or future.exception() for future in futures):
                cancellation.set()
    for future in futures:
        future.result()


def is_complete(sweep: Sweep) -> bool:
    """Tell whether every planned launch ended ok, or belongs to a case that was skipped.

    One that does not count has ended when its tries are used up.
    """
    return not unfinished_devices(sweep)


def unfinished_devices(sweep: Sweep) -> list[DeviceInfo]:
    """Return the devices on which a planned launch has no good end."""
    skipped = {(entry.device, entry.case) for entry in sweep.entries if entry.status == "skipped"}

    def is_done(info: DeviceInfo) -> bool:
        settled = settled_launches(sweep, info.id)
        good = {index for index, entry in settled.items() if entry.status == "ok"}
        return all(
            launch.index in good or (info.id, launch.case) in skipped
            for launch in sweep.file.schedule[info.id]
        )

    return [info for info in sweep.file.devices if not is_done(info)]


@dataclass(frozen=True)
class Unfinished:
    """How many launches a resumed sweep would run: without an end, or with tries left.

    `refused` is how many of them did not begin because their source of power was refused.
    """

    launches: int
    refused: int


def count_unfinished(sweep: Sweep) -> Unfinished:
    """Count what a resumed sweep would run."""
    if not sweep.models:
        return Unfinished(sum(map(len, sweep.file.schedule.values())), 0)
    last = {(entry.device, entry.index): entry for entry in sweep.entries}
    open_launches = [
        (info.id, order.planned.index)
        for info in sweep.file.devices
        for order in missing_launches(sweep, sweep.models, info.id)[0]
    ]
    refused = [name for name in open_launches if name in last and was_refused(last[name])]
    return Unfinished(len(open_launches), len(refused))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(lock_folder(folder, wait=False))
        except BlockingIOError as error:
            raise SweepError(
                f"{folder} is being run by another phonebench",
                "Wait until it is done; then look at it, or resume it.",
            ) from error
        except OSError as error:
            raise SweepError(
                f"{folder} is not a sweep folder: {error.strerror}",
                "Name a folder that `phonebench run` made (they are under sweeps/).",
            ) from error
        yield


def _keep_models(sweep: Sweep, models: Sequence[ExportedModel]) -> None:
    """Write down what was exported; a resumed sweep measures the very same files, or SweepError."""
    if not sweep.models:
        content = ArtifactsFile(models=tuple(models)).model_dump_json(indent=1)
        write_whole(sweep.folder / "artifacts.json", content.encode())
        return
    before = {a.variant: _digest(a) for model in sweep.models for a in model.artifacts}
    now = {a.variant: _digest(a) for model in models for a in model.artifacts}
    changed = sorted(variant for variant in before if now.get(variant) != before[variant])
    if changed:
        raise SweepError(
            f"{sweep.folder} was begun with other artifacts: {', '.join(changed)} now export "
            "differently",
            "The model's code, its data or torch has changed since: start a new sweep.",
        )


def _digest(artifact: Artifact) -> str:
    return artifact.manifest.sha256 if artifact.manifest else artifact.status
