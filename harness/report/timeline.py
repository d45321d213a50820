"""One launch over time: latency, memory, power, temperatures and clocks over one axis in seconds.

The launch's file is read again for it, and thinned to what a picture can show. The geometry is
as in `plots.py`: SVG of 1000 x 100 units stretched to its box, every word in HTML. Not here:
which numbers come of it (`launches.py`), and the whole trace (`phonebench trace`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis.cases import CaseSummary, SweepSummary
from harness.analysis.launches import Launch
from harness.analysis.power import read_power
from harness.errors import BadRecord
from harness.report.plots import WIDTH, Scale, Tick
from harness.results.launches import read_checked, read_sidecar
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.record import LaunchRecord, Phase, Trace

MOST_TIMELINES = 40
MOST_POINTS = 200
MOST_LINES = 6
HEIGHT = 100

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One quantity as a path: "line" joins its points, "dots" does not, "level" is a mean."""

    label: str
    style: str
    path: str


@dataclass(frozen=True)
class Panel:
    """The lines of one unit, over an axis of its own. `note` says what is not in it, or why."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    note: str = ""


@dataclass(frozen=True)
class Band:
    """A phase: its place as shares of the width, its name, and how long it took."""

    left: float
    width: float
    name: str
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """One launch of a case, drawn."""

    case: CaseSummary
    launch: Launch
    panels: tuple[Panel, ...]
    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    seconds: float


def draw_timelines(summary: SweepSummary) -> tuple[dict[tuple[str, str], Timeline], int]:
    """Draw a launch of each case, by device and case; how many cases were left out comes second."""
    drawn: dict[tuple[str, str], Timeline] = {}
    left_out = 0
    for device in summary.devices:
        for case in device.cases:
            launch = representative(case)
            if launch is None:
                continue
            if len(drawn) == MOST_TIMELINES:
                left_out += 1
                continue
            timeline = _read_timeline(summary.folder, case, launch)
            if timeline is not None:
                drawn[case.device, case.id] = timeline
    return drawn, left_out


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
    energy = launch.measured.energy if launch.measured else None
    if case.energy is None or not isinstance(energy, Energy):
        return 0.0
    return abs(energy.joules_per_inference - case.energy.joules.median)


def _read_timeline(folder: Path, case: CaseSummary, launch: Launch) -> Timeline | None:
    try:
        record = read_checked(folder, launch.entry)
    except BadRecord:  # it was whole a moment ago: the case's numbers stand, its picture does not
        return None
    sidecar, _ = read_sidecar(folder, launch.entry)
    return draw_timeline(case, launch, record, sidecar)


def draw_timeline(
    case: CaseSummary, launch: Launch, record: LaunchRecord, sidecar: Sequence[Trace]
) -> Timeline:
    """Lay out what was recorded in and beside one launch."""
    begin_ns = record.header.main_ns
    seconds = max((record.end.time_ns - begin_ns) / 1e9, 1e-3)
    axis = _Axis(begin_ns, Scale(0.0, seconds))
    panels = (
        _latency(axis, record),
        _memory(axis, record),
        _power(axis, launch, record, sidecar),
        _temperatures(axis, [*record.traces, *sidecar]),
        _clocks(axis, record),
    )
    return Timeline(
        case=case,
        launch=launch,
        panels=tuple(panel for panel in panels if panel is not None),
        bands=tuple(_bands(axis, record)),
        ticks=axis.scale.ticks(count=6),
        seconds=seconds,
    )


@dataclass(frozen=True)
class _Axis:
    begin_ns: int
    scale: Scale

    def place(self, time_ns: float) -> float:
        return WIDTH * self.scale.place((time_ns - self.begin_ns) / 1e9)


_PHASES = (
    ("engine_ready", "set-up"),
    ("model_loaded", "load"),
    ("first_inference_done", "first inference"),
    ("warmup_done", "warm-up"),
    ("idle_before_done", "idle"),
    ("steady_done", "steady"),
    ("idle_after_done", "idle"),
    ("end", "checks"),
)


def _bands(axis: _Axis, record: LaunchRecord) -> Iterator[Band]:
    """Yield the phases in their order; each ends with the mark that is named for it."""
    begin_ns = axis.begin_ns
    for mark_name, name in _PHASES:
        mark = record.mark(mark_name)
        if mark is None or mark.time_ns < begin_ns:
            continue
        left, right = axis.place(begin_ns), axis.place(mark.time_ns)
        yield Band(left / WIDTH, (right - left) / WIDTH, name, (mark.time_ns - begin_ns) / 1e9)
        begin_ns = mark.time_ns


def _latency(axis: _Axis, record: LaunchRecord) -> Panel | None:
    phases: tuple[Phase, ...] = ("first_inference", "warmup", "steady")
    found = [record.samples[phase] for phase in phases if phase in record.samples]
    starts = np.concatenate([np.asarray(one.start_ns, float) for one in found] or [np.empty(0)])
    milliseconds = np.concatenate([np.asarray(one.duration_ns, float) for one in found] or [starts])
    if not len(starts):
        return None
    milliseconds = milliseconds / 1e6
    # The slow ones would press all others to the ground: they stand on the upper edge.
    up = _from_zero(float(np.quantile(milliseconds, 0.9)) * 1.5)
    cut = int((milliseconds > up.high).sum())
    kept = _even(len(starts))
    path = "".join(
        f"M{axis.place(start):.0f} {HEIGHT * (1 - up.place(value)):.1f}h0"
        for start, value in zip(starts[kept], milliseconds[kept], strict=True)
    )
    note = f"{cut} slower on the edge" if cut else ""
    return Panel("Latency", "ms", (Line("an inference", "dots", path),), up.ticks(count=4), note)


def _memory(axis: _Axis, record: LaunchRecord) -> Panel | None:
    series: list[tuple[str, Floats, Floats]] = []
    for name, label in (("rss", "resident"), ("swap", "swapped")):
        trace = record.trace(name)
        if trace is not None and trace.time_ns and (name == "rss" or max(trace.values) > 0):
            series.append((label, np.asarray(trace.time_ns, float), np.asarray(trace.values) / 1e6))
    if not series:
        return None
    up = _from_zero(max(float(values.max()) for _, _, values in series) * 1.1)
    lines = []
    for label, times, values in series:
        # The highest of each group: a peak must not fall through.
        thinned = _grouped(values, np.max)
        lines.append(Line(label, "line", _join(axis, up, _grouped(times, np.mean), thinned)))
    return Panel("Memory", "MB", tuple(lines), up.ticks(count=4))


def _power(
    axis: _Axis, launch: Launch, record: LaunchRecord, sidecar: Sequence[Trace]
) -> Panel | None:
    if launch.entry.power is None:
        return None
    found = read_power(record, sidecar, launch.entry.power)
    energy = launch.measured.energy if launch.measured else None
    if isinstance(found, EnergyTrouble):
        return Panel("Power", "W", (), (), note=found.text)
    watts = _grouped(found.watts, np.mean)
    if not len(watts):
        return None
    begins, ends = _grouped(found.begin_ns, np.min), _grouped(found.end_ns, np.max)
    low, high = float(watts.min()), float(watts.max())
    up = Scale(min(0.0, low * 1.1), max(high * 1.1, 1e-6))
    path = "".join(
        f"M{axis.place(begin):.0f} {HEIGHT * (1 - up.place(value)):.1f}H{axis.place(end):.0f}"
        for begin, end, value in zip(begins, ends, watts, strict=True)
    )
    lines = [Line("readings", "line", path)]
    if isinstance(energy, Energy):
        lines.append(Line("mean of the phase", "level", _levels(axis, up, record, energy)))
    note = energy.text if isinstance(energy, EnergyTrouble) else ""
    return Panel("Power", "W", tuple(lines), up.ticks(count=4), note)


def _levels(axis: _Axis, up: Scale, record: LaunchRecord, energy: Energy) -> str:
    names = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
    marks = [mark for name in names if (mark := record.mark(name)) is not None]
    levels = (energy.idle_before_watts, energy.block_watts, energy.idle_after_watts)
    return "".join(
        f"M{axis.place(begin.time_ns):.0f} {HEIGHT * (1 - up.place(watts)):.1f}"
        f"H{axis.place(end.time_ns):.0f}"
        for (begin, end), watts in zip(pairwise(marks), levels, strict=False)
    )


def _temperatures(axis: _Axis, traces: Sequence[Trace]) -> Panel | None:
    """Draw the temperatures that move most; the others are counted."""
    found = [
        (trace.name.removeprefix("temperature:"), trace)
        for trace in traces
        if trace.name.startswith("temperature:") and trace.values
    ]
    if not found:
        return None
    found.sort(key=lambda one: min(one[1].values) - max(one[1].values))
    shown = found[:MOST_LINES]
    values = [value for _, trace in shown for value in trace.values]
    room = max(1.0, (max(values) - min(values)) * 0.15)
    up = Scale(min(values) - room, max(values) + room)
    note = f"{len(found) - len(shown)} more, which move less" if len(found) > len(shown) else ""
    lines = tuple(Line(name, "line", _trace_path(axis, up, trace)) for name, trace in shown)
    return Panel("Temperature", "°C", lines, up.ticks(count=4), note)


def _clocks(axis: _Axis, record: LaunchRecord) -> Panel | None:
    """Draw each group of cores that go together, and a limit of theirs that moved."""
    groups: dict[tuple[float, ...], tuple[list[int], Trace]] = {}
    limits: dict[tuple[float, ...], tuple[list[int], Trace]] = {}
    for trace in record.traces:
        match = re.fullmatch(r"cpu(\d+)_clock(_limit)?", trace.name)
        if match is None or not trace.values:
            continue
        if match[2] and min(trace.values) == max(trace.values):
            continue
        into = limits if match[2] else groups
        into.setdefault(tuple(trace.values), ([], trace))[0].append(int(match[1]))
    if not groups:
        return None
    shown = list(groups.values())[:MOST_LINES]
    chosen = [(_cores(cores), "line", trace) for cores, trace in shown]
    chosen += [
        (f"limit, {_cores(cores)}", "level", trace)
        for cores, trace in list(limits.values())[: MOST_LINES - len(shown)]
    ]
    up = _from_zero(max(max(trace.values) for _, _, trace in chosen) / 1e6 * 1.1)
    lines = tuple(
        Line(label, style, _trace_path(axis, up, trace, 1e-6)) for label, style, trace in chosen
    )
    hidden = len(groups) + len(limits) - len(chosen)
    return Panel("Clocks", "GHz", lines, up.ticks(count=4), f"{hidden} more" if hidden else "")


def _cores(numbers: Sequence[int]) -> str:
    """Name cores shortly: "core 4", "cores 0–3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = ", ".join(f"{r[0]}–{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
    return f"core{'s' if len(numbers) > 1 else ''} {words}"


def _trace_path(axis: _Axis, up: Scale, trace: Trace, factor: float = 1.0) -> str:
    """Return a trace as steps: what was read holds until the next reading."""
    kept = _even(len(trace.values))
    points = [(trace.time_ns[at], trace.values[at] * factor) for at in kept]
    path, last = "", -1.0
    for time_ns, value in points:
        y = round(HEIGHT * (1 - up.place(value)), 1)
        if not path:
            path = f"M{axis.place(time_ns):.0f} {y:g}"
        elif y != last:
            path += f"H{axis.place(time_ns):.0f}V{y:g}"
        last = y
    return f"{path}H{axis.place(points[-1][0]):.0f}"


def _join(axis: _Axis, up: Scale, times: Floats, values: Floats) -> str:
    points = (
        f"{axis.place(time_ns):.0f} {HEIGHT * (1 - up.place(value)):.1f}"
        for time_ns, value in zip(times, values, strict=True)
    )
    return "M" + "L".join(points)


def _from_zero(high: float) -> Scale:
    return Scale(0.0, high if high > 0 else 1.0)


def _even(count: int) -> npt.NDArray[np.int64]:
    """Return at most MOST_POINTS places of `count`, evenly, both ends included."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.arange(MOST_POINTS) * (count - 1) // (MOST_POINTS - 1)


def _grouped(values: npt.NDArray[Any], reduce: Callable[[Floats], float]) -> Floats:
    """Return at most MOST_POINTS values, each of one group of neighbours."""
    numbers: Floats = np.asarray(values, dtype=np.float64)
    if len(numbers) <= MOST_POINTS:
        return numbers
    return np.array([reduce(group) for group in np.array_split(numbers, MOST_POINTS)])
