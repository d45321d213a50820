"""The phone's body: battery charge, current, voltage, temperature, thermal status.

Driven by seconds and by CPU seconds really used. How they are shown to commands and files is not
here: see `sysfs.py` and `system_server.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.virtual_android.spec import PhoneSpec

CHARGING, DISCHARGING, NOT_CHARGING, FULL = 2, 3, 4, 5
"""BatteryManager's numbers."""


@dataclass(frozen=True)
class Gauge:
    """One refresh of the fuel gauge: what every reader sees until the next."""

    level_percent: int
    charge_uah: int
    voltage_mv: int
    current_ua: int
    """Charging is positive here, whatever the phone reports."""
    temperature_celsius: float
    status: int


@dataclass(frozen=True)
class Consumed:
    """What a phone consumed in a window: all of it, and what it would have consumed idle."""

    mj: float
    idle_mj: float


class Body:
    """A first-order model of power, charge and heat."""

    def __init__(self, spec: PhoneSpec) -> None:
        self._battery, self._thermal, self._scale = spec.battery, spec.thermal, spec.time_scale
        self.charge_uah = self._battery.capacity_uah * self._battery.level_percent / 100
        self.skin_celsius = (
            self._thermal.ambient_celsius
            + self._thermal.celsius_per_watt * self._battery.idle_mw / 1000
        )
        self.consumed_mj = 0.0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.cable_in = True
        self.held_celsius = -math.inf
        """The skin does not get colder than this."""
        self.input_suspended = False
        self.status_override: int | None = None
        self.current_ma = 0.0
        charger_ma = self._battery.charger_ma if self.charging else 0.0
        self.current_ma = charger_ma - 1000 * self._battery.idle_mw / self.voltage_mv
        self._random = random.Random(self._battery.seed)
        self.gauge = self._read(self.current_ma * 1000)
        self._gauge_due_seconds = self._random.random() * self._battery.gauge_period_seconds
        self._since_gauge_seconds = 0.0
        self._since_gauge_uah = 0.0

    @property
    def charging(self) -> bool:
        """Whether the charger's current flows."""
        suspended = self.input_suspended and self._battery.suspend_works
        return self.cable_in and not suspended and self.level_percent < 100

    @property
    def level_percent(self) -> float:
        """The state of charge."""
        return 100 * self.charge_uah / self._battery.capacity_uah

    @property
    def voltage_mv(self) -> float:
        """The terminal voltage: an open-circuit line from 3.5 to 4.3 V, and the drop inside."""
        return 3500 + 8 * self.level_percent + self.current_ma * self._battery.resistance_ohm

    @property
    def thermal_status(self) -> int:
        """0 (none) to 6 (shutdown), by the skin's temperature."""
        if self.status_override is not None:
            return self.status_override
        return sum(self.skin_celsius >= limit for limit in self._thermal.status_from_celsius)

    def consumption(self, host_seconds: float, host_cpu_seconds: float) -> Consumed:
        """Return what so much time, and so much CPU time in it, costs."""
        idle_mj = self._battery.idle_mw * host_seconds * self._scale
        busy_mj = self._battery.busy_core_mw * host_cpu_seconds * self._scale
        return Consumed(idle_mj + busy_mj, idle_mj)

    def rails_uws(self, rails: Sequence[str]) -> dict[str, int]:
        """Return what each rail has carried, in microwatt-seconds: together all that was consumed."""
        idle_mj = self._battery.idle_mw * self.seconds
        working = [rail for rail in rails if "CPU" in rail]
        resting = [rail for rail in rails if rail not in working]
        found = dict.fromkeys(rails, 0.0)
        for mj, carriers in ((idle_mj, resting), (self.consumed_mj - idle_mj, working)):
            for rail in carriers or rails:
                found[rail] += 1000 * mj / len(carriers or rails)
        return {rail: round(uws) for rail, uws in found.items()}

    def advance(self, host_seconds: float, host_cpu_seconds: float) -> bool:
        """Let time pass and CPU time be used; return whether the gauge was refreshed."""
        refreshed = False
        while host_seconds > 0:
            # The gauge refreshes when that is due, however late anybody came to advance the body.
            part = min(host_seconds, self._gauge_due_seconds)
            cpu_seconds = host_cpu_seconds * part / host_seconds
            self._pass(part * self._scale, cpu_seconds * self._scale)
            host_seconds, host_cpu_seconds = host_seconds - part, host_cpu_seconds - cpu_seconds
            self.cpu_seconds += cpu_seconds
            self._gauge_due_seconds -= part
            if self._gauge_due_seconds <= 0:
                self._refresh()
                refreshed = True
        return refreshed

    def _pass(self, seconds: float, cpu_seconds: float) -> None:
        if seconds <= 0:
            return
        energy_mj = self._battery.idle_mw * seconds + self._battery.busy_core_mw * cpu_seconds
        power_mw = energy_mj / seconds
        load_ma = 1000 * power_mw / self.voltage_mv
        self.current_ma = (self._battery.charger_ma if self.charging else 0.0) - load_ma
        moved_uah = self.current_ma * 1000 * seconds / 3600
        self.charge_uah = min(
            max(self.charge_uah + moved_uah, 0.0), float(self._battery.capacity_uah)
        )
        target = self._thermal.ambient_celsius + self._thermal.celsius_per_watt * power_mw / 1000
        decay = math.exp(-seconds / self._thermal.time_constant_seconds)
        skin_celsius = target + (self.skin_celsius - target) * decay
        self.skin_celsius = max(skin_celsius, self.held_celsius)
        self.consumed_mj += energy_mj
        self.seconds += seconds
        self._since_gauge_seconds += seconds
        self._since_gauge_uah += moved_uah

    def _refresh(self) -> None:
        current_ua = self.current_ma * 1000
        if self._battery.gauge == "mean" and self._since_gauge_seconds > 0:
            current_ua = self._since_gauge_uah * 3600 / self._since_gauge_seconds
        self.gauge = self._read(
            current_ua + self._random.gauss(0.0, self._battery.current_noise_ua)
        )
        self._gauge_due_seconds = self._battery.gauge_period_seconds
        self._since_gauge_seconds = self._since_gauge_uah = 0.0

    def _read(self, current_ua: float) -> Gauge:
        if self.charging:
            status = CHARGING
        elif self.level_percent >= 100:
            status = FULL
        else:
            # A charger that is told to be idle is none: the battery feeds the phone.
            status = NOT_CHARGING if self.cable_in and not self.input_suspended else DISCHARGING
        battery = self._battery
        return Gauge(
            level_percent=int(self.level_percent),
            charge_uah=_in_steps(self.charge_uah, battery.charge_step_uah),
            voltage_mv=_in_steps(self.voltage_mv, battery.voltage_step_mv),
            current_ua=_in_steps(current_ua, battery.current_step_ua),
            temperature_celsius=round(self.skin_celsius - 1.0, 1),
            status=status,
        )


def _in_steps(value: float, step: int) -> int:
    return round(value / step) * step
