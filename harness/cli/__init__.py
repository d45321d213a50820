"""The verbs of `phonebench`; the only module, with `runtime_cli.py`, that prints or exits.

Heavy modules are imported inside the verbs that need them: `--help` must answer at once.
Exit codes: 0 done; 1 the gate found a regression; 2 the plan or the command line is wrong, nothing
was started; 3 the run is incomplete; 130 Ctrl-C, 141 stdout was closed early, as shells say it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from harness.cli.runners import app as runners_app
from harness.errors import (
    DeviceError,
    DeviceNotFound,
    DeviceUnfit,
    HarnessError,
    PlanError,
    StorageError,
    SweepError,
)

if TYPE_CHECKING:
    from harness.results.folder import Sweep
    from harness.schema.artifact import ExportedModel
    from harness.schema.plan import Plan

DONE, REGRESSION, WRONG, INCOMPLETE = 0, 1, 2, 3
CLOSED = 128 + signal.SIGPIPE  # as shells say it: whoever read stdout did not want it all

app = typer.Typer(
    name="phonebench",
    help="Measure how a model runs on real phones, and know how sure the answer is.",
    epilog="Start here: phonebench init; phonebench plan plan.toml; phonebench run plan.toml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(runners_app, name="runners")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]
_MobilePython = Annotated[
    str | None,
    typer.Option(
        metavar="PYTHON",
        help="An interpreter whose torch (2.12 or older) has XNNPACK, for the recipe fp32-mobile.",
    ),
]
_Fresh = Annotated[bool, typer.Option("--fresh", help="Export anew, whatever the cache holds.")]


def main() -> None:
    """Run the command line. Errors that the harness understands are printed without a traceback."""
    try:
        app()
    except HarnessError as error:
        _fail(error)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise SystemExit(CLOSED) from None
        raise


def _fail(error: HarnessError) -> NoReturn:
    _say(f"error: {error.message}")
    if error.advice:
        _say(f"       {error.advice}")
    wrong = isinstance(error, PlanError | SweepError | DeviceNotFound | DeviceUnfit)
    raise SystemExit(WRONG if wrong else INCOMPLETE)


def _say(text: str) -> None:
    """Print for the person; stdout stays free for what a script reads."""
    print(text, file=sys.stderr, flush=True)


def _print_json(content: Any) -> None:
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"phonebench {version('phonebench')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: phonebench devices --json")
def devices(as_json: _Json = False) -> None:
    """List the devices that can be measured now.

    What stands in the first column is the name to use in a plan or with --device.
    """
    from harness.cli.terminal import devices_table, show
    from harness.devices import registry

    seen = registry.discover()
    if as_json:
        rows = [
            (found, found.info.model_dump() if found.info else {"id": found.id}) for found in seen
        ]
        _print_json([{**row, "state": found.state, "advice": found.advice} for found, row in rows])
    else:
        show(devices_table(seen))


@app.command(
    epilog="Examples: phonebench doctor | phonebench doctor 28051FDH3000AB | "
    "phonebench doctor local --json"
)
def doctor(
    device: Annotated[
        str | None,
        typer.Argument(help="A device (default: all that are attached).", show_default=False),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Say whether devices are fit to be measured, and what to do about it if not.

    What is serious keeps `phonebench run` from starting, unless --accept names
    it. Nothing is changed on the device. Exit code 3 if anything is serious.
    """
    from harness.cli.terminal import examination_table, show
    from harness.devices import registry
    from harness.doctor.examine import examine_attached

    seen = registry.discover() if device is None else [registry.find_attached(device)]
    findings = examine_attached(seen, measure_link=True)
    if as_json:
        _print_json(
            [
                {"id": name, "findings": [finding.model_dump() for finding in found]}
                for name, found in findings.items()
            ]
        )
    else:
        show(examination_table(findings))
    serious = any(one.level == "serious" for found in findings.values() for one in found)
    raise typer.Exit(INCOMPLETE if serious else DONE)


