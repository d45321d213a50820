"""The geometry of the plots: numbers in, coordinates out.

A plot that must fit any width is an SVG of 1000 units stretched to its box, with dots as strokes
of no length (round caps that do not scale) and every word outside it, in HTML. So one file fits a
desktop, a phone and paper, follows the colours of the page, and holds no text to escape.
Not here: markup (`page/report.html.j2`) and numbers (`summary.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.analysis import metrics
from harness.analysis.case_energy import source_key
from harness.analysis.cases import CaseSummary, DeviceSummary, relative_latency
from harness.analysis.launches import Launch
from harness.analysis.words import (
    UnitScale,
    bounds,
    megabytes,
    percent,
    quantity,
    scale_of,
    significant,
)
from harness.schema.energy import Energy

WIDTH = 1000
LANE_HEIGHT = 34
ORDER_HEIGHT = 200
FAINT_BUDGET = 30_000
LOGARITHMIC_FROM = 30.0
_MS = scale_of("ms", ())


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where (share of its length) and what it says."""

    place: float
    label: str


@dataclass(frozen=True)
class Scale:
    """Maps values to places between 0 and 1; values beyond are put on the edge."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        if self.logarithmic:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self, unit: float = 1.0, count: int = 6) -> tuple[Tick, ...]:
        """Return ticks at round numbers of `unit` (1e-3: thousandths)."""
        if self.logarithmic:
            values = _logarithmic_ticks(self.low / unit, self.high / unit)
        else:
            values = _linear_ticks(self.low / unit, self.high / unit, count)
        return tuple(Tick(self.place(value * unit), f"{value:g}") for value in values)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high / low < 1000 else (1,)
    values = [digit * 10.0**power for power in powers for digit in digits]
    return [value for value in values if low <= value <= high]


def latency_scale(values: Sequence[float]) -> Scale:
    """Return a scale from zero, so that lengths compare; logarithmic if that would hide some."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LOGARITHMIC_FROM:
        return Scale(low / 1.3, high * 1.3, logarithmic=True)
    return Scale(0.0, high * 1.05 or 1.0)


@dataclass(frozen=True)
class Strip:
    """One case's launches: a lane each, the first on top. Paths are in units of the SVG.

    `hollow_path` has the launches that do not count; `value` and `interval` are words.
    """

    case: CaseSummary
    value: str
    interval: str
    launches: int
    faint_path: str
    whisker_path: str
    launch_path: str
    hollow_path: str
    median: float
    low: float | None
    width: float


@dataclass(frozen=True)
class Strips:
    """The launches of one model's cases on one device, over one axis of a unit."""

    strips: tuple[Strip, ...]
    unit: str
    ticks: tuple[Tick, ...]
    logarithmic: bool
    cut: bool
    hollow: bool


