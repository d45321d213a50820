"""What a known load, between two rests, shows of a device's fuel gauge: its sign, unit, period and step.

Pure functions on the record of such a run. Not here: running it (`measure/gauge_calibration.py`), and
what is made of a calibration (`power.py`, `energy.py`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.analysis.energy import shortest_phases
from harness.analysis.power import charge_ratio
from harness.errors import CalibrationRefused
from harness.schema.plan import Measure
from harness.schema.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    SLOWEST_POLL_SECONDS,
    VOLTAGE,
    Calibration,
)
from harness.schema.record import LaunchRecord, Trace

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """What is too little to be told a gauge's meaning by, and where each number comes from."""

    # From a phone asleep with its screen off to one with every core at work.
    least_amperes: float = 0.02
    most_amperes: float = 10.0
    # The load has to stand out from what the idle does by itself.
    load_over_scatter: float = 4.0
    # A thousandfold lies between the scales: a factor of two is far from either.
    scale_tolerance: float = 2.0
    # Two steps of the charge counter tell a scale; its ratio to the current takes more (energy.py).
    scale_steps: int = 2
    # Fewer gaps between changes do not tell a period from a coincidence.
    least_gaps: int = 4
    # A gauge slower than this asks for blocks of more than two minutes (energy.py).
    slowest_refresh_seconds: float = 15.0


LIMITS = Limits()
_SCALES = (1e-6, 1e-3)
ADVICE_WIRELESS = (
    "Attach the phone by wireless adb, without a cable (adb tcpip 5555; adb connect ADDRESS), and "
    "calibrate again: a calibration is good for the cable too."
)


@dataclass(frozen=True)
class PhaseCurrents:
    """What the gauge said in the phases of one run, in its own units: medians, and the scatter at rest."""

    before: float
    work: float
    after: float
    scatter: float

    @classmethod
    def of(cls, record: LaunchRecord) -> PhaseCurrents:
        """Read them off a run. Raises CalibrationRefused if the gauge was silent, or told garbage."""
        current = _trace(record, CURRENT)
        before, work, after = (
            _settled(current, record, *names)
            for names in itertools.pairwise(
                ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
            )
        )
        rest = np.concatenate([before - np.median(before), after - np.median(after)])
        scatter = 1.4826 * float(np.median(np.abs(rest)))
        return cls(
            float(np.median(before)), float(np.median(work)), float(np.median(after)), scatter
        )

    @property
    def rest(self) -> float:
        """The mean of both rests."""
        return (self.before + self.after) / 2


def _trace(record: LaunchRecord, name: str) -> Trace:
    trace = record.trace(name)
    if trace is None or len(trace.values) < 10:
        failures = record.sampling.failures if record.sampling else ()
        why = next((f": {f.reason} ({f.count} times)" for f in failures if f.channel == name), "")
        raise CalibrationRefused(
            f"the gauge did not tell {name}{why}",
            "Without a readable gauge, energy needs power rails or an external meter.",
        )
    if not (np.diff(trace.time_ns) > 0).all() or not np.isfinite(trace.values).all():
        raise CalibrationRefused(f"the gauge's readings of {name} are garbage")
    return trace


def _settled(trace: Trace, record: LaunchRecord, begin: str, end: str) -> Array:
    """Return the readings of the later half of a phase: what was before it has faded by then."""
    first, last = record.mark(begin), record.mark(end)
    times, values = np.asarray(trace.time_ns), np.asarray(trace.values, dtype=np.float64)
    if first is not None and last is not None:
        since = (first.time_ns + last.time_ns) / 2
        inside = values[(times >= since) & (times <= last.time_ns)]
        if len(inside):
            return inside
    raise CalibrationRefused(
        f"the gauge went silent between {begin} and {end}", "Calibrate again; keep the phone awake."
    )


def is_plugged(record: LaunchRecord) -> bool:
    """Tell whether a cable fed the device during a run, as far as its battery's status tells."""
    charging = record.trace(CHARGING)
    return charging is not None and any(value > 0 for value in charging.values)


