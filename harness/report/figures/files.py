"""Figures as files, for papers and slides. Not here: where they are written."""

from __future__ import annotations

from harness.report.figures.plot import Plot
from harness.report.figures.style import Layout

FORMATS = ("png", "pdf", "svg")
_DOTS_PER_INCH = 200


def draw_file(plot: Plot, layout: Layout, form: str) -> bytes:
    """Return a figure as a png, pdf or svg file. The same figure gives the same bytes."""
    from harness.report.figures.sheet import drawing
    from harness.report.figures.svg import alone_svg

    with drawing():
        content = plot.draw(layout).write(form, title=plot.title, dots_per_inch=_DOTS_PER_INCH)
    return alone_svg(content, title=plot.title, spoken=plot.spoken) if form == "svg" else content
