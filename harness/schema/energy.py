"""What one launch of the energy pass consumed, or why nobody knows.

It is worked out once, when the launch is judged, and kept in the ledger beside the verdict that it
led to. Not here: working it out (`analysis/energy.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import FiniteFloat

from harness.schema.base import Frozen


class Energy(Frozen):
    """What one launch of the energy pass consumed.

    `joules_per_inference` is net of idle: (block_watts - idle watts) x seconds / iterations, where the
    block is the steady loop, `seconds` long, and idle is interpolated between the baselines before and
    after it. [`low_joules`, `high_joules`] is its 95% interval; `shares_joules` says what makes it
    wide: each component's half-width an inference ("quantization", "refresh", "baseline drift",
    "sampling", "scale", "clock"). `readings` is how many of the source's readings it comes from.
    """

    joules_per_inference: FiniteFloat
    low_joules: FiniteFloat
    high_joules: FiniteFloat
    block_watts: FiniteFloat
    idle_before_watts: FiniteFloat
    idle_after_watts: FiniteFloat
    seconds: FiniteFloat
    iterations: int
    readings: int
    shares_joules: dict[str, FiniteFloat]


TroubleKey = Literal[
    "recorder-failed",
    "no-power-trace",
    "not-calibrated",
    "charging",
    "gauge-constant",
    "gauge-jump",
    "gauge-gaps",
    "gauge-disagrees",
    "too-few-readings",
    "trace-clock",
    "no-idle",
    "baseline-moved",
    "meter-stopped",
]


class EnergyTrouble(Frozen):
    """Why a launch has no energy: the key of the rule of validity that it breaks, and what was seen."""

    key: TroubleKey
    text: str
