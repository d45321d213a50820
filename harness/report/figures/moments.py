"""What is shown of one launch over time: panels of lines, read from its record and thinned.

A launch's file is read again for it. Lines are broken where readings are missing. Not here: drawing
(`timeline.py`), which numbers come of a launch (`harness.analysis`), and the whole trace (`phonebench trace`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.analysis.launches import Launch
from harness.analysis.power import PowerReadings, read_power
from harness.report.figures.axes import Span, free_span, span_of
from harness.report.figures.style import label
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.power import CURRENT
from harness.schema.record import LaunchRecord, Phase, Trace

MOST_POINTS = 200
MOST_LINES = 6
# Readings further apart than this many usual distances have a gap between them.
_GAP = 4.0

Floats = npt.NDArray[np.float64]
Kind = Literal["dots", "line", "level"]


@dataclass(frozen=True)
class Line:
    """One quantity. "dots" and "line" are what was read, "level" is a mean or a limit.

    Times are seconds from the launch's start; a line is broken where one is NaN. With `ends` every
    value is a line of its own, from its time to its end.
    """

    label: str
    kind: Kind
    seconds: Floats
    values: Floats
    ends: Floats | None = None


@dataclass(frozen=True)
class Panel:
    """The lines of one unit, over an axis of its own. `note` says what is not in it, or why."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    span: Span
    note: str = ""


