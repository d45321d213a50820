"""This computer as a device: what is its own. The rest is in `tests/contract/test_device.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.devices.local.device import LocalDevice, discover, open_device
from harness.errors import DeviceError, DeviceNotFound

pytestmark = pytest.mark.slow


def test_one_harness_at_a_time_holds_this_computer(tmp_path: Path) -> None:
    first = LocalDevice(tmp_path, "sweep one")
    try:
        with pytest.raises(DeviceError, match=r"measured already, by process .*: sweep one"):
            LocalDevice(tmp_path, "sweep two")
    finally:
        first.close()
    LocalDevice(tmp_path, "sweep two").close()


def test_this_computer_is_the_same_device_every_time(own_cache: Path) -> None:
    (first,), (second,) = discover(), discover()
    assert first == second
    one = first.info
    assert one is not None
    assert one.cores >= 1
    assert one.memory_total_bytes > 0
    device = open_device("local", "a test")
    assert device.conditions().load_1min is not None
    device.close()
    with pytest.raises(DeviceNotFound):
        open_device("remote", "a test")
