"""The verbs of `phonebench`, one file a family; the only room that prints or exits.

Heavy modules are imported inside the verbs that need them: `--help` must answer at once.
Not here: what verbs do, and which exit code says what (`output.py`).
"""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from harness.cli import devices, export, plans, plot, report, run, runners
from harness.cli.options import examples
from harness.cli.output import CLOSED, INCOMPLETE, WRONG, say
from harness.errors import DeviceNotFound, DeviceUnfit, HarnessError, PlanError, SweepError

app = typer.Typer(
    name="phonebench",
    help="Measure how a model runs on real phones, and know how sure the answer is.",
    epilog=examples(
        "phonebench init plan.toml", "phonebench plan plan.toml", "phonebench run plan.toml"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Boxes leave half of 80 columns for the help itself.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for family in (devices, plans, export, run, report, plot):
    app.add_typer(family.app)
app.add_typer(runners.app, name="runners")


def main() -> None:
    """Run the command line. Errors that the harness understands are printed without a traceback."""
    try:
        app(prog_name="phonebench")
    except HarnessError as error:
        _fail(error)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise SystemExit(CLOSED) from None
        raise


def _fail(error: HarnessError) -> NoReturn:
    say(f"error: {error.message}")
    if error.advice:
        say(f"       {error.advice}")
    wrong = isinstance(error, PlanError | SweepError | DeviceNotFound | DeviceUnfit)
    raise SystemExit(WRONG if wrong else INCOMPLETE)


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
