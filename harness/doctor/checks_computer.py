"""What only this computer is asked."""

from __future__ import annotations

from harness.devices.health import Health
from harness.doctor.checks import Check, Verdict, unreadable


def _virtualised(health: Health) -> Verdict:
    if health.virtual_signs is None:
        return unreadable("A virtual machine shares its processor with neighbours.")
    if health.virtual_signs:
        return (
            "warning",
            f"a virtual machine or container ({health.virtual_signs})",
            "Neighbours come and go: trust comparisons within one sweep only, or measure on "
            "hardware of your own.",
        )
    return "ok", "no virtual machine, no container", ""


def _compiler(health: Health) -> Verdict:
    if health.compiler is None:
        return (
            "warning",
            "there is no C++ compiler",
            "Install one (Debian: g++): the runner is built on first use.",
        )
    return "ok", f"C++ compiler {health.compiler}", ""


COMPUTER: tuple[Check, ...] = (
    Check(
        key="virtualised",
        look=_virtualised,
        warning="a virtual machine or container",
        why="of this computer; neighbours come and go",
    ),
    Check(
        key="compiler",
        look=_compiler,
        warning="no C++ compiler",
        why="of this computer; the runner is built on first use",
    ),
)
"""What only this computer is asked."""
