"""The virtual phone's power: a gauge with its habits, and the truth beside it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.fakes.phones import await_truth
from tests.fakes.virtual_phones import COUNT, GAUGE, SMALL, Shell
from tests.places import VIRTUAL_ANDROID
from tests.virtual_android import (
    AdbServer,
    Battery,
    PhoneSpec,
    VirtualPhone,
)
from tests.virtual_android.body import Body, Gauge

pytestmark = pytest.mark.slow

UHUBCTL = VIRTUAL_ANDROID / "uhubctl"


# --- power, and the truth about it ---------------------------------------------------------------

BURN_SOURCE = """
#include <stdio.h>
#include <time.h>
#include <unistd.h>
static long ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000L + now.tv_nsec;
}
int main(void) {
  usleep(100000);
  long cpu = ns(CLOCK_PROCESS_CPUTIME_ID), begin = ns(CLOCK_MONOTONIC), end = begin;
  while (end - begin < 1000000000L) end = ns(CLOCK_MONOTONIC);
  cpu = ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  usleep(100000);
  printf("%ld %ld %ld\\n", begin, end, cpu);
}
"""


def test_the_phone_knows_what_a_past_second_of_work_consumed(
    adb: AdbServer, phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    require_tool("cc")
    (tmp_path / "burn.c").write_text(BURN_SOURCE)
    burn = tmp_path / "burn"
    subprocess.run(["cc", "-static", "-o", burn, tmp_path / "burn.c"], check=True)
    adb.run("-s", phone.serial, "push", str(burn), "/data/local/tmp/burn", check=True)
    begin_ns, end_ns, cpu_ns = map(int, shell(phone, "/data/local/tmp/burn").stdout.split())
    found, battery = phone.consumed(begin_ns, end_ns), phone.spec.battery
    idle_mj = battery.idle_mw * (end_ns - begin_ns) / 1e9
    assert found.idle_mj == pytest.approx(idle_mj)
    assert found.mj == pytest.approx(idle_mj + battery.busy_core_mw * cpu_ns / 1e9, rel=0.01)


def test_the_phone_knows_nothing_of_the_future(phone: VirtualPhone) -> None:
    now_ns = phone.state()["monotonic_ns"]
    with pytest.raises(ValueError, match="the phone knows nothing"):
        phone.consumed(now_ns, now_ns + 60_000_000_000)


def gauge_readings(battery: Battery, steps: int, cores: float = 0.0) -> list[Gauge]:
    """Return the gauge after each of so many steps of 10 ms."""
    body, readings = Body(PhoneSpec(battery=battery)), []
    body.cable_in = False
    for _ in range(steps):
        body.advance(0.01, 0.01 * cores)
        readings.append(body.gauge)
    return readings


def test_a_gauge_shows_the_mean_since_its_last_refresh() -> None:
    battery = Battery(gauge_period_seconds=4.0)
    body, seen = Body(PhoneSpec(battery=battery)), set()
    body.cable_in = False
    for step in range(4000):
        body.advance(0.01, 0.01 if step % 400 < 200 else 0.0)
        seen.add(body.gauge.current_ua)
    mean_ma = (battery.idle_mw + battery.busy_core_mw / 2) / 4.1
    assert len(seen) == 11
    assert body.gauge.current_ua == pytest.approx(-1000 * mean_ma, rel=0.05)


def test_a_gauge_may_show_the_current_of_the_moment_only() -> None:
    battery = Battery(gauge_period_seconds=1.0, gauge="instant")
    body = Body(PhoneSpec(battery=battery))
    body.cable_in = False
    for step in range(1000):
        body.advance(0.01, 0.01 * (step % 2))
    assert abs(body.gauge.current_ua) in (
        pytest.approx(1e6 * battery.idle_mw / 4100, rel=0.05),
        pytest.approx(1e6 * (battery.idle_mw + battery.busy_core_mw) / 4100, rel=0.05),
    )


def test_a_gauge_has_steps_and_noise_that_a_seed_repeats() -> None:
    battery = Battery(
        current_step_ua=10_000, charge_step_uah=1000, voltage_step_mv=5, current_noise_ua=20_000.0
    )
    readings = gauge_readings(battery, 1000)
    assert len({reading.current_ua for reading in readings}) > 2
    assert all(reading.current_ua % 10_000 == 0 for reading in readings)
    assert all(reading.charge_uah % 1000 == 0 for reading in readings)
    assert all(reading.voltage_mv % 5 == 0 for reading in readings)
    assert gauge_readings(battery, 1000) == readings
    assert gauge_readings(replace(battery, seed=1), 1000) != readings


def test_a_gauge_refreshes_when_it_is_due_however_late_anybody_looks() -> None:
    battery = Battery(gauge_period_seconds=1.0, current_step_ua=100)
    fine, coarse = (Body(PhoneSpec(battery=battery)) for _ in range(2))
    for _ in range(1000):
        fine.advance(0.01, 0.0)
    for _ in range(4):
        coarse.advance(2.5, 0.0)
    assert fine.gauge == coarse.gauge


def test_suspending_does_nothing_where_the_vendor_has_not_built_it(
    adb: AdbServer, shell: Shell
) -> None:
    with VirtualPhone(replace(SMALL, battery=Battery(suspend_works=False))) as phone:
        phone.plug_in(adb)
        assert shell(phone, "setprop power.battery_input.suspended true").returncode == 0
        assert shell(phone, "getprop power.battery_input.suspended").stdout == b"true\n"
        shell(phone, "sleep 0.6")
        assert int(shell(phone, f"cat {GAUGE}/current_now").stdout) > 0
        assert shell(phone, f"cat {GAUGE}/status").stdout == b"Charging\n"


def test_wireless_adb_needs_no_cable_and_does_not_charge(adb: AdbServer, shell: Shell) -> None:
    with VirtualPhone(SMALL) as phone:
        phone.plug_in(adb, cable=False)
        await_truth(lambda: int(shell(phone, f"cat {GAUGE}/current_now").stdout) < 0)
        assert shell(phone, f"cat {GAUGE}/status").stdout == b"Discharging\n"
        assert b"USB powered: false" in shell(phone, "dumpsys battery").stdout
        phone.unplug()
        adb.await_state(phone.serial, None)
        phone.plug_in(adb)
        await_truth(lambda: shell(phone, f"cat {GAUGE}/status").stdout == b"Charging\n")


def test_a_switched_hub_cuts_the_cable_and_jobs_run_on(
    adb: AdbServer, phone: VirtualPhone, shell: Shell
) -> None:
    def uhubctl(*arguments: str) -> str:
        ran = subprocess.run(
            [UHUBCTL, *arguments],
            env={**os.environ, "VIRTUAL_HUB": f"1-1:2={phone.port}"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return ran.stdout

    assert (
        f"  Port 2: 0503 power highspeed enable connect [18d1:4ee7 Virtual Phone {SMALL.serialno}]"
        in uhubctl()
    )
    shell(phone, COUNT)
    cut = uhubctl("-l", "1-1", "-p", "2", "-a", "off")
    assert cut.splitlines()[2:] == [
        "Sent power off request",
        "New status for hub 1-1 [2109:2817 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]",
        "  Port 2: 0000 off",
    ]
    adb.await_state(phone.serial, None)
    assert any("count" in command for command in phone.commands())
    assert not phone.state()["charging"]
    uhubctl("-l", "1-1", "-p", "2", "-a", "on")
    adb.await_state(phone.serial, "device")
    assert phone.state()["charging"]
