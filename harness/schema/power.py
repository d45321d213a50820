"""The shape of what tells how much power a device draws, and of what is known about it.

Every source of power has one shape: some are read by the runner's own sampler (`probes`), others
are recorded beside the launch (`Recorder`). Not here: which sources a device has (`devices/`),
how they are calibrated (`analysis/gauge.py`), and how watts become joules (`analysis/energy.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.schema.base import Frozen
from harness.schema.job import Probe

SourceKind = Literal["rails", "gauge", "meter", "rapl"]

# The names of traces that a source of power leaves. A rail's is RAIL + the rail's own name.
CURRENT, VOLTAGE, CHARGE, CHARGING = (
    "battery_current",
    "battery_voltage",
    "battery_charge",
    "battery_charging",
)
METER_POWER = "meter_power"
RAPL_ENERGY = "rapl_energy"
RAIL = "rail:"

# No gauge is read less often: neither one that is slow, nor one that a command has to be started for.
SLOWEST_POLL_SECONDS = 1.0


class Calibration(Frozen):
    """What was found out about one device's fuel gauge, good for its fingerprint alone.

    Amperes drawn from the battery (discharge positive) = raw x `sign` x `amperes_per_unit`.
    `quantum` is the least step of the raw current, in raw units. `charge_ratio` is the integral of
    current over the change of the charge counter (1: they agree), None where no counter counts;
    `scale_from` says what decided the scale. `suspend_works`: charging really stops when asked to.
    """

    fingerprint: str
    made_unix: float
    sign: Literal[1, -1]
    amperes_per_unit: float = Field(gt=0)
    refresh_seconds: float = Field(gt=0)
    quantum: float = Field(gt=0)
    charge_ratio: float | None = None
    scale_from: Literal["charge counter", "magnitude"] = "charge counter"
    suspend_works: bool | None = None


class PowerSource(Frozen):
    """One source of power, as it was used for a launch: enough to work its energy out again.

    `name` names it to a person ("fuel gauge (/sys/class/power_supply/battery)", "rails: S4M_VDD_CPUCL0,
    ..."). `probes` are what the runner samples for it; empty for what is recorded beside. `refusal` says
    why it cannot be used now ("" if it can), `advice` the way out. Sources that `sees_charging` are
    useless while the device charges: they measure the battery.
    """

    kind: SourceKind
    name: str
    probes: tuple[Probe, ...] = ()
    sees_charging: bool = False
    calibration: Calibration | None = None
    wraps_at: float | None = None
    clock_uncertainty_ns: int = 0
    refusal: str = ""
    advice: str = ""

    @property
    def current_probe(self) -> Probe | None:
        """The probe that reads a battery's current, if this source has one."""
        return next((probe for probe in self.probes if probe.channels[0].name == CURRENT), None)
