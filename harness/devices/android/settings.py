"""The settings of an Android phone that a sweep may change, and how each is put back.

Each is a pair of shell scripts: `change` changes it and verifies that, `undo` puts back the value
that is found now and verifies that too. Not here: when (`android.py` writes the undo script to the
phone before it runs the change).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.schema.plan import DeviceSettings

_STAY_ON = "global stay_on_while_plugged_in"
_SUSPEND = "power.battery_input.suspended"
_TIMEOUT = "system screen_off_timeout"
_POLICIES = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"


@dataclass(frozen=True)
class Change:
    """One setting. `make_undo` prints, on the phone, the script that undoes it."""

    name: str
    make_undo: str
    change: str
    advice: str


def wanted_changes(settings: DeviceSettings) -> list[Change]:
    """Return the changes that a plan asks for."""
    changes = []
    if settings.stay_awake:
        changes += [_STAY_AWAKE, STAY_AWAKE_UNPLUGGED]
    if settings.fixed_performance:
        changes.append(_FIXED_PERFORMANCE)
    if settings.suspend_charging:
        changes.append(_SUSPEND_CHARGING)
    if settings.governor is not None:
        changes.append(_governor(settings.governor))
    return changes


def _put_back(setting: str) -> str:
    """Return what prints the script that puts back a setting ("SPACE NAME"), also to not being set."""
    return f"""before=$(settings get {setting})
if [ "$before" = null ]; then echo "settings delete {setting}"
else echo "settings put {setting} $before"; fi
echo '[ "$(settings get {setting})" = "'$before'" ]'"""


_STAY_AWAKE = Change(
    "stay-awake",
    make_undo=_put_back(_STAY_ON),
    # 7: on AC, USB and wireless (android.os.BatteryManager).
    change=f"""settings put {_STAY_ON} 7 && [ "$(settings get {_STAY_ON})" = 7 ]""",
    advice="Leave out device.stay_awake, and keep the screen on by hand.",
)
STAY_AWAKE_UNPLUGGED = Change(
    "screen-timeout",
    # Without a cable, a phone whose screen is off goes to sleep, and its clock stands still.
    make_undo=_put_back(_TIMEOUT),
    change=f"input keyevent WAKEUP 2>/dev/null; settings put {_TIMEOUT} 2147483647 && "
    f'[ "$(settings get {_TIMEOUT})" = 2147483647 ]',
    advice="Set the longest screen timeout in the phone's own settings.",
)
_FIXED_PERFORMANCE = Change(
    "fixed-performance",
    # The mode cannot be read; it is off unless somebody switched it on since the phone booted.
    make_undo='echo "cmd power set-fixed-performance-mode-enabled false"',
    change="cmd power set-fixed-performance-mode-enabled true",
    advice="It needs Android 11 and a vendor that implements it: leave out device.fixed_performance.",
)
_SUSPEND_CHARGING = Change(
    "suspend-charging",
    make_undo=f"""before=$(getprop {_SUSPEND})
echo "setprop {_SUSPEND} ${{before:-false}}"
echo '[ "$(getprop {_SUSPEND})" = "'${{before:-false}}'" ]'""",
    change=f'setprop {_SUSPEND} true && [ "$(getprop {_SUSPEND})" = true ]',
    advice="The vendor does not let the shell suspend charging: leave out device.suspend_charging.",
)


def _governor(governor: str) -> Change:
    return Change(
        "governor",
        make_undo=f"""for p in {_POLICIES}; do g=$(cat $p)
echo "[ \\"\\$(cat $p)\\" = $g ] || echo $g > $p || exit 1"; done""",
        change=f"for p in {_POLICIES}; do echo {governor} > $p && "
        f'[ "$(cat $p)" = {governor} ] || exit 1; done',
        advice="Changing the governor needs root: leave out device.governor.",
    )
