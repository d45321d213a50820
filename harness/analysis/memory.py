"""The memory of one launch: its peak, and whether it grows with every inference.

Pure functions on a record. Not here: how memory is read (the runner does), and numbers over
several launches (`summary.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.schema.record import LaunchRecord, Trace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """When growth is a finding.

    `settling`: the share of the steady loop that is left out, for an allocator that still settles
    after the warm-up. `windows`: into how many windows of equally many inferences the rest is cut,
    if there are readings for it (`least_windows`, if not).
    `least_readings`, `least_inferences`: fewer cannot tell a leak from settling.
    `pages`: what has to be gained in all. Linux adds up a process's resident pages in batches and
    shows them late: 64 page faults a thread before 6.2 (TASK_RSS_EVENTS_THRESH, mm/memory.c), 32
    pages a core from then on (percpu_counter_batch, lib/percpu_counter.c).
    `steadiness`: the slowest third of the run grows at least so fast, as a share of the fastest: a
    leak goes on at its pace, an allocator that settles slows down, a cache that fills stops.
    `at_marks`: the least growth between the readings at the marks around the loop, as a share of
    the slope's: they are taken between two inferences, so no phase of one can pass for growth.
    The shares were chosen by simulation, so that 1 KB an inference is found and none is invented
    (tests/analysis/test_memory.py).
    """

    settling: float = 0.1
    windows: int = 24
    least_windows: int = 9
    least_readings: int = 36
    least_inferences: int = 100
    pages: int = 64
    steadiness: float = 0.4
    at_marks: float = 0.5


LIMITS = Limits()
_RESAMPLES = 200
_SEED = 20  # any: the same record always gives the same interval


@dataclass(frozen=True)
class Growth:
    """How fast memory (RSS, and swap where it is known) grew over the steady loop.

    [low, high] is the 95% interval of `bytes_per_inference`. `total_bytes` is what that makes over the
    `inferences` looked at, the settling left out. `grows`: it is a finding (see `Limits`).
    """

    bytes_per_inference: float
    low: float
    high: float
    inferences: int
    grows: bool
    total_bytes: int


def peak_until(record: LaunchRecord, mark_name: str) -> int | None:
    """Return the most memory the process held up to a mark: max(VmHWM, RSS + swap).

    Pages that are swapped out (zram on Android) leave VmHWM's reach, so the marks on the way and the
    series, where there is one, count with what is swapped. None without that mark.
    """
    last = record.mark(mark_name)
    if last is None:
        return None
    marks = [mark for mark in record.marks if mark.time_ns <= last.time_ns]
    peaks = [max(mark.vm_hwm_bytes, mark.rss_bytes + mark.swap_bytes) for mark in marks]
    resident = _read_resident(record)
    if resident is not None:
        times, held = resident
        within = held[(times <= last.time_ns) & np.isfinite(held)]
        peaks.append(int(within.max(initial=0)))
    return max(peaks)


def growth(record: LaunchRecord) -> Growth | None:
    """Return how fast memory grew over the steady loop; None if there is too little to say.

    The slope is Theil and Sen's (Sen 1968, JASA 63:1379), over the least reading of each window:
    what an inference allocates and frees again lies above that. Its interval is a moving-block
    bootstrap of the residuals (Künsch 1989, Ann. Stat. 17:1217): neighbours are alike.
    """
    series = _read_series(record)
    if series is None:
        return None
    windows = _cut_windows(series)
    if windows is None:
        return None
    page_bytes = record.header.device.page_bytes
    slope, low, high = _slope_with_interval(windows, page_bytes)
    kept = (1 - LIMITS.settling) * series.total
    return Growth(
        bytes_per_inference=slope,
        low=low,
        high=high,
        inferences=round(kept),
        grows=low > 0
        and slope * kept >= LIMITS.pages * page_bytes
        and _is_steady(windows)
        and _marks_agree(record, slope * series.total),
        total_bytes=round(slope * kept),
    )


@dataclass(frozen=True)
class _Series:
    """The readings within the steady loop: how many inferences were done by then, and bytes."""

    inferences: Floats
    resident: Floats
    total: int


@dataclass(frozen=True)
class _Windows:
    """The least reading of each window that has any: where (inferences), how much (bytes)."""

    places: Floats
    levels: Floats
    thirds: npt.NDArray[np.int64]


def _read_series(record: LaunchRecord) -> _Series | None:
    samples, readings = record.samples.get("steady"), _read_resident(record)
    began, ended = record.mark("warmup_done"), record.mark("steady_done")
    if not (samples and samples.start_ns and readings and began and ended):
        return None
    times, resident = readings
    starts = np.asarray(samples.start_ns, dtype=np.float64)
    moments = np.append(starts, ended.time_ns)
    if (np.diff(moments) < 0).any():
        return None
    # Starts may be thinned, evenly: the k-th of n is that of inference k / n of all.
    done = np.arange(len(moments)) * (samples.iterations / len(starts))
    within = (times >= moments[0]) & (times <= moments[-1])
    inferences = np.interp(times[within], moments, done)
    return _Series(inferences, resident[within], samples.iterations)


def _read_resident(record: LaunchRecord) -> tuple[Floats, Floats] | None:
    """Return the series of RSS, with swap where it is known: times (ns) and bytes."""
    rss, swap = record.trace("rss"), record.trace("swap")
    if rss is None or not rss.values:
        return None
    times, resident = _points(rss)
    if swap is not None and swap.values:
        resident = resident + np.interp(times, *_points(swap))
    return times, resident


def _points(trace: Trace) -> tuple[Floats, Floats]:
    """Return a trace as arrays, in order of time."""
    times = np.asarray(trace.time_ns, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    return times[order], np.asarray(trace.values, dtype=np.float64)[order]


def _cut_windows(series: _Series) -> _Windows | None:
    """Cut the readings into windows; None if they are too few, or leave a part of the run out."""
    first = LIMITS.settling * series.total
    kept = series.total - first
    if kept < LIMITS.least_inferences:
        return None
    share = (series.inferences - first) / kept
    usable = (share >= 0) & np.isfinite(series.resident)
    share, resident = share[usable], series.resident[usable]
    if len(share) < LIMITS.least_readings:
        return None
    count = min(LIMITS.windows, max(LIMITS.least_windows, len(share) // 24 * 3))
    window = np.minimum((share * count).astype(np.int64), count - 1)
    levels = np.full(count, np.inf)
    np.minimum.at(levels, window, resident)
    seen = np.flatnonzero(np.isfinite(levels))
    thirds = seen * 3 // count
    if np.bincount(thirds, minlength=3).min() < LIMITS.least_windows // 3:
        return None
    return _Windows(first + (seen + 0.5) / count * kept, levels[seen], thirds)


def _slope_with_interval(windows: _Windows, page_bytes: int) -> tuple[float, float, float]:
    """Return Theil and Sen's slope and its 95% interval, in bytes an inference.

    The interval is widened by what a step (a page, or whatever the kernel adds up before it shows
    it) can lie off at the ends: that is no noise, and resampling does not see it.
    """
    places, levels = windows.places, windows.levels
    earlier, later = np.triu_indices(len(places), 1)
    distances = places[later] - places[earlier]

    def slopes(of: Floats) -> Floats:
        """Return the slope of each row."""
        found: Floats = np.median((of[..., later] - of[..., earlier]) / distances, axis=-1)
        return found

    slope = float(slopes(levels))
    residuals = levels - slope * places
    residuals -= np.median(residuals)
    count, block = len(levels), max(2, len(levels) // 6)
    rng = np.random.default_rng(_SEED)
    starts = rng.integers(0, count - block + 1, (_RESAMPLES, -(-count // block)))
    chosen = (starts[..., None] + np.arange(block)).reshape(_RESAMPLES, -1)[:, :count]
    low, high = np.quantile(slopes(residuals[chosen]), [0.025, 0.975])
    step = max(page_bytes, float(np.median(np.abs(residuals)))) / (places[-1] - places[0])
    return slope, float(slope + low - step), float(slope + high + step)


def _is_steady(windows: _Windows) -> bool:
    """Tell whether memory grew in every third of the run, and about evenly."""
    levels, places = windows.levels, windows.places
    cuts = [int(np.searchsorted(windows.thirds, third)) for third in (1, 2)]
    ends = np.array([1, *cuts, len(levels) - 2])
    # The middle of three neighbours: one window that missed its least moment decides nothing.
    smooth = np.array([np.median(levels[end - 1 : end + 2]) for end in ends])
    rates = np.diff(smooth) / np.diff(places[ends])
    return bool(rates.min() > 0 and rates.min() >= LIMITS.steadiness * rates.max())


def _marks_agree(record: LaunchRecord, gained: float) -> bool:
    """Tell whether the marks before and after the loop show that growth too."""
    began, ended = record.mark("warmup_done"), record.mark("steady_done")
    assert began
    assert ended
    seen = (ended.rss_bytes + ended.swap_bytes) - (began.rss_bytes + began.swap_bytes)
    return seen >= LIMITS.at_marks * gained
