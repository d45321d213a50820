"""An external power meter: Monsoon's, through its own Python package (the extra `meter`).

It feeds the phone at its battery's contacts, and measures what flows. Its output is never switched:
that would be the phone's end. Not here: what the numbers mean (`energy.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import MeterError
from harness.schema.power import METER_POWER, PowerSource
from harness.schema.record import Trace

SAMPLES_PER_SECOND = 5000
# Kept at 100 Hz: what is between matters to nobody, and 5000 a second fill a record.
_CHUNK_SAMPLES = 50
_SECONDS_TO_FINISH = 5.0
# More than this no phone draws: such a reading is garbage.
_MOST_WATTS = 100.0

# The device's clock is known to this, or the meter is not used. Over a block of a minute between
# baselines it shifts less than 0.1% of the energy across an edge.
CLOCK_UNCERTAINTY_NS = 50_000_000
_CLOCK_READINGS = 8

ReadClock = Callable[[], tuple[int, int]]
"""Reads the device's CLOCK_MONOTONIC twice in one go: before and after something short, in ns."""


class Sampler(Protocol):
    """What is used of the package's SampleEngine; the names are its own.

    Samples come as lists: time, main, USB and aux current (mA), main and USB voltage (V).
    """

    def periodicStartSampling(self) -> Any:
        """Begin to sample; False if the meter does not."""

    def periodicCollectSamples(self, samples: int) -> Sequence[Sequence[float]]:
        """Wait for so many samples and return them."""

    def periodicStopSampling(self) -> None:
        """Leave the sampling mode."""


def describe_source() -> PowerSource:
    """Return the meter as a source of power; without the package or a meter it says so."""
    refusal, advice = "", ""
    if importlib.util.find_spec("Monsoon") is None:
        refusal = "an external meter needs Monsoon's Python package"
        advice = (
            "In the checkout: .venv/bin/pip install -e '.[meter]'; and attach a Monsoon by USB."
        )
    else:
        try:
            found = _import("pmapi").USB_protocol().enumerateDevices()
        except Exception as error:  # pyusb raises its backend's own
            found, refusal = [], f"no external meter can be looked for: {error}"
        if not found and not refusal:
            refusal = "no external meter (Monsoon) is attached to this computer"
        if not found:
            advice = "Attach it by USB; this user must be allowed to use it (udev rules)."
    return PowerSource(
        kind="meter",
        name="external meter (Monsoon)",
        clock_uncertainty_ns=CLOCK_UNCERTAINTY_NS,
        refusal=refusal,
        advice=advice,
    )


def open_monsoon() -> Sampler:
    """Open the first Monsoon that is attached. Raises MeterError."""
    try:
        model = _import("HVPM").Monsoon()
        operations = _import("Operations")
        model.setup_usb()
        if model.Protocol.DEVICE is None:
            raise MeterError("no external meter (Monsoon) is attached", "Attach it by USB.")
        if model.Protocol.getValue(operations.OpCodes.HardwareModel, 2) == (
            operations.HardwareModel.LVPM
        ):
            model = _import("LVPM").Monsoon()
            model.setup_usb()
        model.fillStatusPacket()
        engine = _import("sampleEngine").SampleEngine(model)
        engine.ConsoleOutput(False)
    except MeterError:
        raise
    except Exception as error:  # pyusb raises its backend's own
        raise MeterError(
            f"the external meter cannot be opened: {error}",
            "Unplug its USB cable and plug it in again; nobody else may use it.",
        ) from error
    sampler: Sampler = engine
    return sampler