@app.command(epilog="Example: phonebench clean 28051FDH3000AB")
def clean(
    device: Annotated[str, typer.Argument(help="The device.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove everything of phonebench from a device: models, runtimes, jobs.

    Nothing else is touched. It is refused while a device is in use. What has
    been measured and not been collected is lost.
    """
    from contextlib import closing

    from harness.devices import registry

    (info,) = registry.find_devices([device])
    if not yes:
        if not sys.stdin.isatty():
            raise PlanError("there is nobody to ask", f"phonebench clean {device} --yes")
        typer.confirm(f"Remove everything of phonebench from {info.id} ({info.name})?", abort=True)
    with closing(registry.open_device(info, "clean")) as opened:
        freed_bytes = opened.clean()
    print(f"{info.id}: {freed_bytes / 1e6:.1f} MB freed")


@app.command(
    epilog="Examples: phonebench calibrate 28051FDH3000AB | "
    "phonebench calibrate 192.168.1.20:5555 --seconds 60 | phonebench calibrate DEVICE --json"
)
def calibrate(
    device: Annotated[str, typer.Argument(help="The phone.")],
    seconds: Annotated[
        float,
        typer.Option(
            min=5.0,
            max=600.0,
            help="How long it rests before and after the load; the load is twice as long.",
        ),
    ] = 15.0,
    as_json: _Json = False,
) -> None:
    """Find out what a phone's fuel gauge means: sign, unit, period and step.

    Phones disagree on whether a positive current charges or discharges, and
    whether it is in uA or mA. A known load tells; energy from a fuel gauge is
    refused without it. It takes a minute, or two with a cable, where charging
    is suspended for the second one and put back. Let the phone rest before,
    and do not touch it. What is found is kept for this phone, and used by
    every later run.

    Exit code 2 if there is no such device, 3 if its gauge does not tell.
    """
    from contextlib import closing

    from harness import runners
    from harness.analysis.gauge import describe
    from harness.cancellation import Cancellation
    from harness.devices import registry
    from harness.devices.calibrations import store_calibration
    from harness.measure import gauge_calibration as calibration

    (info,) = registry.find_devices([device])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        closing(registry.open_device(info, "calibrate")) as opened,
        closing(Cancellation()) as cancellation,
    ):
        pace = calibration.Pace(idle_seconds=seconds, load_seconds=2 * seconds)
        found = calibration.calibrate(
            opened,
            lambda: runners.pack_for("synthetic", info, progress=_say),
            _say,
            cancellation,
            pace,
        )
    path = store_calibration(found)
    if as_json:
        _print_json({**found.model_dump(), "file": str(path)})
    else:
        print(describe(found))
        print(f"kept in {path}")


@app.command(epilog="Example: phonebench init my-plan.toml")
def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("plan.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Write a commented plan to start from."""
    from importlib.resources import files

    if file.exists() and not force:
        raise PlanError(f"{file} exists already", "Name another file, or add --force.")
    try:
        file.write_text(
            files("harness.cli").joinpath("starter_plan.toml").read_text(encoding="utf-8")
        )
    except OSError as error:
        raise PlanError(f"cannot write {file}: {error.strerror}") from error
    _say(f"wrote {file}; edit it, then look at its cases with: phonebench plan {file}")


@app.command(
    epilog="Examples: phonebench plan plan.toml | phonebench plan --schema > plan.schema.json"
)
def plan(
    file: Annotated[
        Path | None, typer.Argument(help="The plan (TOML).", show_default=False)
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of plans.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Check a plan, and print its cases and how long they will take. Nothing is started.

    Devices are not looked at: `phonebench doctor` does that. A model's code is
    not run: whether it exports, `phonebench export` tells.
    """
    from harness.schema.plan import Plan, load_plan

    if schema:
        _print_json(Plan.model_json_schema())
        return
    if file is None:
        raise PlanError("no plan is named", "phonebench plan FILE; `phonebench init` writes one.")
    checked = load_plan(file)
    from harness.cli.terminal import plan_table, show
    from harness.export.exporter import check_sources
    from harness.measure.schedule import estimate_seconds, schedule

    check_sources(checked, Path.cwd())
    launches = len(schedule(checked, checked.plan.devices[0]))
    seconds = estimate_seconds(checked)
    if as_json:
        cases = [{"case": case.id, "variant": case.variant.id} for case in checked.cases()]
        _print_json({"cases": cases, "launches": launches, "estimate_seconds": seconds})
    else:
        show(plan_table(checked, launches, seconds))


@app.command(
    epilog="Examples: phonebench export plan.toml -o artifacts | "
    "phonebench export my_models:net --shape 1x3x224x224 --recipe fp32,int8-dynamic -o artifacts"
)
def export(
    target: Annotated[str, typer.Argument(help="A plan, or a model: module:callable or a file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Copy the files into this folder.")
    ] = None,
    shape: Annotated[list[str] | None, typer.Option(help="Shape of an input: 1x3x224x224.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipes, with commas (fp32).")] = None,
    container: Annotated[str | None, typer.Option(help="zip, flatbuffer, or both (zip).")] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous, channels_last, or both (contiguous).")
    ] = None,
    calibration: Annotated[str | None, typer.Option(help="module:callable.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="module:callable.")] = None,
    mobile_python: _MobilePython = None,
    fresh: _Fresh = False,
    as_json: _Json = False,
) -> None:
    """Export models without measuring: files, sizes, operators, fidelity and accuracy.

    Every export is compared with the eager model, and kept in a cache by its content.
    """
    from harness.cli.options import plan_from_options
    from harness.cli.terminal import artifacts_table, show
    from harness.export.exporter import check_sources
    from harness.storage.files import make_folder

    matrix = {"recipe": recipe, "container": container, "memory_format": memory_format}
    model = {"calibration": calibration, "evaluation": evaluation}
    chosen = _read_target(
        target,
        lambda: plan_from_options(target, shapes=shape or [], matrix=matrix, model=model),
        given={**matrix, **model, "shape": shape},
    )
    check_sources(chosen, Path.cwd())
    if output is not None:
        with _named_output():
            make_folder(output)
    models = _export(chosen, mobile_python, fresh, Path.cwd())
    if output is not None:
        _copy_artifacts(models, output)
    if as_json:
        _print_json([model.model_dump(mode="json") for model in models])
    else:
        show(artifacts_table(models))
    broken = any(m.status != "ok" or any(a.status == "failed" for a in m.artifacts) for m in models)
    raise typer.Exit(INCOMPLETE if broken else DONE)


@app.command(
    epilog="Examples: phonebench run plan.toml | "
    "phonebench run my_models:net --shape 1x3x224x224 --recipe fp32,int8-dynamic --threads 1,2 | "
    "phonebench run model.ptl --shape 1x3x224x224 | phonebench run --resume"
)
def run(
    target: Annotated[
        str | None,
        typer.Argument(
            help="A plan; or a model (module:callable, .pt2, .pt, .ptl); with --resume a sweep.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a sweep (default: the newest one).")
    ] = False,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where sweeps go.")] = Path(
        "sweeps"
    ),
    device: Annotated[str | None, typer.Option(help="Devices, with commas.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Launches of each case (default 10).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the order and of the inputs.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Shape of an input: 1x3x224x224, or 1x128:int64:0..30522; once an input."
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipes, with commas (fp32).")] = None,
    threads: Annotated[str | None, typer.Option(help="Thread counts, with commas (1).")] = None,
    engine: Annotated[str | None, typer.Option(help="Engines, with commas (lite).")] = None,
    container: Annotated[str | None, typer.Option(help="zip, flatbuffer, or both (zip).")] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous, channels_last, or both (contiguous).")
    ] = None,
    affinity: Annotated[
        str | None, typer.Option(help="all, big, little, or cores like 0-3 (all).")
    ] = None,
    passes: Annotated[
        str | None,
        typer.Option(help="latency, memory, energy, profile, with commas (latency,memory)."),
    ] = None,
    calibration: Annotated[str | None, typer.Option(help="module:callable.")] = None,
    evaluation: Annotated[str | None, typer.Option(help="module:callable.")] = None,
    min_iterations: Annotated[int | None, typer.Option(help="Inferences a launch (50).")] = None,
    min_seconds: Annotated[float | None, typer.Option(help="Seconds a launch (1).")] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="No more seconds than this a launch (60).")
    ] = None,
    energy_seconds: Annotated[
        float | None, typer.Option(help="Seconds of work an energy launch (60).")
    ] = None,
    baseline_seconds: Annotated[
        float | None, typer.Option(help="Idle seconds before and after that work (15).")
    ] = None,
    min_sqnr_db: Annotated[
        float | None, typer.Option(help="Outputs worse than this fail (each recipe has its own).")
    ] = None,
    mobile_python: _MobilePython = None,
    fresh: _Fresh = False,
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="Measure in spite of these findings of `phonebench doctor`, with commas; or all.",
        ),
    ] = None,
    report: Annotated[bool, typer.Option(help="Render a report at the end.")] = True,
    as_json: _Json = False,
) -> None:
    """Export, measure and report.

    The options of a plan-less run multiply as the lists of a plan do; the plan
    that they make is written into the sweep. With a plan, only --device,
    --rounds, --seed and --mobile-python change it. Whatever ends a run early,
    `phonebench run --resume` goes on with it. Devices are examined first (see
    `phonebench doctor`), and refused if they are not fit.
    """
    from harness.cli.options import plan_from_options
    from harness.doctor.examine import parse_accepted

    accepted = parse_accepted(accept)

    matrix = {
        "recipe": recipe, "threads": threads, "engine": engine, "container": container,
        "memory_format": memory_format, "affinity": affinity,
    }  # fmt: skip
    model = {"calibration": calibration, "evaluation": evaluation}
    measure = {
        "passes": passes, "min_iterations": min_iterations, "min_seconds": min_seconds,
        "max_seconds": max_seconds, "min_sqnr_db": min_sqnr_db,
        "energy_seconds": energy_seconds, "baseline_seconds": baseline_seconds,
    }  # fmt: skip
    header = {"rounds": rounds, "seed": seed, "devices": device}
    if resume:
        given = [k for k, v in {**matrix, **model, **measure, **header}.items() if v is not None]
        if given or shape:
            raise PlanError(
                f"--resume goes on with the sweep's own plan: --{(given or ['shape'])[0]} cannot "
                "change it",
                "Leave the option out, or start a new sweep.",
            )
        folder = _find_resumable(target, output)
        _examine_again(folder, accepted)
    else:
        if target is None:
            raise PlanError(
                "nothing to run is named",
                "phonebench run PLAN, or phonebench run module:callable --shape 1x3x224x224.",
            )
        chosen = _read_target(
            target,
            lambda: plan_from_options(
                target, shapes=shape or [], matrix=matrix, model=model, measure=measure
            ),
            given={**matrix, **model, **measure, "shape": shape},
        )
        folder = _begin(chosen, header, mobile_python, output, accepted)
    _run(folder, mobile_python, fresh, report, as_json)


@app.command(
    name="report",
    epilog="Examples: phonebench report | phonebench report sweeps/20261121-1200-mine -o r.html | "
    "phonebench report --format csv --table launches > launches.csv",
)
def make_report(
    sweep: Annotated[
        Path | None,
        typer.Argument(help="A sweep folder (default: the newest one).", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write (default: see --format).")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format", help="html (into the sweep), parquet (likewise); csv, md, json (to stdout)."
        ),
    ] = "html",
    table: Annotated[
        str, typer.Option(help="cases: a row a case; launches: a row a launch (not for html).")
    ] = "cases",
) -> None:
    """Render a sweep as one HTML file, or as a table for other programs."""
    folder = sweep or _newest_sweep(Path("sweeps"))
    if format == "html" and table == "cases":
        from harness.report import render

        page = output or folder / "report.html"
        with _named_output():
            render([folder], page)
        print(page)
        return
    from harness.report.tables import FORMATS, TABLES, write_table

    if format not in FORMATS or table not in TABLES:
        raise PlanError(
            f"there is no {table} table as {format}",
            f"Formats: html, {', '.join(FORMATS)}; tables: {', '.join(TABLES)}.",
        )
    path = output or (folder / f"{table}.parquet" if format == "parquet" else None)
    content = write_table(folder, table, format)
    if path is None:
        sys.stdout.buffer.write(content)
        return
    from harness.storage.files import write_whole

    with _named_output():
        write_whole(path, content)
    print(path)


@app.command(
    epilog="Examples: phonebench trace sweeps/20261121-1200-mine 12 -o launch.pftrace | "
    "phonebench trace sweeps/20261121-1200-mine 28051FDH3000AB:12.2 -o - > launch.pftrace"
)
def trace(
    sweep: Annotated[Path, typer.Argument(help="A sweep folder.")],
    launch: Annotated[
        str,
        typer.Argument(help="INDEX, INDEX.ATTEMPT, DEVICE:INDEX, or the path of a launch's file."),
    ],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="Where to write; - is stdout."),
    ],
) -> None:
    """Write one launch as a trace for https://ui.perfetto.dev.

    Phases and every inference are slices; memory, power, temperatures and
    clocks are counters; all on the device's clock. An existing FILE is replaced.
    """
    from harness.report.perfetto import make_trace
    from harness.results.folder import read_sweep
    from harness.results.launches import find_launch, read_checked, read_sidecar
    from harness.storage.files import write_whole

    if output == "-" and sys.stdout.isatty():
        raise PlanError("a trace is no text for a terminal", "Name a file: -o launch.pftrace.")
    found = read_sweep(sweep)
    entry = find_launch(found, launch)
    record = read_checked(found.folder, entry)
    sidecar, trouble = read_sidecar(found.folder, entry)
    if trouble:
        _say(f"what was recorded beside this launch is missing: {trouble}")
    content = make_trace(found.file, entry, record, sidecar, trouble)
    if output == "-":
        sys.stdout.buffer.write(content)
        return
    with _named_output():
        write_whole(Path(output), content)
    _say(f"wrote {output}; open it in https://ui.perfetto.dev, which keeps it on your computer")


@contextmanager
def _named_output() -> Iterator[None]:
    """Take it for a wrong command line if the file or folder to write to cannot be written."""
    try:
        yield
    except StorageError as error:
        raise PlanError(error.message, error.advice) from error


def _read_target(
    target: str, from_options: Callable[[], Plan], given: Mapping[str, object]
) -> Plan:
    """Return the plan that `target` names, or the one that the options make of a model.

    `given` are those options: with a plan there must be none.
    """
    from harness.schema.plan import load_plan

    if not target.endswith(".toml"):
        return from_options()
    for key, value in given.items():
        if value is not None:
            raise PlanError(
                f"--{key.replace('_', '-')} is for a model without a plan, and {target} is a plan",
                "Write it into the plan.",
            )
    return load_plan(Path(target))


def _begin(
    chosen: Plan,
    header: dict[str, Any],
    mobile_python: str | None,
    output: Path,
    accepted: tuple[str, ...],
) -> Path:
    """Make the sweep folder. Nothing was started before: what is wrong here exits with 2.

    What the options say becomes a part of the sweep's plan, so that it is there on --resume.
    """
    from harness.devices.registry import find_devices
    from harness.doctor.examine import examine_before, refuse_unfit
    from harness.export.exporter import check_sources
    from harness.measure.sweep import create_sweep
    from harness.schema.plan import make_plan

    if header["devices"] is not None:
        header = {**header, "devices": [name.strip() for name in header["devices"].split(",")]}
    content = chosen.model_dump(exclude_unset=True)
    content["plan"].update({key: value for key, value in header.items() if value is not None})
    if mobile_python is not None:
        content.setdefault("export", {})["mobile_python"] = mobile_python
    chosen = make_plan(content, "the plan with these options")
    check_sources(chosen, Path.cwd())
    infos = find_devices(chosen.plan.devices)
    findings = examine_before(infos, chosen)
    refuse_unfit(findings, accepted)
    command = ["phonebench", *sys.argv[1:]]
    with _named_output():
        return create_sweep(output, chosen, infos, command, accepted, findings)


def _examine_again(folder: Path, accepted: tuple[str, ...]) -> None:
    """Examine the devices of a sweep that is resumed; what it accepted before stands.

    One that is away is not waited for here: the sweep goes on with the others.
    """
    from harness.doctor.examine import examine_for, refuse_unfit
    from harness.measure.sweep import note_examination, unfinished_devices
    from harness.results.folder import read_sweep

    sweep, findings = read_sweep(folder), {}
    for info in unfinished_devices(sweep):
        try:
            findings[info.id] = examine_for(info, sweep.file.plan)
        except DeviceError as error:
            _say(f"{info.id} was not examined: {error.message}")
    refuse_unfit(findings, [*sweep.file.accepted, *accepted])
    if findings:
        note_examination(folder, accepted, findings)


def _find_resumable(target: str | None, output: Path) -> Path:
    from harness.measure.sweep import check_same_plan
    from harness.results.folder import read_sweep
    from harness.schema.plan import load_plan

    if target is None:
        return _newest_sweep(output)
    if target.endswith(".toml"):
        folder = _newest_sweep(output)
        check_same_plan(read_sweep(folder), load_plan(Path(target)))
        return folder
    return Path(target)


def _newest_sweep(parent: Path) -> Path:
    from harness.results.folder import begun_unix

    newest = max(parent.glob("*/sweep.json"), key=begun_unix, default=None)
    if newest is None:
        raise SweepError(
            f"there is no sweep under {parent}/",
            "`phonebench run` makes one; name the folder of one that lies elsewhere.",
        )
    return newest.parent


def _export(
    chosen: Plan, mobile_python: str | None, fresh: bool, root: Path
) -> tuple[ExportedModel, ...]:
    from harness.export.exporter import export_models
    from harness.storage.cache import cache_folder

    return export_models(
        chosen,
        root=root,
        cache=cache_folder(),
        mobile_python=mobile_python or chosen.export.mobile_python,
        fresh=fresh,
        progress=_say,
    )


def _copy_artifacts(models: tuple[ExportedModel, ...], output: Path) -> None:
    from harness.storage.files import write_whole

    for model in models:
        for artifact in model.artifacts:
            if artifact.path is not None and artifact.manifest is not None:
                write_whole(output / f"{artifact.variant}.ptl", artifact.path.read_bytes())
                manifest = artifact.manifest.model_dump_json(indent=1).encode()
                write_whole(output / f"{artifact.variant}.json", manifest)


def _run(folder: Path, mobile_python: str | None, fresh: bool, report: bool, as_json: bool) -> None:
    from harness import runners
    from harness.cli.terminal import SweepProgress, what_does_not_count
    from harness.devices import registry as devices
    from harness.measure.device_run import Services
    from harness.measure.sweep import run_sweep
    from harness.results.folder import read_sweep

    sweep = read_sweep(folder)
    root = Path(sweep.file.directory)
    if not root.is_dir():
        raise SweepError(
            f"the folder that {folder} was begun in is gone: {root}",
            "Its models are looked up there: put it back, or start a new sweep.",
        )
    _say(f"sweep: {folder}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    complete = False
    with SweepProgress() as progress:
        services = Services(
            export=lambda chosen: _export(chosen, mobile_python, fresh, root),
            open_device=devices.open_device,
            runner_pack=lambda engine, info: runners.pack_for(engine, info, progress=_say),
            observe=progress.observe,
            warn=progress.warn,
        )
        try:
            complete = run_sweep(folder, services)
        except KeyboardInterrupt:
            progress.stop()
            _say("stopped; what was measured is kept")
    _finish(read_sweep(folder), report, as_json)
    not_counted = what_does_not_count(read_sweep(folder))
    if not_counted:
        _say(not_counted)
    if not complete:
        _say(_what_is_missing(read_sweep(folder)))
        raise typer.Exit(INCOMPLETE)


def _what_is_missing(sweep: Sweep) -> str:
    from harness.analysis.words import plural
    from harness.measure.sweep import count_unfinished

    unfinished = count_unfinished(sweep)
    resume = f"phonebench run --resume {sweep.folder}"
    if 0 < unfinished.launches == unfinished.refused:
        return (
            "the run is incomplete: energy could not be measured "
            f"({plural(unfinished.refused, 'launch', 'launches')}; the reasons are above, and in the "
            "report)\n"
            "If it can never be measured there, leave energy out of measure.passes; if what it needs "
            f"can be had, then go on with: {resume}"
        )
    if unfinished.launches:
        launches = plural(unfinished.launches, "launch is", "launches are")
        return f"the run is incomplete: {launches} not done yet; go on with: {resume}"
    failed = {entry.index is None for entry in sweep.entries if entry.status == "failed"}
    if failed == {True}:
        return "the run is incomplete: some cases were never launched (above, and in the report)"
    return "all launches ended, and some of them failed (above, and in the report)"


def _finish(sweep: Sweep, report: bool, as_json: bool) -> None:
    """Show what is there, however the run ended."""
    from harness.analysis.summary import summarise
    from harness.cli.terminal import show, summary_table

    path = sweep.folder / "report.html"
    summary = summarise(sweep)
    if report:
        from harness.report import render_summary

        render_summary(summary, path)
    if as_json:
        from harness.report.tables import cases_table

        _print_json(
            {
                "sweep": str(sweep.folder),
                "report": str(path) if report else None,
                "cases": cases_table(summary),
            }
        )
        return
    show(summary_table(summary))
    print(f"sweep:  {sweep.folder}")
    if report:
        print(f"report: {path}")
