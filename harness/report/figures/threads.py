"""Latency over thread counts: what more threads bring to each variant, and where they stop helping.

Not here: latency against other qualities (`plane.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.analysis.cases import CaseSummary
from harness.analysis.words import plural, quantity
from harness.report.figures.axes import Span, span_of, upwards
from harness.report.figures.plot import Plot
from harness.report.figures.style import AXIS, MS, TICK, Layout, Pen, Type, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.figures.sheet import Sheet

DASHES = (None, (4.0, 1.8), (1.6, 1.4), (7.0, 2.0))


@dataclass(frozen=True)
class Point:
    """The latency (ms) of one thread count, with its interval."""

    place: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One variant in one setting. `style` tells curves of one colour apart."""

    name: str
    words: str
    colour: str
    style: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Threads:
    """The variants of one model on one device, the fastest first, over `counts`."""

    counts: tuple[int, ...]
    curves: tuple[Curve, ...]
    span: Span


def threads_plot(
    cases: Sequence[CaseSummary], colours: Mapping[str, str], about: str
) -> Plot | None:
    """Show median latency over the number of threads; None unless a variant has two of them."""
    groups: dict[tuple[str, str, str], list[CaseSummary]] = {}
    for case in cases:
        if case.latency is not None:
            key = (case.label, case.case.engine, case.case.affinity)
            groups.setdefault(key, []).append(case)
    if not any(len({case.case.threads for case in own}) > 1 for own in groups.values()):
        return None
    counts = tuple(sorted({case.case.threads for own in groups.values() for case in own}))
    several = [len({key[part] for key in groups}) > 1 for part in (1, 2)]
    used: dict[str, int] = {}
    curves = []
    for (name, engine, affinity), own in groups.items():
        more = [engine] * several[0] + [f"on cores {affinity}"] * several[1]
        colour = colours[own[0].case.variant.recipe]
        style = used[colour] = used.get(colour, -1) + 1
        curves.append(_curve(", ".join([name, *more]), colour, style, counts, own))
    ends = [end for curve in curves for one in curve.points for end in (one.low, one.high)]
    threads = Threads(
        counts,
        tuple(sorted(curves, key=lambda curve: min(one.value for one in curve.points))),
        span_of(ends, may_be_logarithmic=True),
    )
    said = "; ".join(f"{curve.name}: {curve.words}" for curve in threads.curves)
    return Plot(
        "threads",
        "Latency over threads",
        "The median of each variant by its number of threads, with the 95% interval over launches. Where a "
        "line turns upwards, more threads make it slower.",
        f"Median latency of {plural(len(curves), 'variant')} over threads{about}. {said}",
        partial(draw_threads, threads),
    )


def _curve(
    name: str, colour: str, style: int, counts: Sequence[int], cases: Sequence[CaseSummary]
) -> Curve:
    points = []
    for case in sorted(cases, key=lambda case: case.case.threads):
        latency = case.latency
        assert latency is not None
        points.append(
            Point(
                counts.index(case.case.threads),
                latency.median,
                latency.low or latency.median,
                latency.high or latency.median,
            )
        )
    best = min(points, key=lambda point: point.value)
    words = f"{quantity(best.value, MS)} on {plural(counts[best.place], 'thread')}"
    return Curve(label(name, 48), words, colour, style, tuple(points))


# --- drawing -------------------------------------------------------------------------------------

_NAME = Type("name", "ink", size=0.95)
_VALUE = Type("value", size=0.92, align="right")
_ROW = 1.5
_HEAD, _FOOT = 2.2, 3.6


