"""Numbers as people read them: three significant digits, a unit, a dash for what is not there.

Not here: HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from harness.analysis.memory import Growth
from harness.analysis.stats import Estimate, difference_is_shown
from harness.schema.artifact import Fidelity

DASH = "–"


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


def milliseconds(duration_ns: float) -> str:
    """Write a duration in milliseconds, the one unit of times in a report."""
    return f"{significant(duration_ns / 1e6)} ms"


def seconds(value: float) -> str:
    """Write a time span of phases: 15.0 s, 320 ms."""
    return f"{significant(value)} s" if value >= 1 else f"{significant(value * 1e3)} ms"


def megabytes(size_bytes: float) -> str:
    """Write a size in megabytes of 1,000,000 bytes."""
    return f"{significant(size_bytes / 1e6)} MB"


def small_bytes(size_bytes: float) -> str:
    """Write a small size in the unit that suits it: 1.02 KB (of 1000 bytes), 48 B."""
    for limit, unit in ((1e6, "MB"), (1e3, "KB")):
        if abs(size_bytes) >= limit:
            return f"{significant(size_bytes / limit)} {unit}"
    return f"{significant(size_bytes)} B"


def growth_words(growth: Growth) -> str:
    """Say how fast memory grows: "1.02 KB an inference [1.00, 1.04]"."""
    value, unit = small_bytes(growth.bytes_per_inference).rsplit(" ", 1)
    size = {"MB": 1e6, "KB": 1e3, "B": 1.0}[unit]
    low, high = significant(growth.low / size), significant(growth.high / size)
    return f"{value} {unit} an inference [{low}, {high}]"


def count(number: int) -> str:
    """Write a large count shortly: 3504872 is 3.50 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return significant(number / limit) + unit
    return str(number)


def bounds(estimate: Estimate, scale: float = 1.0) -> str:
    """Write what an estimate's low and high are: [12.1, 12.6], or "range 12.1–12.6"."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = significant(estimate.low * scale), significant(estimate.high * scale)
    return f"[{low}, {high}]" if estimate.basis == "interval" else f"range {low}–{high}"


def speedup_words(speedup: Estimate) -> tuple[str, str]:
    """Say how two cases differ: ("1.83x faster", "[1.79, 1.88]"), or that no difference shows."""
    if speedup.basis == "interval" and not difference_is_shown(speedup):
        return "no difference shown", bounds(speedup) + "×"
    if speedup.median >= 1:
        return f"{significant(speedup.median)}× faster", bounds(speedup)
    inverse = Estimate(
        1 / speedup.median,
        None if speedup.high is None else 1 / speedup.high,
        None if speedup.low is None else 1 / speedup.low,
        speedup.basis,
        speedup.launches,
    )
    return f"{significant(inverse.median)}× slower", bounds(inverse)


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
