"""The virtual phone, seen by the stock adb client through a real adb server."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

from tests.conftest import missing, require_tool
from tests.places import VIRTUAL_ANDROID
from tests.virtual_android import (
    AdbServer,
    Battery,
    Core,
    Fault,
    PhoneSpec,
    Thermal,
    VirtualPhone,
    random_fault,
)
from tests.virtual_android.body import Body, Gauge
from tests.virtual_android.clocks import Clocks
from tests.virtual_android.faults import RUNNER, ProcessWatch
from tests.virtual_android.image import missing_tools
from tests.virtual_android.sandbox import PhoneProcess
from tests.virtual_android.spec import CALM
from tests.virtual_android.sysfs import Answer, SysFiles, Trouble

pytestmark = pytest.mark.slow

UHUBCTL = VIRTUAL_ANDROID / "uhubctl"
SMALL = PhoneSpec(data_bytes=64 * 1024**2, boot_seconds=0.3, boot_completed_seconds=0.3)
Shell = Callable[[VirtualPhone, str], subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def adb() -> Iterator[AdbServer]:
    require_tool("adb")
    if tools := missing_tools():
        missing(f"{', '.join(tools)} not installed")
    with AdbServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared_phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    with VirtualPhone() as phone:
        phone.plug_in(adb)
        yield phone


@pytest.fixture
def phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    """Give the test a phone of its own, to break."""
    with VirtualPhone(SMALL) as phone:
        phone.plug_in(adb)
        yield phone


@pytest.fixture
def shell(adb: AdbServer) -> Shell:
    def run(phone: VirtualPhone, command: str) -> subprocess.CompletedProcess[bytes]:
        return adb.run("-s", phone.serial, "shell", command)

    return run


def await_truth(what: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def random_file(path: Path, size_bytes: int) -> Path:
    path.write_bytes(os.urandom(size_bytes))
    return path


# --- the stock client is content -----------------------------------------------------------------


def test_adb_lists_the_phone_with_its_model(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    listing = adb.run("devices", "-l").stdout.decode()
    assert f"{shared_phone.serial}" in listing
    assert "model:Virtual_Phone" in listing


def test_shell_keeps_output_errors_and_exit_code_apart(
    shared_phone: VirtualPhone, shell: Shell
) -> None:
    ran = shell(shared_phone, "echo out; echo err >&2; exit 7")
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"out\n", b"err\n", 7)


def test_a_command_killed_by_a_signal_says_so(shared_phone: VirtualPhone, shell: Shell) -> None:
    assert shell(shared_phone, "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_an_unknown_command_fails_as_on_android(shared_phone: VirtualPhone, shell: Shell) -> None:
    ran = shell(shared_phone, "perf stat")
    assert ran.returncode == 127
    assert b"perf: inaccessible or not found" in ran.stderr


def test_exec_out_is_binary_clean(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    ran = adb.run(
        "-s", shared_phone.serial, "exec-out",
        "i=0; while [ $i -lt 256 ]; do printf \"\\\\x$(printf %x $i)\"; i=$((i+1)); done",
    )  # fmt: skip
    assert ran.stdout == bytes(range(256))


def test_stdin_reaches_the_command_and_ends(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    sent = random.Random(1).randbytes(3_000_000)
    ran = adb.run("-s", shared_phone.serial, "shell", "sha256sum", input=sent)
    assert ran.stdout.split()[0].decode() == hashlib.sha256(sent).hexdigest()


def test_a_terminal_is_a_terminal_of_the_phone(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    ran = adb.run("-s", shared_phone.serial, "shell", "-tt", "tty; exit 5")
    assert ran.stdout.startswith(b"/dev/pts/")
    assert ran.returncode == 5


def check_round_trip(adb: AdbServer, phone: VirtualPhone, folder: Path, size_bytes: int) -> None:
    sent, there = random_file(folder / "sent", size_bytes), "/data/local/tmp/round-trip"
    adb.run("-s", phone.serial, "push", str(sent), there, check=True)
    told = adb.run("-s", phone.serial, "shell", f"sha256sum {there}").stdout.split()[0].decode()
    adb.run("-s", phone.serial, "pull", there, str(folder / "got"), check=True)
    adb.run("-s", phone.serial, "shell", f"rm {there}", check=True)
    expected = hashlib.sha256(sent.read_bytes()).hexdigest()
    assert told == expected
    assert hashlib.sha256((folder / "got").read_bytes()).hexdigest() == expected


def test_a_pushed_file_comes_back_the_same(
    adb: AdbServer, shared_phone: VirtualPhone, tmp_path: Path
) -> None:
    check_round_trip(adb, shared_phone, tmp_path, 20_000_001)


def test_300_megabytes_come_back_the_same(
    adb: AdbServer, shared_phone: VirtualPhone, tmp_path: Path
) -> None:
    check_round_trip(adb, shared_phone, tmp_path, 300_000_000)


def test_an_old_phone_without_v2_services_works_too(
    adb: AdbServer, shell: Shell, tmp_path: Path
) -> None:
    with VirtualPhone(PhoneSpec(features=("cmd",))) as phone:
        phone.plug_in(adb)
        ran = shell(phone, "echo out; echo err >&2; exit 7")
        assert (ran.stdout, ran.returncode) == (b"out\nerr\n", 0)
        check_round_trip(adb, phone, tmp_path, 1_000_000)


def test_folders_are_pushed_and_pulled_with_links_and_modes(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    random_file(tmp_path / "tree/below/one", 1000)
    (tmp_path / "tree/program").write_text("#!/system/bin/sh\necho ran\n")
    (tmp_path / "tree/program").chmod(0o755)
    adb.run(
        "-s", shared_phone.serial, "push", str(tmp_path / "tree"), "/data/local/tmp", check=True
    )
    assert shell(shared_phone, "/data/local/tmp/tree/program").stdout == b"ran\n"
    adb.run(
        "-s",
        shared_phone.serial,
        "pull",
        "/data/local/tmp/tree",
        str(tmp_path / "back"),
        check=True,
    )
    assert (tmp_path / "back/below/one").read_bytes() == (tmp_path / "tree/below/one").read_bytes()


def test_a_link_on_the_phone_does_not_lead_to_the_host(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    link = "/data/local/tmp/link"
    shell(shared_phone, f"ln -sf {secret} {link}")
    assert adb.run("-s", shared_phone.serial, "pull", link, str(tmp_path / "got")).returncode != 0
    assert not (tmp_path / "got").exists()


def test_the_system_is_read_only_and_data_is_not_everybodys(
    adb: AdbServer, shared_phone: VirtualPhone, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 10)
    for place in ("/system/bin/x", "/data/x"):
        ran = adb.run("-s", shared_phone.serial, "push", str(file), place)
        assert ran.returncode == 1
        assert b"couldn't create file" in ran.stdout + ran.stderr


def test_a_long_log_streams_until_the_client_leaves(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell
) -> None:
    assert len(shell(shared_phone, "logcat -d").stdout.splitlines()) >= 2000
    follower = adb.popen("-s", shared_phone.serial, "logcat")
    assert follower.stdout is not None
    shell(shared_phone, "log -t test the line to wait for")
    while b"the line to wait for" not in follower.stdout.readline():
        pass
    follower.kill()
    follower.communicate()
    await_truth(lambda: not any("logcat" in line for line in shared_phone.commands()))


def test_an_endless_stream_meets_a_slow_reader(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    stream = adb.popen("-s", shared_phone.serial, "exec-out", "yes flow control")
    assert stream.stdout is not None
    for _ in range(5):
        assert stream.stdout.read(1_000_000).count(b"control") > 0
        time.sleep(0.01)
    stream.kill()
    stream.communicate()
    await_truth(lambda: "yes flow control" not in shared_phone.commands())


def test_four_clients_work_at_once(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 8_000_000)

    def client(number: int) -> tuple[bytes, bytes]:
        there = f"/data/local/tmp/client-{number}"
        adb.run("-s", shared_phone.serial, "push", str(file), there, check=True)
        adb.run("-s", shared_phone.serial, "pull", there, str(tmp_path / f"{number}"), check=True)
        return (tmp_path / f"{number}").read_bytes(), shell(shared_phone, f"echo {number}").stdout

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(client, range(4)))
    assert answers == [(file.read_bytes(), f"{number}\n".encode()) for number in range(4)]


def test_two_phones_are_two_phones(
    adb: AdbServer, shared_phone: VirtualPhone, phone: VirtualPhone, shell: Shell
) -> None:
    shell(phone, "touch /data/local/tmp/only-here; setprop debug.who second")
    assert shell(shared_phone, "ls /data/local/tmp/only-here").returncode == 1
    assert shell(shared_phone, "getprop debug.who").stdout == b"\n"
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    assert shell(phone, boot_id).stdout != shell(shared_phone, boot_id).stdout


# --- what runs on it -----------------------------------------------------------------------------

COUNT = (
    "cd /data/local/tmp; setsid nohup sh -c "
    "'while :; do echo $$ >> count; sleep 0.05; done' >/dev/null 2>&1 </dev/null &"
)


def test_a_detached_process_outlives_the_connection(
    adb: AdbServer, phone: VirtualPhone, shell: Shell
) -> None:
    def lines() -> int:
        return len(shell(phone, "cat /data/local/tmp/count").stdout.splitlines())

    assert shell(phone, COUNT).returncode == 0
    await_truth(lambda: lines() > 1)
    phone.unplug()
    adb.await_state(phone.serial, None)
    assert any("count" in command for command in phone.commands())
    assert not phone.state()["charging"]
    phone.plug_in(adb)
    before = lines()
    await_truth(lambda: lines() > before)


def test_a_reboot_ends_processes_and_keeps_data(adb: AdbServer, shell: Shell) -> None:
    with VirtualPhone(replace(SMALL, boot_completed_seconds=4.0)) as phone:
        phone.plug_in(adb)
        check_reboot(adb, phone, shell)


def check_reboot(adb: AdbServer, phone: VirtualPhone, shell: Shell) -> None:
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    first = shell(phone, boot_id).stdout
    shell(phone, COUNT)
    adb.run("-s", phone.serial, "reboot", check=True)
    await_truth(lambda: phone.state()["boots"] == 2)
    adb.await_state(phone.serial, None)
    adb.await_state(phone.serial, "device")
    assert shell(phone, "getprop sys.boot_completed").stdout == b"0\n"
    assert shell(phone, boot_id).stdout != first
    assert shell(phone, "cat /data/local/tmp/count").returncode == 0
    assert not any("count" in command for command in phone.commands())
    assert float(shell(phone, "cat /proc/uptime").stdout.split()[0]) < 60
    await_truth(lambda: shell(phone, "getprop sys.boot_completed").stdout == b"1\n")


def test_programs_of_the_host_do_not_run_without_their_loader(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell
) -> None:
    true = shutil.which("true")
    assert true is not None
    adb.run("-s", shared_phone.serial, "push", true, "/data/local/tmp/true", check=True)
    ran = shell(shared_phone, "/data/local/tmp/true")
    assert ran.returncode == 126
    assert b"No such file or directory" in ran.stderr


BUNDLE_SOURCE = """
#include <cstdio>
#include <stdexcept>
#include <sys/utsname.h>
int main() {
  try { throw std::runtime_error("thrown"); }
  catch (const std::exception &error) {
    utsname name; uname(&name);
    std::printf("%s on %s\\n", error.what(), name.machine);
  }
}
"""


def build_bundle(folder: Path, compiler: str) -> str:
    """Build a program with its loader and libraries; return the loader's name."""
    (folder / "lib").mkdir()
    (folder / "hello.cpp").write_text(BUNDLE_SOURCE)
    subprocess.run([compiler, "-o", str(folder / "hello"), str(folder / "hello.cpp")], check=True)
    loader = "ld-linux-x86-64.so.2" if compiler == "g++" else "ld-linux-aarch64.so.1"
    for name in ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", loader):
        asked = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        shutil.copy(Path(asked.stdout.strip()).resolve(), folder / "lib" / name)
    shutil.move(folder / "lib" / loader, folder / loader)
    (folder / loader).chmod(0o755)
    return loader