def _import(module: str) -> Any:
    """Import a module of Monsoon's package, which is not free of warnings itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"Monsoon.{module}")


class MeterRecorder:
    """Samples the meter in a thread, beside a launch, and tells it in the device's time.

    A meter that stops, is unplugged or answers garbage leaves a trace with a gap, or one that ends early:
    what that means for the energy is judged there. It stays open from launch to launch: its package
    lets go of it only when the process ends, and a second hold of it would be refused.
    """

    def __init__(
        self, read_clock: ReadClock, open_sampler: Callable[[], Sampler] = open_monsoon
    ) -> None:
        self._read_clock, self._open_sampler = read_clock, open_sampler
        self._sampler: Sampler | None = None
        self._ending = threading.Event()
        self._points: list[tuple[int, float]] = []
        self._thread: threading.Thread | None = None
        self._offsets: list[ClockOffset] = []

    def start(self) -> None:
        """Begin to sample. Raises MeterError if the meter does not, or the clocks do not match."""
        # Anew for each launch: a thread that hung in the last one may come back.
        self._ending, self._points = threading.Event(), []
        self._offsets = [measure_offset(self._read_clock)]
        sampler = self._sampler or self._open_sampler()
        self._sampler = None  # kept when it has ended well
        try:
            started = sampler.periodicStartSampling()
        except Exception as error:  # pyusb raises its backend's own
            raise MeterError(f"the external meter does not start to sample: {error}") from error
        if started is False:
            raise MeterError(
                "the external meter does not calibrate itself", "Switch it off and on again."
            )
        work = (sampler, self._ending, self._points)
        self._thread = threading.Thread(target=self._sample, args=work, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[Trace, ...]:
        """End, and return the power. Raises MeterError if there is none, DeviceError."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_FINISH)  # one that hangs in its driver is left behind
        self._offsets.append(measure_offset(self._read_clock))
        points = list(self._points)
        if not points:
            raise MeterError("the external meter gave no sample", "Look at its cable and its LED.")
        return (as_trace(points, self._offsets[0], self._offsets[1]),)

    def _sample(
        self, sampler: Sampler, ending: threading.Event, points: list[tuple[int, float]]
    ) -> None:
        try:
            while not ending.is_set():
                columns = sampler.periodicCollectSamples(_CHUNK_SAMPLES)
                point = reduce_chunk(columns, time.monotonic_ns())
                if point is not None:
                    points.append(point)
            sampler.periodicStopSampling()
        except Exception:  # whatever its driver raises, the trace ends here
            return
        if ending is self._ending:
            self._sampler = sampler


def reduce_chunk(columns: Sequence[Sequence[float]], end_ns: int) -> tuple[int, float] | None:
    """Return the middle of a chunk of samples and its mean power in watts; None for garbage."""
    if len(columns) < 5 or not columns[1]:
        return None
    currents_ma, volts = columns[1], columns[4]
    if len(currents_ma) != len(volts):
        return None
    watts = sum(a * v for a, v in zip(currents_ma, volts, strict=True)) / len(volts) / 1000
    if not math.isfinite(watts) or abs(watts) > _MOST_WATTS:
        return None
    return end_ns - len(volts) * 1_000_000_000 // SAMPLES_PER_SECOND // 2, watts


# --- the two clocks ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClockOffset:
    """The device's CLOCK_MONOTONIC less this computer's, at a time of this computer's."""

    host_ns: int
    offset_ns: int
    uncertainty_ns: int


def measure_offset(read_clock: ReadClock) -> ClockOffset:
    """Compare the clocks by round trips. Raises DeviceError; MeterError if that is too vague.

    The device read its clock after it was asked and before it answered: each trip bounds the
    offset from both sides, and the bounds of all trips hold together (Cristian, 1989).
    """
    low, high = -math.inf, math.inf
    for _ in range(_CLOCK_READINGS):
        asked_ns = time.monotonic_ns()
        first_ns, last_ns = read_clock()
        answered_ns = time.monotonic_ns()
        low, high = max(low, last_ns - answered_ns), min(high, first_ns - asked_ns)
    if low > high:
        raise MeterError(
            "the device's clock, or this computer's, stepped while they were compared",
            "The launch can be tried again.",
        )
    uncertainty_ns = math.ceil((high - low) / 2)
    if uncertainty_ns > CLOCK_UNCERTAINTY_NS:
        raise MeterError(
            f"the device's clock is known to {uncertainty_ns / 1e6:.0f} ms only, and the meter needs "
            f"{CLOCK_UNCERTAINTY_NS / 1e6:.0f} ms",
            "Use a faster link to the phone.",
        )
    return ClockOffset(time.monotonic_ns(), round((low + high) / 2), uncertainty_ns)


def as_trace(points: Sequence[tuple[int, float]], first: ClockOffset, last: ClockOffset) -> Trace:
    """Return the power in the device's time: the clocks drift evenly between the two offsets."""
    span_ns = max(1, last.host_ns - first.host_ns)
    drift = (last.offset_ns - first.offset_ns) / span_ns
    return Trace(
        type="trace",
        name=METER_POWER,
        unit="W",
        time_ns=[t + first.offset_ns + round((t - first.host_ns) * drift) for t, _ in points],
        values=[watts for _, watts in points],
    )
