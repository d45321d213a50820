"""Latency against another quality of each case, and the front of those that no other beats in both.

Cases are numbered: a number stands near its mark, and beside or below the plane what it means.
Not here: latency over thread counts (`threads.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from harness.analysis.case_energy import source_key
from harness.analysis.cases import CaseSummary
from harness.analysis.words import megabytes, percent, plural, quantity, scale_of, significant
from harness.report.figures.axes import (
    Span,
    across,
    hundredths,
    plain,
    share_span,
    span_of,
    upwards,
)
from harness.report.figures.plot import Plot
from harness.report.figures.style import MS, Layout, Pen, Type, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.figures.sheet import Sheet


@dataclass(frozen=True)
class Mark:
    """One case: its latency (ms) and its other quality, each with its interval, and what is said of it.

    `share` is the size of its file relative to the largest one's.
    """

    name: str
    words: str
    colour: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    share: float


@dataclass(frozen=True)
class Plane:
    """The cases of one model, the fastest first."""

    marks: tuple[Mark, ...]
    front: tuple[tuple[float, float], ...]
    across: Span
    upwards: Span
    quantity: str
    in_hundredths: bool = False


def pareto_plot(
    cases: Sequence[CaseSummary], colours: Mapping[str, str], about: str
) -> Plot | None:
    """Show latency against accuracy, or against size where accuracies do not differ.

    None of fewer than two cases that have both.
    """
    sized = [case for case in cases if case.latency is not None and case.size_bytes is not None]
    if len(sized) < 2:
        return None
    accuracies = [case.accuracy.top1 for case in sized if case.accuracy is not None]
    known = len(accuracies) == len(sized)
    by_accuracy = known and min(accuracies) < max(accuracies)
    heights = accuracies if by_accuracy else [(case.size_bytes or 0) / 1e6 for case in sized]
    words = (
        [percent(accuracy) for accuracy in accuracies]
        if by_accuracy
        else [megabytes(case.size_bytes or 0) for case in sized]
    )
    named = _names(cases)
    marks = [
        _mark(case, named(case), said, colours, (height,) * 3, sized)
        for case, said, height in zip(sized, words, heights, strict=True)
    ]
    plane = _plane(
        marks,
        share_span(heights) if by_accuracy else span_of([0.0, *heights]),
        "accuracy, top-1" if by_accuracy else "size, MB",
        higher_is_better=by_accuracy,
    )
    same = f" All have the same accuracy, {percent(accuracies[0])}." if known else ""
    against, best = ("accuracy", "upper") if by_accuracy else ("size", "lower")
    return _plot("pareto", against, best, "" if by_accuracy else same, about, plane)


def energy_plane_plot(
    cases: Sequence[CaseSummary], colours: Mapping[str, str], about: str
) -> Plot | None:
    """Show latency against energy, with accuracies in words; None of fewer than two cases.

    Only cases of one source of power stand in one plane: the first case's.
    """
    known = [case for case in cases if case.latency is not None and case.energy is not None]
    keys = [source_key(case.energy.source) for case in known if case.energy is not None]
    shown = [case for case, key in zip(known, keys, strict=True) if key == keys[0]]
    if len(shown) < 2:
        return None
    joules = [case.energy.joules for case in shown if case.energy is not None]
    unit, size = scale_of("J", [one.median for one in joules])
    heights = [((one.low or 0) / size, one.median / size, (one.high or 0) / size) for one in joules]
    named = _names(cases)
    marks = [
        _mark(
            case,
            _with_accuracy(case, named(case)),
            f"{significant(height[1])} {unit}",
            colours,
            height,
            shown,
        )
        for case, height in zip(shown, heights, strict=True)
    ]
    plane = _plane(
        marks,
        span_of([0.0, *(end for low, _, high in heights for end in (low, high))]),
        f"energy an inference, {unit}",
        higher_is_better=False,
    )
    other = len(known) - len(shown)
    note = " Percentages are accuracies." * any(case.accuracy for case in shown)
    note += f" {other} of other sources of power are left out." * bool(other)
    return _plot("energy-plane", "energy", "lower", note, about, plane)


def _plot(kind: str, against: str, best: str, note: str, about: str, plane: Plane) -> Plot:
    said = "; ".join(f"{mark.name}: {mark.words}" for mark in plane.marks)
    return Plot(
        kind,
        f"Latency against {against}",
        "Areas stand for the size of the file, whiskers for the 95% interval. The dashed line joins the "
        f"cases that no other beats in both; {best} left is best.{note}",
        f"Latency against {against} of {plural(len(plane.marks), 'case')}{about}. {said}",
        partial(draw_plane, plane),
    )


def _mark(
    case: CaseSummary,
    name: str,
    words: str,
    colours: Mapping[str, str],
    height: tuple[float, float, float],
    shown: Sequence[CaseSummary],
) -> Mark:
    """Place a case; `height` is low, middle and high, and areas are relative to all that are shown."""
    latency = case.latency
    assert latency is not None
    largest = max((one.size_bytes or 0 for one in shown), default=0) or 1
    low, middle, high = height
    return Mark(
        name=label(name, 48),
        words=f"{quantity(latency.median, MS)}, {words}",
        colour=colours[case.case.variant.recipe],
        x=latency.median,
        x_low=latency.low or latency.median,
        x_high=latency.high or latency.median,
        y=middle,
        y_low=low,
        y_high=high,
        share=(case.size_bytes or 0) / largest,
    )


def _plane(marks: Sequence[Mark], upwards: Span, quantity: str, *, higher_is_better: bool) -> Plane:
    ends = [end for mark in marks for end in (mark.x_low, mark.x_high)]
    ordered = tuple(sorted(marks, key=lambda mark: mark.x))
    front = tuple(_front(ordered, 1 if higher_is_better else -1))
    span = span_of(ends, may_be_logarithmic=True)
    return Plane(ordered, front, span, upwards, quantity, in_hundredths=higher_is_better)


def _front(marks: Sequence[Mark], sign: int) -> Iterator[tuple[float, float]]:
    """Yield the cases that no other beats in both, the fastest first; `sign` tells what is better."""
    best = -math.inf
    for mark in sorted(marks, key=lambda mark: (mark.x, -sign * mark.y)):
        if sign * mark.y > best:
            best = sign * mark.y
            yield mark.x, mark.y


def _names(cases: Sequence[CaseSummary]) -> Callable[[CaseSummary], str]:
    """Return how cases are called beside one another: with their settings if these differ."""
    one_setting = len({case.setting for case in cases}) == 1
    return (lambda case: case.label) if one_setting else _with_setting


def _with_setting(case: CaseSummary) -> str:
    cores = "" if case.case.affinity == "all" else f" on {case.case.affinity}"
    return f"{case.label}, {plural(case.case.threads, 'thread')}{cores}"


def _with_accuracy(case: CaseSummary, name: str) -> str:
    return f"{name}: {percent(case.accuracy.top1)}" if case.accuracy else name


# --- drawing -------------------------------------------------------------------------------------

_NUMBER = Type("number", "ink", size=0.85, align="center", bold=True)
_NAME = Type("name", "ink", size=0.95)
_VALUE = Type("value", size=0.92, align="right")
_ROW = 1.5  # ems between the lines of the list
_HEAD, _FOOT = 2.2, 3.6


def draw_plane(figure: Plane, layout: Layout) -> Sheet:
    """Draw the marks with their numbers, and the list of what they are beside or below them."""
    from harness.report.figures.sheet import Sheet

    em, rows = layout.em, len(figure.marks) * _ROW
    if layout.is_narrow:
        sheet = Sheet(layout, _HEAD + _FOOT + 0.8 + rows, planes=19, least=8)
        list_width = plane_width = layout.width
        list_left, list_top = 0.0, sheet.height - rows * em
    else:
        beside = rows + 2 - _HEAD - _FOOT
        sheet = Sheet(layout, _HEAD + _FOOT, max(22, beside), max(8, beside))
        list_width = 0.36 * layout.width
        list_left, list_top = layout.width - list_width, _HEAD * em
        plane_width = list_left - 2 * em
    left = 4.0 * em
    axes = sheet.axes(left, _HEAD * em, plane_width - left, sheet.free)
    across(sheet, axes, figure.across, quantity="median latency, ms")
    write = hundredths if figure.in_hundredths else plain
    upwards(sheet, axes, figure.upwards, quantity=figure.quantity, ticks=5, write=write)
    _draw_front(sheet, axes, figure)
    for mark in figure.marks:
        _draw_mark(sheet, axes, mark)
    _draw_numbers(sheet, axes, figure)
    _draw_list(sheet, figure, list_left, list_top, list_width)
    return sheet


def _draw_front(sheet: Sheet, axes: Axes, figure: Plane) -> None:
    xs = [x for x, _ in figure.front for _ in (0, 1)]
    ys = [y for _, y in figure.front for _ in (0, 1)]
    # Across at the height of the last one, then up or down to the next.
    steps = list(zip(xs[1:], ys[:-1], strict=True))
    sheet.line(axes, steps, Pen("front", "quiet", 0.09, dashes=(3.0, 3.5)))


def _radius(mark: Mark, em: float) -> float:
    return (0.32 + 0.72 * math.sqrt(mark.share)) * em


def _draw_mark(sheet: Sheet, axes: Axes, mark: Mark) -> None:
    whiskers = [
        ((mark.x_low, mark.y), (mark.x_high, mark.y)),
        ((mark.x, mark.y_low), (mark.x, mark.y_high)),
    ]
    sheet.segments(axes, whiskers, Pen("whisker", mark.colour, 0.12))
    radius = _radius(mark, sheet.em)
    sheet.bubble(axes, (mark.x, mark.y), radius, Pen("bubble", mark.colour, 0.12))


def _draw_numbers(sheet: Sheet, axes: Axes, figure: Plane) -> None:
    """Write each number where it covers nothing: over its mark or under it, else further off, with a line."""
    em, box = sheet.em, sheet.box(axes)
    marks = [(*sheet.place(axes, mark.x, mark.y), _radius(mark, em)) for mark in figure.marks]
    taken: list[tuple[float, float]] = []
    for number, (x, y, radius) in enumerate(marks, 1):
        spots = [spot for spot in _spots(y, radius, em) if box.top + 0.1 * em < spot < box.bottom]
        free = [
            spot
            for spot in spots
            if not any(abs(x - a) < 1.35 * em and abs(spot - b) < 0.95 * em for a, b in taken)
        ]
        clear = [
            spot
            for spot in free
            if not any(math.hypot(x - a, spot - 0.3 * em - b) < r + 0.35 * em for a, b, r in marks)
        ]
        baseline = (clear or free or spots or [y])[0]
        taken.append((x, baseline))
        if abs(baseline - y) > radius + 1.6 * em:
            end = baseline + 0.2 * em if baseline < y else baseline - 0.9 * em
            sheet.stroke((x, y), (x, end), Pen("leader", "quiet", 0.06))
        sheet.words(x, baseline, str(number), _NUMBER)


def _spots(y: float, radius: float, em: float) -> Iterator[float]:
    """Yield baselines for a number at a mark, the best first."""
    for row in range(12):
        yield y - radius - (0.4 + row) * em
        yield y + radius + (1.0 + row) * em


def _draw_list(sheet: Sheet, figure: Plane, left: float, top: float, width: float) -> None:
    """Write what each number is: its case, and its two numbers."""
    em = sheet.em
    for number, mark in enumerate(figure.marks, 1):
        y = top + ((number - 1) * _ROW + 1.0) * em
        sheet.words(left + 1.2 * em, y, str(number), replace(_NUMBER, align="right"))
        sheet.spot(left + 2.1 * em, y - 0.32 * em, Pen("spot", mark.colour, 0.66))
        room = width - 3.6 * em - sheet.width_of(mark.words, _VALUE)
        sheet.words(left + 2.9 * em, y, sheet.fit(mark.name, room, _NAME), _NAME)
        sheet.words(left + width, y, mark.words, _VALUE)
