"""Whose phone it is: a lock on the phone itself, with a sign of life, for hosts that know nothing of one another.

A holder without a sign of life and without a running job is gone. The holder's own commands are signs of
life too (lock/guard.sh). Not here: what the holder does with the phone.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading

from harness.devices.android.adb import Adb
from harness.devices.android.scripts import ROOT, Script, program, script
from harness.devices.android.shell import GuardedShell
from harness.devices.processes import start_ticks
from harness.errors import CommandFailed, DeviceError, HarnessError

LOCK_EXPIRES_SECONDS = 60
FREE_SPACE = "Free some space on the phone; `phonebench clean` removes what is ours."


class PhoneLock:
    """The lock of one phone, held from `take` until `let_go`."""

    def __init__(self, shell: GuardedShell, expires_seconds: int, heartbeat_seconds: float) -> None:
        self._shell, self._expires_seconds = shell, expires_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._let_go = threading.Event()

    def take(self, purpose: str) -> None:
        """Take the lock, from a holder that is gone too, and keep it. Raises DeviceError."""
        mine = json.dumps(_describe_this_process(self._shell.token, purpose))
        while not self._try_to_take(mine):
            pass
        threading.Thread(target=self._beat, daemon=True).start()

    def _try_to_take(self, mine: str) -> bool:
        """Return whether the lock is ours; it is not if its holder let go of it just now."""
        serial, token = self._shell.serial, self._shell.token
        take = script("lock/take", token=token, mine=mine)
        answer = self._shell.ask(take, script("lock/held"))
        if answer.exit_code != 0:
            raise CommandFailed(
                f"{serial}: cannot make {ROOT}/lock: {answer.last_words}", FREE_SPACE
            )
        state, _, rest = answer.text.partition("\n")
        if state == "taken":
            return True
        age, _, theirs = rest.partition("\n")
        if not age:
            return False
        if not _is_gone(theirs.strip(), silent=int(age) >= self._expires_seconds):
            raise DeviceError(
                f"{serial} is in use by {_name_holder(theirs)}",
                "Wait until it is done. A host that has died lets go after "
                f"{self._expires_seconds} s, or when its job has ended.",
            )
        seize = script("lock/seize", token=token, mine=mine, theirs=theirs.strip())
        if self._shell.ask(seize).exit_code != 0:
            raise DeviceError(f"{serial} was taken by another host just now", "Wait for it.")
        return True

    def _beat(self) -> None:
        """Give a sign of life while no job is awaited; a running job is one itself."""
        while not self._let_go.wait(self._heartbeat_seconds):
            if not self._shell.is_quiet:
                with contextlib.suppress(HarnessError, OSError):
                    self._shell.try_once()

    def stop_beating(self) -> None:
        """Give no more signs of life."""
        self._let_go.set()

    def let_go(self, *first: Script) -> None:
        """Give the lock back, after running what is `first`; a phone that is away keeps it for a while."""
        self.stop_beating()
        with contextlib.suppress(HarnessError):
            self._shell.try_once(*first, script("lock/let_go"))


def find_holder(adb: Adb) -> str | None:
    """Name who uses a phone now, "" if nobody does; None if the phone does not tell."""
    age, _, holder = adb.try_shell(program(script("lock/held"))).text.partition("\n")
    if not age:
        return ""
    if not age.isdigit():
        return None
    silent = int(age) >= LOCK_EXPIRES_SECONDS
    return "" if _is_gone(holder.strip(), silent=silent) else _name_holder(holder)


def _describe_this_process(token: str, purpose: str) -> dict[str, str | int | None]:
    return {
        "token": token,
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "pid": os.getpid(),
        "started": start_ticks(os.getpid()),
        "purpose": purpose,
    }


def _is_gone(holder: str, *, silent: bool) -> bool:
    """Tell whether the lock's holder is gone: silent for long, or a dead process of this computer."""
    if silent:
        return True
    try:
        known = json.loads(holder)
        here = bool(known["host"] == socket.gethostname())
        return here and start_ticks(known["pid"]) != known["started"]
    except (ValueError, KeyError, TypeError):
        return False


def _name_holder(holder: str) -> str:
    try:
        known = json.loads(holder)
        return f"{known['user']} on {known['host']} (process {known['pid']}: {known['purpose']})"
    except (ValueError, KeyError, TypeError):
        return "somebody"
