"""Android's services on the virtual phone: settings, battery, charging."""

from __future__ import annotations

import os

import pytest

from tests.fakes.phones import await_truth
from tests.fakes.virtual_phones import Shell
from tests.virtual_android import (
    AdbServer,
    Battery,
    PhoneSpec,
    VirtualPhone,
)

pytestmark = pytest.mark.slow


def test_settings_are_changed_noticed_and_put_back(phone: VirtualPhone, shell: Shell) -> None:
    assert phone.altered() == {}
    shell(phone, "svc power stayon true; setprop power.battery_input.suspended true")
    shell(phone, "cmd power set-fixed-performance-mode-enabled true; settings put system x 1")
    assert phone.altered().keys() == {
        "global/stay_on_while_plugged_in",
        "power.battery_input.suspended",
        "fixed_performance",
        "system/x",
    }
    assert shell(phone, "settings get global stay_on_while_plugged_in").stdout == b"15\n"
    assert shell(phone, "settings get global never_heard_of").stdout == b"null\n"
    shell(phone, "svc power stayon false; setprop power.battery_input.suspended false")
    shell(phone, "cmd power set-fixed-performance-mode-enabled false; settings delete system x")
    assert phone.altered() == {}


def test_suspended_charging_reverses_the_current(phone: VirtualPhone, shell: Shell) -> None:
    gauge = "/sys/class/power_supply/battery/current_now"
    assert int(shell(phone, f"cat {gauge}").stdout) > 0
    shell(phone, "setprop power.battery_input.suspended true")
    await_truth(lambda: int(shell(phone, f"cat {gauge}").stdout) < 0)
    assert b"  status: 3\n" in shell(phone, "dumpsys battery").stdout


def test_pretending_to_unplug_freezes_the_readings(phone: VirtualPhone, shell: Shell) -> None:
    shell(phone, "dumpsys battery unplug")
    frozen = shell(phone, "dumpsys battery").stdout
    assert b"UPDATES STOPPED" in frozen
    assert b"USB powered: false" in frozen
    assert phone.state()["charging"]
    phone.set_body(charge_uah=1_000_000)
    assert shell(phone, "dumpsys battery").stdout == frozen
    shell(phone, "dumpsys battery reset")
    await_truth(lambda: b"level: 22\n" in shell(phone, "dumpsys battery").stdout)


def test_cpu_time_really_used_drains_the_battery(adb: AdbServer, shell: Shell) -> None:
    spec = PhoneSpec(battery=Battery(charger_ma=0.0), time_scale=100.0)
    with VirtualPhone(spec) as phone:
        phone.plug_in(adb)
        before = phone.state()
        shell(phone, "timeout 1 sh -c 'while :; do :; done'")
        after = phone.state()
    seconds = after["seconds"] - before["seconds"]
    cpu_seconds = (after["cpu_seconds"] - before["cpu_seconds"]) * spec.time_scale
    expected_mj = spec.battery.idle_mw * seconds + spec.battery.busy_core_mw * cpu_seconds
    assert after["cpu_seconds"] - before["cpu_seconds"] > 0.2
    assert after["consumed_mj"] - before["consumed_mj"] == pytest.approx(expected_mj, rel=1e-6)
    assert after["charge_uah"] < before["charge_uah"]
    assert after["skin_celsius"] > before["skin_celsius"]


def test_gauges_differ_in_sign_and_unit(adb: AdbServer, shell: Shell) -> None:
    battery = Battery(current_sign=-1, current_per_ampere=1000)
    with VirtualPhone(PhoneSpec(battery=battery)) as phone:
        phone.plug_in(adb)
        current = int(shell(phone, "cat /sys/class/power_supply/battery/current_now").stdout)
        assert -1000 < current < -100
    with VirtualPhone(PhoneSpec(battery=Battery(readable=False))) as phone:
        phone.plug_in(adb)
        hidden = shell(phone, "cat /sys/class/power_supply/battery/current_now")
        if os.geteuid() == 0:
            assert b"Permission denied" in hidden.stderr
