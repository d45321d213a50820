"""The energy of a case, over its launches: the median, an interval, and what it may be compared with.

Pure functions on launches. Not here: the energy of one launch (`harness.analysis.energy`), and pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from harness.analysis.launches import Launch
from harness.analysis.stats import LAUNCHES_FOR_INTERVAL, Estimate, difference_is_shown, estimate
from harness.analysis.words import significant
from harness.schema.energy import Energy
from harness.schema.power import PowerSource

SOURCE_WORDS = {
    "rails": "power rails",
    "gauge": "fuel gauge",
    "meter": "external meter",
    "rapl": "RAPL (the processor's own counters)",
}


@dataclass(frozen=True)
class CaseEnergy:
    """What an inference of a case costs, net of idle.

    `joules` and the powers count every valid launch with an energy of one `source`: the one that
    most of them have; `other_sources` counts the launches of the others. `shares` is what makes a
    launch's interval wide: each part's half-width in joules, the median over the launches.
    """

    joules: Estimate
    net_watts: Estimate
    block_watts: Estimate
    source: PowerSource
    shares: dict[str, float]
    other_sources: int

    @property
    def is_above_idle(self) -> bool:
        """Whether the interval leaves out zero: else it is not told from idle."""
        return self.joules.low is not None and self.joules.low > 0


def combine(launches: Sequence[Launch]) -> CaseEnergy | None:
    """Combine the energies of a case's launches that count; None if there are none."""
    found = [
        (launch.numbers.energy, launch.power)
        for launch in launches
        if launch.counts
        and launch.numbers is not None
        and isinstance(launch.numbers.energy, Energy)
        and launch.power is not None
    ]
    if not found:
        return None
    most = Counter(source_key(source) for _, source in found).most_common(1)[0][0]
    own = [(energy, source) for energy, source in found if source_key(source) == most]
    energies = [energy for energy, _ in own]
    joules = _over(
        energies, lambda e: e.joules_per_inference, lambda e: (e.low_joules, e.high_joules)
    )
    # The interval of a launch's energy is, but for its iterations, that of its net energy.
    net = _over(energies, _net_watts, lambda e: (_watts(e, e.low_joules), _watts(e, e.high_joules)))
    block = estimate([energy.block_watts for energy in energies])
    assert block is not None
    parts = dict.fromkeys(part for energy in energies for part in energy.shares_joules)
    return CaseEnergy(
        joules=joules,
        net_watts=net,
        block_watts=block,
        source=own[0][1],
        shares={part: median(e.shares_joules.get(part, 0.0) for e in energies) for part in parts},
        other_sources=len(found) - len(own),
    )


def _net_watts(energy: Energy) -> float:
    return _watts(energy, energy.joules_per_inference)


def _watts(energy: Energy, joules: float) -> float:
    return joules * energy.iterations / energy.seconds


def _over(
    energies: Sequence[Energy],
    value: Callable[[Energy], float],
    interval: Callable[[Energy], tuple[float, float]],
) -> Estimate:
    """Return the median over launches, with what lies between launches and within one.

    Launches differ, and each has an interval of its own, of which a part (the scale of the gauge,
    its steps) is common to all: no number of launches makes it smaller. So half the width is the
    root of the sum of two squares: that of the median over launches (its bootstrap interval, or
    with fewer than 5 their range), and the median of the launches' own. What varies by chance
    within a launch is in both, which errs on the wide side.
    """
    between = estimate([value(energy) for energy in energies])
    assert between is not None
    middle = between.median
    below = median(value(energy) - interval(energy)[0] for energy in energies)
    above = median(interval(energy)[1] - value(energy) for energy in energies)
    low = middle if between.low is None else between.low
    high = middle if between.high is None else between.high
    return Estimate(
        middle,
        middle - math.hypot(middle - low, below),
        middle + math.hypot(high - middle, above),
        "interval" if len(energies) >= LAUNCHES_FOR_INTERVAL else "range",
        len(energies),
    )


