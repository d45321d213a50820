"""The faults a virtual phone can be given, and when each strikes.

A fault strikes at once, or after so many bytes on the link, seconds, when the host opens a
service whose name contains a text, or when a process of the phone starts. How each is carried out is not here: see `adbd.py`, `link.py`
and `sync.py`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tests.virtual_android.sandbox import PhoneProcess
from tests.virtual_android.sysfs import ANSWERS, Answer

Kind = Literal[
    "drop",  # the connection breaks; the phone listens on
    "unplug",  # the connection breaks, and none is accepted for `seconds`
    "refuse",  # connections are refused for `seconds`; the present one stays
    "stall",  # nothing moves on the link for `seconds`
    "slow",  # the link carries `bytes_per_second`, for `seconds` (for ever when 0)
    "corrupt",  # one byte of a file is changed in transfer, `at_byte` of the next one
    "disk_full",  # /data is left with `free_bytes`, for `seconds` (for ever when 0)
    "offline",  # the phone stops answering: adb shows it as offline, for `seconds`
    "unauthorized",  # the key is no longer accepted, for `seconds`
    "reboot",
    "core_offline",  # core number `core` goes offline, for `seconds` (for ever when 0)
    "heat",  # the skin becomes `celsius` hotter at once, and cannot cool for `seconds`
    "sensor",  # files of /sys whose names contain `file` give this `answer`, for `seconds`
    "kill",  # processes whose command line contains `process` get SIGKILL
]


RUNNER = r"^(\S*(qemu-\S*|ld-linux\S*|/sh) )*(--\S+ \S+ )*\S*/runner\w* \S+/job\.json"
"""For `on_process`: a runner with its loader or shell, and nobody who only speaks of one."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, and when."""

    kind: Kind
    after_bytes: int | None = None
    """Strike when this many bytes have crossed the link (both directions) since it was added."""
    after_seconds: float | None = None
    on_service: str | None = None
    """Strike when the host opens a service whose name contains this (`shell`, `sync:`, a command)."""
    on_process: str | None = None
    """Strike when a process starts whose command line this regular expression finds; one that such a
    process itself has forked is not another."""
    delay_seconds: float = 0.0
    """Wait so long after that start."""
    every: int = 1
    """Strike at each n-th such start only, the first among them."""
    times: int = 1
    """Strike at so many such starts (0: at all)."""
    seconds: float = 0.0
    bytes_per_second: int = 200_000
    direction: Literal["push", "pull"] = "push"
    at_byte: int = 0
    free_bytes: int = 0
    core: int = 0
    celsius: float = 20.0
    process: str = ""
    file: str = "battery/current_now"
    answer: Answer = "garbage"
    text: str = "N/A"

    def to_fields(self) -> dict[str, Any]:
        """Return what differs from the defaults, ready for JSON."""
        blank = asdict(Fault(self.kind))
        return {
            name: value
            for name, value in asdict(self).items()
            if name == "kind" or value != blank[name]
        }


def random_fault(rng: random.Random, process: str = "runner") -> Fault:
    """Draw a fault that a phone gets over: short, and struck within some seconds or megabytes.

    `process` names what the system may kill. The same state of `rng` gives the same fault.
    """
    kind: Kind = rng.choice(get_args(Kind))
    when = rng.choice(("seconds", "bytes", "service"))
    return Fault(
        kind=kind,
        after_seconds=round(rng.uniform(0.0, 3.0), 3) if when == "seconds" else None,
        after_bytes=rng.randrange(0, 2_000_000) if when == "bytes" else None,
        on_service=rng.choice(("shell", "sync:")) if when == "service" else None,
        seconds=round(rng.uniform(0.2, 2.0), 3),
        bytes_per_second=rng.randrange(100_000, 2_000_000),
        direction=rng.choice(("push", "pull")),
        at_byte=rng.randrange(0, 4096),
        free_bytes=rng.randrange(0, 65536),
        celsius=round(rng.uniform(5.0, 25.0), 1),
        process=process,
        answer=rng.choice(ANSWERS),
    )


class ProcessWatch:
    """Waits for the starts of the processes that one fault names."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._pattern = re.compile(fault.on_process or "")
        self._known: set[int] | None = None
        self._starts = self._strikes = 0

    def strikes_now(self, processes: Sequence[PhoneProcess]) -> bool:
        """Look at the phone's processes, and tell whether the fault is to strike.

        What runs at the first look has not started.
        """
        found = {p.pid: p.parent for p in processes if self._pattern.search(p.command)}
        known, self._known = self._known, set(found)
        if known is None:
            return False
        strikes = False
        for pid, parent in found.items():
            if pid not in known and parent not in found:
                self._starts += 1
                strikes |= (self._starts - 1) % self.fault.every == 0
        self._strikes += strikes
        return strikes

    def over(self) -> bool:
        """Tell whether the fault will not strike any more."""
        return self.fault.times > 0 and self._strikes >= self.fault.times
