"""What a virtual phone is: its names, cores, battery, storage and clock.

Everything here is set once, before the phone starts. What happens to it later is not here:
that is `faults.py`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Core:
    """One CPU core, as cpufreq describes it."""

    min_khz: int
    max_khz: int

    LITTLE_KHZ = 1_803_000
    BIG_KHZ = 2_802_000


def cores_of_host() -> tuple[Core, ...]:
    """Return one core for each of the host's, the first half little: affinity then works for real."""
    count = os.cpu_count() or 1
    little = count // 2
    return (Core(300_000, Core.LITTLE_KHZ),) * little + (Core(500_000, Core.BIG_KHZ),) * (
        count - little
    )


@dataclass(frozen=True)
class Battery:
    """The battery, its charger and its gauge."""

    capacity_uah: int = 4_500_000
    level_percent: float = 80.0
    idle_mw: float = 400.0
    busy_core_mw: float = 1500.0
    """What one fully busy core adds."""
    charger_ma: float = 900.0
    resistance_ohm: float = 0.08
    current_sign: Literal[1, -1] = 1
    """1 where the gauge reports charging as positive, -1 where it reports it as negative."""
    current_per_ampere: int = 1_000_000
    """The gauge's unit: 1000000 for uA, 1000 for the phones that report mA."""
    gauge_period_seconds: float = 0.25
    """Seconds of the host between two refreshes; the first comes at a moment that the seed draws."""
    gauge: Literal["mean", "instant"] = "mean"
    """What current it shows: the mean since the last refresh, or that of the refresh's moment."""
    current_step_ua: int = 1
    voltage_step_mv: int = 1
    charge_step_uah: int = 1
    """The least steps of what it shows."""
    current_noise_ua: float = 0.0
    """The standard deviation of an error of each refresh."""
    seed: int = 0
    """Draws the noise and the moment of the first refresh."""
    readable: bool = True
    """False where the vendor hides the gauge's files from the shell."""
    cmd_get: bool = True
    """False on the older Androids whose `cmd battery get` knows no current."""
    suspend_works: bool = True
    """False where `power.battery_input.suspended` changes nothing."""


@dataclass(frozen=True)
class Thermal:
    """How the phone warms up: a first-order model of the skin."""

    ambient_celsius: float = 24.0
    celsius_per_watt: float = 4.0
    time_constant_seconds: float = 120.0
    status_from_celsius: tuple[float, ...] = (39.0, 41.0, 43.0, 46.0, 52.0, 57.0)
    """The skin temperature from which the status is 1 (light) to 6 (shutdown)."""


CALM = Thermal(celsius_per_watt=0.1)
"""A phone that no load of this computer's makes hot: its status stays 0 unless a fault raises it."""


@dataclass(frozen=True)
class PhoneSpec:
    """A virtual phone to be."""

    serialno: str = "VP0001"
    model: str = "Virtual Phone"
    manufacturer: str = "Phonebench"
    device: str = "virtual"
    soc_model: str = "VSOC-1"
    android_release: str = "14"
    sdk: int = 34
    abi: Literal["x86_64", "arm64-v8a"] = "x86_64"
    debuggable: bool = False
    emulator: bool = False
    data_bytes: int = 2 * 1024**3
    cores: tuple[Core, ...] = field(default_factory=cores_of_host)
    battery: Battery = field(default_factory=Battery)
    thermal: Thermal = field(default_factory=Thermal)
    rails: tuple[str, ...] = ()
    """The power rails that the phone measures; work is on those with CPU in their names."""
    time_in_state: bool = True
    """False where cpufreq has no statistics."""
    time_scale: float = 1.0
    """How many seconds of battery and heat pass in one second of the host."""
    step_seconds: float = 0.01
    """How often the body looks at the CPU time used, and clocks are shown (seconds of the host)."""
    boot_seconds: float = 1.0
    """From a reboot until adbd answers again."""
    boot_completed_seconds: float = 0.5
    """From then until sys.boot_completed is 1."""
    authorization: Literal["none", "accepts", "refuses"] = "none"
    """Whether adbd asks for a key, and what the person at the screen then taps."""
    missing_tools: tuple[str, ...] = ()
    """Tools of toybox that this phone lacks, as old ones do."""
    features: tuple[str, ...] = (
        "shell_v2",
        "cmd",
        "stat_v2",
        "ls_v2",
        "fixed_push_mkdir",
        "sendrecv_v2",
    )

    @property
    def fingerprint(self) -> str:
        """The value of ro.build.fingerprint."""
        return (
            f"{self.manufacturer.lower()}/{self.device}/{self.device}:{self.android_release}"
            f"/VP1A.240101.001/1:user/release-keys"
        )

    def to_json(self) -> str:
        """Write the spec as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PhoneSpec:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["cores"] = tuple(Core(**core) for core in fields["cores"])
        fields["battery"] = Battery(**fields["battery"])
        thermal = fields["thermal"]
        thermal["status_from_celsius"] = tuple(thermal["status_from_celsius"])
        fields["thermal"] = Thermal(**thermal)
        fields["features"] = tuple(fields["features"])
        fields["rails"] = tuple(fields["rails"])
        fields["missing_tools"] = tuple(fields["missing_tools"])
        return cls(**fields)
