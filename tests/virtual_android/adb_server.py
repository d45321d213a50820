"""A private adb server, real and on a port of its own, and the cable between it and a phone.

The server's keys are its own and the user's server is left alone. What the server talks to is in `phone.py`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

START_SECONDS = 20.0
LOOK_SECONDS = 0.2
SILENT_LOOKS = 5
"""How often a cable finds an attached phone offline before it is plugged in anew."""


class AdbServer:
    """A real adb server; `with` starts it and takes it away, key folder and all.

    Put `environment` into a child's environment, and its adb and adbutils use this server.
    """

    def __init__(self, adb: str | None = None) -> None:
        found = adb or shutil.which("adb")
        if found is None:
            raise FileNotFoundError("adb is not installed")
        self.adb = found
        self.port = free_port()
        self._home = Path(tempfile.mkdtemp(prefix="virtual-phone-adb-"))
        self.environment = {
            "ADBUTILS_ADB_PATH": self.adb,
            "ANDROID_ADB_SERVER_HOST": "127.0.0.1",
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ANDROID_USER_HOME": str(self._home),
            "ADB_VENDOR_KEYS": str(self._home),
            # Neither emulators nor phones of the user's own are to appear here.
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
            "ADB_MDNS": "0",
            "ADB_USB": "0",
        }
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # When this process is killed the pipe closes, and the server is taken away all the same.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'cat; "$0" kill-server; rm -rf "$1"', self.adb, str(self._home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._full_environment(),
            start_new_session=True,
        )
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        assert self._guard is not None
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def start(self) -> None:
        """Start the server (again)."""
        self.run("start-server", check=True)

    def kill(self) -> None:
        """Kill this server and no other, and see it gone. A client may start another at once."""
        servers = self._servers()
        self.run("kill-server")
        deadline = time.monotonic() + START_SECONDS
        while servers & self._servers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the adb server on port {self.port} does not end")
            time.sleep(0.02)

    def _servers(self) -> set[int]:
        """Return the processes that serve on this port."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile
                words = (process / "cmdline").read_bytes().split(b"\0")
                if f"tcp:{self.port}".encode() in words and b"fork-server" in words:
                    found.add(int(process.name))
        return found

    def alive(self) -> bool:
        """Tell whether something listens on the server's port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def run(
        self, *arguments: str, check: bool = False, input: bytes | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the stock adb client against this server."""
        return subprocess.run(
            self.command(*arguments),
            env=self._full_environment(),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            check=check,
            timeout=timeout,
        )

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the stock adb client, with pipes."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self._full_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the stock client for these arguments."""
        return [self.adb, "-P", str(self.port), *arguments]

    def state_of(self, serial: str) -> str | None:
        """Return what `adb devices` shows for a serial; None when it is not listed.

        Asks a running server and never starts one; ConnectionError when there is none.
        """
        for line in self.ask("host:devices").splitlines():
            name, _, state = line.partition("\t")
            if name == serial:
                return state
        return None

    def await_state(self, serial: str, state: str | None, seconds: float = 30.0) -> None:
        """Wait until `adb devices` shows this; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (found := self.state_of(serial)) != state:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{serial} is {found}, not {state}, after {seconds} s")
            time.sleep(0.02)

    def ask(self, request: str) -> str:
        """Send one request of the host protocol (AOSP adb, SERVICES.TXT); return its answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as server:
            server.sendall(f"{len(request):04x}{request}".encode())
            with server.makefile("rb") as answer:
                if answer.read(4) != b"OKAY":
                    raise ConnectionError(answer.read().decode(errors="replace"))
                return answer.read(int(answer.read(4) or b"0", 16)).decode()

    def _full_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "HOME": str(self._home)}


class Pluggable(Protocol):
    """What a cable can hang on."""

    @property
    def serial(self) -> str: ...
    def answers_adb(self) -> bool | None: ...


class Cable:
    """Does for a phone on TCP what USB does for a real one: it is there again by itself.

    Looks again and again: a phone that went away is forgotten at the server, one that is back is connected.
    """

    def __init__(self, server: AdbServer, phone: Pluggable) -> None:
        self._server, self._phone = server, phone
        self._unplugged = threading.Event()
        self._offline_looks = 0
        self._thread = threading.Thread(target=self._look_after, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Stop looking, and let the server forget the phone."""
        self._unplugged.set()
        self._thread.join()
        with suppress(OSError, ValueError):
            self._server.ask(f"host:disconnect:{self._phone.serial}")

    def _look_after(self) -> None:
        while not self._unplugged.is_set():
            # Without a server there is nothing to do but to look again.
            with suppress(OSError, ValueError):
                self._look()
            self._unplugged.wait(LOOK_SECONDS)

    def _look(self) -> None:
        serial, answers = self._phone.serial, self._phone.answers_adb()
        state = self._server.state_of(serial)
        # The server tries by itself to reach what it lost, but in steps of ten seconds.
        self._offline_looks = self._offline_looks + 1 if state == "offline" and answers else 0
        gone = answers is None and state is not None
        if gone or self._offline_looks >= SILENT_LOOKS:
            self._server.ask(f"host:disconnect:{serial}")
        elif state is None and answers is not None:
            self._server.ask(f"host:connect:{serial}")


def free_port() -> int:
    """Return a port of this computer that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
