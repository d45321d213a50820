"""A virtual phone, as a test holds it: start, plug in, break, look inside, take away.

The phone itself is another process: see `adbd.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any, Self

from tests.places import REPOSITORY
from tests.virtual_android.adb_server import AdbServer, Cable
from tests.virtual_android.body import Consumed
from tests.virtual_android.control import PhoneControl
from tests.virtual_android.faults import Fault
from tests.virtual_android.image import system_image
from tests.virtual_android.spec import PhoneSpec


class VirtualPhone:
    """One phone; `with` starts it and takes it away."""

    def __init__(self, spec: PhoneSpec | None = None, port: int = 0) -> None:
        self.spec = spec or PhoneSpec()
        self.port = port
        self.faults = Faults(self)
        self._process: subprocess.Popen[str] | None = None
        self._folder = ""
        self._cable: Cable | None = None
        self._server: AdbServer | None = None
        self._control: PhoneControl | None = None

    @property
    def serial(self) -> str:
        """The name that adb knows the phone by."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        system_image()
        self._folder = tempfile.mkdtemp(prefix="virtual-phone-")
        self._process = subprocess.Popen(
            [*_own_mounts(), sys.executable, "-m", "tests.virtual_android.adbd", self._folder,
             str(self.port)],
            cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.spec.to_json()}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._end()
            raise RuntimeError("the virtual phone did not start; its own words are on stderr")
        self.port = int(answer)
        self._control = PhoneControl(self.port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._cable is not None:
                self._cable.unplug()
        finally:
            if self._control is not None:
                self._control.close()
            self._end()

    def _end(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- the cable -------------------------------------------------------------------------------

    def plug_in(self, server: AdbServer, state: str = "device", *, cable: bool = True) -> str:
        """Attach the phone to an adb server, and see it there in this state; return its serial.

        Without a cable adb comes over the air, and nothing charges the phone.
        """
        self._server = server
        self.order("connect", cable=cable, wireless=not cable)
        if self._cable is None:
            self._cable = Cable(server, self)
        server.await_state(self.serial, state)
        return self.serial

    def unplug(self) -> None:
        """Pull the cable, or end the wireless connection: the server loses the phone.

        What runs on the phone runs on.
        """
        if self._cable is not None and self._server is not None:
            self.order("connect", cable=False, wireless=False)
            self._cable.unplug()
            self._cable = None

    def answers_adb(self) -> bool | None:
        """Tell whether the phone would answer a host: None when it is not there at all."""
        state = self.state()
        return not state["silent"] if state["present"] else None

    # --- inside ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that is true of the phone, exactly and as of now (see `VirtualAdbd._report`)."""
        found: dict[str, Any] = self.order("state")
        return found

    def consumed(self, from_ns: int, to_ns: int) -> Consumed:
        """Return what the phone consumed between two moments of its CLOCK_MONOTONIC (a record's times).

        Raises ValueError for a time before its present boot, or yet to come.
        """
        found = self.order("consumed", from_ns=from_ns, to_ns=to_ns)
        if found is None:
            raise ValueError(f"the phone knows nothing of {from_ns} to {to_ns} ns")
        return Consumed(**found)

    def altered(self) -> dict[str, Any]:
        """Return the settings that commands have changed and not put back."""
        found: dict[str, Any] = self.state()["altered"]
        return found

    def commands(self) -> list[str]:
        """Return the command lines of the phone's processes."""
        return [process["command"] for process in self.order("processes")]

    def log(self) -> list[str]:
        """Return the lines that `adb logcat -d` would show."""
        return list(self.order("log"))

    def set_body(self, **values: float) -> None:
        """Set `charge_uah` or `skin_celsius` to something else."""
        self.order("body", values=values)

    def order(self, do: str, **fields: Any) -> Any:
        """Send an order to the phone's process; return its answer."""
        assert self._control is not None, "the phone is not running"
        return self._control.order(do, **fields)


class Faults:
    """The faults of one phone."""

    def __init__(self, phone: VirtualPhone) -> None:
        self._phone = phone

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        self._phone.order("fault", fault=fault.to_fields())

    def clear(self) -> None:
        """Disarm what has not struck, and end what lasts."""
        self._phone.order("forget")

    def struck(self) -> list[Fault]:
        """Return the faults that have struck."""
        return [Fault(**fields) for fields in self._phone.state()["struck"]]

    def await_struck(self, count: int = 1, seconds: float = 30.0) -> None:
        """Wait until so many faults have struck; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while len(self.struck()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.struck())} of {count} faults struck")
            time.sleep(0.02)


def _own_mounts() -> list[str]:
    """Return what gives the phone's process mounts that nobody else sees and that end with it."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--mount", "--propagation", "private", "--"]