def draw_threads(figure: Threads, layout: Layout) -> Sheet:
    """Draw a curve a variant, with its name at its end, or in a list below."""
    from harness.report.figures.sheet import Sheet

    em, rows = layout.em, len(figure.curves) * _ROW
    below, beside = (0.8 + rows, 0.0) if layout.is_narrow else (0.0, rows)
    sheet = Sheet(layout, _HEAD + _FOOT + below, max(18.0, beside), max(6.0, beside))
    left = 4.0 * em
    names = 1.0 * em if layout.is_narrow else min(0.42 * layout.width, 29 * em)
    axes = sheet.axes(left, _HEAD * em, sheet.width - left - names, sheet.free)
    axes.set_xlim(-0.3, len(figure.counts) - 0.7)
    upwards(sheet, axes, figure.span, quantity="median latency, ms", ticks=5)
    _name_counts(sheet, axes, figure)
    for curve in figure.curves:
        _draw_curve(sheet, axes, curve)
    if layout.is_narrow:
        _list_below(sheet, figure, sheet.height - rows * em)
    else:
        _name_ends(sheet, axes, figure)
    return sheet


def _name_counts(sheet: Sheet, axes: Axes, figure: Threads) -> None:
    box = sheet.box(axes)
    baseline = box.bottom + 1.3 * sheet.em
    for place, count in enumerate(figure.counts):
        x, _ = sheet.place(axes, place, figure.span.low)
        sheet.words(x, baseline, str(count), TICK)
    middle = (box.left + box.right) / 2
    sheet.words(middle, baseline + 1.6 * sheet.em, "threads", AXIS)


def _pen(curve: Curve, name: str) -> Pen:
    return Pen(name, curve.colour, 0.16, dashes=DASHES[curve.style % len(DASHES)])


def _draw_curve(sheet: Sheet, axes: Axes, curve: Curve) -> None:
    points = [(one.place, one.value) for one in curve.points]
    sheet.line(axes, points, _pen(curve, "curve"))
    whiskers = [((one.place, one.low), (one.place, one.high)) for one in curve.points]
    sheet.segments(axes, whiskers, Pen("whisker", curve.colour, 0.12))
    sheet.dots(axes, points, Pen("point", curve.colour, 0.5))


def _name_ends(sheet: Sheet, axes: Axes, figure: Threads) -> None:
    """Write each curve's name beside its end; names that would touch are moved apart, with lines."""
    em = sheet.em
    ends = [
        (*sheet.place(axes, curve.points[-1].place, curve.points[-1].value), curve)
        for curve in figure.curves
    ]
    ends.sort(key=lambda end: end[1])
    bottom = sheet.height - 0.6 * em
    heights = _apart([y for _, y, _ in ends], _ROW * em, bottom)
    start = sheet.box(axes).right + 1.6 * em
    for (x, y, curve), height in zip(ends, heights, strict=True):
        end = (start - 0.3 * em, height)
        sheet.stroke((x + 0.5 * em, y), end, Pen("leader", curve.colour, 0.06))
        _write_curve(sheet, curve, start, height + 0.34 * em, sheet.width - start)


def _apart(heights: Sequence[float], least: float, bottom: float) -> list[float]:
    """Return heights in the same order that keep a distance: pushed down, then back up from the bottom."""
    moved = list(heights)
    for place, (_, later) in enumerate(pairwise(range(len(moved))), 1):
        moved[later] = max(moved[later], moved[place - 1] + least)
    limit = bottom
    for place in reversed(range(len(moved))):
        moved[place] = min(moved[place], limit)
        limit = moved[place] - least
    return moved


def _list_below(sheet: Sheet, figure: Threads, top: float) -> None:
    em = sheet.em
    for place, curve in enumerate(figure.curves):
        y = top + (place * _ROW + 1.0) * em
        middle = y - 0.32 * em
        sheet.stroke((0, middle), (1.6 * em, middle), _pen(curve, "sign"))
        _write_curve(sheet, curve, 2.1 * em, y, sheet.width - 2.1 * em)


def _write_curve(sheet: Sheet, curve: Curve, left: float, baseline: float, width: float) -> None:
    """Write a curve's name, and on the right its best."""
    room = width - sheet.width_of(curve.words, _VALUE) - 0.8 * sheet.em
    sheet.words(left, baseline, sheet.fit(curve.name, room, _NAME), _NAME)
    sheet.words(left + width, baseline, curve.words, _VALUE)
