"""What an Android phone says of itself, and which cores a job gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import NotSupported
from harness.runners.pack import RunnerPack
from harness.schema.plan import DeviceSettings
from tests.fakes.android_jobs import (
    Scene,
)
from tests.fakes.phones import SMALL, await_truth, opened, plugged_in
from tests.virtual_android import AdbServer, Core, Fault, VirtualPhone

pytestmark = pytest.mark.slow


def test_conditions_are_the_phones_own(phone: VirtualPhone) -> None:
    phone.set_body(skin_celsius=44.0)
    with opened(phone) as device:
        hot = device.conditions()
        assert hot.thermal_status == 3
        assert hot.temperature_celsius is not None
        assert 43 < hot.temperature_celsius <= 44
        assert hot.clocks_khz is not None
        assert max(hot.clocks_khz) < Core.BIG_KHZ, "a hot phone's clocks are lower"
        assert (hot.battery_percent, hot.charging, hot.governor) == (80, True, "schedutil")
        device.apply(DeviceSettings(suspend_charging=True))
        await_truth(lambda: device.conditions().charging is False)


def test_affinity_is_what_was_asked_and_what_the_runner_saw(
    adb: AdbServer, pack: RunnerPack, tmp_path: Path
) -> None:
    spec = replace(SMALL, cores=(Core(300_000, Core.LITTLE_KHZ), Core(500_000, Core.BIG_KHZ)))
    with plugged_in(adb, spec) as phone, opened(phone) as device:
        assert device.resolve_cores("little") == (0,)
        assert device.resolve_cores("big") == (1,)
        scene = Scene.of(tmp_path, [device.info], pack, affinity=["all", "big", "little"])
        device.close()
        assert scene.run()
        seen = {
            entry.case.rpartition("-")[2]: (record.header.job.affinity, record.actual.affinity)
            for entry, record in scene.records()
            if record.header.job is not None and record.actual is not None
        }
        assert seen["big"] == ((1,), (1,))
        assert seen["little"] == ((0,), (0,))


def test_a_phone_with_cores_of_one_kind_refuses_big(adb: AdbServer) -> None:
    with plugged_in(adb, replace(SMALL, cores=(Core(300_000, 2_000_000),) * 2)) as phone:
        with opened(phone) as device, pytest.raises(NotSupported, match="no big cores") as refused:
            device.resolve_cores("big")
        assert "2000000" in refused.value.message
        assert refused.value.advice


def test_a_core_that_goes_offline_is_seen_by_the_runner(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        scene = Scene.of(tmp_path, [device.info], pack)
    phone.faults.add(Fault("core_offline", core=1))
    assert scene.run()
    actual = [record.actual.affinity for _, record in scene.records() if record.actual]
    assert set(actual) == {(0,)}
