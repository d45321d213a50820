"""All figures of a report's page, as SVG to stand in it, each drawn for desktops and for phones.

Many of them are drawn in several processes. Not here: the page (`harness.report.html`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context

from markupsafe import Markup

from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary
from harness.analysis.launches import Launch
from harness.errors import BadRecord
from harness.report.figures.order import order_plot
from harness.report.figures.plane import energy_plane_plot, pareto_plot
from harness.report.figures.plot import Plot
from harness.report.figures.strips import energy_plot, latency_plot
from harness.report.figures.style import NARROW, WIDE, colours_of, label
from harness.report.figures.threads import threads_plot
from harness.report.figures.timeline import representative, timeline_plot

MOST_TIMELINES = 40
# Starting a process and importing matplotlib in it takes as long as drawing so many figures.
_WORTH_A_PROCESS = 8


@dataclass(frozen=True)
class Drawn:
    """A figure of the page: its words, and both its SVGs."""

    kind: str
    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Timeline:
    """A launch over time, and the case that it stands for."""

    case: CaseSummary
    launch: Launch
    figure: Drawn


@dataclass(frozen=True)
class PageFigures:
    """The figures of a page, by kind, device and model (none for those of a whole device).

    `timelines` are of cases, by device; `left_out` counts the cases that there was no room for.
    """

    figures: dict[tuple[str, str, str], Drawn]
    timelines: dict[str, list[Timeline]]
    left_out: int

    def of(self, kind: str, device: str, model: str = "") -> Drawn | None:
        """Return a figure, or None if there is nothing to be seen in it."""
        return self.figures.get((kind, device, model))


def draw_page(summary: SweepSummary, processes: int = 1) -> PageFigures:
    """Draw every figure that a sweep has something for, in up to so many processes."""
    plots = {
        (plot.kind, device.info.id, model): plot
        for device in summary.devices
        for model, plot in _plots_of(summary, device)
    }
    timelines, left_out = _timelines_of(summary)
    drawn = iter(_draw_all([*plots.values(), *(plot for _, _, plot in timelines)], processes))
    figures = {place: next(drawn) for place in plots}
    by_device: dict[str, list[Timeline]] = {}
    for case, launch, _ in timelines:
        by_device.setdefault(case.device, []).append(Timeline(case, launch, next(drawn)))
    return PageFigures(figures, by_device, left_out)


def _plots_of(summary: SweepSummary, device: DeviceSummary) -> Iterator[tuple[str, Plot]]:
    """Yield a device's figures, each with the model it is of."""
    colours = colours_of(summary)
    shown = sum(len(one.launches) for one in summary.devices)
    on = f" on {label(device.info.name)}"
    for model in dict.fromkeys(case.case.variant.model for case in device.cases):
        cases = [case for case in device.cases if case.case.variant.model == model]
        about = f" of {label(model)}{on}"
        for plot in (
            latency_plot(cases, colours, about, shown),
            energy_plot(cases, colours, about),
            pareto_plot(cases, colours, about),
            energy_plane_plot(cases, colours, about),
            threads_plot(cases, colours, about),
        ):
            if plot is not None:
                yield model, plot
    order = order_plot(device, colours, on)
    if order is not None:
        yield "", order


def _timelines_of(summary: SweepSummary) -> tuple[list[tuple[CaseSummary, Launch, Plot]], int]:
    """Return a launch of each case over time; how many cases were left out comes second."""
    found: list[tuple[CaseSummary, Launch, Plot]] = []
    left_out = 0
    for case in chain.from_iterable(device.cases for device in summary.devices):
        launch = representative(case)
        if launch is None:
            continue
        if len(found) == MOST_TIMELINES:
            left_out += 1
            continue
        try:
            found.append((case, launch, timeline_plot(summary.folder, case, launch)))
        except BadRecord:
            continue  # it was whole a moment ago: the case's numbers stand, its picture does not
    return found, left_out


# --- drawing -------------------------------------------------------------------------------------


def _draw_all(plots: Sequence[Plot], processes: int) -> list[Drawn]:
    keys = [f"figure-{number}" for number in range(1, len(plots) + 1)]
    workers = min(processes, len(plots) // _WORTH_A_PROCESS)
    if workers > 1:
        try:
            # Fresh processes: a fork would copy the locks of whatever threads there are.
            with ProcessPoolExecutor(
                workers, get_context("spawn"), initializer=_leave_interrupts_to_the_parent
            ) as pool:
                return list(pool.map(draw_both, plots, keys, chunksize=2))
        except (OSError, BrokenExecutor):
            pass  # there is no room for processes here: this one draws
    return [draw_both(plot, key) for plot, key in zip(plots, keys, strict=True)]


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def draw_both(plot: Plot, key: str) -> Drawn:
    """Draw a figure at both widths; `key` is its own among all of the page."""
    from harness.report.figures.sheet import drawing
    from harness.report.figures.svg import inline_svg

    svgs = []
    for role, layout in (("wide", WIDE), ("narrow", NARROW)):
        with drawing():
            content = plot.draw(layout).write("svg", on_paper=False)
        svgs.append(
            inline_svg(
                content, key=f"{key}-{role}", role=role, title=plot.title, spoken=plot.spoken
            )
        )
    return Drawn(plot.kind, plot.title, plot.caption, Markup("\n".join(svgs)))
