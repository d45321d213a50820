"""Rules of the energy pass: a charger on the battery, and whatever kept a launch from having an energy.

Not here: working energy out (`analysis/energy.py`), which happens once, before a launch is judged.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.analysis.rules.rule import Around, Breach, Rule
from harness.schema.energy import EnergyTrouble, TroubleKey
from harness.schema.power import CHARGING


def _charging(around: Around) -> Iterable[Breach]:
    """Find a charger on a battery that is the source of power.

    Where its status was followed, energy is worked out of it beside the current: a phone whose charging
    is suspended says "not charging", as one does that its cable feeds.
    """
    if _was_charged_unfollowed(around):
        yield Breach("the battery was charged meanwhile, and is what is measured")
    for text in _troubles(around, "charging"):
        # A charger that was kept off when the pass began has come, and may go again.
        yield Breach(text, passing=around.plan.device.energy_charging != "as-is")


def _was_charged_unfollowed(around: Around) -> bool:
    """Tell whether the battery charged before or after the launch, where nothing followed it within."""
    source, before, after = around.entry.power, around.entry.before, around.entry.after
    if source is None or not source.sees_charging:
        return False
    trace = around.record.trace(CHARGING) if around.record else None
    if trace is not None and trace.values:
        return False
    if before is None:  # it ran on its own, and is collected now that it is on its charger again
        return False
    return bool(before.charging or (after and after.charging))


def _troubles(around: Around, key: TroubleKey) -> Iterable[str]:
    trouble = around.entry.energy
    if isinstance(trouble, EnergyTrouble) and trouble.key == key:
        yield trouble.text


def _rule(key: TroubleKey, label: str, when: str, advice: str, *, passing: bool = False) -> Rule:
    """Return the rule that is broken where this kept the launch from having an energy."""
    return Rule(
        key=key,
        levels=("invalid",),
        label=label,
        advice=advice,
        when=when,
        check=lambda around: (Breach(text) for text in _troubles(around, key)),
        passing=passing,
    )


_ANOTHER_SOURCE = "Measure again; if it comes back, use another source of power."

RULES = (
    Rule(
        key="charging",
        levels=("invalid",),
        label="charging",
        advice="Keep the charger off in the energy pass: device.energy_charging.",
        when="the source of power is the battery, and it was charged: by its status beside its "
        "current; by its status before and after the launch, where it was not followed",
        check=_charging,
        passing_words="if it was followed, and `device.energy_charging` is not `as-is`",
    ),
    _rule(
        "recorder-failed",
        "power not recorded",
        "what records power beside the launch failed",
        "Look at what records power beside the launch (`phonebench doctor`).",
        passing=True,
    ),
    _rule(
        "no-power-trace",
        "no power readings",
        "no usable reading of power",
        "Look which sources of power answer (`phonebench doctor`).",
    ),
    _rule(
        "gauge-constant",
        "gauge stuck",
        "the gauge never moved",
        "Use another source of power: this gauge does not follow the load.",
    ),
    _rule(
        "gauge-jump",
        "gauge jumped",
        "a reading far outside of the others, or a counter that fell",
        _ANOTHER_SOURCE,
        passing=True,
    ),
    _rule(
        "gauge-gaps",
        "gauge gaps",
        "readings are missing for too long",
        _ANOTHER_SOURCE,
        passing=True,
    ),
    _rule(
        "gauge-disagrees",
        "gauge disagrees",
        "the integral of current and the charge counter differ",
        "Calibrate the gauge again: `phonebench calibrate DEVICE`.",
    ),
    _rule(
        "too-few-readings",
        "too few readings",
        "too few readings in the block or in a baseline",
        "Raise measure.energy_seconds and measure.baseline_seconds.",
    ),
    _rule(
        "trace-clock",
        "clock of the readings",
        "the times of the readings are not those of the launch",
        _ANOTHER_SOURCE,
    ),
    _rule(
        "not-calibrated",
        "gauge not calibrated",
        "sign and scale of the gauge are not known",
        "Calibrate the gauge: `phonebench calibrate DEVICE`.",
    ),
    _rule(
        "no-idle",
        "no idle baseline",
        "the launch did not idle before and after its block",
        "Measure again with a runner of this version.",
    ),
    _rule(
        "baseline-moved",
        "idle power moved",
        "idle power before and after differ too much",
        "Close what else runs, and let the device settle before measuring.",
        passing=True,
    ),
    _rule(
        "meter-stopped",
        "meter stopped",
        "the meter stopped sampling",
        "Look at the meter and its cable.",
        passing=True,
    ),
)
