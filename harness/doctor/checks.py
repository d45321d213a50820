"""What every device is asked, and the limits. Not here: what only one kind of device is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.analysis.rules.rule import LIMITS as VALIDITY_LIMITS
from harness.devices.health import Health
from harness.schema.device import Level


@dataclass(frozen=True)
class Limits:
    """Where a reason to worry begins, and where that number comes from."""

    # What makes every launch suspect is better told before.
    battery_percent: float = VALIDITY_LIMITS.battery_percent
    # Android's PowerManager: 1 (light) limits nothing that a user would notice, 2 (moderate) does.
    throttling_status: int = 2
    # Pixels' own thermal configuration calls a skin of 39 degrees light, and 41 moderate.
    warm_celsius: float = 37
    hot_celsius: float = 41
    # Desktop and server processors throttle from 90 to 100 degrees.
    computer_warm_celsius: float = 85
    # A whole core is what one thread of the model would have had.
    busy_cores: float = 1.0
    some_load_cores: float = 0.3
    # From 500 MB on (StorageManager) Android clears caches while it is used; the runtime of one
    # engine with a model takes about 200 MB.
    low_space_bytes: int = 500_000_000
    full_bytes: int = 256_000_000
    # Below it a core has been limited by more than the steps of its clock.
    clock_cap: float = 0.95
    # USB 2 carries 35 to 40 MB/s at best: a link below 5 is a bad cable, a hub, or weak Wi-Fi.
    slow_link_bytes_per_second: float = 5e6
    usb2_bytes_per_second: float = 45e6


LIMITS = Limits()


Verdict = tuple[Level, str, str]


Look = Callable[[Health], Verdict | None]


_UNREADABLE = "cannot be read"


def unreadable(advice: str) -> Verdict:
    """Return the verdict on what a device does not tell: never serious."""
    return "warning", _UNREADABLE, advice


@dataclass(frozen=True)
class Check:
    """One question about a device's fitness.

    `look` returns the verdict, None where there is nothing to say. `serious` and `warning` tell when it is
    which, and `why` it matters: so the docs have it.
    """

    key: str
    look: Look
    why: str
    serious: str = ""
    warning: str = ""


def _in_use(health: Health) -> Verdict:
    match health.holder:
        case None:
            return unreadable("Whether another host measures on it is known when it is opened.")
        case "":
            return "ok", "nobody else measures on it", ""
    return (
        "serious",
        f"it is in use by {health.holder}",
        "Wait until that is done; a host that has died lets go by itself after a minute.",
    )


def _temperature(health: Health) -> Verdict:
    celsius = health.conditions.temperature_celsius
    if celsius is None:
        return unreadable("Throttling would show only as drift in the launches.")
    found = f"{celsius:.0f} °C"
    cool = "Let it cool down: out of its case, off the charger, out of the sun."
    if not health.is_phone:
        if celsius >= LIMITS.computer_warm_celsius:
            return "warning", found, "See to its cooling, or stop what else it computes."
        return "ok", found, ""
    if celsius >= LIMITS.hot_celsius:
        return "serious", found, cool
    return ("warning", found, cool) if celsius >= LIMITS.warm_celsius else ("ok", found, "")


def _busy(health: Health) -> Verdict:
    if health.load is None:
        return unreadable("See that nothing else runs.")
    cores = health.load.cores
    names = ", ".join(f"{busy.name} {busy.cores:.1f}" for busy in health.load.top)
    found = f"{cores:.1f} cores are busy" + (f": {names}" if names else "")
    if cores < LIMITS.some_load_cores:
        return "ok", found, ""
    # A computer in use is seldom quiet; what that does to the launches is told with the result.
    serious = cores >= LIMITS.busy_cores and health.is_phone
    return "serious" if serious else "warning", found, "Stop it, or wait until it is done."


def _space(health: Health) -> Verdict:
    if health.free_bytes is None:
        return unreadable("Files that do not fit are refused before they are sent.")
    found = f"{health.free_bytes / 1e6:.0f} MB are free"
    advice = (
        "Free some space; `phonebench clean DEVICE` removes what is ours."
        if health.is_phone
        else "Free some space: artifacts, runners and sweeps need it."
    )
    if health.free_bytes < LIMITS.full_bytes:
        return "serious", found, advice
    return ("warning", found, advice) if health.free_bytes < LIMITS.low_space_bytes else (
        "ok", found, "",
    )  # fmt: skip


def _governor(health: Health) -> Verdict:
    if health.governors is None:
        return unreadable("A changing clock would show only as drift or as groups of launches.")
    found = f"governor {', '.join(health.governors)}"
    if health.governors == ("performance",):
        return "ok", found, ""
    advice = (
        "sudo cpupower frequency-set -g performance"
        if not health.is_phone
        else 'Set device.fixed_performance = true in the plan, or, with root, device.governor = '
        '"performance".'
    )  # fmt: skip
    return "warning", f"the clocks are not fixed ({found})", advice


def _clock_cap(health: Health) -> Verdict:
    if health.clock_cap is None:
        return unreadable("Clocks that are held down would show only as slower launches.")
    if health.clock_cap < LIMITS.clock_cap:
        return (
            "warning",
            f"a core is held at {health.clock_cap:.0%} of its highest clock",
            "Let it cool down; see that no power mode is on.",
        )
    return "ok", "no core's clock is held down", ""


def _cores_offline(health: Health) -> Verdict:
    if health.offline_cores is None:
        return unreadable("Cores that are switched off would show only as slower launches.")
    if health.offline_cores:
        numbers = ", ".join(map(str, health.offline_cores))
        return (
            "warning",
            f"cores offline: {numbers}",
            "Threads crowd on the others. Let it cool down, or reboot it.",
        )
    return "ok", "every core is online", ""


COMMON: tuple[Check, ...] = (
    Check(
        key="in-use",
        look=_in_use,
        serious="another harness holds the device",
        why="two would disturb each other; it cannot be accepted away: opening the device fails too",
    ),
    Check(
        key="temperature",
        look=_temperature,
        serious="41 °C or more",
        warning="37 °C or more",
        why="Pixels call a skin of 39 °C light and of 41 °C moderate throttling; a computer: warning from 85 °C",
    ),
    Check(
        key="busy",
        look=_busy,
        serious="others keep 1 core busy",
        warning="0.3 cores",
        why="the busiest processes are named; the harness's own jobs do not count",
    ),
    Check(
        key="space-low",
        look=_space,
        serious="less than 256 MB free",
        warning="500 MB",
        why="from 500 MB on, Android clears caches meanwhile",
    ),
    Check(
        key="clocks-vary",
        look=_governor,
        warning="a governor other than `performance`",
        why="AndroidX Benchmark refuses unlocked clocks on rooted phones; here the plan can fix them (`[device]`), and comparisons are interleaved",
    ),
    Check(
        key="clocks-held",
        look=_clock_cap,
        warning="a core may use less than 95% of its highest clock",
        why="throttling, a power mode",
    ),
    Check(
        key="cores-offline",
        look=_cores_offline,
        warning="any",
        why="threads crowd on the others",
    ),
)
"""What every device is asked."""
