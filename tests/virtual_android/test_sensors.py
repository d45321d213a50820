"""The virtual phone's clocks and sensors, and what goes wrong with them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.phones import await_truth
from tests.fakes.virtual_phones import GAUGE, SMALL, Shell
from tests.virtual_android import (
    AdbServer,
    Battery,
    Fault,
    PhoneSpec,
    VirtualPhone,
)
from tests.virtual_android.body import Body
from tests.virtual_android.clocks import Clocks
from tests.virtual_android.sysfs import Answer, SysFiles, Trouble

pytestmark = pytest.mark.slow


CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq"


def test_clocks_are_low_while_idle_and_at_their_limit_while_busy(
    phone: VirtualPhone, shell: Shell
) -> None:
    core = phone.spec.cores[0]
    clock = f"read khz < {CPUFREQ}/scaling_cur_freq; echo $khz"
    await_truth(lambda: int(shell(phone, f"sleep 0.3; {clock}").stdout) == core.min_khz)
    busy = "timeout 1 sh -c 'while :; do :; done' & sleep 0.4;"
    await_truth(lambda: int(shell(phone, f"{busy} {clock}").stdout) == core.max_khz)
    shell(phone, "cmd thermalservice override-status 4")
    await_truth(lambda: int(shell(phone, f"{busy} {clock}").stdout) == int(core.max_khz * 0.6))


def test_time_in_state_counts_what_the_clocks_were(phone: VirtualPhone, shell: Shell) -> None:
    core = phone.spec.cores[0]

    def ticks(command: str) -> dict[int, int]:
        lines = shell(phone, f"{command}; cat {CPUFREQ}/stats/time_in_state").stdout.splitlines()
        return {int(khz): int(count) for khz, count in (line.split() for line in lines)}

    before = ticks("true")
    after = ticks("timeout 1 sh -c 'while :; do :; done'; sleep 0.5")
    assert sorted(after) == list(after)
    assert len(after) > 3
    assert after[core.max_khz] - before[core.max_khz] >= 50
    assert after[core.min_khz] - before[core.min_khz] >= 30


def test_a_phone_may_have_no_clock_statistics(adb: AdbServer, shell: Shell) -> None:
    with VirtualPhone(replace(SMALL, time_in_state=False)) as phone:
        phone.plug_in(adb)
        assert shell(phone, f"cat {CPUFREQ}/stats/time_in_state").returncode == 1


@pytest.mark.parametrize(
    ("answer", "text", "complaint"),
    [("garbage", b"N/A\n", b""), ("nothing", b"", b""), ("gone", b"", b"No such file")],
)
def test_a_sensor_fails_and_works_again(
    phone: VirtualPhone, shell: Shell, answer: Answer, text: bytes, complaint: bytes
) -> None:
    phone.faults.add(Fault("sensor", answer=answer))
    ran = shell(phone, f"cat {GAUGE}/current_now")
    assert ran.stdout == text
    assert complaint in ran.stderr
    assert shell(phone, "cmd battery get -f current_now").stdout == b"0\n"
    phone.faults.clear()
    assert int(shell(phone, f"cat {GAUGE}/current_now").stdout) != 0


def test_a_sensor_may_be_denied(phone: VirtualPhone, shell: Shell) -> None:
    if os.geteuid() != 0:
        pytest.skip("only a phone that root started has a shell user")
    phone.faults.add(Fault("sensor", answer="denied"))
    assert b"Permission denied" in shell(phone, f"cat {GAUGE}/current_now").stderr
    assert int(shell(phone, "cmd battery get -f current_now").stdout) > 0
    phone.faults.clear()
    assert int(shell(phone, f"cat {GAUGE}/current_now").stdout) > 0


def test_a_sensor_may_freeze(phone: VirtualPhone, shell: Shell) -> None:
    phone.faults.add(Fault("sensor", answer="frozen"))
    frozen = shell(phone, f"cat {GAUGE}/current_now").stdout
    shell(phone, "setprop power.battery_input.suspended true")
    await_truth(lambda: shell(phone, f"cat {GAUGE}/status").stdout == b"Discharging\n")
    assert shell(phone, f"cat {GAUGE}/current_now").stdout == frozen
    assert shell(phone, "cmd battery get -f current_now").stdout == frozen
    phone.faults.clear()
    await_truth(lambda: int(shell(phone, f"cat {GAUGE}/current_now").stdout) < 0)


def test_a_gauge_may_jump_for_one_refresh(adb: AdbServer, shell: Shell) -> None:
    battery = Battery(gauge_period_seconds=0.5)
    with VirtualPhone(replace(SMALL, battery=battery)) as phone:
        phone.plug_in(adb)
        usual = int(shell(phone, f"cat {GAUGE}/current_now").stdout)
        phone.faults.add(Fault("sensor", answer="jump"))
        watch = (
            f"i=0; while [ $i -lt 40 ]; do cat {GAUGE}/current_now; sleep 0.05; i=$((i+1)); done"
        )
        seen = [int(line) for line in shell(phone, watch).stdout.split()]
        jumped = [value > 10 * usual for value in seen]
        assert 2 < sum(jumped) < 20
        assert not jumped[-1]


def test_a_thermal_zone_may_disappear(phone: VirtualPhone, shell: Shell) -> None:
    phone.faults.add(Fault("sensor", file="thermal_zone2/", answer="gone"))
    assert shell(phone, "cat /sys/class/thermal/thermal_zone2/type").returncode == 1
    assert shell(phone, "cat /sys/class/thermal/thermal_zone1/temp").returncode == 0
    phone.faults.clear()
    assert shell(phone, "cat /sys/class/thermal/thermal_zone2/type").stdout == b"skin\n"


def test_a_file_of_sys_that_is_kept_open_shows_the_new_value(tmp_path: Path) -> None:
    spec = PhoneSpec()
    body, clocks, sys_files = Body(spec), Clocks(spec), SysFiles(tmp_path, spec)
    sys_files.write(body, clocks, {0})
    with (tmp_path / "class/thermal/thermal_zone2/temp").open() as zone:
        for celsius in (9.5, 101.5, 25.0):
            body.skin_celsius = celsius
            sys_files.write_quick(body, clocks)
            zone.seek(0)
            assert zone.read() == f"{celsius * 1000:.0f}\n"
        sys_files.add(Trouble("thermal_zone2/", "gone"))
        zone.seek(0)
        assert zone.read() == ""
