"""The energy of a case: of which launches it is, and what it may be compared with.

Pure functions on launches. Not here: the energy of one launch (`energy.py`), how launches combine
(`stats.estimate_with_own`), and pixels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from harness.analysis.comparisons import Comparison, judge_ratio
from harness.analysis.launches import Launch
from harness.analysis.metrics import Metric
from harness.analysis.stats import Estimate
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
    """What an inference of a case costs, net of idle, and where that comes from.

    It is of the launches of one `source`: the one that most of them have; `other_sources` counts the
    launches of the others. `shares` is what makes a launch's interval wide: each part's half-width
    in joules, the median over the launches.
    """

    joules: Estimate
    source: PowerSource
    shares: dict[str, float]
    other_sources: int

    @property
    def is_above_idle(self) -> bool:
        """Whether the interval leaves out zero: else it is not told from idle."""
        return self.joules.low is not None and self.joules.low > 0


def of_one_source(launches: Sequence[Launch]) -> list[Launch]:
    """Return the launches whose energy is of the source that most of them have.

    Launches of other passes have none, and are all returned.
    """
    keys = Counter(_key(launch) for launch in launches)
    if len(keys) < 2:
        return list(launches)
    most = keys.most_common(1)[0][0]
    return [launch for launch in launches if _key(launch) == most]


def _key(launch: Launch) -> tuple[object, ...]:
    return source_key(launch.entry.power) if launch.entry.power is not None else ()


def case_energy(launches: Sequence[Launch], joules: Estimate | None) -> CaseEnergy | None:
    """Say where the energy of a case comes from; `joules` is what was made of its launches."""
    found = [one for one in launches if one.counts and _energy(one) is not None]
    own = of_one_source(found)
    if joules is None or not own:
        return None
    energies = [energy for one in own if (energy := _energy(one)) is not None]
    parts = dict.fromkeys(part for energy in energies for part in energy.shares_joules)
    source = own[0].entry.power
    assert source is not None
    return CaseEnergy(
        joules=joules,
        source=source,
        shares={part: median(e.shares_joules.get(part, 0.0) for e in energies) for part in parts},
        other_sources=len(found) - len(own),
    )


def _energy(launch: Launch) -> Energy | None:
    energy = launch.measured.energy if launch.measured is not None else None
    return energy if isinstance(energy, Energy) else None


def source_key(source: PowerSource) -> tuple[object, ...]:
    """Return what two energies must share to be compared: the source, and how it was calibrated."""
    calibration = source.calibration
    how = calibration and (calibration.fingerprint, calibration.sign, calibration.amperes_per_unit)
    return source.kind, source.name, how


def compare_energies(
    metric: Metric, baseline: CaseEnergy | None, other: CaseEnergy | None
) -> Comparison | None:
    """Compare two cases of one device: the other's energy over the baseline's.

    Their intervals add in quadrature, relative to the energies, but for the scale of the gauge: both
    have the same, and it cancels in the ratio. None where there is nothing to be compared.
    """
    if other is None:
        return None
    if baseline is None:
        return _withhold("the baseline has no energy")
    if source_key(baseline.source) != source_key(other.source):
        return _withhold("not comparable: other sources of power, or another calibration")
    if not (baseline.is_above_idle and other.is_above_idle):
        return _withhold("not comparable: one of them is not told from idle")
    one, two = _own_widths(baseline), _own_widths(other)
    ratio = other.joules.median / baseline.joules.median
    bases = {baseline.joules.basis, other.joules.basis}
    return judge_ratio(
        metric,
        Estimate(
            ratio,
            ratio * math.exp(-math.hypot(two[0], one[1])),
            ratio * math.exp(math.hypot(two[1], one[0])),
            "interval" if bases == {"interval"} else "range",
            min(baseline.joules.launches, other.joules.launches),
        ),
    )


def _withhold(reason: str) -> Comparison:
    return Comparison(None, "too few launches", reason)


def _own_widths(energy: CaseEnergy) -> tuple[float, float]:
    """Return how far the interval reaches down and up, over the energy, without the scale's part."""
    joules, scale = energy.joules, energy.shares.get("scale", 0.0)
    assert joules.low is not None
    assert joules.high is not None
    reaches = (joules.median - joules.low, joules.high - joules.median)
    down, up = (math.sqrt(max(reach**2 - scale**2, 0.0)) / joules.median for reach in reaches)
    return down, up


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


def shares_words(energy: CaseEnergy) -> str:
    """Say what makes the interval of a launch wide, the widest part first."""
    whole = abs(energy.joules.median)
    parts = sorted(energy.shares.items(), key=lambda part: -part[1])
    told = [f"{name} ±{100 * half / whole:.2g}%" for name, half in parts if whole and half > 0]
    return f"within a launch: {', '.join(told)}" if told else ""
