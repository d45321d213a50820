"""One launch over time: latency, memory, power, temperatures and clocks over one axis in seconds.

Not here: what is shown of a launch (`moments.py`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.cases import CaseSummary
from harness.analysis.launches import Launch
from harness.analysis.words import seconds
from harness.report.figures.axes import Span, across, upwards
from harness.report.figures.keys import ROW, Key, draw_keys, in_lines, in_rows
from harness.report.figures.moments import Line, Moments, Panel, moments_of
from harness.report.figures.plot import Plot
from harness.report.figures.style import Layout, Pen, Type, label
from harness.results.launches import read_checked, read_sidecar
from harness.schema.energy import Energy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.figures.sheet import Sheet

_BLOCK = {
    "steady": Pen("steady", "c1", opacity=0.1),
    "idle": Pen("idle", "quiet", opacity=0.07),
}
_PHASE = Type("phase", size=0.92, align="center")


def representative(case: CaseSummary) -> Launch | None:
    """Choose the launch that stands for a case: of the energy pass, else of the memory pass.

    One that counts if any does; with energies, the one nearest to their median.
    """
    for measured_pass in ("energy", "memory"):
        ended = [
            one
            for one in case.launches
            if one.measured_pass == measured_pass and one.measured is not None
        ]
        known = [one for one in ended if one.counts] or ended
        if known:
            return min(known, key=lambda one: _distance(case, one))
    return None


def _distance(case: CaseSummary, launch: Launch) -> float:
    energy = launch.entry.energy
    if case.energy is None or not isinstance(energy, Energy):
        return 0.0
    return abs(energy.joules_per_inference - case.energy.joules.median)


def timeline_plot(folder: Path, case: CaseSummary, launch: Launch) -> Plot:
    """Show one launch of a case over time. Raises BadRecord if its files are not what they were."""
    record = read_checked(folder, launch.entry)
    sidecar, _ = read_sidecar(folder, launch.entry)
    moments = moments_of(launch, record, sidecar)
    phases = ", ".join(f"{band.name} {seconds(band.end - band.begin)}" for band in moments.bands)
    told = f"Launch {launch.index}{_attempt(launch)}, {launch.measured_pass} pass"
    shown = ", ".join(
        f"{panel.title} in {panel.unit}" + f" ({panel.note})" * bool(panel.note)
        for panel in moments.panels
    )
    return Plot(
        "timeline",
        f"Launch {launch.index} of {label(case.label)}, {label(case.setting)}",
        f"{told}, in seconds from its start." + f" Phases: {phases}." * bool(phases),
        f"{told}, of {label(case.label)} over {seconds(moments.seconds)}: {shown}",
        partial(draw_timeline, moments),
    )


def _attempt(launch: Launch) -> str:
    return f", attempt {launch.entry.attempt}" if launch.entry.attempt > 1 else ""


# --- drawing -------------------------------------------------------------------------------------

_PLANE, _LEAST_PLANE, _ABOVE, _BETWEEN, _FOOT = 6.0, 3.0, 0.7, 0.9, 2.4  # ems
_LEFT = 4.0


def draw_timeline(figure: Moments, layout: Layout) -> Sheet:
    """Draw the panels below one another, the phases behind all of them."""
    from harness.report.figures.sheet import Sheet

    em = layout.em
    head = 1.7 if figure.bands else 0.0
    keys = [in_rows(_keys(panel, layout), layout.width, em) for panel in figure.panels]
    words = sum(len(rows) * ROW + _ABOVE + _BETWEEN for rows in keys)
    planes = [panel for panel in figure.panels if panel.lines]
    count = len(planes)
    sheet = Sheet(layout, head + words + _FOOT, count * _PLANE, count * _LEAST_PLANE)
    top, axes = head * em, None
    for panel, rows in zip(figure.panels, keys, strict=True):
        draw_keys(sheet, rows, 0, top + em)
        top += (len(rows) * ROW + _ABOVE) * em
        if panel.lines:
            height = sheet.free / count
            axes = sheet.axes(_LEFT * em, top, sheet.width - (_LEFT + 0.8) * em, height)
            _draw_panel(sheet, axes, figure, panel, is_last=panel is planes[-1])
            top += height
        top += _BETWEEN * em
    if axes is not None:
        _name_bands(sheet, axes, figure)
    return sheet


def _keys(panel: Panel, layout: Layout) -> list[Key]:
    """Return what stands above a panel: its title, its lines if there are several, and its note."""
    keys = [Key("title", f"{panel.title}, {panel.unit}")]
    if len(panel.lines) > 1:
        keys += [
            Key("dashes" if line.kind == "level" else "rule", line.label, _colour(place))
            for place, line in enumerate(panel.lines)
        ]
    if panel.span.cut and panel.lines:
        keys.append(Key("words", "the axis does not begin at 0"))
    return keys + in_lines(panel.note, layout.width, layout.em)


def _colour(place: int) -> str:
    return f"c{place + 1}"


def _draw_panel(sheet: Sheet, axes: Axes, figure: Moments, panel: Panel, *, is_last: bool) -> None:
    quantity = "seconds" if is_last else ""
    across(sheet, axes, Span(0.0, figure.seconds), quantity=quantity, labels=is_last)
    upwards(sheet, axes, panel.span, ticks=4)
    low, high = axes.get_ylim()
    for band in figure.bands:
        if band.name in _BLOCK:
            sheet.band(axes, (band.begin, low), (band.end, high), _BLOCK[band.name])
    for place, line in enumerate(panel.lines):
        _draw_line(sheet, axes, line, _colour(place))


def _draw_line(sheet: Sheet, axes: Axes, line: Line, colour: str) -> None:
    points = list(zip(line.seconds, line.values, strict=True))
    pen = Pen(line.kind, colour, 0.14, dashes=(3.2, 2.0) if line.kind == "level" else None)
    if line.kind == "dots":
        sheet.dots(axes, points, Pen("dots", colour, 0.28, opacity=0.6))
    elif line.ends is None:
        sheet.line(axes, points, pen)
    else:
        ends = list(zip(line.ends, line.values, strict=True))
        sheet.segments(axes, list(zip(points, ends, strict=True)), pen)


def _name_bands(sheet: Sheet, axes: Axes, figure: Moments) -> None:
    """Write the names of the phases over all panels, where they have room."""
    for band in figure.bands:
        left, _ = sheet.place(axes, band.begin, 0)
        right, _ = sheet.place(axes, band.end, 0)
        if sheet.width_of(band.name, _PHASE) < right - left:
            sheet.words((left + right) / 2, 1.0 * sheet.em, band.name, _PHASE)