def check_reversal(device: str, as_it_is: PhaseCurrents, suspended: PhaseCurrents) -> None:
    """See that suspending charging did something: only then does the battery feed the phone.

    Raises CalibrationRefused.
    """
    sign = _sign(suspended)
    gained = sign * (suspended.rest - as_it_is.rest)
    # A full battery rests on the cable: it gives a little or nothing.
    fed = 2 * sign * as_it_is.rest < sign * suspended.rest
    alone = sign * suspended.rest > 0
    if (
        not fed
        or not alone
        or gained <= LIMITS.load_over_scatter * max(as_it_is.scatter, suspended.scatter)
    ):
        raise CalibrationRefused(
            f"{device} charges all the time: suspending it changed nothing (the gauge said "
            f"{as_it_is.rest:g} before and {suspended.rest:g} after, at rest)",
            ADVICE_WIRELESS,
        )


def analyse(
    record: LaunchRecord, fingerprint: str, made_unix: float, suspend_works: bool | None = None
) -> Calibration:
    """Work a calibration out of one run on battery alone. Raises CalibrationRefused."""
    seen = PhaseCurrents.of(record)
    values = np.asarray(_trace(record, CURRENT).values, dtype=np.float64)
    if len(np.unique(values)) == 1:
        raise CalibrationRefused(
            f"the gauge says {values[0]:g} all the time, at rest as at work: it is frozen",
            "Some phones refresh it only while the screen is on, or never: wake it and try again; "
            "else energy needs power rails or an external meter.",
        )
    sign = _sign(seen)
    if sign * seen.rest <= 0:
        raise CalibrationRefused(
            f"the gauge contradicts itself: it says {seen.rest:g} at rest and {seen.work:g} at work, "
            "which would be charging, on battery alone",
            "See that no charger is attached, and calibrate again.",
        )
    scale, ratio, origin = _scale(record, sign, seen)
    return Calibration(
        fingerprint=fingerprint,
        made_unix=made_unix,
        sign=sign,
        amperes_per_unit=scale,
        refresh_seconds=_refresh_seconds(record),
        quantum=find_quantum(values),
        charge_ratio=ratio,
        scale_from=origin,
        suspend_works=suspend_works,
    )


def _sign(seen: PhaseCurrents) -> Literal[1, -1]:
    """Return the sign by which work draws more than rest."""
    more = seen.work - seen.rest
    moved = abs(seen.after - seen.before)
    if abs(more) <= max(LIMITS.load_over_scatter * seen.scatter, 2 * moved):
        raise CalibrationRefused(
            f"the gauge does not show the load: {seen.before:g} and {seen.after:g} at rest, "
            f"{seen.work:g} at work",
            "Close what runs on the phone, let it rest for a minute, and give --seconds 60.",
        )
    return 1 if more > 0 else -1


def _scale(
    record: LaunchRecord, sign: int, seen: PhaseCurrents
) -> tuple[float, float | None, Literal["charge counter", "magnitude"]]:
    """Return amperes a unit, the ratio of current to counter, and what told it."""
    plausible = [
        scale
        for scale in _SCALES
        if LIMITS.least_amperes <= sign * seen.work * scale <= LIMITS.most_amperes
    ]
    if len(plausible) != 1:
        raise CalibrationRefused(
            f"the gauge's unit is unknown: {seen.work:g} at work is neither uA nor mA of a phone",
            "Energy needs power rails or an external meter on this phone.",
        )
    (scale,) = plausible
    whole = charge_ratio(record, sign * scale, LIMITS.scale_steps)
    if whole is None:
        return scale, None, "magnitude"
    if not 1 / LIMITS.scale_tolerance <= whole <= LIMITS.scale_tolerance:
        raise CalibrationRefused(
            f"the gauge's unit is neither uA nor mA: its current is {whole:.3g} times what the charge "
            "counter lost",
            "Energy needs power rails or an external meter on this phone.",
        )
    return scale, charge_ratio(record, sign * scale), "charge counter"


