"""The verbs that show a sweep: report, trace. Not here: rendering (`harness/report/`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import SWEEPS, examples
from harness.cli.output import named_output, say
from harness.errors import PlanError

app = typer.Typer()


@app.command(
    short_help="Render a sweep as one HTML file, or as a table.",
    epilog=examples(
        "phonebench report",
        "phonebench report sweeps/20261121-1200-mine -o r.html",
        "phonebench report --format csv --table launches > launches.csv",
    ),
)
def report(
    sweep: Annotated[
        Path | None,
        typer.Argument(
            metavar="SWEEP", help="A sweep folder (default: the newest one).", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to write (default: see --format)."
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="html (into the sweep), parquet (likewise); csv, md, json (to stdout).",
        ),
    ] = "html",
    table: Annotated[
        str,
        typer.Option(
            metavar="TABLE",
            help="cases, launches, samples (every inference) or traces: a row each (not for html).",
        ),
    ] = "cases",
) -> None:
    """Render a sweep as one HTML file, or as a table for other programs."""
    from harness.results.find import find_newest

    folder = sweep or find_newest(SWEEPS)
    if format == "html" and table == "cases":
        from harness.report import render

        page = output or folder / "report.html"
        with named_output():
            render([folder], page, processes=os.cpu_count() or 1)
        print(page)
        return
    from harness.report.tables import check_table, write_table

    check_table(table, format)
    path = output or (folder / f"{table}.parquet" if format == "parquet" else None)
    content = write_table(folder, table, format)
    if path is None:
        sys.stdout.buffer.write(content)
        return
    from harness.storage.files import write_whole

    with named_output():
        write_whole(path, content)
    print(path)


@app.command(
    epilog=examples(
        "phonebench trace sweeps/20261121-1200-mine 12 -o launch.pftrace",
        "phonebench trace sweeps/20261121-1200-mine local:12.2 -o - > launch.pftrace",
    )
)
def trace(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep folder.")],
    launch: Annotated[
        str,
        typer.Argument(
            metavar="LAUNCH",
            help="INDEX, INDEX.ATTEMPT, DEVICE:INDEX, or the path of a launch's file.",
        ),
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
        say(f"what was recorded beside this launch is missing: {trouble}")
    content = make_trace(found.file, entry, record, sidecar, trouble)
    if output == "-":
        sys.stdout.buffer.write(content)
        return
    with named_output():
        write_whole(Path(output), content)
    say(f"wrote {output}; open it in https://ui.perfetto.dev, which keeps it on your computer")
