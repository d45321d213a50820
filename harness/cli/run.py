"""The verb run: its options, what is shown meanwhile, and what is said at the end.

Not here: what it does (`harness/measure/runs.py`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    SWEEPS,
    Json,
    MeasureOptions,
    PlanOptions,
    choose_plan,
    examples,
    grouped,
    refuse_changes,
)
from harness.cli.output import INCOMPLETE, named_output, print_json, say
from harness.errors import PlanError

if TYPE_CHECKING:
    from harness.measure.runs import Ending
    from harness.results.folder import Sweep

app = typer.Typer()

_Target = Annotated[
    str | None,
    typer.Argument(
        metavar="PLAN|MODEL|SWEEP",
        help="A plan (.toml); or a model: module:callable, .pt2, .pt or .ptl; "
        "with --resume a sweep, or its plan.",
        show_default=False,
    ),
]


@app.command(
    epilog=examples(
        "phonebench run plan.toml",
        "phonebench run plan.toml --device all --set measure.warm_loads=5",
        "phonebench run my_models:net --shape 1x3x224x224 --recipe fp32,int8-dynamic",
        "phonebench run model.ptl --shape 1x3x224x224 --threads 1,2",
        "phonebench run --resume",
    )
)
@grouped
def run(
    measured: MeasureOptions,
    options: PlanOptions,
    target: _Target = None,
    accept: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="Measure in spite of these findings of `phonebench doctor`; or all.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a sweep (default: the newest one).")
    ] = False,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where sweeps go.")
    ] = SWEEPS,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Render a report at the end, or none.", show_default=False
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Export, measure and report.

    Options change the plan for this run, or make one of a model; the plan
    that was run lies in the sweep. --recipe, --engine and --threads hold for
    every model. Every key of a plan can be set: docs/plan.md explains them,
    `phonebench plan --schema` lists them, and `phonebench plan PLAN --set ...`
    shows the cases that it would run.

    Devices are examined first (see `phonebench doctor`), and refused if they
    are not fit. Whatever ends a run early, --resume goes on with it.
    """
    from harness.cli.progress import SweepProgress
    from harness.doctor.examine import parse_accepted
    from harness.measure import runs

    accepted = parse_accepted(accept)
    if resume:
        refuse_changes(options, measured)
        folder = _resume(target, output, accepted)
    else:
        folder = _begin(target, options, measured, output, accepted)
    say(f"sweep: {folder}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with SweepProgress() as progress:
        told = runs.Observers(say=say, observe=progress.observe, warn=progress.warn)
        ending = runs.carry_out(folder, told, options.mobile_python, fresh=options.fresh)
    _tell(ending, report, as_json)
    if not ending.complete:
        raise typer.Exit(INCOMPLETE)


def _begin(
    target: str | None,
    options: PlanOptions,
    measured: MeasureOptions,
    output: Path,
    accepted: tuple[str, ...],
) -> Path:
    from harness.measure import runs

    if target is None:
        raise PlanError(
            "nothing to run is named",
            "phonebench run PLAN, or phonebench run module:callable --shape 1x3x224x224.",
        )
    plan = choose_plan(target, options, measured)
    with named_output():
        return runs.begin(plan, output, ["phonebench", *sys.argv[1:]], accepted)


def _resume(target: str | None, output: Path, accepted: tuple[str, ...]) -> Path:
    from harness.measure import runs
    from harness.results.find import find_newest
    from harness.schema.plan import load_plan

    plan = load_plan(Path(target)) if target is not None and target.endswith(".toml") else None
    folder = find_newest(output) if target is None or plan is not None else Path(target)
    runs.resume(folder, accepted, say, plan)
    return folder


def _tell(ending: Ending, report: bool, as_json: bool) -> None:
    """Show what there is, however the run ended."""
    if ending.stopped:
        say("stopped; what was measured is kept")
    _show(ending.sweep, report, as_json)
    not_counted = what_does_not_count(ending.sweep)
    if not_counted:
        say(not_counted)
    if not ending.complete:
        say(_what_is_missing(ending.sweep))


def _show(sweep: Sweep, report: bool, as_json: bool) -> None:
    from harness.analysis.summary import summarise
    from harness.cli.terminal import show, summary_table

    path = sweep.folder / "report.html"
    summary = summarise(sweep)
    if report:
        from harness.report import render_summary

        render_summary(summary, path, processes=os.cpu_count() or 1)
    if as_json:
        from harness.report.tables import cases_table

        print_json(
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


def what_does_not_count(sweep: Sweep) -> str:
    """Say in a line how many launches do not count, and why; "" if all do."""
    from harness.analysis.validity import LABELS
    from harness.analysis.words import plural
    from harness.measure.resume import settled_launches

    ended = [e for info in sweep.file.devices for e in settled_launches(sweep, info.id).values()]
    bad = [e.validity for e in ended if e.validity is not None and e.validity.level != "valid"]
    if not bad:
        return ""
    labels = (LABELS.get(v.reasons[0].key, v.reasons[0].key) for v in bad)
    reasons = ", ".join(f"{label} {count}" for label, count in Counter(labels).most_common())
    do = "does" if len(bad) == 1 else "do"
    return f"{len(bad)} of {plural(len(ended), 'launch', 'launches')} {do} not count: {reasons}"


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
