"""The geometry of the plots: numbers in, coordinates out.

A plot that must fit any width is an SVG of 1000 units stretched to its box, with dots as strokes
of no length (round caps that do not scale) and every word outside it, in HTML. So one file fits a
desktop, a phone and paper, follows the colours of the page, and holds no text to escape.
Not here: markup (`page/report.html.j2`) and numbers (`summary.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.report.cases import CaseSummary, DeviceSummary
from harness.report.findings import relative_latency
from harness.stats import Estimate

WIDTH = 1000
LANE_HEIGHT = 34
ORDER_HEIGHT = 200
FAINT_BUDGET = 30_000
LOGARITHMIC_FROM = 30.0


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
        """Return ticks at round numbers of `unit` (1e6: milliseconds of nanoseconds)."""
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
    """One case's launches: a lane each, the first on top. Paths are in units of the SVG."""

    case: CaseSummary
    faint_path: str
    launch_path: str
    latency: Estimate
    median: float
    low: float | None
    width: float


@dataclass(frozen=True)
class Strips:
    """The launches of one model's cases on one device, over one axis in milliseconds."""

    strips: tuple[Strip, ...]
    ticks: tuple[Tick, ...]
    logarithmic: bool
    cut: bool


def draw_strips(cases: Sequence[CaseSummary], launches_in_report: int) -> Strips | None:
    """Lay out the launches of each case; `launches_in_report` decides how many faint dots fit."""
    timed = [(case, case.latency_ns) for case in cases if case.latency_ns is not None]
    if not timed:
        return None
    medians = [n.median_ns for case, _ in timed for n in case.of_pass("latency") if n.median_ns]
    nineties = [case.p90_ns.median for case, _ in timed if case.p90_ns is not None]
    scale = latency_scale(medians + nineties)
    faint = max(2, FAINT_BUDGET // max(launches_in_report, 1))
    return Strips(
        tuple(_draw_strip(case, latency, scale, faint) for case, latency in timed),
        scale.ticks(1e6),
        scale.logarithmic,
        cut=any(
            numbers.faint_ns[-1] > scale.high
            for case, _ in timed
            for numbers in case.of_pass("latency")
            if len(numbers.faint_ns)
        ),
    )


def _draw_strip(case: CaseSummary, latency: Estimate, scale: Scale, faint: int) -> Strip:
    launches = case.of_pass("latency")
    lanes = [LANE_HEIGHT * (place + 0.5) / len(launches) for place in range(len(launches))]
    faint_dots = [
        (scale.place(float(duration)), lane)
        for lane, numbers in zip(lanes, launches, strict=True)
        for duration in numbers.faint_ns[:: -(-len(numbers.faint_ns) // faint) or 1]
    ]
    dots = [
        (scale.place(numbers.median_ns), lane)
        for lane, numbers in zip(lanes, launches, strict=True)
        if numbers.median_ns is not None
    ]
    low = None if latency.low is None else WIDTH * scale.place(latency.low)
    high = None if latency.high is None else WIDTH * scale.place(latency.high)
    return Strip(
        case=case,
        faint_path=dot_path(faint_dots),
        launch_path=dot_path(dots),
        latency=latency,
        median=WIDTH * scale.place(latency.median),
        low=low,
        width=0.0 if low is None or high is None else high - low,
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
    limit = min(0.5, max(0.05, 1.1 * max(abs(relative - 1) for _, _, relative in timed)))
    up = Scale(1 + limit, 1 - limit)
    by_recipe: dict[str, list[tuple[float, float]]] = {}
    for launch, case, relative in timed:
        place = (across.place(order[launch.index]), ORDER_HEIGHT * up.place(relative))
        by_recipe.setdefault(case.case.variant.recipe, []).append(place)
    bad = [launch for launch in device.launches if launch.numbers is None]
    rounds = _rounds(device, order, across)
    return Order(
        dots=tuple(OrderDot(recipe, dot_path(dots)) for recipe, dots in by_recipe.items()),
        rounds=tuple(rounds),
        round_path=_round_medians(rounds, [(one.round, rel) for one, _, rel in timed], up),
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
    """One case in the plane of latency and quality."""

    case: CaseSummary
    label: str
    x: float
    y: float
    radius: float
    low: float
    high: float
    label_x: float | None = None
    label_y: float = 0.0
    anchor: str = "start"
    leader_y: float | None = None


@dataclass(frozen=True)
class Pareto:
    """Latency against accuracy, or against size where accuracies are unknown or all the same."""

    bubbles: tuple[Bubble, ...]
    front_path: str
    by_accuracy: bool
    shared_accuracy: float | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    logarithmic: bool


# The inner frame of the Pareto plot, in its own units: left, top, width, height.
FRAME = (58.0, 16.0, 640.0, 300.0)
LETTER_WIDTH = 6.3


def draw_pareto(cases: Sequence[CaseSummary]) -> Pareto | None:
    """Lay out the cases by latency and accuracy (or size), areas by file size."""
    sized = [
        (case, case.latency_ns, case.size_bytes)
        for case in cases
        if case.latency_ns is not None and case.size_bytes is not None
    ]
    if len(sized) < 2:
        return None
    accuracies = [case.accuracy.top1 for case, _, _ in sized if case.accuracy is not None]
    known = len(accuracies) == len(sized)
    by_accuracy = known and min(accuracies) < max(accuracies)
    heights = accuracies if by_accuracy else [size / 1e6 for _, _, size in sized]
    across = latency_scale([latency.median for _, latency, _ in sized])
    up = _accuracy_scale(heights) if by_accuracy else Scale(0.0, max(heights) * 1.12)
    largest = max(size for _, _, size in sized)
    left, top, width, height = FRAME
    points = []
    for (case, latency, size), value in zip(sized, heights, strict=True):
        points.append(
            Bubble(
                case=case,
                label=case.label if _one_setting(cases) else _with_setting(case),
                x=left + width * across.place(latency.median),
                y=top + height * (1 - up.place(value)),
                radius=4 + 10 * math.sqrt(size / largest),
                low=left + width * across.place(latency.low or latency.median),
                high=left + width * across.place(latency.high or latency.median),
            )
        )
    return Pareto(
        bubbles=tuple(_label(points)),
        front_path=_front(points, higher_is_better=by_accuracy),
        by_accuracy=by_accuracy,
        shared_accuracy=accuracies[0] if known and not by_accuracy else None,
        x_ticks=tuple(Tick(left + width * t.place, t.label) for t in across.ticks(1e6)),
        y_ticks=tuple(
            Tick(
                top + height * (1 - t.place),
                f"{100 * float(t.label):g}%" if by_accuracy else t.label,
            )
            for t in up.ticks(count=4)
        ),
        logarithmic=across.logarithmic,
    )


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