def run_bundle(adb: AdbServer, phone: VirtualPhone, folder: Path, loader: str) -> bytes:
    adb.run("-s", phone.serial, "push", str(folder), "/data/local/tmp/bundle", check=True)
    run = f"cd /data/local/tmp/bundle && ./{loader} --library-path lib ./hello"
    return adb.run("-s", phone.serial, "shell", run).stdout


def test_a_program_that_brings_its_loader_runs(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    require_tool("g++")
    loader = build_bundle(tmp_path, "g++")
    assert run_bundle(adb, phone, tmp_path, loader) == b"thrown on x86_64\n"


def test_an_arm64_program_runs_on_an_arm64_phone(
    adb: AdbServer, shell: Shell, tmp_path: Path
) -> None:
    require_tool("qemu-aarch64-static")
    require_tool("aarch64-linux-gnu-g++")
    loader = build_bundle(tmp_path, "aarch64-linux-gnu-g++")
    with VirtualPhone(PhoneSpec(abi="arm64-v8a")) as phone:
        phone.plug_in(adb)
        assert (
            shell(phone, "getprop ro.product.cpu.abi; uname -m").stdout == b"arm64-v8a\naarch64\n"
        )
        assert run_bundle(adb, phone, tmp_path, loader) == b"thrown on aarch64\n"


# --- Android's services --------------------------------------------------------------------------


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


# --- power, and the truth about it ---------------------------------------------------------------

GAUGE = "/sys/class/power_supply/battery"
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


RAILS = ("S2M_VDD_CPUCL0", "S4M_VDD_CPUCL1", "L15M_VDD_SLC_M")
TRACES = "/data/misc/perfetto-traces"
RAILS_CONFIG = (
    "buffers { size_kb: 1024 }\n"
    'data_sources { config { name: "android.power" '
    "android_power_config { battery_poll_ms: 100 collect_power_rails: true } } }\n"
)


@pytest.fixture(scope="module")
def phone_with_rails(adb: AdbServer) -> Iterator[VirtualPhone]:
    with VirtualPhone(replace(SMALL, rails=RAILS)) as phone:
        phone.plug_in(adb)
        yield phone


def rails_of(trace: bytes) -> dict[str, list[tuple[int, int]]]:
    """Return each rail's times in ns of CLOCK_MONOTONIC, and its microwatt-seconds."""
    content = perfetto_trace_pb2.Trace.FromString(trace)
    clocks = {c.clock_id: c.timestamp for c in content.packet[0].clock_snapshot.clocks}
    names: dict[int, str] = {}
    found: dict[str, list[tuple[int, int]]] = {}
    for packet in content.packet:
        names |= {rail.index: rail.rail_name for rail in packet.power_rails.rail_descriptor}
        for reading in packet.power_rails.energy_data:
            time_ns = reading.timestamp_ms * 1_000_000 + clocks[3] - clocks[6]
            found.setdefault(names[reading.index], []).append((time_ns, reading.energy))
    return found


def test_power_rails_are_listed_where_there_are_any(
    phone_with_rails: VirtualPhone, phone: VirtualPhone, shell: Shell
) -> None:
    listed = shell(phone_with_rails, "dumpsys powerstats").stdout
    assert b"ChannelId: 0, ChannelName: S2M_VDD_CPUCL0, ChannelSubsystem: CPU\n" in listed
    assert b"ChannelId:" not in shell(phone, "dumpsys powerstats").stdout


def test_perfetto_records_what_the_rails_carry_until_it_is_told_to_end(
    adb: AdbServer, phone_with_rails: VirtualPhone, shell: Shell
) -> None:
    phone, file = phone_with_rails, f"{TRACES}/rails"
    started = shell(
        phone, f"perfetto --background --txt -c - -o {file} <<'END'\n{RAILS_CONFIG}END\n"
    )
    pid = int(started.stdout)
    begin_ns = phone.state()["monotonic_ns"]
    shell(phone, "timeout 0.5 sh -c 'while :; do :; done'; sleep 0.3")
    end_ns = phone.state()["monotonic_ns"]
    shell(phone, f"kill {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done")
    rails = rails_of(adb.run("-s", phone.serial, "exec-out", f"cat {file}").stdout)
    assert shell(phone, f"rm {file}").returncode == 0
    assert tuple(rails) == RAILS
    times = [time_ns for time_ns, _ in rails[RAILS[0]]]
    assert len(times) > 5
    assert times[0] < begin_ns < end_ns - 200_000_000 < times[-1]
    carried_mj = sum(points[-1][1] - points[0][1] for points in rails.values()) / 1000
    # The times of readings are whole milliseconds.
    assert carried_mj == pytest.approx(phone.consumed(times[0], times[-1]).mj, rel=0.02)
    assert rails[RAILS[0]][-1][1] > rails[RAILS[0]][0][1]


def test_perfetto_ends_by_itself_after_the_given_time(
    adb: AdbServer, phone_with_rails: VirtualPhone
) -> None:
    ran = adb.run(
        "-s", phone_with_rails.serial, "shell", "perfetto --txt -c - -o -",
        input=f"{RAILS_CONFIG}duration_ms: 350".encode(),
    )  # fmt: skip
    assert len(rails_of(ran.stdout)[RAILS[0]]) == 4


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("--txt -c - -o /data/local/tmp/trace", b"Failed to open /data/local/tmp/trace"),
        (
            f"--txt -c /data/local/tmp/config -o {TRACES}/x",
            b"Could not open /data/local/tmp/config",
        ),
        (f"--txt -c - -o {TRACES}/x --wrong", b"unrecognized option"),
    ],
)
def test_perfetto_refuses_what_android_refuses(
    phone_with_rails: VirtualPhone, shell: Shell, command: str, complaint: bytes
) -> None:
    ran = shell(phone_with_rails, f"echo | perfetto {command}")
    assert ran.returncode == 1
    assert complaint in ran.stderr