@dataclass(frozen=True)
class Band:
    """A phase: its name, and when it began and ended, in seconds from the launch's start."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Moments:
    """One launch over time."""

    panels: tuple[Panel, ...]
    bands: tuple[Band, ...]
    seconds: float


def moments_of(launch: Launch, record: LaunchRecord, sidecar: Sequence[Trace]) -> Moments:
    """Choose and thin what was recorded in and beside one launch."""
    clock = _Clock(record.header.main_ns)
    panels = (
        _latency(clock, record),
        _memory(clock, record),
        _power(clock, launch, record, sidecar),
        _temperatures(clock, [*record.traces, *sidecar]),
        _clocks(clock, record),
    )
    return Moments(
        panels=tuple(panel for panel in panels if panel is not None),
        bands=tuple(_bands(clock, record)),
        seconds=max(clock.seconds(record.end.time_ns), 1e-3),
    )


@dataclass(frozen=True)
class _Clock:
    begin_ns: int

    def seconds(self, time_ns: float) -> float:
        return (time_ns - self.begin_ns) / 1e9

    def all_seconds(self, times_ns: npt.ArrayLike) -> Floats:
        return (np.asarray(times_ns, float) - self.begin_ns) / 1e9


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


def _bands(clock: _Clock, record: LaunchRecord) -> Iterator[Band]:
    """Yield the phases in their order; each ends with the mark that is named for it."""
    begin_ns = clock.begin_ns
    for mark_name, name in _PHASES:
        mark = record.mark(mark_name)
        if mark is None or mark.time_ns < begin_ns:
            continue
        yield Band(name, clock.seconds(begin_ns), clock.seconds(mark.time_ns))
        begin_ns = mark.time_ns


def _latency(clock: _Clock, record: LaunchRecord) -> Panel | None:
    phases: tuple[Phase, ...] = ("first_inference", "warmup", "steady")
    found = [record.samples[phase] for phase in phases if phase in record.samples]
    starts = np.concatenate([np.asarray(one.start_ns, float) for one in found] or [np.empty(0)])
    durations = np.concatenate([np.asarray(one.duration_ns, float) for one in found] or [starts])
    if not len(starts):
        return None
    milliseconds = durations / 1e6
    # The slow ones would press all others to the ground: they stand on the upper edge.
    low, high = (float(np.quantile(milliseconds, share)) for share in (0.0, 0.9))
    span = span_of([low, high * 1.3])
    cut = int((milliseconds > span.high).sum())
    kept = _even(len(starts))
    line = Line(
        "an inference",
        "dots",
        clock.all_seconds(starts[kept]),
        np.minimum(milliseconds[kept], span.high),
    )
    return Panel("Latency", "ms", (line,), span, f"{cut} slower, on the edge" if cut else "")


def _memory(clock: _Clock, record: LaunchRecord) -> Panel | None:
    lines = []
    for name, words in (("rss", "resident"), ("swap", "swapped")):
        trace = record.trace(name)
        if trace is None or not trace.time_ns or (name == "swap" and max(trace.values) == 0):
            continue
        # The highest of each group: a peak must not fall through.
        pieces = [
            (_grouped(times, np.mean), _grouped(values / 1e6, np.max))
            for times, values in _unbroken(trace, clock)
        ]
        lines.append(Line(words, "line", *_joined(pieces)))
    if not lines:
        return None
    values = np.concatenate([line.values for line in lines])
    return Panel("Memory", "MB", tuple(lines), span_of(values[~np.isnan(values)].tolist()))


def _power(
    clock: _Clock, launch: Launch, record: LaunchRecord, sidecar: Sequence[Trace]
) -> Panel | None:
    if launch.entry.power is None:
        return None
    found = read_power(record, sidecar, launch.entry.power)
    energy = launch.entry.energy
    if isinstance(found, EnergyTrouble):
        return Panel("Power", "W", (), Span(0, 1), note=found.text)
    read = _was_read(record, found) if launch.entry.power.kind == "gauge" else slice(None)
    watts = _grouped(found.watts[read], np.mean)
    if not len(watts):
        return None
    begins, ends = _grouped(found.begin_ns[read], np.min), _grouped(found.end_ns[read], np.max)
    readings = Line("readings", "line", clock.all_seconds(begins), watts, clock.all_seconds(ends))
    lines = [readings]
    if isinstance(energy, Energy):
        lines.append(_levels(clock, record, energy))
    span = span_of([0.0, *(float(value) for line in lines for value in line.values)])
    note = energy.text if isinstance(energy, EnergyTrouble) else ""
    return Panel("Power", "W", tuple(lines), span, note)


def _was_read(record: LaunchRecord, found: PowerReadings) -> npt.NDArray[np.bool_]:
    """Tell which readings a gauge was looked at for: in between, its period alone says there was one."""
    trace = record.trace(CURRENT)
    polls = np.asarray(trace.time_ns if trace else [], np.int64)
    first = np.searchsorted(polls, found.begin_ns, side="left")
    return first < np.searchsorted(polls, found.end_ns, side="right")


def _levels(clock: _Clock, record: LaunchRecord, energy: Energy) -> Line:
    names = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
    times = [mark.time_ns for name in names if (mark := record.mark(name)) is not None]
    watts = [energy.idle_before_watts, energy.block_watts, energy.idle_after_watts]
    phases = list(zip(pairwise(times), watts, strict=False))
    return Line(
        "mean of the phase",
        "level",
        clock.all_seconds([begin for (begin, _), _ in phases]),
        np.array([value for _, value in phases], float),
        clock.all_seconds([end for (_, end), _ in phases]),
    )


def _temperatures(clock: _Clock, traces: Sequence[Trace]) -> Panel | None:
    """Show the temperatures that move most; the others are counted."""
    found = [
        (trace.name.removeprefix("temperature:"), trace)
        for trace in traces
        if trace.name.startswith("temperature:") and trace.values
    ]
    if not found:
        return None
    found.sort(key=lambda one: min(one[1].values) - max(one[1].values))
    shown = found[:MOST_LINES]
    span = free_span([value for _, trace in shown for value in trace.values], least=1.0)
    hidden = len(found) - len(shown)
    lines = tuple(Line(label(name, 28), "line", *_steps(trace, clock)) for name, trace in shown)
    return Panel(
        "Temperature", "°C", lines, span, f"{hidden} more, which move less" if hidden else ""
    )


def _clocks(clock: _Clock, record: LaunchRecord) -> Panel | None:
    """Show each group of cores that go together, and a limit of theirs that moved."""
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
    chosen = [(_cores(cores), False, trace) for cores, trace in list(groups.values())[:MOST_LINES]]
    chosen += [
        (f"limit, {_cores(cores)}", True, trace)
        for cores, trace in list(limits.values())[: MOST_LINES - len(chosen)]
    ]
    lines = []
    for name, is_limit, trace in chosen:
        seconds, values = _steps(trace, clock, 1e-6)
        lines.append(Line(name, "level" if is_limit else "line", seconds, values))
    hidden = len(groups) + len(limits) - len(chosen)
    highest = max(max(trace.values) for _, _, trace in chosen) / 1e6
    return Panel(
        "Clocks", "GHz", tuple(lines), span_of([0.0, highest]), f"{hidden} more" if hidden else ""
    )


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


# --- thinning ------------------------------------------------------------------------------------


def _unbroken(trace: Trace, clock: _Clock) -> list[tuple[Floats, Floats]]:
    """Return the stretches of a trace without a gap, as seconds and values."""
    seconds, values = clock.all_seconds(trace.time_ns), np.asarray(trace.values, float)
    distances = np.diff(seconds)
    usual = float(np.median(distances)) if len(distances) else 0.0
    breaks = np.flatnonzero(distances > _GAP * usual) + 1
    pieces = zip(np.split(seconds, breaks), np.split(values, breaks), strict=True)
    # A reading with gaps on both sides is seen for as long as it would usually hold.
    return [
        (np.append(times, times + usual), np.repeat(own, 2)) if len(own) == 1 else (times, own)
        for times, own in pieces
    ]


def _steps(trace: Trace, clock: _Clock, factor: float = 1.0) -> tuple[Floats, Floats]:
    """Return a trace as steps: what was read holds until the next reading, if that came in time."""
    pieces = []
    for seconds, values in _unbroken(trace, clock):
        kept = _even(len(values))
        kept = kept[np.append(True, np.diff(values[kept]) != 0)]
        kept = kept if kept[-1] == len(values) - 1 else np.append(kept, len(values) - 1)
        pieces.append((np.repeat(seconds[kept], 2)[1:], np.repeat(values[kept] * factor, 2)[:-1]))
    return _joined(pieces)


def _joined(pieces: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return stretches as one line, with a NaN between any two."""
    apart = np.array([np.nan])
    seconds = [part for times, _ in pieces for part in (apart, times)][1:]
    values = [part for _, own in pieces for part in (apart, own)][1:]
    return np.concatenate(seconds), np.concatenate(values)


def _even(count: int) -> npt.NDArray[np.int64]:
    """Return at most MOST_POINTS places of `count`, evenly, both ends included."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.arange(MOST_POINTS) * (count - 1) // (MOST_POINTS - 1)


def _grouped(values: npt.ArrayLike, reduce: Callable[[Floats], float]) -> Floats:
    """Return at most MOST_POINTS values, each of one group of neighbours."""
    numbers: Floats = np.asarray(values, dtype=np.float64)
    if len(numbers) <= MOST_POINTS:
        return numbers
    return np.array([reduce(group) for group in np.array_split(numbers, MOST_POINTS)])
