"""Sweeps on Android phones that reboot, are unplugged, or lose their host."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices.android.device import AndroidPhone
from harness.devices.android.scripts import ROOT
from harness.runners.pack import RunnerPack
from tests.fakes.android_jobs import (
    Scene,
    diary,
    info_of,
)
from tests.fakes.packs import known_duration_ns
from tests.fakes.phones import QUICK, SMALL, plugged_in, shell
from tests.virtual_android import AdbServer, Fault, VirtualPhone

pytestmark = pytest.mark.slow


def test_a_sweep_leaves_the_phone_as_it_was(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    scene = Scene.of(tmp_path, [info_of(phone)], pack, rounds=3)
    assert scene.run()
    for entry, record in scene.records():
        assert entry.before is not None
        assert entry.after is not None
        assert entry.before.battery_percent == 80
        launch = record.header.launch
        assert set(record.durations_ns("steady").tolist()) == {known_duration_ns(launch)}
    assert len(scene.records()) == 3
    assert phone.altered() == {}
    assert shell(adb, phone, f"ls {ROOT}/jobs {ROOT}/lock 2>/dev/null").split()[1:] == []


@pytest.mark.parametrize("fault", ["reboot", "unplug"])
def test_a_sweep_takes_a_phone_up_again_that_reboots_or_is_unplugged(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path, fault: str
) -> None:
    def strike(number: int) -> None:
        if number == 2:
            kind = Fault("reboot") if fault == "reboot" else Fault("unplug", seconds=1.0)
            phone.faults.add(replace(kind, after_seconds=0.4))

    scene = Scene.of(tmp_path, [info_of(phone)], pack, sleep_ms=800, rounds=3, on_begin=strike)
    assert scene.run()
    second = [(e.attempt, e.status) for e in scene.entries() if e.index == 2]
    expected = {"reboot": [(1, "interrupted"), (2, "ok")], "unplug": [(1, "ok")]}
    assert second == expected[fault]
    assert len([line for line in diary(adb, phone) if line.startswith("finished")]) == 3
    assert phone.altered() == {}


@pytest.mark.parametrize("end", ["ctrl-c", "kill -9"])
def test_a_host_that_ends_early_is_followed_by_one_that_runs_only_what_is_missing(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path, end: str
) -> None:
    scene = Scene.of(tmp_path, [info_of(phone)], pack, sleep_ms=1500, rounds=3)
    # A process of its own, because it is killed. It is this very scene, made again.
    code = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from harness.results.folder import read_sweep\n"
        "from tests.fakes.android_jobs import Scene\n"
        "from tests.fakes.packs import fake_runner_pack\n"
        f"folder = Path({str(scene.folder)!r})\n"
        "infos = list(read_sweep(folder).file.devices)\n"
        f"number = signal.{'SIGINT' if end == 'ctrl-c' else 'SIGKILL'}\n"
        "def strike(launch):\n"
        "    if launch == 2:\n"
        "        threading.Timer(0.7, os.kill, (os.getpid(), number)).start()\n"
        f"tmp = Path({str(tmp_path)!r})\n"
        "scene = Scene.of(tmp, infos, fake_runner_pack(), sleep_ms=1500, rounds=3, on_begin=strike)\n"
        "scene.folder = folder\n"
        "scene.run()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)
    assert ended.returncode == -(signal.SIGINT if end == "ctrl-c" else signal.SIGKILL)
    if end == "ctrl-c":
        assert phone.altered() == {}, "Ctrl-C restores"
    assert scene.run()
    assert {e.status for e in scene.entries() if e.index != 2} == {"ok"}
    assert [e.status for e in scene.entries() if e.index == 2][-1] == "ok"
    lines = diary(adb, phone)
    assert len([line for line in lines if line.startswith("finished")]) == 3
    assert len(lines) == len(set(lines)), "no launch began twice"
    assert len([line for line in lines if "began" in line]) == (4 if end == "ctrl-c" else 3)
    assert phone.altered() == {}


def test_phones_are_measured_in_parallel_and_one_that_is_lost_stops_no_other(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    def strike(number: int) -> None:
        if number == 3:
            phone.faults.add(Fault("unplug"))

    with ExitStack() as stack:
        specs = [replace(SMALL, serialno=f"VP00{n}") for n in (2, 3)]
        others = [stack.enter_context(plugged_in(adb, spec)) for spec in specs]
        infos = [info_of(one) for one in (phone, *others)]
        scene = Scene.of(tmp_path, infos, pack, sleep_ms=500, rounds=3, on_begin=strike)
        quick = replace(QUICK, patience_seconds=1.0)
        scene.services = replace(
            scene.services, open_device=lambda info, purpose: AndroidPhone(info.id, purpose, quick)
        )
        assert not scene.run()
        assert set(scene.began[:3]) == {info.id for info in infos}, "all began at once"
        ok = [entry.device for entry in scene.entries() if entry.status == "ok"]
        assert all(ok.count(other.serial) == 3 for other in others)
        assert ok.count(phone.serial) < 3
        assert any(phone.serial in warning for warning in scene.warnings)
        phone.plug_in(adb)
        # The lock could not be given back, and this very process, its holder, lives on.
        time.sleep(QUICK.lock_expires_seconds + 0.5)
        assert scene.run()
        assert len([e for e in scene.entries() if e.status == "ok"]) == 9
        assert phone.altered() == {}
