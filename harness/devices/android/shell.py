"""The shell of a phone that is held: scripts run under our lock, and a phone that goes away is waited for.

Every script can be run twice: when the phone goes away meanwhile, it is waited for, and asked again.
Not here: one command over adb (`adb.py`), and taking the lock (`lock.py`).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable

from harness.cancellation import Cancellation
from harness.devices.android.adb import Adb, Output
from harness.devices.android.scripts import LOST_LOCK, Script, guard, program, script
from harness.errors import CommandFailed, DeviceError, DeviceLost

_RETURN_POLL_SECONDS = 0.25


class GuardedShell:
    """One phone's shell, for whoever holds the lock that `token` names.

    `is_quiet`: a job is being awaited, and nothing is to be asked beside it. `has_given_up`: the phone
    went away and is not waited for any more. `on_reboot` is called when it came back as another boot.
    """

    def __init__(self, serial: str, patience_seconds: float) -> None:
        self.adb, self.serial = Adb(serial), serial
        self.patience_seconds = patience_seconds
        self.token = uuid.uuid4().hex
        self.is_quiet = self.has_given_up = False
        self.on_reboot: Callable[[], None] = lambda: None
        self._boot = ""

    def run(self, *scripts: Script, seconds: float = 20.0) -> Output:
        """Run scripts under our lock; raises CommandFailed unless they end well."""
        output = self.try_run(*scripts, seconds=seconds)
        if output.exit_code != 0:
            raise CommandFailed(
                f"{self.serial}: {' + '.join(one.name for one in scripts)} ended with exit code "
                f"{output.exit_code}: {output.last_words}"
            )
        return output

    def try_run(
        self, *scripts: Script, seconds: float = 20.0, cancellation: Cancellation | None = None
    ) -> Output:
        """Run scripts under our lock, however they end. Raises DeviceLost if it was taken from us."""
        output = self.ask(guard(self.token), *scripts, seconds=seconds, cancellation=cancellation)
        if output.exit_code == LOST_LOCK:
            raise DeviceLost(
                f"{self.serial} was taken over by another host while this one was silent",
                "Wait until it is done, then go on with `phonebench run --resume`.",
            )
        return output

    def ask(
        self, *scripts: Script, seconds: float = 20.0, cancellation: Cancellation | None = None
    ) -> Output:
        """Run scripts without our lock; a phone that goes away is waited for and asked again."""
        until = self.deadline()
        while True:
            try:
                return self.adb.try_shell(program(*scripts), seconds, cancellation)
            except DeviceLost:
                if not self.is_back(until, cancellation):
                    raise

    def try_once(self, *scripts: Script) -> Output:
        """Run scripts under our lock; a phone that goes away is not waited for."""
        return self.adb.try_shell(program(guard(self.token), *scripts))

    def deadline(self) -> float:
        """Return until when a phone that goes away now may stay away (`time.monotonic`)."""
        return time.monotonic() + self.patience_seconds

    def is_back(self, until: float, cancellation: Cancellation | None = None) -> bool:
        """Wait for a phone until it is there and has booted; False when patience ends, for good."""
        while time.monotonic() < until and not self.has_given_up:
            if boot := self._read_boot():
                before, self._boot = self._boot, boot
                if before not in ("", boot):
                    self._tell_of_reboot()
                return True
            if cancellation is not None and cancellation.is_set():
                self.has_given_up = True
            time.sleep(_RETURN_POLL_SECONDS)
        self.has_given_up = True
        return False

    def _read_boot(self) -> str:
        """Return the name of the boot that the phone is in; "" unless it is there and has booted."""
        with contextlib.suppress(DeviceError):
            if self.adb.state() == "device":
                answer = self.adb.try_shell(program(script("questions/boot")), 10.0)
                booted, _, boot = answer.text.partition("\n")
                return boot.strip() if booted.strip() == "1" else ""
        return ""

    def _tell_of_reboot(self) -> None:
        try:
            self.on_reboot()
        except DeviceError as error:
            self.has_given_up = True
            raise DeviceLost(
                f"{self.serial} rebooted, and its settings cannot be changed again: "
                f"{error.message}",
                error.advice,
            ) from error
