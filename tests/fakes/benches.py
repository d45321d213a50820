"""The devices that are held to the contract (`tests/contract/test_device.py`), one entry a kind in `BENCHES`.

A bench brings a device about, and takes it away again: a virtual phone is started, this computer
gets a cache of its own. From there on everything goes through the device's driver.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from harness.devices.android.device import AndroidPhone, Timing
from harness.devices.base import Device
from harness.devices.registry import DRIVERS, Driver
from tests.fakes.phones import own_adb_server, plugged_in

SERIAL = os.environ.get("PHONEBENCH_TEST_SERIAL")


@dataclass(frozen=True)
class Bench:
    """One device, by its kind and name, and the shell that scripts on it begin with.

    `opens` stands in for the driver's own `open_device` where a test needs less patience.
    """

    kind: str
    id: str
    shell: str = "/bin/sh"
    opens: Callable[[str, str], Device] | None = None

    @property
    def driver(self) -> Driver:
        return DRIVERS[self.kind]()

    def open(self, purpose: str = "a test") -> Device:
        return (self.opens or self.driver.open_device)(self.id, purpose)


@contextmanager
def _local() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHONEBENCH_CACHE", cache)
        yield Bench("local", "local")


@contextmanager
def _virtual() -> Iterator[Bench]:
    with own_adb_server() as server, plugged_in(server) as phone:
        yield _phone(phone.serial)


@contextmanager
def _physical() -> Iterator[Bench]:
    assert SERIAL, "make test-device SERIAL=..."
    yield _phone(SERIAL)


def _phone(serial: str) -> Bench:
    timing = Timing(await_seconds=2.0)
    return Bench(
        "android", serial, "/system/bin/sh", lambda id, purpose: AndroidPhone(id, purpose, timing)
    )


BENCHES: dict[str, Callable[[], AbstractContextManager[Bench]]] = {
    "local": _local,
    "virtual": _virtual,
    "physical": _physical,
}
WANTED = ["physical"] if SERIAL else [name for name in BENCHES if name != "physical"]
