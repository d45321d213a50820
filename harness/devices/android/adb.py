"""Talking to one phone through the adb server: commands with deadlines, and files.

Every error names the phone, and tells a phone that is gone (DeviceLost) from one that says no
(CommandFailed). The shell's packets are read here and not by adbutils, which knows no deadline for a
whole command, no cancellation and no stdin. Not here: what answers mean (`facts.py`).
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbutils
from adbutils.errors import AdbError, AdbTimeout

from harness.cancellation import Cancellation
from harness.errors import CommandFailed, CommandTimeout, DeviceError, DeviceLost, Stopped

# Packets of the shell protocol, version 2 (AOSP, packages/modules/adb/shell_protocol.h).
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_HEADER_BYTES = 5
# A request to the adb server tells its length in four hexadecimal digits.
_LONGEST_COMMAND_BYTES = 30_000
_PIECE_BYTES = 16_384
# `adb push` has no deadline of its own: give up on one that is slower than this.
_SLOWEST_BYTES_PER_SECOND = 100_000
_PUSH_SECONDS = 30.0
_CONNECT_SECONDS = 3.0
_PLUG_IN = (
    "Plug it in again (`adb devices` must show it as device), then `phonebench run --resume`."
)


@dataclass(frozen=True)
class Output:
    """What a command on the phone printed, and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int

    @property
    def text(self) -> str:
        """Stdout as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def last_words(self) -> str:
        """The end of what it said on stderr, or else on stdout."""
        return (self.stderr or self.stdout).decode("utf-8", "replace").strip()[-300:]


def make_client() -> adbutils.AdbClient:
    """Return a client of the adb server, where ANDROID_ADB_SERVER_HOST and _PORT say it is.

    The server is started if none runs, as every adb client does; here, because adbutils lets it
    write to our stderr. Raises OSError or SubprocessError if it does not start.
    """
    host = os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
    port = int(os.environ.get("ANDROID_ADB_SERVER_PORT", "5037"))
    with socket.socket() as probe:
        probe.settimeout(_CONNECT_SECONDS)
        is_running = probe.connect_ex((host, port)) == 0
    if not is_running:
        command = [adbutils.adb_path(), "start-server"]
        subprocess.run(command, capture_output=True, timeout=20.0, check=True)
    return adbutils.AdbClient(host=host, port=port, socket_timeout=10.0)


def list_phones() -> dict[str, str]:
    """Return the adb state of every phone that adb knows, by serial. Raises DeviceError."""
    try:
        return {found.serial: found.state for found in make_client().list()}
    except (AdbError, OSError, subprocess.SubprocessError) as error:
        raise DeviceError(
            f"the adb server does not answer: {error}",
            "Look at what `adb devices` says; `adb kill-server` makes it start anew.",
        ) from error


def longest_push_seconds(size_bytes: int) -> float:
    """Return how long pushing a file may take."""
    return _PUSH_SECONDS + size_bytes / _SLOWEST_BYTES_PER_SECOND


class Adb:
    """One phone, by its serial."""

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def shell(
        self, script: str, seconds: float = 20.0, cancellation: Cancellation | None = None
    ) -> Output:
        """Run a script in the phone's shell; return its output when it ended well.

        Raises CommandFailed on an exit code other than 0, with its last words; CommandTimeout
        after `seconds` (the process may live on: start long work detached); DeviceLost; Stopped.
        """
        output = self.try_shell(script, seconds, cancellation)
        if output.exit_code != 0:
            raise CommandFailed(
                f"{self.serial}: `{_short(script)}` ended with exit code {output.exit_code}: "
                f"{output.last_words}"
            )
        return output

    def try_shell(
        self, script: str, seconds: float = 20.0, cancellation: Cancellation | None = None
    ) -> Output:
        """Run a script in the phone's shell, however it ends. Raises as `shell` does, but for that."""
        parts: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
        deadline = time.monotonic() + seconds
        with self._translated(script, seconds):
            connection = make_client().make_connection(timeout=seconds)
            try:
                connection.send_command(f"host:transport:{self.serial}")
                connection.check_okay()
                _start_shell(connection, script.encode())
                for kind, content in _packets(connection.conn, deadline, cancellation):
                    if kind == _EXIT:
                        stdout, stderr = (b"".join(parts[k]) for k in (_STDOUT, _STDERR))
                        return Output(stdout, stderr, content[0])
                    parts.setdefault(kind, []).append(content)
            finally:
                # Not connection.close(): that sleeps 10 ms.
                connection.conn.close()
        raise DeviceLost(f"{self.serial} went away during `{_short(script)}`", _PLUG_IN)

    def push(self, source: Path, remote: str) -> None:
        """Copy a file to the phone, with the adb program: it is faster than any client in Python."""
        seconds = longest_push_seconds(source.stat().st_size)
        try:
            client = make_client()
            server = ["-H", str(client.host), "-P", str(client.port)]
            command = [adbutils.adb_path(), *server, "-s", self.serial, "push", str(source), remote]
            ended = subprocess.run(
                command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise CommandTimeout(
                f"{self.serial}: pushing {source.name} was not done after {seconds:.0f} s",
                "Try another cable or port: this is slower than any healthy one.",
            ) from error
        except (OSError, subprocess.SubprocessError) as error:
            raise self._as_device_error(str(error), f"push {source.name}") from error
        if ended.returncode != 0:
            words = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip()[-300:]
            raise self._as_device_error(words, f"push {source.name}")

    def state(self) -> str:
        """Return the adb state: device, offline, unauthorized, ...; "absent" if adb has no such.

        Raises DeviceError if the adb server does not answer.
        """
        return list_phones().get(self.serial, "absent")

    @contextmanager
    def _translated(self, script: str, seconds: float) -> Iterator[None]:
        try:
            yield
        except (AdbTimeout, TimeoutError) as error:
            raise CommandTimeout(
                f"{self.serial}: `{_short(script)}` did not end within {seconds:.0f} s"
            ) from error
        except (AdbError, OSError, EOFError, subprocess.SubprocessError) as error:
            raise self._as_device_error(str(error), _short(script)) from error

    def _as_device_error(self, words: str, doing: str) -> DeviceError:
        """Tell a phone that is gone from one that says no, by what adb says."""
        if re.search(_GONE, words):
            return DeviceLost(f"{self.serial} went away ({words}) during `{doing}`", _PLUG_IN)
        return CommandFailed(f"{self.serial}: `{doing}`: {words}")


# What adb and its server say when the phone is not there (AOSP, adb/transport.cpp, adb.cpp).
_GONE = (
    r"not found|device offline|device unauthorized|no devices|closed|Unknown data: b''|"
    r"Connection reset|Broken pipe|Expected \d+ bytes|connect to adb server|connection reset|"
    r"failed to read|couldn't read|device still|EOF|Connection refused|protocol fault|start-server"
)


def _start_shell(connection: adbutils.AdbConnection, script: bytes) -> None:
    """Ask for a shell that runs the script; a long one is sent to its stdin."""
    is_long = len(script) > _LONGEST_COMMAND_BYTES
    command = 'eval "$(cat)"' if is_long else script.decode()
    connection.send_command(f"shell,v2,raw:{command}")
    connection.check_okay()
    if is_long:
        for start in range(0, len(script), _PIECE_BYTES):
            piece = script[start : start + _PIECE_BYTES]
            connection.conn.sendall(struct.pack("<BI", _STDIN, len(piece)) + piece)
        connection.conn.sendall(struct.pack("<BI", _CLOSE_STDIN, 0))


def _packets(
    connection: socket.socket, deadline: float, cancellation: Cancellation | None
) -> Iterator[tuple[int, bytes]]:
    """Yield the packets of a shell until it closes. Raises TimeoutError at the deadline, Stopped."""
    buffer = bytearray()
    while True:
        while len(buffer) >= _HEADER_BYTES:
            length = int.from_bytes(buffer[1:_HEADER_BYTES], "little")
            if len(buffer) < _HEADER_BYTES + length:
                break
            yield buffer[0], bytes(buffer[_HEADER_BYTES : _HEADER_BYTES + length])
            del buffer[: _HEADER_BYTES + length]
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        if cancellation is not None and not cancellation.wait_for(connection.fileno(), left):
            if cancellation.is_set():
                raise Stopped("the user wants to stop")
            raise TimeoutError
        received = connection.recv(1 << 16)
        if not received:
            return
        buffer += received


def _short(script: str) -> str:
    """Name a script for an error: by the comment that it begins with, else by how it begins."""
    if script.startswith("# "):
        return script[2:].partition("\n")[0]
    line = " ".join(script.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
