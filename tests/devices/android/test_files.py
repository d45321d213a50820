"""Files come to an Android phone once, whole, or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from harness.devices.android.device import AndroidPhone
from harness.devices.android.scripts import ROOT
from harness.errors import CommandFailed, DeviceError
from harness.runners.pack import RunnerPack
from tests.fakes.phones import QUICK, opened, shell
from tests.virtual_android import AdbServer, Fault, VirtualPhone

pytestmark = pytest.mark.slow


def random_file(path: Path, size_bytes: int) -> tuple[Path, str]:
    path.write_bytes(os.urandom(size_bytes))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def pushed_bytes(phone: VirtualPhone) -> int:
    return int(phone.state()["pushed_bytes"])


def test_nothing_is_sent_twice_not_even_by_another_host(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 3_000_000)
    with opened(phone) as device:
        device.stage(source, sha256)
        device.install(pack)
    sent = pushed_bytes(phone)
    assert sent == 3_000_000 + sum((pack.folder / name).stat().st_size for name in pack.sha256)
    with opened(phone) as another_host:
        another_host.stage(source, sha256)
        another_host.install(pack)
    assert pushed_bytes(phone) == sent


def test_a_transfer_that_arrives_damaged_is_noticed_and_sent_again(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 500_000)
    with opened(phone) as device:
        phone.faults.add(Fault("corrupt", at_byte=123_456))
        place = device.stage(source, sha256)
    assert [fault.kind for fault in phone.faults.struck()] == ["corrupt"]
    assert shell(adb, phone, f"sha256sum {place}").split()[0] == sha256


def test_a_link_that_always_damages_is_an_error_and_leaves_nothing_to_be_trusted(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 100_000)
    with opened(phone) as device:
        for _ in range(3):
            phone.faults.add(Fault("corrupt", at_byte=1))
        # One strikes at once; the next only in the next file.
        source_is_wrong = sha256.replace(sha256[:4], "0000")
        with pytest.raises(CommandFailed, match="arrives damaged, 3 times over") as error:
            device.stage(source, source_is_wrong)
        assert error.value.advice
        assert shell(adb, phone, f"ls {ROOT}/store/{source_is_wrong}") == ""


def test_a_push_is_finished_after_the_cable_was_pulled(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 4_000_000)
    with opened(phone) as device:
        phone.faults.add(Fault("unplug", after_bytes=1_500_000, seconds=1.0))
        place = device.stage(source, sha256)
    assert shell(adb, phone, f"sha256sum {place}").split()[0] == sha256


def test_too_little_space_is_told_before_anything_is_sent(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 1000)
    with opened(phone) as device:
        sent = pushed_bytes(phone)
        phone.faults.add(Fault("disk_full", free_bytes=10 << 20))
        with pytest.raises(CommandFailed, match="has 10 MB free") as error:
            device.stage(source, sha256)
        assert "phonebench clean" in error.value.advice
        assert pushed_bytes(phone) == sent


def test_a_disk_that_fills_up_meanwhile_is_told(phone: VirtualPhone, tmp_path: Path) -> None:
    source, sha256 = random_file(tmp_path / "model", 20_000_000)
    with opened(phone) as device:
        phone.faults.add(Fault("disk_full", after_bytes=2_000_000, free_bytes=100_000))
        with pytest.raises(CommandFailed, match="No space left"):
            device.stage(source, sha256)
        phone.faults.clear()
        device.stage(source, sha256)


def test_a_phone_that_is_full_says_so_when_it_is_opened(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    shell(adb, phone, "head -c 8000 /dev/zero > /data/local/tmp/others")
    phone.faults.add(Fault("disk_full"))
    with pytest.raises(DeviceError, match="No space left") as error:
        AndroidPhone(phone.serial, "a test", QUICK)
    assert "Free some space" in error.value.advice
    phone.faults.clear()
    with opened(phone):
        pass
