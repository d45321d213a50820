"""`phonebench plot`: one figure of a sweep as a file. Not here: what the figures are (`harness.report.figures`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import examples, grouped
from harness.cli.output import named_output
from harness.errors import PlanError

app = typer.Typer()


@dataclass(frozen=True)
class Which:
    """Which part of a sweep a figure is of."""

    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Needed if the sweep has several.")
    ] = None
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Needed if the sweep has several.")
    ] = None
    launch: Annotated[
        str | None,
        typer.Option(
            metavar="LAUNCH",
            help="For timeline: INDEX, INDEX.ATTEMPT or DEVICE:INDEX (default: a typical one).",
        ),
    ] = None


@dataclass(frozen=True)
class Look:
    """How large a figure is, and on what it stands."""

    size: Annotated[
        str,
        typer.Option(
            metavar="WIDTH[xHEIGHT]",
            help="In inches; text keeps its size, 9 points (without a height: as tall as it needs).",
        ),
    ] = "7.5"
    dark: Annotated[bool, typer.Option("--dark", help="Light on dark, for slides.")] = False


_FORMATS = (".png", ".pdf", ".svg")
_LEAST, _MOST = (2.5, 1.5), 100.0  # inches


@app.command(
    short_help="Write one figure of a sweep as a file.",
    epilog=examples(
        "phonebench plot sweeps/20261121-1200-mine --figure pareto -o front.pdf",
        "phonebench plot SWEEP --figure threads --size 3.4 -o threads.svg",
        "phonebench plot SWEEP --figure timeline --launch 12 -o launch.png",
    ),
)
@grouped
def plot(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep folder.")],
    figure: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="pareto (latency against accuracy or size), latency, energy (every launch), "
            "energy-plane (latency against energy), threads, order (launches in the order they "
            "ran), timeline (one launch).",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="FILE.png, FILE.pdf or FILE.svg."),
    ],
    of: Which,
    look: Look,
) -> None:
    """Write one figure of a sweep as a file, for a paper or a slide.

    The end of FILE's name decides what it becomes: png (200 dots an inch), pdf
    or svg, in which text is text. It is the figure of the report, laid out
    anew for the width. An existing FILE is replaced.
    """
    from harness.report.figures.catalogue import KINDS

    if figure not in KINDS:
        raise PlanError(f"there is no figure {figure!r}", f"Figures: {', '.join(KINDS)}.")
    if output.suffix.lower() not in _FORMATS:
        raise PlanError(
            f"{output} does not say what it is to be", f"End its name in {', '.join(_FORMATS)}."
        )
    if of.launch is not None and figure != "timeline":
        raise PlanError(f"--launch is for the figure timeline, not for {figure}", "Leave it out.")
    if of.model is not None and (figure == "order" or of.launch is not None):
        whole = (
            "the figure order is of a whole device" if of.launch is None else "--launch says it all"
        )
        raise PlanError(f"--model chooses nothing here: {whole}", "Leave it out.")
    content = _draw(sweep, figure, of, look, output.suffix)
    from harness.storage.files import write_whole

    with named_output():
        write_whole(output, content)
    print(output)


def _read_size(text: str) -> tuple[float, float | None]:
    """Return the inches that "7.5" or "3.4x2.5" says."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)(?:x(\d{1,3}(?:\.\d+)?))?", text)
    if match is None:
        raise PlanError(f"--size {text} is not a size", "Write --size 7.5, or --size 3.4x2.5.")
    width, height = (None if part is None else float(part) for part in match.groups())
    assert width is not None
    if not _LEAST[0] <= width <= _MOST or (height is not None and not _LEAST[1] <= height <= _MOST):
        raise PlanError(
            f"--size {text} is no size for a figure",
            f"It is {_LEAST[0]} to {_MOST} inches wide, and {_LEAST[1]} to {_MOST} tall.",
        )
    return width, height


def _draw(folder: Path, figure: str, of: Which, look: Look, suffix: str) -> bytes:
    from harness.analysis.summary import summarise
    from harness.report.figures.catalogue import Choice, choose_plot
    from harness.report.figures.files import draw_file
    from harness.report.figures.style import layout_of_file
    from harness.results.folder import read_sweep

    width, height = _read_size(look.size)
    sweep = read_sweep(folder)
    choice = Choice(of.device, of.model, of.launch)
    drawn = choose_plot(figure, sweep, summarise(sweep), choice)
    layout = layout_of_file(width, height, dark=look.dark)
    return draw_file(drawn, layout, suffix.lower().lstrip("."))
