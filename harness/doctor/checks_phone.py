"""What every phone is asked, whatever its make."""

from __future__ import annotations

from harness.devices.health import Health, Link
from harness.doctor.checks import LIMITS, Check, Verdict, unreadable
from harness.schema.device import Level


def _battery_low(health: Health) -> Verdict:
    percent = health.conditions.battery_percent
    if percent is None:
        return unreadable("See that it is charged: phones save power on a low battery.")
    if percent < LIMITS.battery_percent:
        return (
            "serious",
            f"the battery is at {percent:.0f}%",
            f"Charge it to {LIMITS.battery_percent:.0f}% or more: phones save power below.",
        )
    return "ok", f"the battery is at {percent:.0f}%", ""


def _charging(health: Health) -> Verdict:
    match health.conditions.charging:
        case None:
            return unreadable("Charging warms the phone, and hides what a model consumes.")
        case True:
            return (
                "warning",
                "it charges, which warms it and hides what a model consumes",
                "Charge it fully first, or set device.suspend_charging = true in the plan.",
            )
    return "ok", "it does not charge", ""


def _throttling(health: Health) -> Verdict:
    status = health.conditions.thermal_status
    if status is None:
        return unreadable("Throttling would show only as drift in the launches.")
    if status == 0:
        return "ok", "it does not throttle (thermal status 0)", ""
    level: Level = "serious" if status >= LIMITS.throttling_status else "warning"
    return level, f"it throttles (thermal status {status} of 6)", "Let it cool down."


def _screen(health: Health) -> Verdict:
    if health.screen_on is None:
        return unreadable("Keep it awake: a phone that dozes pauses what it runs.")
    if health.screen_on:
        return "ok", "the screen is on", ""
    return (
        "warning",
        "the screen is off: the phone may doze, and pause what it runs",
        "Set device.stay_awake = true in the plan, and wake it: adb shell input keyevent WAKEUP",
    )


def _link(health: Health) -> Verdict:
    link = health.link
    if link is None:
        return unreadable("Files may take long.")
    found = f"attached by {'USB' if link.kind == 'usb' else 'network'}{_speeds(link)}"
    speeds = [s for s in (link.push_bytes_per_second, link.pull_bytes_per_second) if s is not None]
    if speeds and min(speeds) < LIMITS.slow_link_bytes_per_second:
        return "warning", f"{found}: slow", "Try another cable or port, without a hub."
    if link.kind == "network":
        return (
            "warning",
            found,
            "The radio takes power and processor time while it is used; a cable does not.",
        )
    if speeds and max(speeds) < LIMITS.usb2_bytes_per_second:
        found += ", as USB 2 allows"
    return "ok", found, ""


def _speeds(link: Link) -> str:
    if link.push_bytes_per_second is None or link.pull_bytes_per_second is None:
        return ", speed not measured"
    push, pull = link.push_bytes_per_second / 1e6, link.pull_bytes_per_second / 1e6
    return f", {push:.1f} MB/s to it and {pull:.1f} MB/s from it"


PHONE: tuple[Check, ...] = (
    Check(
        key="battery-low",
        look=_battery_low,
        serious="below 25%",
        why="AndroidX Benchmark's limit: phones save power below it",
    ),
    Check(
        key="battery-charging",
        look=_charging,
        warning="charging",
        why="warms the phone, hides what a model consumes",
    ),
    Check(
        key="throttling",
        look=_throttling,
        serious="thermal status 2 or more",
        warning="status 1",
        why="Android's own scale, 0 to 6",
    ),
    Check(
        key="screen-off",
        look=_screen,
        warning="the screen is off",
        why="a phone that dozes pauses what it runs",
    ),
    Check(
        key="link",
        look=_link,
        warning="slower than 5 MB/s, or over the network",
        why="measured with 4 MB there and back; USB 2 carries 35 to 40 MB/s",
    ),
)
"""What only a phone is asked."""
