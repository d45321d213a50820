"""The external meter, played back from a recorded trace behind its package's own protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from harness.devices import monsoon
from harness.devices.monsoon import ClockOffset, MeterRecorder, measure_offset, reduce_chunk
from harness.errors import MeterError
from harness.schema.power import METER_POWER

# A recorded trace: milliamperes and volts, five thousand a second; a load of 2 W between rests of 0.4 W.
REST = ((100.0, 4.0),) * 250
LOAD = ((500.0, 4.0),) * 250
RECORDED = (*REST, *LOAD, *REST)
PHONE_IS_AHEAD_NS = 7_000_000_000


def phone_clock() -> tuple[int, int]:
    """A phone that boots 7 s before this computer: it reads its clock twice."""
    first_ns = time.monotonic_ns() + PHONE_IS_AHEAD_NS
    return first_ns, time.monotonic_ns() + PHONE_IS_AHEAD_NS


@dataclass
class PlayedMonsoon:
    """Plays a recorded trace back as Monsoon's SampleEngine would, in its own time."""

    recorded: Sequence[tuple[float, float]] = RECORDED
    calibrates: bool = True
    ends_with: Exception | None = None
    stopped: bool = False
    _left: Iterator[tuple[float, float]] = field(init=False)

    def periodicStartSampling(self) -> object:
        self._left = iter(self.recorded)
        return [[]] * 6 if self.calibrates else False

    def periodicCollectSamples(self, samples: int) -> Sequence[Sequence[float]]:
        time.sleep(samples / monsoon.SAMPLES_PER_SECOND)
        chunk = [point for _, point in zip(range(samples), self._left, strict=False)]
        if not chunk:
            if self.ends_with is not None:
                raise self.ends_with
            time.sleep(0.01)
        amps, volts = [a for a, _ in chunk], [v for _, v in chunk]
        zeros = [0.0] * len(chunk)
        return [zeros, amps, zeros, zeros, volts, zeros]

    def periodicStopSampling(self) -> None:
        self.stopped = True


def record(sampler: PlayedMonsoon, seconds: float = 0.4) -> tuple[list[int], list[float]]:
    recorder = MeterRecorder(phone_clock, lambda: sampler)
    recorder.start()
    time.sleep(seconds)
    (trace,) = recorder.stop()
    assert (trace.name, trace.unit) == (METER_POWER, "W")
    return trace.time_ns, trace.values


def test_power_comes_at_a_hundred_a_second_in_the_phones_time() -> None:
    before_ns = time.monotonic_ns() + PHONE_IS_AHEAD_NS
    sampler = PlayedMonsoon()
    times, watts = record(sampler)
    after_ns = time.monotonic_ns() + PHONE_IS_AHEAD_NS
    assert watts == pytest.approx([0.4] * 5 + [2.0] * 5 + [0.4] * 5)
    assert before_ns <= times[0] < times[-1] <= after_ns
    assert all(a < b for a, b in pairwise(times))
    assert sampler.stopped


def test_a_meter_is_opened_once_and_anew_after_trouble() -> None:
    opened: list[PlayedMonsoon] = []

    def open_it() -> PlayedMonsoon:
        opened.append(PlayedMonsoon())
        return opened[-1]

    recorder = MeterRecorder(phone_clock, open_it)
    for launches, trouble in ((1, None), (1, None), (1, OSError("no such device")), (2, None)):
        recorder.start()
        opened[-1].ends_with = trouble
        time.sleep(0.3)
        recorder.stop()
        assert len(opened) == launches


def test_a_meter_that_is_unplugged_leaves_what_it_told_until_then() -> None:
    _, watts = record(PlayedMonsoon(ends_with=OSError("no such device")))
    assert len(watts) == 15


def test_a_meter_that_stops_sampling_leaves_what_it_told_until_then() -> None:
    times, watts = record(PlayedMonsoon(), seconds=0.6)
    assert len(times) == len(watts) == 15


@pytest.mark.parametrize("garbage", [(float("nan"), 4.0), (1e9, 4.0), (float("inf"), 1.0)])
def test_garbage_is_a_gap(garbage: tuple[float, float]) -> None:
    times, watts = record(PlayedMonsoon((*REST, *((garbage,) * 50), *REST)))
    assert watts == pytest.approx([0.4] * 10)
    assert len(times) == 10


@pytest.mark.parametrize("columns", [[], [[]], [[0.0]] * 6, [[], [], [], [], []]])
def test_an_answer_of_another_shape_is_no_sample(columns: list[list[float]]) -> None:
    point = reduce_chunk(columns, 1_000_000)
    assert point is None or point[1] == 0.0


def test_a_meter_that_gives_nothing_at_all_says_so() -> None:
    with pytest.raises(MeterError, match="gave no sample"):
        record(PlayedMonsoon(()), seconds=0.1)


def test_a_meter_that_does_not_calibrate_itself_is_refused() -> None:
    with pytest.raises(MeterError, match="does not calibrate"):
        record(PlayedMonsoon(calibrates=False))


def test_a_phones_clock_is_known_to_half_of_the_shortest_round_trip() -> None:
    offset = measure_offset(phone_clock)
    assert abs(offset.offset_ns - PHONE_IS_AHEAD_NS) <= offset.uncertainty_ns
    assert offset.uncertainty_ns < monsoon.CLOCK_UNCERTAINTY_NS


def test_a_clock_that_steps_meanwhile_is_refused() -> None:
    steps = iter(range(100))

    def stepping() -> tuple[int, int]:
        now = time.monotonic_ns() + next(steps) * 1_000_000_000
        return now, now

    with pytest.raises(MeterError, match="stepped"):
        measure_offset(stepping)


def test_clocks_that_drift_apart_are_followed() -> None:
    first, last = ClockOffset(0, 100, 0), ClockOffset(1000, 200, 0)
    trace = monsoon.as_trace([(0, 1.0), (500, 1.0), (1000, 1.0)], first, last)
    assert trace.time_ns == [100, 650, 1200]


def test_without_the_package_or_a_meter_it_is_listed_with_what_to_do() -> None:
    source = monsoon.describe_source()
    assert source.kind == "meter"
    assert source.refusal
    assert source.advice