def draw_strips(cases: Sequence[CaseSummary], launches_in_report: int) -> Strips | None:
    """Lay out the launches of each case; `launches_in_report` decides how many faint dots fit."""
    timed = [case for case in cases if case.latency is not None]
    if not timed:
        return None
    medians = [
        one.values[metrics.LATENCY]
        for case in timed
        for one in case.of_pass("latency")
        if metrics.LATENCY in one.values
    ]
    nineties = [
        case.estimates["latency_p90_ms"].median
        for case in timed
        if "latency_p90_ms" in case.estimates
    ]
    scale = latency_scale(medians + nineties)
    faint = max(2, FAINT_BUDGET // max(launches_in_report, 1))
    strips = tuple(_draw_latencies(case, scale, faint) for case in timed)
    return Strips(
        strips,
        "ms",
        scale.ticks(),
        scale.logarithmic,
        cut=any(
            launch.measured.faint_ms[-1] > scale.high
            for case in timed
            for launch in _ended(case, "latency")
            if launch.measured is not None and len(launch.measured.faint_ms)
        ),
        hollow=any(strip.hollow_path for strip in strips),
    )


def _ended(case: CaseSummary, measured_pass: str) -> list[Launch]:
    """Return the launches of a pass that have numbers, whether they count or not."""
    return [
        launch
        for launch in case.launches
        if launch.measured_pass == measured_pass and launch.measured is not None
    ]


def _draw_latencies(case: CaseSummary, scale: Scale, faint: int) -> Strip:
    latency = case.latency
    assert latency is not None
    launches = _ended(case, "latency")
    lanes = _lanes(len(launches))
    faint_dots = [
        (scale.place(float(duration)), lane)
        for lane, launch in zip(lanes, launches, strict=True)
        if launch.measured is not None
        for duration in launch.measured.faint_ms[:: -(-len(launch.measured.faint_ms) // faint) or 1]
    ]
    dots = [
        (launch.counts, (scale.place(launch.values[metrics.LATENCY]), lane))
        for lane, launch in zip(lanes, launches, strict=True)
        if metrics.LATENCY in launch.values
    ]
    low = None if latency.low is None else WIDTH * scale.place(latency.low)
    high = None if latency.high is None else WIDTH * scale.place(latency.high)
    return Strip(
        case=case,
        value=quantity(latency.median, _MS),
        interval=bounds(latency, _MS),
        launches=latency.launches,
        faint_path=dot_path(faint_dots),
        whisker_path="",
        launch_path=dot_path(dot for counts, dot in dots if counts),
        hollow_path=dot_path(dot for counts, dot in dots if not counts),
        median=WIDTH * scale.place(latency.median),
        low=low,
        width=0.0 if low is None or high is None else high - low,
    )


def _lanes(count: int) -> list[float]:
    return [LANE_HEIGHT * (place + 0.5) / count for place in range(count)]


def draw_energies(cases: Sequence[CaseSummary]) -> Strips | None:
    """Lay out the energy of each launch with its interval, and the case's over them."""
    known = [case for case in cases if case.energy is not None]
    if not known:
        return None
    medians = [case.energy.joules.median for case in known if case.energy is not None]
    unit, size = scale_of("J", medians)
    ends = [
        end
        for case in known
        for _, energy in _energies(case)
        for end in (energy.low_joules, energy.high_joules)
    ]
    scale = Scale(min(0.0, *ends), max(max(ends) * 1.05, size / 1e3))
    strips = tuple(_draw_energy(case, scale, unit, size) for case in known)
    hollow = any(strip.hollow_path for strip in strips)
    return Strips(strips, unit, scale.ticks(size), logarithmic=False, cut=False, hollow=hollow)


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


def _draw_energy(case: CaseSummary, scale: Scale, unit: str, size: float) -> Strip:
    assert case.energy is not None
    joules = case.energy.joules
    launches = _energies(case)
    dots, whiskers = [], ""
    for lane, (launch, energy) in zip(_lanes(len(launches)), launches, strict=True):
        dots.append((launch.counts, (scale.place(energy.joules_per_inference), lane)))
        left = WIDTH * scale.place(energy.low_joules)
        right = WIDTH * scale.place(energy.high_joules)
        whiskers += f"M{left:.1f} {lane:.4g}H{right:.1f}"
    assert joules.low is not None
    assert joules.high is not None
    low, high = WIDTH * scale.place(joules.low), WIDTH * scale.place(joules.high)
    return Strip(
        case=case,
        value=f"{significant(joules.median / size)} {unit}",
        interval=bounds(joules, UnitScale(unit, size)),
        launches=joules.launches,
        faint_path="",
        whisker_path=whiskers,
        launch_path=dot_path(dot for counts, dot in dots if counts),
        hollow_path=dot_path(dot for counts, dot in dots if not counts),
        median=WIDTH * scale.place(joules.median),
        low=low,
        width=high - low,
    )


def dot_path(dots: Iterable[tuple[float, float]]) -> str:
    """Return dots (x a share of the width, y in units) as strokes of no length."""
    return "".join(f"M{WIDTH * x:.0f} {y:.4g}h0" for x, y in dots)


@dataclass(frozen=True)
class OrderDot:
    """The launches of one recipe, as a path."""

    recipe: str
    path: str


@dataclass(frozen=True)
class Order:
    """A device's latency launches in the order they ran, each relative to its case's median."""

    dots: tuple[OrderDot, ...]
    hollow: tuple[OrderDot, ...]
    rounds: tuple[tuple[float, float, int], ...]
    round_path: str
    bad_path: str
    bad: int
    ticks: tuple[Tick, ...]
    limit: float
    cut: bool


def draw_order(device: DeviceSummary) -> Order | None:
    """Lay out the launches in time: a drift of the device shows as a slope."""
    timed = [
        (launch, case, relative)
        for case in device.cases
        for launch in case.launches
        if (relative := relative_latency(case, launch)) is not None
    ]
    if not timed:
        return None
    order = {index: place for place, index in enumerate(_indexes(device))}
    across = Scale(-0.5, len(order) - 0.5)
    furthest = max(abs(relative - 1) for _, _, relative in timed)
    limit = min(0.5, max(0.05, 1.1 * furthest))
    up = Scale(1 + limit, 1 - limit)
    filled: dict[str, list[tuple[float, float]]] = {}
    hollow: dict[str, list[tuple[float, float]]] = {}
    for launch, case, relative in timed:
        place = (across.place(order[launch.index]), ORDER_HEIGHT * up.place(relative))
        into = filled if launch.counts else hollow
        into.setdefault(case.case.variant.recipe, []).append(place)
    bad = [launch for launch in device.launches if launch.measured is None]
    rounds = _rounds(device, order, across)
    return Order(
        dots=tuple(OrderDot(recipe, dot_path(dots)) for recipe, dots in filled.items()),
        hollow=tuple(OrderDot(recipe, dot_path(dots)) for recipe, dots in hollow.items()),
        rounds=tuple(rounds),
        round_path=_round_medians(
            rounds, [(one.round, rel) for one, _, rel in timed if one.counts], up
        ),
        bad_path="".join(
            f"M{WIDTH * across.place(order[one.index]):.0f} 0v{ORDER_HEIGHT}"
            for one in bad
            if one.index in order
        ),
        bad=sum(one.index in order for one in bad),
        ticks=tuple(
            Tick(1 - tick.place, f"{100 * (float(tick.label) - 1):+.3g}%".replace("+0%", "0%"))
            for tick in Scale(1 - limit, 1 + limit).ticks(count=5)
        ),
        limit=limit,
        cut=any(abs(relative - 1) > limit for _, _, relative in timed),
    )


def _indexes(device: DeviceSummary) -> list[int]:
    """Return the places of the schedule whose pass is latency, in the order they ran."""
    return sorted({one.index for one in device.launches if one.measured_pass == "latency"})


def _rounds(
    device: DeviceSummary, order: dict[int, int], across: Scale
) -> list[tuple[float, float, int]]:
    """Return each round's left edge, width and number."""
    places: dict[int, list[int]] = {}
    for launch in device.launches:
        if launch.index in order:
            places.setdefault(launch.round, []).append(order[launch.index])
    edges = []
    for number, own in sorted(places.items()):
        left = WIDTH * across.place(min(own) - 0.5)
        edges.append((left, WIDTH * across.place(max(own) + 0.5) - left, number))
    return edges


def _round_medians(
    rounds: Sequence[tuple[float, float, int]], timed: Sequence[tuple[int, float]], up: Scale
) -> str:
    """Return a step for each round at the median of its launches."""
    path = ""
    for left, width, number in rounds:
        own = sorted(relative for round_number, relative in timed if round_number == number)
        if own:
            middle = (own[(len(own) - 1) // 2] + own[len(own) // 2]) / 2
            path += f"M{left:.1f} {ORDER_HEIGHT * up.place(middle):.1f}h{width:.1f}"
    return path


@dataclass(frozen=True)
class Bubble:
    """One case in a plane; whiskers from `low` to `high` across, and from `bottom` to `top` up."""

    case: CaseSummary
    label: str
    words: str
    x: float
    y: float
    radius: float
    low: float
    high: float
    bottom: float
    top: float
    label_x: float | None = None
    label_y: float = 0.0
    anchor: str = "start"
    leader_y: float | None = None


@dataclass(frozen=True)
class Plane:
    """Latency against another quality; the front joins what no other beats in both."""

    against: str
    best: str
    y_title: str
    note: str
    bubbles: tuple[Bubble, ...]
    front_path: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    logarithmic: bool


# The inner frame of a plane, in its own units: left, top, width, height.
FRAME = (58.0, 16.0, 640.0, 300.0)
LETTER_WIDTH = 6.3


def draw_pareto(cases: Sequence[CaseSummary]) -> Plane | None:
    """Lay out the cases by latency and accuracy (or size), areas by file size."""
    sized = [case for case in cases if case.latency is not None and case.size_bytes is not None]
    if len(sized) < 2:
        return None
    accuracies = [case.accuracy.top1 for case in sized if case.accuracy is not None]
    known = len(accuracies) == len(sized)
    by_accuracy = known and min(accuracies) < max(accuracies)
    heights = accuracies if by_accuracy else [(case.size_bytes or 0) / 1e6 for case in sized]
    across = latency_scale([case.latency.median for case in sized if case.latency])
    up = _accuracy_scale(heights) if by_accuracy else Scale(0.0, max(heights) * 1.12)
    named = _names(cases)
    points = [
        _bubble(
            case, named(case), megabytes(case.size_bytes or 0), across, up, (height,) * 3, sized
        )
        for case, height in zip(sized, heights, strict=True)
    ]
    same = f"All have the same accuracy, {percent(accuracies[0])}." if known else ""
    ticks = _up_ticks(up)
    return Plane(
        against="accuracy" if by_accuracy else "size",
        best="upper" if by_accuracy else "lower",
        y_title="accuracy, top-1" if by_accuracy else "size, MB",
        note="" if by_accuracy else same,
        bubbles=tuple(_label(points)),
        front_path=_front(points, higher_is_better=by_accuracy),
        x_ticks=_across_ticks(across),
        y_ticks=tuple(replace(t, label=f"{100 * float(t.label):g}%") for t in ticks)
        if by_accuracy
        else ticks,
        logarithmic=across.logarithmic,
    )


def draw_energy_plane(cases: Sequence[CaseSummary]) -> Plane | None:
    """Lay out the cases by latency and energy, with their accuracies in words.

    Only cases of one source of power stand in one plane: the first case's.
    """
    known = [case for case in cases if case.latency is not None and case.energy is not None]
    keys = [source_key(case.energy.source) for case in known if case.energy is not None]
    shown = [case for case, key in zip(known, keys, strict=True) if key == keys[0]]
    if len(shown) < 2:
        return None
    joules = [case.energy.joules for case in shown if case.energy is not None]
    unit, size = scale_of("J", [one.median for one in joules])
    across = latency_scale([case.latency.median for case in shown if case.latency])
    tall = [((one.low or 0) / size, one.median / size, (one.high or 0) / size) for one in joules]
    up = Scale(min(0.0, *(low for low, _, _ in tall)), max(high for _, _, high in tall) * 1.12)
    named = _names(cases)
    points = [
        _bubble(
            case,
            _with_accuracy(case, named(case)),
            f"{significant(height[1])} {unit}",
            across,
            up,
            height,
            shown,
        )
        for case, height in zip(shown, tall, strict=True)
    ]
    other = len(known) - len(shown)
    return Plane(
        against="energy",
        best="lower",
        y_title=f"energy an inference, {unit}",
        note="Percentages are accuracies." * any(case.accuracy for case in shown)
        + f" {other} of other sources of power are left out." * bool(other),
        bubbles=tuple(_label(points)),
        front_path=_front(points, higher_is_better=False),
        x_ticks=_across_ticks(across),
        y_ticks=_up_ticks(up),
        logarithmic=across.logarithmic,
    )


def _bubble(
    case: CaseSummary,
    label: str,
    words: str,
    across: Scale,
    up: Scale,
    height: tuple[float, float, float],
    sidecar: Sequence[CaseSummary],
) -> Bubble:
    """Place a case; `height` is low, middle and high, and areas are file sizes, relative to `beside`."""
    latency = case.latency
    assert latency is not None
    left, top, wide, tall = FRAME
    largest = max((one.size_bytes or 0 for one in sidecar), default=0) or 1
    bottom, middle, upper = (top + tall * (1 - up.place(value)) for value in height)
    return Bubble(
        case=case,
        label=label,
        words=f"{quantity(latency.median, _MS)}, {words}",
        x=left + wide * across.place(latency.median),
        y=middle,
        radius=4 + 10 * math.sqrt((case.size_bytes or 0) / largest),
        low=left + wide * across.place(latency.low or latency.median),
        high=left + wide * across.place(latency.high or latency.median),
        bottom=bottom,
        top=upper,
    )


def _across_ticks(across: Scale) -> tuple[Tick, ...]:
    left, _, width, _ = FRAME
    return tuple(Tick(left + width * tick.place, tick.label) for tick in across.ticks())


def _up_ticks(up: Scale) -> tuple[Tick, ...]:
    _, top, _, height = FRAME
    return tuple(Tick(top + height * (1 - t.place), t.label) for t in up.ticks(count=4))


def _names(cases: Sequence[CaseSummary]) -> Callable[[CaseSummary], str]:
    """Return how cases are called beside one another: with their settings if these differ."""
    return (lambda case: case.label) if _one_setting(cases) else _with_setting


def _with_accuracy(case: CaseSummary, name: str) -> str:
    return f"{name}: {percent(case.accuracy.top1)}" if case.accuracy else name


def _one_setting(cases: Sequence[CaseSummary]) -> bool:
    return len({case.setting for case in cases}) == 1


def _with_setting(case: CaseSummary) -> str:
    cores = "" if case.case.affinity == "all" else f" on {case.case.affinity}"
    return f"{case.label}, {case.case.threads} t{cores}"


def _accuracy_scale(values: Sequence[float]) -> Scale:
    """Return a scale around the accuracies, at least two points wide, never beyond 100%."""
    room = max(0.02, max(values) - min(values)) * 0.25
    return Scale(max(0.0, min(values) - 2 * room), min(1.0 + room / 2, max(values) + room))


def _front(points: Sequence[Bubble], *, higher_is_better: bool) -> str:
    """Return the steps through the cases that no other beats in both directions.

    On the page y grows downwards: a higher accuracy is a smaller y, a smaller size a greater one.
    """
    path, best = "", math.inf
    for point in sorted(points, key=lambda p: (p.x, p.y if higher_is_better else -p.y)):
        quality = point.y if higher_is_better else -point.y
        if quality < best:
            best = quality
            path += f"H{point.x:.1f}V{point.y:.1f}" if path else f"M{point.x:.1f} {point.y:.1f}"
    return path


def _label(points: Sequence[Bubble]) -> list[Bubble]:
    """Put each label where it covers nothing, near its bubble; one that finds no place is left out.

    Labels that stand further off, above or below, get a line to their bubble.
    """
    taken = [_box(p.x - p.radius, p.y - p.radius, 2 * p.radius, 2 * p.radius) for p in points]
    taken += [_box(p.low, p.y - 1, p.high - p.low, 2) for p in points]
    taken += [_box(p.x - 1, p.top, 2, p.bottom - p.top) for p in points]
    labelled = []
    for point in points:
        text = LETTER_WIDTH * min(len(point.label), 32)
        for anchor, x, y, leader_y in _spots(point):
            shift = {"start": 0.0, "end": text, "middle": text / 2}[anchor]
            box = _box(x - shift, y - 11, text, 14)
            if _inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                point = replace(point, label_x=x, label_y=y, anchor=anchor, leader_y=leader_y)
                break
        labelled.append(point)
    return labelled


def _spots(point: Bubble) -> Iterator[tuple[str, float, float, float | None]]:
    """Yield places for a label, the best first: anchor, x, y, and where its line ends."""
    gap = point.radius + 5
    yield "start", point.x + gap, point.y + 4, None
    yield "end", point.x - gap, point.y + 4, None
    for row in range(6):
        above, below = point.y - gap - 15 * row, point.y + gap + 9 + 15 * row
        yield "middle", point.x, above, above + 3 if row else None
        yield "middle", point.x, below, below - 11 if row else None


def _inside(box: Box) -> bool:
    left, top, width, height = FRAME
    return left <= box[0] and box[2] <= left + width + 60 and top - 8 <= box[1] <= top + height - 14


Box = tuple[float, float, float, float]


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x, y, x + width, y + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
