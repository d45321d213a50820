"""The verbs about plan files: init, plan. Not here: doing what a plan says (`export.py`, `run.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Json, Settings, examples
from harness.cli.output import print_json, say
from harness.errors import PlanError

app = typer.Typer()


@app.command(epilog=examples("phonebench init", "phonebench init my-plan.toml"))
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path(
        "plan.toml"
    ),
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
    say(f"wrote {file}; edit it, then look at its cases with: phonebench plan {file}")


@app.command(
    short_help="Check a plan; print its cases and how long they take.",
    epilog=examples(
        "phonebench plan plan.toml",
        "phonebench plan plan.toml --set matrix.threads=1,4",
        "phonebench plan --schema > plan.schema.json",
    ),
)
def plan(
    file: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="The plan (TOML).", show_default=False)
    ] = None,
    settings: Settings = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of plans: every key there is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a plan, and print its cases and how long they will take. Nothing is started.

    With --set, as `phonebench run` would take it. Devices are not looked at:
    `phonebench doctor` does that. A model's code is not run: whether it
    exports, `phonebench export` tells.
    """
    from harness.schema.plan import Plan, load_plan

    if schema:
        print_json(Plan.model_json_schema())
        return
    if file is None:
        raise PlanError("no plan is named", "phonebench plan FILE; `phonebench init` writes one.")
    loaded = load_plan(file)
    from harness.cli.settings import change_plan, read_setting
    from harness.cli.terminal import plan_table, show
    from harness.export.sources import check_sources
    from harness.measure.schedule import estimate_seconds, schedule

    checked = change_plan(loaded, [read_setting(text) for text in settings or ()], str(file))
    check_sources(checked, Path.cwd())
    launches = len(schedule(checked, checked.plan.devices[0]))
    seconds = estimate_seconds(checked)
    if as_json:
        cases = [{"case": case.id, "variant": case.variant.id} for case in checked.cases()]
        print_json({"cases": cases, "launches": launches, "estimate_seconds": seconds})
    else:
        show(plan_table(checked, launches, seconds))
