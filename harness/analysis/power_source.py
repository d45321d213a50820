"""Which of a device's sources of power a plan takes. Not here: reading one, and keeping charging off."""

from __future__ import annotations

from collections.abc import Sequence

from harness.schema.plan import Measure
from harness.schema.power import PowerSource


def explain_none(sources: Sequence[PowerSource], measure: Measure) -> str:
    """Say that a device lacks the source of power that was named, and which it has."""
    kinds = ", ".join(source.kind for source in sources)
    return f'measure.energy_source = "{measure.energy_source}", and what it has is: {kinds}'


def find_usable(
    sources: Sequence[PowerSource], measure: Measure
) -> tuple[PowerSource | None, tuple[PowerSource, ...]]:
    """Return the best source that a plan wants and that can be used, and those before it that cannot."""
    refused: list[PowerSource] = []
    for source in sources:
        if is_wanted(source, measure):
            if not source.refusal:
                return source, tuple(refused)
            refused.append(source)
    return None, tuple(refused)


def is_wanted(source: PowerSource, measure: Measure) -> bool:
    """Tell whether a plan asks for this source. A meter may feed another phone: it must be named."""
    wanted = measure.energy_source
    return source.kind == wanted or (wanted == "best" and source.kind != "meter")