def test_perfetto_refuses_a_configuration_that_is_none(
    phone_with_rails: VirtualPhone, shell: Shell
) -> None:
    ran = shell(phone_with_rails, f"echo 'buffers {{' | perfetto --txt -c - -o {TRACES}/x -d")
    assert ran.returncode == 1
    assert b"The TraceConfig is invalid" in ran.stderr


# --- faults --------------------------------------------------------------------------------------


def push(
    adb: AdbServer, phone: VirtualPhone, file: Path, name: str = "file"
) -> subprocess.CompletedProcess[bytes]:
    return adb.run("-s", phone.serial, "push", str(file), f"/data/local/tmp/{name}")


def test_the_link_drops_at_its_byte_and_comes_back(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 4_000_000)
    before = phone.state()["link_bytes"]
    phone.faults.add(Fault("drop", after_bytes=1_000_000))
    assert push(adb, phone, file).returncode != 0
    assert phone.state()["link_bytes"] - before >= 1_000_000
    assert phone.state()["pushed_bytes"] < 1_000_000
    assert phone.faults.struck() == [Fault("drop", after_bytes=1_000_000)]
    adb.await_state(phone.serial, "device")
    assert push(adb, phone, file).returncode == 0


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_one_byte_of_a_transfer_is_changed_unnoticed(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path, direction: str
) -> None:
    file, back = random_file(tmp_path / "file", 200_000), tmp_path / "back"
    fault = Fault("corrupt", direction="push" if direction == "push" else "pull", at_byte=70_000)
    phone.faults.add(fault)
    assert push(adb, phone, file).returncode == 0
    adb.run("-s", phone.serial, "pull", "/data/local/tmp/file", str(back), check=True)
    pairs = zip(file.read_bytes(), back.read_bytes(), strict=True)
    assert [at for at, (sent, got) in enumerate(pairs) if sent != got] == [70_000]


