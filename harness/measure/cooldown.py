"""The start gate: a launch begins when the device is as cool as it was when the sweep began.

Not here: what a launch counts for that began in spite of it (`analysis/validity.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.analysis.rules.heat import fell, status_is_above
from harness.analysis.rules.rule import LIMITS
from harness.cancellation import Cancellation
from harness.devices.base import Device
from harness.errors import Stopped
from harness.measure.patience import PATIENCE, Patience
from harness.schema.device import Conditions

# What has become cooler by less, in all the time after which it counts as settled, has settled.
_SETTLED_CELSIUS = 0.2


@dataclass(frozen=True)
class Cooldown:
    """Where the wait of one device stands. None: this device does not tell."""

    celsius: float | None
    target_celsius: float | None
    thermal_status: int | None
    waited_seconds: float


def cool(
    device: Device,
    baseline: Conditions | None,
    limit_seconds: float,
    cancellation: Cancellation,
    show: Callable[[Cooldown], None],
    patience: Patience = PATIENCE,
) -> tuple[Conditions, float]:
    """Wait until a device is back at `baseline`; return its conditions then, and the seconds waited.

    It ends after `limit_seconds`, or when a device whose status and clocks are back grows no cooler:
    that is the temperature of its surroundings. Raises DeviceError, and Stopped.
    """
    began, pause = time.monotonic(), patience.first_pause_seconds
    seen: list[tuple[float, float | None]] = []
    while True:
        now = device.conditions()
        waited = time.monotonic() - began
        if baseline is None or is_cool(now, baseline, device.info.is_phone):
            return now, waited if seen else 0.0
        seen.append((waited, now.temperature_celsius))
        settled = _has_settled(seen, now, baseline, patience.settled_seconds)
        if waited >= limit_seconds or settled:
            return now, waited
        show(_describe(now, baseline, device.info.is_phone, waited))
        cancellation.wait_for(None, min(pause, limit_seconds - waited))
        if cancellation.is_set():
            raise Stopped("the user wants to stop")
        pause = min(2 * pause, patience.longest_pause_seconds)


def is_cool(now: Conditions, baseline: Conditions, is_phone: bool) -> bool:
    """Tell whether temperature, thermal status and clock limits are back at the baseline."""
    return _is_unlimited(now, baseline) and not _is_warmer(now, baseline, is_phone)


def _is_unlimited(now: Conditions, baseline: Conditions) -> bool:
    return not status_is_above(now, baseline) and not fell(
        baseline.clock_limits_khz, now.clock_limits_khz
    )


def _is_warmer(now: Conditions, baseline: Conditions, is_phone: bool) -> bool:
    target = _target_celsius(baseline, is_phone)
    return (
        target is not None
        and now.temperature_celsius is not None
        and now.temperature_celsius > target
    )


def _target_celsius(baseline: Conditions, is_phone: bool) -> float | None:
    if baseline.temperature_celsius is None:
        return None
    tolerance = LIMITS.skin_celsius if is_phone else LIMITS.die_celsius
    return baseline.temperature_celsius + tolerance


def _has_settled(
    seen: list[tuple[float, float | None]],
    now: Conditions,
    baseline: Conditions,
    settled_seconds: float,
) -> bool:
    """Tell whether nothing but the temperature keeps the device back, and it no longer falls."""
    if now.temperature_celsius is None or not _is_unlimited(now, baseline):
        return False
    waited = seen[-1][0]
    before = [celsius for when, celsius in seen if when <= waited - settled_seconds]
    known = [celsius for celsius in before if celsius is not None]
    return bool(known) and known[-1] - now.temperature_celsius < _SETTLED_CELSIUS


def _describe(now: Conditions, baseline: Conditions, is_phone: bool, waited: float) -> Cooldown:
    return Cooldown(
        celsius=now.temperature_celsius,
        target_celsius=_target_celsius(baseline, is_phone),
        thermal_status=now.thermal_status,
        waited_seconds=waited,
    )
