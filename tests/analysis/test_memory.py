"""Whether memory grows, on invented runs of which the truth is known.

The readings are what a second process would see of a run: pages, at any phase of an inference, with
gaps. Real runs of the runner are in test_runner.py and benchmarks/memory_truth.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.memory import LIMITS, Growth, growth, peak_until
from harness.schema.record import Counters, LaunchRecord, Mark, Samples, Trace, read_record
from tests.places import GOLDEN

Floats = npt.NDArray[np.float64]
PAGE = 4096
OK_RECORD = GOLDEN / "ok.jsonl"
BEGIN_NS = 5_000_000_000


@dataclass(frozen=True)
class Run:
    """An invented run. `extra` is memory gained by then, of the inferences done; none is a leak."""

    leak: float = 0.0
    inferences: int = 3000
    inference_ns: float = 1e6
    scratch_bytes: float = 0.0
    scratch_share: float = 0.5
    batch_pages: int = 1
    missing: float = 0.0
    thinned_by: int = 1
    swapped_from: float | None = None
    extra: Callable[[Floats], Floats] = np.zeros_like
    seed: int = 1

    def record(self) -> LaunchRecord:
        """Return what the runner would have written of it."""
        rng = np.random.default_rng(self.seed)
        durations = self.inference_ns * np.exp(0.02 * rng.standard_normal(self.inferences))
        ends = BEGIN_NS + np.cumsum(durations)
        starts = np.append(BEGIN_NS, ends[:-1])
        times = np.arange(BEGIN_NS - 2e8, ends[-1] + 1e8, 1e7)
        times = times[rng.random(len(times)) >= self.missing]
        place = np.clip(np.searchsorted(starts, times, "right") - 1, 0, self.inferences - 1)
        phase = np.clip((times - starts[place]) / durations[place], 0, 1)
        running = (times >= BEGIN_NS) & (times <= ends[-1]) & (phase < self.scratch_share)
        done = np.where(times < BEGIN_NS, 0.0, place + phase)
        base = float(rng.uniform(20e6, 200e6))
        resident = self._shown(base + self._gained(done) + self.scratch_bytes * running)
        swap = np.zeros_like(resident)
        if self.swapped_from is not None:  # half of it goes to zram in the middle of the run
            swap = np.where(done > self.swapped_from * self.inferences, base // 2, 0.0)
        marks = self._shown(base + self._gained(np.array([0.0, float(self.inferences)])))
        return replace(
            read_golden(),
            marks=(
                mark("warmup_done", BEGIN_NS - 1000, marks[0]),
                mark("steady_done", int(ends[-1]) + 1000, marks[1]),
            ),
            samples={"steady": self._samples(starts, durations)},
            traces=(trace("rss", times, resident - swap), trace("swap", times, swap)),
        )

    def _gained(self, done: Floats) -> Floats:
        return self.leak * done + self.extra(done / self.inferences)

    def _shown(self, resident: Floats) -> Floats:
        step = PAGE * self.batch_pages
        return np.floor(resident / step) * step

    def _samples(self, starts: Floats, durations: Floats) -> Samples:
        return Samples(
            type="samples",
            phase="steady",
            start_ns=[int(start) for start in starts[:: self.thinned_by]],
            duration_ns=[int(duration) for duration in durations[:: self.thinned_by]],
            counters=Counters(
                iterations=self.inferences, wall_ns=1, cpu_ns=1, voluntary_switches=0,
                involuntary_switches=0, minor_faults=0, major_faults=0,
            ),
        )  # fmt: skip


def read_golden() -> LaunchRecord:
    record = read_record(OK_RECORD)
    assert isinstance(record, LaunchRecord)
    return record


def mark(name: str, time_ns: int, resident: float) -> Mark:
    return Mark(
        type="mark", name=name, time_ns=time_ns, cost_ns=1, rss_bytes=int(resident),
        rss_anon_bytes=None, rss_file_bytes=None, vm_hwm_bytes=int(resident), swap_bytes=0,
        pss_bytes=None, os_threads=1,
    )  # fmt: skip


def trace(name: str, times: Floats, values: Floats) -> Trace:
    return Trace(
        type="trace", name=name, unit="byte", time_ns=[int(time) for time in times],
        values=values.tolist(),
    )  # fmt: skip


def found(run: Run) -> Growth:
    """Return what is said of a run that is long enough to say something."""
    grown = growth(run.record())
    assert grown is not None
    return grown


def steps(*at: float, size: float = 2e6) -> Callable[[Floats], Floats]:
    return lambda done: np.sum([size * (done > place) for place in at], axis=0)


def test_a_leak_of_a_kilobyte_an_inference_is_found_and_measured() -> None:
    grown = found(Run(leak=1024))
    assert grown.grows
    assert grown.low <= 1024 <= grown.high
    assert grown.bytes_per_inference == pytest.approx(1024, rel=0.02)
    assert grown.inferences == 2700
    assert grown.total_bytes == pytest.approx(1024 * 2700, rel=0.02)


@pytest.mark.parametrize(
    "run",
    [
        Run(leak=1024, inferences=1000),
        Run(leak=1024, scratch_bytes=16e6, inference_ns=1.37e6),
        Run(leak=1024, missing=0.4),
        Run(leak=1024, inferences=8000, thinned_by=4),
        Run(leak=1024, batch_pages=64),
        Run(leak=1024, swapped_from=0.5),
        Run(leak=1024, inferences=1000, inference_ns=2e7, scratch_bytes=8e6),
        Run(leak=100_000, inferences=300, inference_ns=1e7),
        Run(leak=1024, extra=steps(0.02, 0.05)),
    ],
    ids=[
        "short", "scratch", "gaps", "thinned", "batched", "swapped", "slow", "big", "settling",
    ],
)  # fmt: skip
def test_a_leak_is_found_whatever_else_happens(run: Run) -> None:
    for seed in range(10):
        grown = found(replace(run, seed=seed))
        assert grown.grows
        assert grown.bytes_per_inference == pytest.approx(run.leak, rel=0.25)


@pytest.mark.parametrize(
    "run",
    [
        Run(),
        Run(inferences=300, inference_ns=1e7),
        Run(scratch_bytes=16e6, scratch_share=0.9),
        Run(extra=steps(0.02, 0.05, 0.3)),
        Run(extra=steps(0.5)),
        Run(extra=steps(0.3, 0.8, size=5e6)),
        Run(extra=lambda done: 8e6 * (1 - np.exp(-done / 0.15))),
        Run(extra=lambda done: 3e6 * (done / 0.27 % 1)),
        Run(extra=lambda done: -4e6 * done),
        Run(leak=20.0),
        Run(swapped_from=0.4),
        Run(missing=0.5, scratch_bytes=1e6),
    ],
    ids=[
        "flat", "slow", "scratch", "settles", "one step", "two steps", "fills up", "sawtooth",
        "shrinks", "below the kernel's steps", "swapped", "gaps",
    ],
)  # fmt: skip
def test_no_leak_is_claimed_where_there_is_none(run: Run) -> None:
    assert not any(found(replace(run, seed=seed)).grows for seed in range(10))


def test_growth_that_only_the_phase_of_inferences_shows_is_none() -> None:
    """Readings that keep step with inferences drift slowly through what one allocates and frees."""
    record = Run(inferences=400, inference_ns=1e7).record()
    rss = record.trace("rss")
    assert rss is not None
    drifting = rss.model_copy(update={"values": [1e8 + 1e4 * n for n in range(len(rss.values))]})
    grown = growth(replace(record, traces=(drifting,)))
    assert grown is not None
    assert grown.low > 0
    assert not grown.grows


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        leak = float(rng.uniform(500, 8000))
        run = Run(leak, int(rng.uniform(1000, 4000)), seed=seed, missing=float(rng.uniform(0, 0.3)))
        grown = found(replace(run, scratch_bytes=float(rng.choice([0.0, 1e6]))))
        held += grown.low <= leak <= grown.high
    assert held >= 90


def test_the_same_record_always_gives_the_same_answer() -> None:
    record = Run(leak=700, missing=0.2).record()
    assert growth(record) == growth(record)


def test_too_little_is_not_judged() -> None:
    record = Run(leak=1024).record()
    rss = record.trace("rss")
    assert rss is not None
    half = rss.model_copy(
        update={"time_ns": rss.time_ns[:150], "values": rss.values[:150]}
    )  # the sampler died in the middle of the run
    steady = record.samples["steady"]
    backwards = steady.model_copy(update={"start_ns": steady.start_ns[::-1]})
    assert growth(Run(leak=1024, inferences=LIMITS.least_inferences).record()) is None
    assert growth(Run(leak=1024, inferences=200).record()) is None  # 20 readings
    assert growth(replace(record, traces=())) is None
    assert growth(replace(record, traces=(half,))) is None
    assert growth(replace(record, samples={})) is None
    assert growth(replace(record, samples={"steady": backwards})) is None
    assert growth(replace(record, marks=record.marks[1:])) is None
    assert growth(replace(record, marks=record.marks[:1])) is None


def test_one_wild_reading_changes_nothing() -> None:
    record = Run(leak=1024).record()
    rss = record.trace("rss")
    assert rss is not None
    for wild in (0.0, 1e15, float("inf")):
        values = [*rss.values[:100], wild, *rss.values[101:]]
        grown = growth(replace(record, traces=(rss.model_copy(update={"values": values}),)))
        assert grown is not None
        assert grown.grows
        assert grown.bytes_per_inference == pytest.approx(1024, rel=0.1)


def test_the_peak_is_the_most_that_was_held_swapped_pages_included() -> None:
    low, high = mark("engine_ready", 10, 5e6), mark("steady_done", 50, 8e6)
    swapped = high.model_copy(update={"swap_bytes": 3_000_000})
    record = replace(read_golden(), marks=(low, high), traces=())
    assert peak_until(record, "engine_ready") == 5_000_000
    assert peak_until(record, "steady_done") == 8_000_000
    assert peak_until(record, "warmup_done") is None
    assert peak_until(replace(record, marks=(low, swapped)), "steady_done") == 11_000_000
    times = np.array([20.0, 30.0, 60.0])  # the last one is of the checks
    readings = (
        trace("rss", times, np.array([7e6, 2e6, 50e6])),
        trace("swap", times, np.array([0.0, 10e6, 0.0])),
    )
    assert peak_until(replace(record, traces=readings), "engine_ready") == 5_000_000
    assert peak_until(replace(record, traces=readings), "steady_done") == 12_000_000
    # A series alone that saw less than the kernel's own high-water mark changes nothing.
    assert peak_until(replace(record, traces=readings[:1]), "steady_done") == 8_000_000


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**62), 2**62), max_size=80),
    st.lists(
        st.floats(allow_nan=False) | st.sampled_from([0.0, 1e8, float("inf")]),
        min_size=80,
        max_size=80,
    ),
    st.integers(0, 10**12),
)
def test_garbage_is_never_a_crash(times: list[int], values: list[float], iterations: int) -> None:
    record = Run(leak=1024, inferences=400).record()
    steady = record.samples["steady"]
    counters = steady.counters
    assert counters is not None
    steady = steady.model_copy(
        update={"counters": counters.model_copy(update={"iterations": iterations})}
    )
    inside = [BEGIN_NS + abs(time) % 400_000_000 for time in times]
    for moments in (times, inside):
        readings = Trace(
            type="trace", name="rss", unit="byte", time_ns=moments, values=values[: len(moments)]
        )
        damaged = replace(record, traces=(readings,), samples={"steady": steady})
        growth(damaged)
        peak_until(damaged, "steady_done")