def test_a_full_disk_refuses_writes_until_there_is_room(
    adb: AdbServer, phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 4_000_000)
    phone.faults.add(Fault("disk_full", free_bytes=100_000))
    pushed = push(adb, phone, file)
    assert pushed.returncode == 1
    assert b"No space left on device" in pushed.stdout + pushed.stderr
    written = shell(phone, "head -c 4000000 /dev/zero > /data/local/tmp/zeros")
    assert b"No space left on device" in written.stderr
    phone.faults.clear()
    assert push(adb, phone, file).returncode == 0


def test_a_small_phone_is_full_by_itself(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    pushed = push(adb, phone, random_file(tmp_path / "file", SMALL.data_bytes + 1))
    assert b"No space left on device" in pushed.stdout + pushed.stderr


def test_adb_shows_a_phone_that_does_not_trust_it(adb: AdbServer) -> None:
    with VirtualPhone(PhoneSpec(authorization="refuses")) as phone:
        phone.plug_in(adb, state="unauthorized")
        refused = adb.run("-s", phone.serial, "shell", "true")
        assert b"unauthorized" in refused.stderr


def test_a_phone_that_asks_for_a_key_takes_one(adb: AdbServer, shell: Shell) -> None:
    with VirtualPhone(PhoneSpec(authorization="accepts")) as phone:
        phone.plug_in(adb)
        assert shell(phone, "echo trusted").stdout == b"trusted\n"
        phone.faults.add(Fault("unauthorized"))
        adb.await_state(phone.serial, "unauthorized")
        phone.faults.clear()
        adb.await_state(phone.serial, "device")


def test_adb_shows_a_silent_phone_as_offline(adb: AdbServer, phone: VirtualPhone) -> None:
    phone.faults.add(Fault("offline"))
    adb.await_state(phone.serial, "offline")
    phone.faults.clear()
    adb.await_state(phone.serial, "device")


def test_an_unplugged_phone_vanishes_and_returns_by_itself(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    phone.faults.add(Fault("unplug", seconds=1.0))
    adb.await_state(phone.serial, None)
    assert adb.run("connect", phone.serial).stdout.startswith(b"failed to connect")
    adb.await_state(phone.serial, "device")


def test_refused_connections_leave_the_present_one_alone(
    adb: AdbServer, phone: VirtualPhone, shell: Shell
) -> None:
    phone.faults.add(Fault("refuse"))
    assert shell(phone, "echo still here").stdout == b"still here\n"
    phone.faults.add(Fault("drop"))
    adb.await_state(phone.serial, "offline")
    assert not phone.state()["listening"]
    phone.faults.clear()
    adb.await_state(phone.serial, "device")


def test_a_stalled_link_goes_on(adb: AdbServer, phone: VirtualPhone, shell: Shell) -> None:
    phone.faults.add(Fault("stall", seconds=0.5))
    assert shell(phone, "echo late").stdout == b"late\n"


def test_a_slow_link_carries_what_it_is_told(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 200_000)
    phone.faults.add(Fault("slow", bytes_per_second=400_000))
    begin = time.monotonic()
    assert push(adb, phone, file).returncode == 0
    # What a link cannot carry in less is a property of the link, not a figure of speed.
    assert time.monotonic() - begin >= 200_000 / 400_000


def test_a_fault_waits_for_its_service(adb: AdbServer, phone: VirtualPhone, shell: Shell) -> None:
    phone.faults.add(Fault("reboot", on_service="the fatal word"))
    assert shell(phone, "echo harmless").returncode == 0
    assert shell(phone, "sleep 5; echo the fatal word").stdout == b""
    await_truth(lambda: phone.state()["boots"] == 2)
    adb.await_state(phone.serial, "device")


def test_a_core_that_goes_offline_is_not_used(adb: AdbServer, shell: Shell) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("this computer has one core")
    with VirtualPhone() as phone:
        phone.plug_in(adb)
        shell(phone, COUNT)
        phone.faults.add(Fault("core_offline", core=1))
        assert shell(phone, "cat /sys/devices/system/cpu/cpu1/online").stdout == b"0\n"
        cores = len(phone.spec.cores)
        assert int(shell(phone, "nproc").stdout) == cores - 1
        phone.faults.clear()
        assert int(shell(phone, "nproc").stdout) == cores


def test_heat_raises_the_status_and_lowers_the_clocks(phone: VirtualPhone, shell: Shell) -> None:
    clock = "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"
    cold = int(shell(phone, clock).stdout)
    phone.faults.add(Fault("heat", celsius=18.0))
    assert b"Thermal Status: 3" in shell(phone, "dumpsys thermalservice").stdout
    assert int(shell(phone, clock).stdout) < cold


def test_a_calm_phone_does_not_get_warm_from_work(adb: AdbServer, shell: Shell) -> None:
    thermal = replace(CALM, time_constant_seconds=0.1)
    with VirtualPhone(replace(SMALL, thermal=thermal)) as phone:
        phone.plug_in(adb)
        shell(phone, "timeout 0.5 sh -c 'while :; do :; done'")
        assert phone.state()["thermal_status"] == 0
        assert phone.state()["skin_celsius"] < 30


def test_heat_comes_with_every_second_start_of_a_process_and_goes_again(
    adb: AdbServer, shell: Shell
) -> None:
    thermal = replace(CALM, time_constant_seconds=0.1)
    with VirtualPhone(replace(SMALL, thermal=thermal)) as phone:
        phone.plug_in(adb)
        heat = Fault(
            "heat", celsius=18.0, seconds=0.2, on_process=r"^sleep 0\.5", delay_seconds=0.1,
            every=2, times=0,
        )  # fmt: skip
        phone.faults.add(heat)
        for number in range(4):
            shell(phone, "sleep 0.5; dumpsys thermalservice")
            assert len(phone.faults.struck()) == 1 + number // 2
        await_truth(lambda: phone.state()["thermal_status"] == 0)
        assert phone.state()["skin_celsius"] < 39


def test_a_runner_is_told_from_those_who_speak_of_it() -> None:
    pack, job = "/data/local/tmp/phonebench/packs/x", "/data/local/tmp/phonebench/jobs/1/job.json"
    loaded = f"{pack}/ld-linux-x86-64.so.2 --library-path {pack}/lib {pack}/runner_lite {job} x"
    others = [
        f"sh -c setsid {pack}/supervise . -- {loaded}",
        f"{pack}/supervise . -- {loaded}",
        f"cat {job}",
        f"pgrep -f {pack}/runner_lite",
    ]
    runners = [loaded, f"{pack}/runner_lite {job} x", f"/system/bin/sh {pack}/runner_lite {job} x"]
    watch = ProcessWatch(Fault("heat", on_process=RUNNER, times=0))
    running = [PhoneProcess(10 + n, 1, command, 0.0) for n, command in enumerate(others)]
    assert not watch.strikes_now([])
    assert not watch.strikes_now(running)
    for pid, command in enumerate(runners, 100):
        started = PhoneProcess(pid, 11, command, 0.0)
        assert watch.strikes_now([*running, started])
        assert not watch.strikes_now([*running, started, replace(started, pid=200, parent=pid)])
    assert not watch.strikes_now(running)


def test_heat_lasts_as_long_as_it_is_told(adb: AdbServer, shell: Shell) -> None:
    with VirtualPhone(replace(SMALL, thermal=replace(CALM, time_constant_seconds=0.01))) as phone:
        phone.plug_in(adb)
        phone.faults.add(Fault("heat", celsius=18.0, seconds=60.0))
        zone = "cat /sys/class/thermal/thermal_zone2/temp"
        await_truth(lambda: phone.state()["skin_celsius"] > 41)
        assert b"Thermal Status: 2" in shell(phone, "dumpsys thermalservice").stdout
        assert int(shell(phone, zone).stdout) > 41_000
        phone.faults.clear()
        await_truth(lambda: phone.state()["thermal_status"] == 0)


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


def test_the_system_kills_what_it_is_told_to(phone: VirtualPhone, shell: Shell) -> None:
    shell(phone, COUNT)
    await_truth(lambda: any("count" in command for command in phone.commands()))
    phone.faults.add(Fault("kill", process="echo $$ >> count"))
    await_truth(lambda: not any("count" in command for command in phone.commands()))


def test_the_phone_gets_over_a_killed_server(adb: AdbServer, phone: VirtualPhone) -> None:
    adb.kill()
    adb.start()
    adb.await_state(phone.serial, "device")


def test_the_phone_gets_over_random_faults(
    adb: AdbServer, phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    file, rng = random_file(tmp_path / "file", 500_000), random.Random(11)
    for _ in range(20):
        shell(phone, COUNT)
        phone.faults.add(random_fault(rng, process="count"))
        push(adb, phone, file)
        shell(phone, "sha256sum /data/local/tmp/file")
        adb.await_state(phone.serial, "device")
    phone.faults.clear()
    await_truth(lambda: push(adb, phone, file).returncode == 0)
    told = shell(phone, "sha256sum /data/local/tmp/file").stdout.split()[0].decode()
    assert told == hashlib.sha256(file.read_bytes()).hexdigest()
    assert phone.altered() == {}


def test_the_same_seed_gives_the_same_faults() -> None:
    first, second = random.Random(5), random.Random(5)
    assert [random_fault(first) for _ in range(50)] == [random_fault(second) for _ in range(50)]


def test_a_spec_survives_its_way_to_the_phone() -> None:
    spec = PhoneSpec(
        cores=(Core(1, 2), Core(3, 4)),
        thermal=Thermal(ambient_celsius=30.0),
        battery=Battery(current_sign=-1),
    )
    assert PhoneSpec.from_json(spec.to_json()) == spec


# --- nothing stays -------------------------------------------------------------------------------

KILLED = """
import time
from tests.virtual_android import AdbServer, VirtualPhone
with AdbServer() as adb, VirtualPhone() as phone:
    phone.plug_in(adb)
    adb.run("-s", phone.serial, "shell", "sleep 4242 >/dev/null 2>&1 </dev/null &")
    print(adb.port, phone.port, adb._home, phone._folder, phone._process.pid, flush=True)
    time.sleep(600)
"""


def test_nothing_stays_of_a_test_that_was_killed(adb: AdbServer) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    port, _, home, folder, pid = child.stdout.readline().split()
    child.kill()
    child.wait()
    child.stdout.close()
    await_truth(lambda: not Path(home).exists() and not Path(folder).exists())
    await_truth(lambda: not Path(f"/proc/{pid}").exists())
    everything = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    ]
    assert not any(b"4242" in command for command in everything)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


def test_the_command_prints_what_to_type() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "tests.virtual_android", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "start" in help_text.stdout
    assert "fault" in help_text.stdout
