"""Power traces -> joules an inference, net of idle, with an interval that says what it covers.

Pure functions on traces. Not here: where power is read (`devices/`), and calibration
(`calibration.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.power import PowerSource, SourceKind
from harness.records import LaunchRecord, Trace


@dataclass(frozen=True)
class Energy:
    """What one launch of the energy pass consumed.

    `joules_per_inference` is net of idle: (block_watts - idle_watts) x seconds / iterations, where
    the block is the steady loop and idle is interpolated between the baselines before and after it.
    [low, high] is its 95% interval; `shares` says what makes it wide: each component's half-width in
    joules an inference ("quantization", "refresh", "baseline drift", "sampling", "scale").
    """

    source: SourceKind
    source_name: str
    joules_per_inference: float
    low: float
    high: float
    block_watts: float
    idle_before_watts: float
    idle_after_watts: float
    seconds: float
    iterations: int
    readings: int
    shares: dict[str, float]


@dataclass(frozen=True)
class EnergyTrouble:
    """Why a launch has no energy. Keys are those of `validity.py`; the text says what was seen."""

    key: str
    text: str


def measure_energy(
    record: LaunchRecord, beside: Sequence[Trace], source: PowerSource
) -> Energy | EnergyTrouble:
    """Work out what one launch consumed; never raises for what a gauge or a meter may answer."""
    raise NotImplementedError
