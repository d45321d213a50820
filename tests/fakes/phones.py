"""What tests on virtual phones share: an adb server of their own, and phones to break."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from harness.devices.android.device import AndroidPhone, Timing
from tests.conftest import missing, require_tool
from tests.virtual_android import AdbServer, PhoneSpec, VirtualPhone
from tests.virtual_android.image import missing_tools

SMALL = PhoneSpec(data_bytes=256 * 1024**2, boot_seconds=0.5, boot_completed_seconds=0.3)


@contextmanager
def own_adb_server() -> Iterator[AdbServer]:
    """Start an adb server, and lead this process's adb clients to it; the user's is left alone."""
    require_tool("adb")
    if tools := missing_tools():
        missing(f"{', '.join(tools)} not installed")
    with AdbServer() as server:
        before = {name: os.environ.get(name) for name in server.environment}
        os.environ.update(server.environment)
        try:
            yield server
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def plugged_in(server: AdbServer, spec: PhoneSpec = SMALL) -> Iterator[VirtualPhone]:
    """Start a phone and attach it."""
    with VirtualPhone(spec) as phone:
        phone.plug_in(server)
        yield phone


def await_truth(what: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


# Hosts that give up, expire and look after things within seconds.
QUICK = Timing(
    patience_seconds=20.0,
    lock_expires_seconds=3,
    heartbeat_seconds=0.5,
    watchdog_seconds=1,
    await_seconds=2.0,
)


@contextmanager
def opened(phone: VirtualPhone, timing: Timing = QUICK) -> Iterator[AndroidPhone]:
    with closing(AndroidPhone(phone.serial, "a test", timing)) as device:
        yield device


def shell(adb: AdbServer, phone: VirtualPhone, command: str) -> str:
    return adb.run("-s", phone.serial, "shell", command).stdout.decode()