def _refresh_seconds(record: LaunchRecord) -> float:
    """Return how often the gauge is refreshed, by what changes: the current, else all it shows."""
    current = _trace(record, CURRENT)
    poll = float(np.median(np.diff(current.time_ns))) / 1e9
    for names in ((CURRENT,), (CURRENT, VOLTAGE, CHARGE)):
        changes = _changes([t for name in names if (t := record.trace(name))], poll)
        if len(changes) > LIMITS.least_gaps:
            found = find_period(np.diff(changes), poll)
            if found <= LIMITS.slowest_refresh_seconds:
                return found
    seconds = (current.time_ns[-1] - current.time_ns[0]) / 1e9
    raise CalibrationRefused(
        f"the gauge changed {len(changes)} times in {seconds:.0f} s: too seldom to tell its period",
        "Give it longer: --seconds 60.",
    )


def _changes(traces: list[Trace], poll_seconds: float) -> Array:
    """Return when anything changed, in seconds; what changed within two polls is one refresh."""
    times = np.sort(
        np.concatenate(
            [
                np.asarray(trace.time_ns, dtype=np.float64)[1:][np.diff(trace.values) != 0] / 1e9
                for trace in traces
            ]
        )
    )
    if len(traces) == 1 or not len(times):
        return np.asarray(times)
    return np.asarray(times[np.concatenate([[True], np.diff(times) > 2 * poll_seconds])])


def find_period(gaps: Array, poll_seconds: float) -> float:
    """Return the period of which the gaps between changes are multiples, in seconds.

    A refresh that brings the same value is not seen: then a gap holds several periods. Both ends
    of a gap are known to a poll: those within two polls of the shortest that is typical are one
    period, and then all together count.
    """
    shortest = float(np.quantile(gaps, 0.1))
    period = float(np.mean(gaps[(gaps >= shortest) & (gaps < shortest + 1.9 * poll_seconds)]))
    for _ in range(5):
        many = np.maximum(1, np.round(gaps / period))
        sure = many <= 5  # beyond, a little error of the period changes the count
        period = float(gaps[sure].sum() / many[sure].sum())
    return max(period, poll_seconds)


def find_quantum(values: Array) -> float:
    """Return the step of which neighbouring readings differ by multiples, in raw units.

    Euclid's algorithm, with a tolerance for steps that were rounded to whole units. Steps beyond
    several times the smallest say nothing: rounding adds up.
    """
    steps = np.diff(np.unique(values))
    step = float(steps.min())
    for other in steps[steps <= 8 * step]:
        larger, smaller = float(other), step
        while smaller > 0:
            rest = larger % smaller
            if min(rest, smaller - rest) <= max(0.1 * smaller, 1.0 if smaller > 10 else 0.0):
                break
            larger, smaller = smaller, rest
        step = min(step, smaller)
    return step


def describe(calibration: Calibration) -> str:
    """Say in plain words what was found."""
    unit = {1e-6: "uA", 1e-3: "mA"}.get(calibration.amperes_per_unit, "units of its own")
    drawn = "positive" if calibration.sign == 1 else "negative"
    step = calibration.quantum * calibration.amperes_per_unit * 1e3
    lines = [
        f"The gauge speaks in {unit}, and what is drawn from the battery is {drawn}.",
        f"It is refreshed every {calibration.refresh_seconds:.2g} s, in steps of {step:.3g} mA.",
    ]
    needed = shortest_phases(calibration.refresh_seconds, SLOWEST_POLL_SECONDS)
    if needed.exceed(Measure()):
        lines.append(f"That is seldom. A plan with energy needs {needed}.")
    if calibration.charge_ratio is not None:
        lines.append(
            f"Its current is {calibration.charge_ratio:.3f} times what its charge counter says."
        )
    elif calibration.scale_from == "charge counter":
        lines.append("Its charge counter confirms the unit, and is too coarse to confirm more.")
    else:
        lines.append("No charge counter confirms it: the unit is judged by what a phone can draw.")
    if calibration.suspend_works:
        lines.append("Charging stops when it is asked to: energy can be measured on the cable.")
    elif calibration.suspend_works is None:
        lines.append("It was not charging, so whether charging can be suspended is not known.")
    return "\n".join(lines)
