"""An Android phone is used by one host at a time."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices.android.device import AndroidPhone
from harness.devices.android.scripts import ROOT
from harness.errors import DeviceError, DeviceLost
from harness.runners.pack import RunnerPack
from tests.fakes.android_jobs import (
    KILL_9,
    run_host,
)
from tests.fakes.packs import small_job
from tests.fakes.phones import QUICK, opened, shell
from tests.virtual_android import AdbServer, VirtualPhone

pytestmark = pytest.mark.slow


def test_a_lock_names_its_holder_and_what_it_does(phone: VirtualPhone) -> None:
    holder = rf"in use by .* \(process {os.getpid()}: a test\)"
    with opened(phone), pytest.raises(DeviceError, match=holder):
        AndroidPhone(phone.serial, "another", QUICK)


def as_another_computer(adb: AdbServer, phone: VirtualPhone) -> None:
    """Rewrite the lock as if another computer held it."""
    shell(adb, phone, f'cd {ROOT}/lock && sed -i \'s/"host": "[^"]*"/"host": "other"/\' holder')


def test_a_lock_of_another_computer_expires_without_a_sign_of_life(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    as_another_computer(adb, phone)
    with pytest.raises(DeviceError, match="on other") as refused:
        AndroidPhone(phone.serial, "a test", QUICK)
    assert "3 s" in refused.value.advice
    time.sleep(QUICK.lock_expires_seconds + 0.5)
    with opened(phone):
        pass


def test_a_lock_of_a_dead_process_of_this_computer_is_taken_at_once(phone: VirtualPhone) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    with opened(phone):
        pass


def test_a_running_job_keeps_the_lock_of_another_computer_alive(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        device.install(pack)
    (tmp_path / "long").write_bytes(b"8000\n")
    job = (
        f"phone.install(pack := RunnerPack.model_validate_json({pack.model_dump_json()!r}))\n"
        f"place = phone.stage(Path({str(tmp_path / 'long')!r}), "
        f"{hashlib.sha256(b'8000' + bytes([10])).hexdigest()!r})\n"
        f"job = Job.model_validate_json({small_job('long').model_dump_json()!r})\n"
        "phone.start(job.model_copy(update={'model_file': place}), pack)\n"
    )
    run_host(phone, job + KILL_9, ends_with=-signal.SIGKILL)
    as_another_computer(adb, phone)
    time.sleep(QUICK.lock_expires_seconds + 1.5)
    with pytest.raises(DeviceError, match="on other"):
        AndroidPhone(phone.serial, "a test", QUICK)
    assert phone.altered(), "the watchdog lets a running job be"


def test_a_host_that_was_silent_too_long_learns_that_it_lost_the_phone(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    silent = replace(QUICK, heartbeat_seconds=60.0)
    with opened(phone, silent) as first:
        as_another_computer(adb, phone)
        time.sleep(QUICK.lock_expires_seconds + 0.5)
        with opened(phone) as second:
            with pytest.raises(DeviceLost, match="taken over by another host"):
                first.conditions()
            first.close()
            second.conditions()
