"""Rules of the energy pass: a charger on the battery, and whatever kept a launch from having an energy.

Not here: working energy out (`analysis/energy.py`), which happens once, before a launch is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

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


def _trouble(key: TroubleKey) -> Callable[[Around], Iterable[Breach]]:
    """Return the question whether this kept the launch from having an energy."""
    return lambda around: (Breach(text) for text in _troubles(around, key))


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
    Rule(
        key="recorder-failed",
        levels=("invalid",),
        label="power not recorded",
        advice="Look at what records power beside the launch (`phonebench doctor`).",
        when="what records power beside the launch failed",
        check=_trouble("recorder-failed"),
        passing=True,
    ),
    Rule(
        key="no-power-trace",
        levels=("invalid",),
        label="no power readings",
        advice="Look which sources of power answer (`phonebench doctor`).",
        when="no usable reading of power",
        check=_trouble("no-power-trace"),
    ),
    Rule(
        key="gauge-constant",
        levels=("invalid",),
        label="gauge stuck",
        advice="Use another source of power: this gauge does not follow the load.",
        when="the gauge never moved",
        check=_trouble("gauge-constant"),
    ),
    Rule(
        key="gauge-jump",
        levels=("invalid",),
        label="gauge jumped",
        advice=_ANOTHER_SOURCE,
        when="a reading far outside of the others, or a counter that fell",
        check=_trouble("gauge-jump"),
        passing=True,
    ),
    Rule(
        key="gauge-gaps",
        levels=("invalid",),
        label="gauge gaps",
        advice=_ANOTHER_SOURCE,
        when="readings are missing for too long",
        check=_trouble("gauge-gaps"),
        passing=True,
    ),
    Rule(
        key="gauge-disagrees",
        levels=("invalid",),
        label="gauge disagrees",
        advice="Calibrate the gauge again: `phonebench calibrate DEVICE`.",
        when="the integral of current and the charge counter differ",
        check=_trouble("gauge-disagrees"),
    ),
    Rule(
        key="too-few-readings",
        levels=("invalid",),
        label="too few readings",
        advice="Raise measure.energy_seconds and measure.baseline_seconds.",
        when="too few readings in the block or in a baseline",
        check=_trouble("too-few-readings"),
    ),
    Rule(
        key="trace-clock",
        levels=("invalid",),
        label="clock of the readings",
        advice=_ANOTHER_SOURCE,
        when="the times of the readings are not those of the launch",
        check=_trouble("trace-clock"),
    ),
    Rule(
        key="not-calibrated",
        levels=("invalid",),
        label="gauge not calibrated",
        advice="Calibrate the gauge: `phonebench calibrate DEVICE`.",
        when="sign and scale of the gauge are not known",
        check=_trouble("not-calibrated"),
    ),
    Rule(
        key="no-idle",
        levels=("invalid",),
        label="no idle baseline",
        advice="Measure again with a runner of this version.",
        when="the launch did not idle before and after its block",
        check=_trouble("no-idle"),
    ),
    Rule(
        key="baseline-moved",
        levels=("invalid",),
        label="idle power moved",
        advice="Close what else runs, and let the device settle before measuring.",
        when="idle power before and after differ too much",
        check=_trouble("baseline-moved"),
        passing=True,
    ),
    Rule(
        key="meter-stopped",
        levels=("invalid",),
        label="meter stopped",
        advice="Look at the meter and its cable.",
        when="the meter stopped sampling",
        check=_trouble("meter-stopped"),
        passing=True,
    ),
)
