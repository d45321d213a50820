"""Strips: a lane a case, a row of dots a launch, over one axis. Latencies and energies are shown so.

Not here: the numbers over launches (`harness.analysis`), which stand beside the lanes in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Literal

from harness.analysis import metrics
from harness.analysis.case_energy import source_key
from harness.analysis.cases import CaseSummary
from harness.analysis.launches import Launch
from harness.analysis.words import UnitScale, bounds, plural, quantity, scale_of, significant
from harness.report.figures.axes import Span, across, span_of
from harness.report.figures.plot import Plot
from harness.report.figures.style import GRID, MS, Layout, Pen, Type, label
from harness.schema.energy import Energy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.report.figures.sheet import Sheet

FAINT_BUDGET = 30_000


@dataclass(frozen=True)
class Dot:
    """The number of one launch, in the axis's unit, with an interval of its own if it has one."""

    value: float
    counts: bool
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Strip:
    """One case's launches, the first on top. `faint` are (launch's place, value) of its iterations."""

    name: str
    setting: str
    colour: str
    value: str
    interval: str
    median: float
    low: float | None
    high: float | None
    launches: tuple[Dot, ...]
    faint: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Strips:
    """The cases of one model on one device, over one axis."""

    quantity: str
    span: Span
    strips: tuple[Strip, ...]