def source_key(source: PowerSource) -> tuple[object, ...]:
    """Return what two energies must share to be compared: the source, and how it was calibrated."""
    calibration = source.calibration
    how = calibration and (calibration.fingerprint, calibration.sign, calibration.amperes_per_unit)
    return source.kind, source.name, how


@dataclass(frozen=True)
class EnergyRatio:
    """A case's energy over its baseline's, or why there is none to be given."""

    ratio: Estimate | None
    withheld: str = ""


def compare_energies(baseline: CaseEnergy | None, other: CaseEnergy | None) -> EnergyRatio:
    """Compare two cases of one device.

    Their intervals add in quadrature, relative to the energies, but for the scale of the gauge: both
    have the same, and it cancels in the ratio.
    """
    if baseline is None or other is None:
        return EnergyRatio(None, "the baseline has no energy" if other else "")
    if source_key(baseline.source) != source_key(other.source):
        return EnergyRatio(None, "not comparable: other sources of power, or another calibration")
    if not (baseline.is_above_idle and other.is_above_idle):
        return EnergyRatio(None, "not comparable: one of them is not told from idle")
    one, two = _own_widths(baseline), _own_widths(other)
    ratio = other.joules.median / baseline.joules.median
    bases = (baseline.joules.basis, other.joules.basis)
    return EnergyRatio(
        Estimate(
            ratio,
            ratio * math.exp(-math.hypot(two[0], one[1])),
            ratio * math.exp(math.hypot(two[1], one[0])),
            "interval" if set(bases) == {"interval"} else "range",
            min(baseline.joules.launches, other.joules.launches),
        )
    )


def _own_widths(energy: CaseEnergy) -> tuple[float, float]:
    """Return how far the interval reaches down and up, over the energy, without the scale's part."""
    joules, scale = energy.joules, energy.shares.get("scale", 0.0)
    assert joules.low is not None
    assert joules.high is not None
    reaches = (joules.median - joules.low, joules.high - joules.median)
    down, up = (math.sqrt(max(reach**2 - scale**2, 0.0)) / joules.median for reach in reaches)
    return down, up


def ratio_words(ratio: Estimate) -> str:
    """Say how an energy compares: "0.483×", or that no difference is shown."""
    if ratio.basis == "interval" and not difference_is_shown(ratio):
        return "no difference shown"
    return f"{significant(ratio.median)}×"


def describe_source(source: PowerSource) -> str:
    """Name a source of power to a person: what it is, and what is known of it."""
    kind = SOURCE_WORDS[source.kind]
    words = [source.name if kind.split(" (")[0] in source.name else f"{kind}: {source.name}"]
    calibration = source.calibration
    if calibration is not None:
        day = datetime.fromtimestamp(calibration.made_unix, UTC).strftime("%Y-%m-%d")
        step = calibration.quantum * calibration.amperes_per_unit * 1e3
        words += [
            f"calibrated {day}",
            f"refresh {significant(calibration.refresh_seconds, 2)} s",
            f"quantum {significant(step, 2)} mA",
        ]
        if calibration.scale_from == "magnitude":
            words.append("scale by its magnitude only")
    elif source.kind == "gauge":
        words.append("not calibrated")
    if source.clock_uncertainty_ns:
        uncertainty = significant(source.clock_uncertainty_ns / 1e6, 2)
        words.append(f"clock known to {uncertainty} ms")
    return ", ".join(words)


def joule_unit(joules: Sequence[float]) -> tuple[str, float]:
    """Return the unit in which the largest of some energies has one to three digits, and its size."""
    largest = max((abs(value) for value in joules), default=0.0)
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if largest >= size:
            return unit, size
    return "µJ", 1e-6


def shares_words(energy: CaseEnergy) -> str:
    """Say what makes the interval of a launch wide, the widest part first."""
    whole = abs(energy.joules.median)
    parts = sorted(energy.shares.items(), key=lambda part: -part[1])
    told = [f"{name} ±{100 * half / whole:.2g}%" for name, half in parts if whole and half > 0]
    return f"within a launch: {', '.join(told)}" if told else ""
