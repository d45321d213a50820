"""Faults of the virtual phone: each happens as it is told, and ends."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.phones import await_truth
from tests.fakes.virtual_phones import COUNT, SMALL, Shell, random_file
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
from tests.virtual_android.faults import RUNNER, ProcessWatch
from tests.virtual_android.sandbox import PhoneProcess
from tests.virtual_android.spec import CALM

pytestmark = pytest.mark.slow


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