def latency_plot(
    cases: Sequence[CaseSummary],
    colours: Mapping[str, str],
    about: str,
    launches_shown: int | None = None,
) -> Plot | None:
    """Show the latency of every launch of each case; None if nothing was timed.

    `launches_shown` is how many launches share the page, if not just these: it decides how many
    iterations of each fit.
    """
    timed = [case for case in cases if case.latency is not None]
    if not timed:
        return None
    medians = [
        launch.values[metrics.LATENCY]
        for case in timed
        for launch in case.launches
        if launch.counts and metrics.LATENCY in launch.values
    ]
    nineties = [
        case.estimates["latency_p90_ms"].median
        for case in timed
        if "latency_p90_ms" in case.estimates
    ]
    span = span_of(medians + nineties, may_be_logarithmic=True)
    shown = launches_shown or sum(len(case.launches) for case in cases)
    faint = max(2, FAINT_BUDGET // max(shown, 1))
    strips = tuple(_latency_strip(case, colours, span, faint) for case in timed)
    cut = any(value >= span.high for strip in strips for _, value in strip.faint)
    return Plot(
        "latency",
        "Latency of every launch",
        "A row of dots is one launch, the first on top: faint for its iterations, bold for its median. "
        "The band is the 95% interval of the median over launches."
        + " The axis is logarithmic." * span.logarithmic
        + " Slower iterations stand on the right edge." * cut
        + _hollow_words(strips),
        f"Latency of every launch{about}. {_speak(strips)}",
        partial(draw_strips, Strips("latency, ms", span, strips)),
    )


def energy_plot(
    cases: Sequence[CaseSummary], colours: Mapping[str, str], about: str
) -> Plot | None:
    """Show the energy of each launch with its interval, and the case's over them; None of none."""
    known = [case for case in cases if case.energy is not None]
    if not known:
        return None
    medians = [case.energy.joules.median for case in known if case.energy is not None]
    unit, size = scale_of("J", medians)
    ends = [
        end / size
        for case in known
        for _, energy in _energies(case)
        for end in (energy.low_joules, energy.high_joules)
    ]
    span = span_of(ends)
    strips = tuple(_energy_strip(case, colours, unit, size) for case in known)
    return Plot(
        "energy",
        "Energy an inference of every launch",
        "A dot is one launch, net of idle, with the 95% interval of its own. The band is the interval "
        "over launches, and covers both." + _hollow_words(strips),
        f"Energy an inference of every launch{about}. {_speak(strips)}",
        partial(draw_strips, Strips(f"energy an inference, {unit}", span, strips)),
    )


def _hollow_words(strips: Sequence[Strip]) -> str:
    hollow = any(not dot.counts for strip in strips for dot in strip.launches)
    return " Hollow dots are launches that do not count." * hollow


def _speak(strips: Sequence[Strip]) -> str:
    return "; ".join(
        f"{one.name}, {one.setting}: median {one.value} {one.interval} over "
        f"{plural(sum(dot.counts for dot in one.launches), 'launch', 'launches')}"
        for one in strips
    )


def _ended(case: CaseSummary, measured_pass: str) -> list[Launch]:
    """Return the launches of a pass that have numbers, whether they count or not."""
    return [
        launch
        for launch in case.launches
        if launch.measured_pass == measured_pass and launch.measured is not None
    ]


def _latency_strip(case: CaseSummary, colours: Mapping[str, str], span: Span, faint: int) -> Strip:
    latency = case.latency
    assert latency is not None
    dots: list[Dot] = []
    iterations: list[tuple[int, float]] = []
    for place, launch in enumerate(_ended(case, "latency")):
        assert launch.measured is not None
        shown = launch.measured.faint_ms
        step = -(-len(shown) // faint) or 1
        iterations += [(place, span.clamp(float(duration))) for duration in shown[::step]]
        if metrics.LATENCY in launch.values:
            dots.append(Dot(span.clamp(launch.values[metrics.LATENCY]), launch.counts))
    return Strip(
        name=label(case.label),
        setting=label(case.setting),
        colour=colours[case.case.variant.recipe],
        value=quantity(latency.median, MS),
        interval=bounds(latency, MS),
        median=span.clamp(latency.median),
        low=None if latency.low is None else span.clamp(latency.low),
        high=None if latency.high is None else span.clamp(latency.high),
        launches=tuple(dots),
        faint=tuple(iterations),
    )


def _energies(case: CaseSummary) -> list[tuple[Launch, Energy]]:
    """Return the launches with an energy of the source that the case's energy is of."""
    assert case.energy is not None
    own = source_key(case.energy.source)
    return [
        (launch, launch.measured.energy)
        for launch in _ended(case, "energy")
        if launch.measured is not None
        and isinstance(launch.measured.energy, Energy)
        and launch.entry.power is not None
        and source_key(launch.entry.power) == own
    ]


def _energy_strip(case: CaseSummary, colours: Mapping[str, str], unit: str, size: float) -> Strip:
    assert case.energy is not None
    joules = case.energy.joules
    assert joules.low is not None
    assert joules.high is not None
    return Strip(
        name=label(case.label),
        setting=label(case.setting),
        colour=colours[case.case.variant.recipe],
        value=f"{significant(joules.median / size)} {unit}",
        interval=bounds(joules, UnitScale(unit, size)),
        median=joules.median / size,
        low=joules.low / size,
        high=joules.high / size,
        launches=tuple(
            Dot(
                energy.joules_per_inference / size,
                launch.counts,
                energy.low_joules / size,
                energy.high_joules / size,
            )
            for launch, energy in _energies(case)
        ),
    )


# --- drawing -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Where things stand, in ems: lanes, and the words beside or above them."""

    pitch: float
    least: float
    lane_top: float
    below: float
    left: float
    right: float


_BESIDE = _Rows(pitch=3.3, least=2.8, lane_top=0.4, below=0.4, left=14.5, right=12.0)
_ABOVE = _Rows(pitch=6.0, least=4.8, lane_top=2.9, below=0.7, left=0.6, right=0.6)
_HEAD, _FOOT = 0.3, 3.4


def draw_strips(figure: Strips, layout: Layout) -> Sheet:
    """Draw all lanes over one axis."""
    from harness.report.figures.sheet import Sheet

    rows = _ABOVE if layout.is_narrow else _BESIDE
    em, count = layout.em, len(figure.strips)
    sheet = Sheet(layout, _HEAD + _FOOT, count * rows.pitch, count * rows.least)
    pitch = sheet.free / em / count  # as `rows` has it, but for a height of the layout's own
    axes = sheet.axes(
        rows.left * em, _HEAD * em, sheet.width - (rows.left + rows.right) * em, count * pitch * em
    )
    axes.set_ylim(count * pitch, 0)  # in ems, downwards
    ticks = across(sheet, axes, figure.span, quantity=figure.quantity, lines=not layout.is_narrow)
    lanes = [
        (top + rows.lane_top, top + pitch - rows.below)
        for top in (place * pitch for place in range(count))
    ]
    if layout.is_narrow:  # within the lanes: they must not cross the words between
        lines = [((x, top), (x, bottom)) for x, (top, bottom) in product(ticks, lanes)]
        sheet.segments(axes, lines, GRID)
    for strip, (top, bottom) in zip(figure.strips, lanes, strict=True):
        _draw_lane(sheet, axes, strip, top, bottom)
        _write_words(sheet, strip, _HEAD + top - rows.lane_top, layout.is_narrow)
    return sheet


def _draw_lane(sheet: Sheet, axes: Axes, strip: Strip, top: float, bottom: float) -> None:
    colour, count = strip.colour, max(len(strip.launches), 1)
    lanes = [top + (bottom - top) * (place + 0.5) / count for place in range(count)]
    if strip.low is not None and strip.high is not None:
        corner, opposite = (strip.low, bottom), (strip.high, top)
        sheet.band(axes, corner, opposite, Pen("interval", colour, opacity=0.22))
    if strip.faint:
        faint = [(value, lanes[place]) for place, value in strip.faint]
        sheet.dots(axes, faint, Pen("faint", colour, 0.19, opacity=0.3))
    median = ((strip.median, top), (strip.median, bottom))
    sheet.segments(axes, [median], Pen("median", colour, 0.15))
    told = list(zip(strip.launches, lanes, strict=False))
    whiskers = [
        ((dot.low, lane), (dot.high, lane))
        for dot, lane in told
        if dot.low is not None and dot.high is not None
    ]
    sheet.segments(axes, whiskers, Pen("whisker", colour, 0.12, opacity=0.7))
    counting = [(dot.value, lane) for dot, lane in told if dot.counts]
    if counting:
        sheet.dots(axes, counting, Pen("launch", colour, 0.4))
    others = [(dot.value, lane) for dot, lane in told if not dot.counts]
    if others:
        sheet.rings(axes, others, Pen("hollow", colour, 0.44))


_NAME = Type("name", "ink", bold=True)
_SETTING = Type("setting", size=0.92)
_VALUE = Type("value", "ink")
_BOUNDS = Type("bounds", size=0.92)


def _write_words(sheet: Sheet, strip: Strip, top: float, above: bool) -> None:
    """Write a case's name and value beside its lane, or above it; `top` is in ems."""
    em = sheet.em
    first, second = (
        ((top + 1.2) * em, (top + 2.45) * em) if above else ((top + 1.5) * em, (top + 2.75) * em)
    )
    left, room = 1.1 * em, (sheet.width - 2 * em) * 0.55 if above else 12.8 * em
    sheet.spot(0.4 * em, first - 0.34 * em, Pen("spot", strip.colour, 0.7))
    sheet.words(left, first, sheet.fit(strip.name, room, _NAME), _NAME)
    sheet.words(left, second, sheet.fit(strip.setting, room, _SETTING), _SETTING)
    align: Literal["left", "right"] = "right" if above else "left"
    start = sheet.width if above else sheet.width - 10.8 * em
    sheet.words(start, first, strip.value, replace(_VALUE, align=align))
    sheet.words(start, second, strip.interval, replace(_BOUNDS, align=align))
