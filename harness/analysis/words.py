"""Numbers as people read them: three significant digits, a unit, a dash for what is not there.

Not here: HTML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from harness.analysis.stats import Estimate, difference_is_shown, inverse
from harness.schema.artifact import Fidelity

DASH = "–"

Unit = Literal["ms", "bytes", "bytes/inference", "J", "W", "kHz", "1/s", "1"]
"""The units in which numbers are kept; "1" is a plain number."""


class UnitScale(NamedTuple):
    """A unit that people read, and its size in the unit that is kept."""

    name: str
    size: float


# The first of which a number has one or more is shown; the last, of numbers below all.
_SCALES: dict[Unit, tuple[UnitScale, ...]] = {
    "ms": (UnitScale("ms", 1.0),),
    "bytes": (UnitScale("MB", 1e6),),
    "bytes/inference": (
        UnitScale("MB an inference", 1e6),
        UnitScale("KB an inference", 1e3),
        UnitScale("B an inference", 1.0),
    ),
    "J": (UnitScale("J", 1.0), UnitScale("mJ", 1e-3), UnitScale("µJ", 1e-6)),
    "W": (UnitScale("W", 1.0),),
    "kHz": (UnitScale("GHz", 1e6),),
    "1/s": (UnitScale("/s", 1.0),),
    "1": (UnitScale("", 1.0),),
}


def scale_of(unit: Unit, values: Iterable[float]) -> UnitScale:
    """Return the unit to show some values in, the same for all: it suits the largest."""
    scales = _SCALES[unit]
    largest = max((abs(value) for value in values), default=0.0)
    return next((scale for scale in scales if largest >= scale.size), scales[-1])


def quantity(value: float, scale: UnitScale) -> str:
    """Write a number with its unit: 12.3 ms, 1.02 KB an inference."""
    return f"{significant(value / scale.size)} {scale.name}".rstrip()


def estimate_words(estimate: Estimate, unit: Unit) -> str:
    """Write a median with what is known of it: "1.02 KB an inference [1.00, 1.04]"."""
    scale = scale_of(unit, [estimate.median])
    return f"{quantity(estimate.median, scale)} {bounds(estimate, scale)}".rstrip()


def significant(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, without exponents: 0.0123, 12.3, 12300."""
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    # 9.999 becomes 10.00: one digit too many.
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(decimals, 0)}f}"


def percent(fraction: float) -> str:
    """Write a share: 0.0312 is 3.1%."""
    return f"{100 * fraction:.1f}%"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Write a count with its noun: 1 case, 2 cases."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def seconds(value: float) -> str:
    """Write a time span of phases: 15.0 s, 320 ms."""
    return f"{significant(value)} s" if value >= 1 else f"{significant(value * 1e3)} ms"


def megabytes(size_bytes: float) -> str:
    """Write a size in megabytes of 1,000,000 bytes."""
    return f"{significant(size_bytes / 1e6)} MB"


def count(number: int) -> str:
    """Write a large count shortly: 3504872 is 3.50 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return significant(number / limit) + unit
    return str(number)


_PLAIN = UnitScale("", 1.0)


def bounds(estimate: Estimate, scale: UnitScale = _PLAIN) -> str:
    """Write what an estimate's low and high are: [12.1, 12.6], or "range 12.1–12.6"."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = significant(estimate.low / scale.size), significant(estimate.high / scale.size)
    return f"[{low}, {high}]" if estimate.basis == "interval" else f"range {low}–{high}"


NO_DIFFERENCE = "no difference shown"


def speed_words(ratio: Estimate) -> tuple[str, str]:
    """Say how a time compares with another: ("1.83× faster", "[1.79, 1.88]"), or that nothing shows."""
    faster = inverse(ratio)
    if ratio.basis == "interval" and not difference_is_shown(ratio):
        return NO_DIFFERENCE, bounds(faster) + "×"
    if ratio.median <= 1:
        return f"{significant(faster.median)}× faster", bounds(faster)
    return f"{significant(ratio.median)}× slower", bounds(ratio)


def ratio_words(ratio: Estimate) -> tuple[str, str]:
    """Say how a number compares with another: ("0.483×", "[0.46, 0.51]"), or that nothing shows."""
    if ratio.basis == "interval" and not difference_is_shown(ratio):
        return NO_DIFFERENCE, bounds(ratio)
    return f"{significant(ratio.median)}×", bounds(ratio)


def name_some(names: Sequence[str]) -> str:
    """Name the first three, and count the others."""
    more = f" and {plural(len(names) - 3, 'other')}" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def fidelity_words(fidelity: Fidelity) -> str:
    """Say how close outputs are in the shortest way: "exact" or the SQNR."""
    if fidelity.exact:
        return "exact"
    return DASH if fidelity.sqnr_db is None else f"{fidelity.sqnr_db:.1f} dB"


def fidelity_order(fidelity: Fidelity) -> float:
    """Return a number that sorts comparisons from the worst to an exact one."""
    if fidelity.exact:
        return 1e9
    return -1e9 if fidelity.sqnr_db is None else fidelity.sqnr_db


def moment(unix: float) -> str:
    """Write a moment in UTC, so that a report is the same wherever it is made."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M UTC")
