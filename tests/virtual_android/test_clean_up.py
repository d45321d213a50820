"""Nothing of a virtual phone stays, whatever ended the test."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.phones import await_truth
from tests.virtual_android import (
    AdbServer,
)

pytestmark = pytest.mark.slow


# --- nothing stays -------------------------------------------------------------------------------

KILLED = """
import time
from tests.virtual_android import AdbServer, VirtualPhone
with AdbServer() as adb, VirtualPhone() as phone:
    phone.plug_in(adb)
    adb.run("-s", phone.serial, "shell", "sleep 4242 >/dev/null 2>&1 </dev/null &")
    print(adb.port, phone.port, adb._home, phone._folder, phone._process.pid, flush=True)
    time.sleep(600)
"""


def test_nothing_stays_of_a_test_that_was_killed(adb: AdbServer) -> None:
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    port, _, home, folder, pid = child.stdout.readline().split()
    child.kill()
    child.wait()
    child.stdout.close()
    await_truth(lambda: not Path(home).exists() and not Path(folder).exists())
    await_truth(lambda: not Path(f"/proc/{pid}").exists())
    everything = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
    ]
    assert not any(b"4242" in command for command in everything)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


def test_the_command_prints_what_to_type() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "tests.virtual_android", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "start" in help_text.stdout
    assert "fault" in help_text.stdout
