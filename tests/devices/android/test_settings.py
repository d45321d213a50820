"""What is changed on an Android phone is put back, whoever dies."""

from __future__ import annotations

import signal
import time

import pytest

from harness.devices.android.scripts import ROOT
from harness.errors import CommandFailed, NotSupported
from harness.schema.plan import DeviceSettings
from tests.fakes.android_jobs import (
    ALTERED,
    KILL_9,
    SETTINGS,
    run_host,
)
from tests.fakes.phones import QUICK, await_truth, opened, shell
from tests.virtual_android import AdbServer, VirtualPhone

pytestmark = pytest.mark.slow


def test_settings_are_put_back_at_the_end(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        assert set(phone.altered()) == ALTERED
        device.restore()
        assert phone.altered() == {}


def test_a_setting_that_somebody_else_had_made_is_put_back_to_that(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    shell(adb, phone, "settings put global stay_on_while_plugged_in 3")
    with opened(phone) as device:
        device.apply(SETTINGS)
        device.restore()
    assert phone.altered() == {"global/stay_on_while_plugged_in": "3"}


def test_a_setting_that_the_phone_refuses_is_named(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        with pytest.raises(NotSupported, match="governor") as refused:
            device.apply(DeviceSettings(governor="performance"))
        assert "root" in refused.value.advice
        device.restore()


def test_the_next_host_puts_back_what_a_killed_one_had_changed(phone: VirtualPhone) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    assert set(phone.altered()) == ALTERED
    with opened(phone):
        assert phone.altered() == {}


def test_the_watchdog_on_the_phone_puts_back_what_a_killed_host_had_changed(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    assert set(phone.altered()) == ALTERED
    await_truth(lambda: phone.altered() == {}, seconds=30)
    await_truth(lambda: not any("watchdog" in line for line in phone.commands()))


def test_a_change_that_cannot_be_undone_is_named_and_stays_for_the_next_try(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        stuck = f"{ROOT}/changes/stuck.sh"
        shell(adb, phone, f"echo false > {stuck}")
        with pytest.raises(CommandFailed, match=r"could not undo: stuck\n"):
            device.restore()
        assert phone.altered() == {}
        shell(adb, phone, f"echo true > {stuck}")
        device.restore()


def test_what_the_watchdog_undoes_at_the_same_moment_is_no_failure(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    with opened(phone) as device:
        shell(
            adb,
            phone,
            f"mkdir -p {ROOT}/changes; echo 'rm gone.sh; false' > {ROOT}/changes/gone.sh",
        )
        device.restore()
        assert (
            shell(adb, phone, f"ls {ROOT}/changes 2>&1; true")
            .strip()
            .endswith("No such file or directory")
        )


def test_the_watchdog_lets_a_living_host_be(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        time.sleep(2 * QUICK.lock_expires_seconds + 2)
        assert set(phone.altered()) == ALTERED
        device.restore()
