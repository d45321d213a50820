"""What the tests of the virtual phone share: an adb server a file, phones to look at and to break."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import missing, require_tool
from tests.fakes.virtual_phones import SMALL, Shell
from tests.virtual_android import (
    AdbServer,
    VirtualPhone,
)
from tests.virtual_android.image import missing_tools


@pytest.fixture(scope="module")
def adb() -> Iterator[AdbServer]:
    require_tool("adb")
    if tools := missing_tools():
        missing(f"{', '.join(tools)} not installed")
    with AdbServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared_phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    with VirtualPhone() as phone:
        phone.plug_in(adb)
        yield phone


@pytest.fixture
def phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    """Give the test a phone of its own, to break."""
    with VirtualPhone(SMALL) as phone:
        phone.plug_in(adb)
        yield phone


@pytest.fixture
def shell(adb: AdbServer) -> Shell:
    def run(phone: VirtualPhone, command: str) -> subprocess.CompletedProcess[bytes]:
        return adb.run("-s", phone.serial, "shell", command)

    return run
