"""Scales: what an axis reaches over, where it begins, and how its ticks are written.

Ticks are matplotlib's. An axis of a quantity that has a zero begins there, so that lengths compare;
where that would waste most of it, it begins later and says so. Not here: marks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.report.figures.style import AXIS, TICK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.figures.sheet import Sheet

LOGARITHMIC_FROM = 30.0
# Below this share of the greatest value nothing lies: an axis from zero would be mostly empty.
_EMPTY_SHARE = 0.55


@dataclass(frozen=True)
class Span:
    """What an axis reaches over. With `cut` it does not begin at the zero that its quantity has."""

    low: float
    high: float
    logarithmic: bool = False
    cut: bool = False

    def clamp(self, value: float) -> float:
        """Return a value, or the edge of the axis that is nearest to it."""
        return min(max(value, self.low), self.high)


def span_of(values: Sequence[float], *, may_be_logarithmic: bool = False) -> Span:
    """Return what shows all values of a quantity with a zero, with some room beyond the greatest."""
    low, high = min(values), max(values)
    if may_be_logarithmic and low > 0 and high / low > LOGARITHMIC_FROM:
        return Span(low / 1.3, high * 1.3, logarithmic=True)
    if low > _EMPTY_SHARE * high > 0:
        room = (high - low) * 0.12 or high * 0.05
        return Span(low - room, high + room, cut=True)
    room = 0.05 * (high - min(low, 0.0)) or 1.0
    return Span(min(0.0, low - room if low < 0 else 0.0), high + room)


def share_span(values: Sequence[float]) -> Span:
    """Return what shows shares of one, two hundredths of it at least, and nothing beyond 1."""
    low, high = min(values), max(values)
    room = max(0.02, high - low) * 0.15
    begin = max(0.0, low - room)
    return Span(begin, min(1.0 + room / 2, high + room), cut=begin > 0)


def free_span(values: Sequence[float], least: float) -> Span:
    """Return what shows values of a quantity whose zero says nothing; `least` is the least room."""
    low, high = min(values), max(values)
    room = max(least, (high - low) * 0.15)
    return Span(low - room, high + room)


def plain(value: float) -> str:
    """Write a tick: no exponent, no noise of binary fractions."""
    return f"{value:.10g}"


def hundredths(value: float) -> str:
    """Write a tick of shares in percent."""
    return f"{100 * value:.6g}%"


def across(
    sheet: Sheet, axes: Axes, span: Span, *, quantity: str = "", lines: bool = True,
    labels: bool = True,
) -> Sequence[float]:  # fmt: skip
    """Give axes a horizontal scale: lines, ticks below, its title under their middle. Return the ticks."""
    box, em = sheet.box(axes), sheet.em
    span, ticks = _ticks(span, max(3, round((box.right - box.left) / em / 7)))
    if span.logarithmic:
        axes.set_xscale("log")
    axes.set_xlim(span.low, span.high)
    if lines:
        sheet.grid(axes, "x", ticks)
    for x in ticks if labels else ():
        place, _ = sheet.place(axes, x, axes.get_ylim()[0])
        sheet.words(place, box.bottom + 1.3 * em, plain(x), TICK)
    if quantity:
        middle, below = (box.left + box.right) / 2, box.bottom + 2.9 * em
        sheet.words(middle, below, _title(quantity, span, plain), AXIS)
    return ticks


def upwards(
    sheet: Sheet, axes: Axes, span: Span, *, quantity: str = "", ticks: int = 4,
    write: Callable[[float], str] = plain,
) -> None:  # fmt: skip
    """Give axes a vertical scale: lines, ticks to the left, and its title above, on the left."""
    box, em = sheet.box(axes), sheet.em
    room = max(1, int((box.bottom - box.top) / em / 1.4))
    span, values = _ticks(span, min(ticks, room))
    if span.logarithmic:
        axes.set_yscale("log")
    axes.set_ylim(span.low, span.high)
    sheet.grid(axes, "y", values)
    for y in values:
        _, place = sheet.place(axes, axes.get_xlim()[0], y)
        left = replace(TICK, align="right")
        sheet.words(box.left - 0.45 * em, place + 0.33 * em, write(y), left)
    if quantity:
        sheet.words(
            0, box.top - 0.9 * em, _title(quantity, span, write), replace(AXIS, align="left")
        )


def _title(quantity: str, span: Span, write: Callable[[float], str]) -> str:
    """Return an axis's title: it says what the axis does that a reader might not expect."""
    if span.logarithmic:
        return f"{quantity} (logarithmic)"
    return f"{quantity} (the axis begins at {write(span.low)})" if span.cut else quantity


def _ticks(span: Span, count: int) -> tuple[Span, list[float]]:
    """Return an axis's ticks. One that does not begin at zero begins at a tick: return what it spans."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if span.logarithmic:
        digits = (1.0, 2.0, 5.0) if span.high / span.low < 1000 else (1.0,)
        ticks = LogLocator(subs=digits, numticks=20).tick_values(span.low, span.high)
    else:
        locator = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10])
        ticks = locator.tick_values(span.low, span.high)
    if span.cut:
        span = replace(
            span, low=max((tick for tick in ticks if tick <= span.low), default=span.low)
        )
    return span, [float(tick) for tick in ticks if span.low <= tick <= span.high]
