"""Switching a phone's USB port off and on, by uhubctl, on the few hubs that can.

Not here: when (`measure/charging.py`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import DeviceError

USB_DEVICES = Path("/sys/bus/usb/devices")
_SECONDS = 30.0


@dataclass(frozen=True)
class Port:
    """One port of a hub, as uhubctl names it."""

    hub: str
    number: int


def find_port(serial_number: str) -> Port | None:
    """Return the port that a device of this serial number is plugged into; None if none is seen.

    The kernel names a device after its way there: 1-4.2 is port 2 of the hub at 1-4, and 1-4 is port 4 of
    bus 1's own hub (Linux, Documentation/driver-api/usb).
    """
    for file in sorted(USB_DEVICES.glob("*/serial")):
        name = re.fullmatch(r"(\d+(?:-\d+(?:\.\d+)*)?)[-.](\d+)", file.parent.name)
        if name is not None and _read(file) == serial_number:
            return Port(name[1], int(name[2]))
    return None


def explain_unusable(port: Port | None, serial_number: str) -> str:
    """Return why a port cannot be switched, "" if its hub can."""
    if port is None:
        return f"no USB port has a device with the serial number {serial_number}"
    if shutil.which("uhubctl") is None:
        return "uhubctl is not installed on this computer"
    told = _run("-l", port.hub)
    if told.returncode != 0 or f"Current status for hub {port.hub} " not in told.stdout:
        words = (told.stdout + told.stderr).strip().splitlines()
        return f"uhubctl cannot switch hub {port.hub}: {words[0] if words else 'it says nothing'}"
    return ""


def switch(port: Port, action: Literal["on", "off"]) -> None:
    """Switch a port's power. Raises DeviceError with uhubctl's own words."""
    told = _run("-l", port.hub, "-p", str(port.number), "-a", action)
    if told.returncode != 0:
        words = (told.stderr or told.stdout).strip()[-200:]
        raise DeviceError(
            f"uhubctl does not switch port {port.number} of hub {port.hub} {action}: {words}",
            f"By hand: sudo uhubctl -l {port.hub} -p {port.number} -a {action}",
        )


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["uhubctl", *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, 1, "", str(error))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
