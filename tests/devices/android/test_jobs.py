"""Jobs on an Android phone go on whatever becomes of the link."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cancellation import Cancellation
from harness.devices.android.device import AndroidPhone
from harness.devices.base import JobStatus
from harness.errors import DeviceLost
from harness.runners.pack import RunnerPack
from harness.schema.job import TensorSource
from harness.schema.record import LaunchRecord, parse_record
from tests.fakes.android_jobs import (
    ALTERED,
    SETTINGS,
)
from tests.fakes.packs import known_duration_ns, small_job
from tests.fakes.phones import QUICK, opened
from tests.virtual_android import AdbServer, Fault, VirtualPhone

pytestmark = pytest.mark.slow


def start(device: AndroidPhone, pack: RunnerPack, tmp_path: Path, name: str, sleep_ms: int) -> str:
    """Start a job of the fake runner; return its name."""
    content = f"{sleep_ms}\n".encode()
    (tmp_path / "model").write_bytes(content)
    device.install(pack)
    place = device.stage(tmp_path / "model", hashlib.sha256(content).hexdigest())
    device.start(small_job(name, place), pack)
    return name


def wait(device: AndroidPhone, name: str, seconds: float = 30) -> JobStatus:
    with closing(Cancellation()) as cancellation:
        return device.wait(name, seconds, cancellation)


def test_a_job_of_any_length_arrives(phone: VirtualPhone, pack: RunnerPack, tmp_path: Path) -> None:
    checks = ((TensorSource(shape=(1, 3), file="x" * 200),),) * 1000
    with opened(phone) as device:
        start(device, pack, tmp_path, "warm-up", 0)
        place = device.stage(tmp_path / "model", hashlib.sha256(b"0\n").hexdigest())
        job = small_job("long", place).model_copy(update={"checks": checks})
        device.start(job, pack)
        assert wait(device, "long").state == "finished"
        record = parse_record(device.fetch("long").record or b"", "long")
    assert isinstance(record, LaunchRecord)
    assert record.header.job == job


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop"),
        Fault("unplug", seconds=1.5),
        Fault("offline", seconds=1.0),
        Fault("unauthorized", seconds=1.0),
        Fault("stall", seconds=1.5),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_job_goes_on_while_its_phone_is_away_and_its_result_is_collected(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path, fault: Fault
) -> None:
    with opened(phone) as device:
        start(device, pack, tmp_path, "a", 1200)
        phone.faults.add(replace(fault, after_seconds=0.3))
        status = wait(device, "a")
        assert status.state == "finished"
        record = device.fetch("a").record
        assert record is not None
        assert f'"duration_ns":[{known_duration_ns("a")},'.encode() in record
    assert phone.faults.struck()


def test_the_adb_server_may_be_killed_while_a_job_runs(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        start(device, pack, tmp_path, "a", 1500)
        timer = threading.Timer(0.4, adb.kill)
        timer.start()
        assert wait(device, "a").state == "finished"
        timer.join()


def test_a_phone_that_stays_away_is_lost_after_some_patience(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone, replace(QUICK, patience_seconds=1.0)) as device:
        start(device, pack, tmp_path, "a", 0)
        phone.faults.add(Fault("unplug"))
        with pytest.raises(DeviceLost, match=phone.serial) as lost:
            wait(device, "a")
        assert "--resume" in lost.value.advice
        begin = time.monotonic()
        with pytest.raises(DeviceLost):
            device.restore()
        assert time.monotonic() - begin < 20, "a lost phone is not waited for again"


def test_a_job_has_vanished_after_a_reboot_and_settings_are_changed_again(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        changed = phone.altered()
        assert set(changed) == ALTERED
        start(device, pack, tmp_path, "a", 60_000)
        phone.faults.add(Fault("reboot", after_seconds=0.3))
        assert wait(device, "a").state == "vanished"
        assert phone.altered() == changed, "fixed performance does not survive a reboot by itself"
        device.restore()
        assert phone.altered() == {}
