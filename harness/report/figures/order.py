"""Launches in the order they ran, each relative to its case: a drift of the device shows as a slope.

Not here: whether a drift is one (`harness.analysis.doubts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from harness.analysis.cases import DeviceSummary, relative_latency
from harness.analysis.launches import Launch
from harness.analysis.words import percent, plural
from harness.report.figures.axes import Span, upwards
from harness.report.figures.keys import ROW, Key, draw_keys, in_rows
from harness.report.figures.plot import Plot
from harness.report.figures.style import AXIS, TICK, Layout, Pen, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.figures.sheet import Sheet

_LEAST, _MOST = 0.05, 0.5  # what the axis reaches to either side at least, and at most


@dataclass(frozen=True)
class Series:
    """The launches of one recipe, as (place in the order, latency relative to the case's)."""

    recipe: str
    colour: str
    counting: tuple[tuple[int, float], ...]
    others: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Round:
    """A round: its number, its first and last place in the order, and the median of its launches."""

    number: int
    first: int
    last: int
    median: float | None


@dataclass(frozen=True)
class Order:
    """A device's latency launches; `lost` are the places of those without a result."""

    series: tuple[Series, ...]
    rounds: tuple[Round, ...]
    lost: tuple[int, ...]
    count: int
    span: Span


def order_plot(device: DeviceSummary, colours: Mapping[str, str], about: str) -> Plot | None:
    """Show the latency launches of a device in the order they ran; None if there is none."""
    timed = [
        (launch, case.case.variant.recipe, relative)
        for case in device.cases
        for launch in case.launches
        if (relative := relative_latency(case, launch)) is not None
    ]
    if not timed:
        return None
    places = {index: place for place, index in enumerate(_indexes(device))}
    furthest = max(abs(relative - 1) for _, _, relative in timed)
    reach = min(_MOST, max(_LEAST, 1.1 * furthest))
    span = Span(1 - reach, 1 + reach)
    lost = tuple(
        places[one.index] for one in device.launches if one.measured is None and one.index in places
    )
    order = Order(
        _series(timed, places, span, colours),
        _rounds(device, timed, places, span),
        lost,
        len(places),
        span,
    )
    return Plot(
        "order",
        "Launches in the order they ran",
        "Each dot is a latency launch: its median relative to its case's. Rounds are shaded in turn; a "
        "change of the device itself shows as steps of the line, the median of each round."
        + " Launches further off stand on the edge."
        * (furthest > reach),
        f"Relative latency of the launches{about} in the order they ran, within {percent(reach)} of the "
        f"case's median; {plural(len(lost), 'launch', 'launches')} lost",
        partial(draw_order, order),
    )


def _indexes(device: DeviceSummary) -> list[int]:
    """Return the places of the schedule whose pass is latency, in the order they ran."""
    return sorted({one.index for one in device.launches if one.measured_pass == "latency"})


def _series(
    timed: Sequence[tuple[Launch, str, float]], places: Mapping[int, int], span: Span,
    colours: Mapping[str, str],
) -> tuple[Series, ...]:  # fmt: skip
    found: dict[str, tuple[list[tuple[int, float]], list[tuple[int, float]]]] = {}
    for launch, recipe, relative in timed:
        counting, others = found.setdefault(recipe, ([], []))
        into = counting if launch.counts else others
        into.append((places[launch.index], span.clamp(relative)))
    return tuple(
        Series(label(recipe), colours[recipe], tuple(counting), tuple(others))
        for recipe, (counting, others) in found.items()
    )


def _rounds(
    device: DeviceSummary, timed: Sequence[tuple[Launch, str, float]], places: Mapping[int, int],
    span: Span,
) -> tuple[Round, ...]:  # fmt: skip
    members: dict[int, list[int]] = {}
    for launch in device.launches:
        if launch.index in places:
            members.setdefault(launch.round, []).append(places[launch.index])
    relatives: dict[int, list[float]] = {}
    for launch, _, relative in timed:
        if launch.counts:
            relatives.setdefault(launch.round, []).append(relative)
    return tuple(
        Round(
            number,
            min(own),
            max(own),
            span.clamp(median(relatives[number])) if number in relatives else None,
        )
        for number, own in sorted(members.items())
    )


# --- drawing -------------------------------------------------------------------------------------


def draw_order(figure: Order, layout: Layout) -> Sheet:
    """Draw the launches from left to right, the rounds behind them."""
    from harness.report.figures.sheet import Sheet

    em = layout.em
    keys = in_rows(_keys(figure), layout.width, em)
    head, foot = 2.2, 4.1 + len(keys) * ROW
    sheet = Sheet(layout, head + foot, planes=17, least=6)
    left = 3.9 * em
    axes = sheet.axes(left, head * em, sheet.width - left - 0.3 * em, sheet.free)
    axes.set_xlim(-0.5, figure.count - 0.5)
    upwards(
        sheet, axes, figure.span, quantity="relative to the case's median", ticks=5, write=_change
    )
    _draw_rounds(sheet, axes, figure)
    _draw_launches(sheet, axes, figure)
    _name_rounds(sheet, axes, figure)
    draw_keys(sheet, keys, 0, sheet.height - (len(keys) - 1) * ROW * em - 0.5 * em)
    return sheet


def _change(relative: float) -> str:
    change = round(100 * (relative - 1), 6)
    return f"{change:+.3g}%" if change else "0%"


def _keys(figure: Order) -> list[Key]:
    keys = [Key("dot", one.recipe, one.colour) for one in figure.series]
    keys.append(Key("rule", "median of the round", "ink"))
    if any(one.others for one in figure.series):
        keys.append(Key("ring", "does not count"))
    if figure.lost:
        keys.append(Key("dashes", "lost launch", "bad"))
    return keys


def _draw_rounds(sheet: Sheet, axes: Axes, figure: Order) -> None:
    low, high = figure.span.low, figure.span.high
    for one in figure.rounds[::2]:
        corner, opposite = (one.first - 0.5, low), (one.last + 0.5, high)
        sheet.band(axes, corner, opposite, Pen("round", "shade"))
    lost = [((place, low), (place, high)) for place in figure.lost]
    sheet.segments(axes, lost, Pen("lost", "bad", 0.12, dashes=(2.6, 2.0)))


def _draw_launches(sheet: Sheet, axes: Axes, figure: Order) -> None:
    size = 0.38 if figure.count < 400 else 0.28
    for one in figure.series:
        if one.counting:
            sheet.dots(axes, one.counting, Pen("launch", one.colour, size, opacity=0.8))
    for one in figure.series:
        if one.others:
            sheet.rings(axes, one.others, Pen("hollow", one.colour, size + 0.08))
    steps = [
        ((one.first - 0.5, one.median), (one.last + 0.5, one.median))
        for one in figure.rounds
        if one.median is not None
    ]
    sheet.segments(axes, steps, Pen("round-median", "ink", 0.14))


def _name_rounds(sheet: Sheet, axes: Axes, figure: Order) -> None:
    """Write the rounds' numbers under them, as many as have room, and what they are."""
    box = sheet.box(axes)
    baseline = box.bottom + 1.3 * sheet.em
    room = max(1, int((box.right - box.left) / (2.6 * sheet.em)))
    step = -(-len(figure.rounds) // room)
    for one in figure.rounds[::step]:
        middle = (one.first + one.last) / 2
        x, _ = sheet.place(axes, middle, figure.span.low)
        sheet.words(x, baseline, str(one.number), TICK)
    middle = (box.left + box.right) / 2
    sheet.words(middle, baseline + 1.6 * sheet.em, "round", AXIS)
