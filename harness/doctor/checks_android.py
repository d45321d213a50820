"""What only an Android phone is asked."""

from __future__ import annotations

from harness.devices.health import Health
from harness.doctor.checks import Check, Verdict, unreadable


def _emulator(health: Health) -> Verdict:
    if health.virtual_signs is None:
        return unreadable("Times measured on an emulator say nothing about a phone.")
    if health.virtual_signs:
        return (
            "serious",
            f"it is an emulator ({health.virtual_signs})",
            "Measure on a phone: an emulator's times say nothing about one.",
        )
    return "ok", "a physical phone, by all it says", ""


def _build_type(health: Health) -> Verdict:
    match health.build_type:
        case None:
            return unreadable("Engineering builds of Android are slower than what users have.")
        case "user":
            return "ok", "a user build, as it is sold", ""
        case "eng":
            return (
                "serious",
                "an engineering build (eng), full of checks that cost time",
                "Install a user or userdebug build.",
            )
    return (
        "warning",
        f"a debuggable build ({health.build_type})",
        "Its numbers may differ from those of the user build that is sold.",
    )


def _battery_frozen(health: Health) -> Verdict | None:
    if not health.battery_frozen:
        return None
    return (
        "serious",
        "the battery's readings are made up (`dumpsys battery set` or `unplug`)",
        "adb shell dumpsys battery reset",
    )


def _battery_saver(health: Health) -> Verdict:
    if health.battery_saver is None:
        return unreadable("See that the battery saver is off: it lowers the clocks.")
    if health.battery_saver:
        return (
            "serious",
            "the battery saver is on: it lowers the clocks",
            "adb shell settings put global low_power 0",
        )
    return "ok", "the battery saver is off", ""


def _tools(health: Health) -> Verdict:
    if health.missing_tools is None:
        return unreadable("Its shell does not answer as Android's does.")
    if health.missing_tools:
        return (
            "serious",
            f"its shell lacks {', '.join(health.missing_tools)}",
            "Android 8 and later have them (toybox): update it, or put a toybox on its PATH.",
        )
    return "ok", "its shell has every tool that is needed", ""


def _selinux(health: Health) -> Verdict:
    match health.selinux:
        case None:
            return unreadable("It only matters for what the phone lets be read.")
        case "Enforcing":
            return "ok", "SELinux enforces, as on every phone that is sold", ""
    return (
        "warning",
        f"SELinux is {health.selinux.lower()}: a changed system",
        "Say so where you publish its numbers.",
    )


def _adb(health: Health) -> Verdict:
    link = health.link
    if link is None or link.client_version is None or link.server_version is None:
        return unreadable("Which adb is used: adb version.")
    if link.client_version != link.server_version:
        return (
            "warning",
            f"the adb server speaks version {link.server_version}, phonebench's adb "
            f"{link.client_version}: each restarts the other's server",
            "Set ADBUTILS_ADB_PATH to the adb that you use otherwise.",
        )
    return "ok", f"adb speaks version {link.server_version} throughout", ""


ANDROID: tuple[Check, ...] = (
    Check(
        key="emulator",
        look=_emulator,
        serious="emulator, virtual phone",
        why="AndroidX Benchmark refuses it too; the same properties are looked at",
    ),
    Check(
        key="debuggable",
        look=_build_type,
        serious="eng build",
        warning="userdebug build",
        why="eng builds carry checks that cost time",
    ),
    Check(
        key="battery-frozen",
        look=_battery_frozen,
        serious="`dumpsys battery set` or `unplug` is in force",
        why="every battery reading is made up",
    ),
    Check(
        key="battery-saver",
        look=_battery_saver,
        serious="on",
        why="it lowers the clocks",
    ),
    Check(
        key="tools-missing",
        look=_tools,
        serious="a tool that the scripts on the phone use",
        why="Android 8 and later have them all",
    ),
    Check(
        key="selinux",
        look=_selinux,
        warning="not enforcing",
        why="not the system that users have",
    ),
    Check(
        key="adb",
        look=_adb,
        warning="server and client speak different versions",
        why="each restarts the other's server",
    ),
)
"""What only an Android phone is asked."""
