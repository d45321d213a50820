"""Android phones are found, described, and told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.devices import registry as devices
from harness.devices.android.device import AndroidPhone, discover
from harness.errors import DeviceNotFound
from tests.fakes.android_jobs import (
    info_of,
)
from tests.fakes.phones import SMALL, opened, plugged_in
from tests.virtual_android import AdbServer, Fault, VirtualPhone

pytestmark = pytest.mark.slow


def test_a_phone_is_found_and_described(shared_phone: VirtualPhone) -> None:
    (found,) = (found for found in discover() if found.id == shared_phone.serial)
    assert found.state == "ready"
    assert found.info is not None
    assert found.info.name == "Phonebench Virtual Phone"
    assert found.info.system == "Android 14 (API 34)"
    assert found.info.abi == "x86_64"
    assert found.info.cores == len(shared_phone.spec.cores)


@pytest.mark.parametrize(
    ("state", "advice"), [("unauthorized", "accept this computer's key"), ("offline", "Unplug it")]
)
def test_a_phone_that_cannot_be_used_says_why_and_what_to_do(
    adb: AdbServer, phone: VirtualPhone, state: str, advice: str
) -> None:
    phone.faults.add(Fault("unauthorized" if state == "unauthorized" else "offline"))
    adb.await_state(phone.serial, state)
    (found,) = (found for found in discover() if found.id == phone.serial)
    assert (found.state, found.info) == (state, None)
    assert advice in found.advice
    with pytest.raises(DeviceNotFound, match=f"it is {state}") as refused:
        devices.find_devices([phone.serial])
    assert advice in refused.value.advice
    with pytest.raises(DeviceNotFound, match=f"adb says {state}") as refused:
        AndroidPhone(phone.serial, "a test")
    assert advice in refused.value.advice


def test_several_phones_are_told_apart_and_all_means_those_that_are_ready(
    adb: AdbServer, shared_phone: VirtualPhone, phone: VirtualPhone
) -> None:
    with plugged_in(adb, replace(SMALL, serialno="VP0002", model="Other Phone")) as other:
        phone.faults.add(Fault("unauthorized"))
        adb.await_state(phone.serial, "unauthorized")
        infos = devices.find_devices(["all"])
        assert {info.id for info in infos} == {shared_phone.serial, other.serial}
        assert len({info.fingerprint for info in infos}) == 2


def test_a_phone_that_is_not_attached_is_told_with_those_that_are(
    shared_phone: VirtualPhone,
) -> None:
    with pytest.raises(DeviceNotFound, match=shared_phone.serial):
        devices.find_devices(["nosuchserial"])
    with pytest.raises(DeviceNotFound, match="adb says absent"):
        AndroidPhone("nosuchserial", "a test")


def test_without_an_adb_server_one_is_started(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    adb.kill()
    discover()
    assert adb.alive()
    adb.await_state(shared_phone.serial, "device")


def test_an_adb_that_does_not_work_hides_no_other_device(
    adb: AdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    local, broken = devices.discover()
    assert local.id == "local"
    assert broken.id == "adb"
    assert "does not answer" in broken.state
    assert broken.advice
    with pytest.raises(DeviceNotFound, match="does not answer"):
        devices.find_devices(["some phone"])


def test_a_phone_stays_the_same_over_reboots_faults_and_cables(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        first = device.info
        for fault in (Fault("drop"), Fault("core_offline", core=1), Fault("reboot")):
            phone.faults.add(fault)
            assert device.conditions().battery_percent == 80
    with opened(phone) as device:
        assert device.info == first


def test_two_phones_of_one_model_are_two_devices(adb: AdbServer, phone: VirtualPhone) -> None:
    with plugged_in(adb, replace(SMALL, serialno="VP0002")) as twin:
        assert info_of(phone).fingerprint != info_of(twin).fingerprint
