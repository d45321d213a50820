"""Processes of this computer, told apart also when their ids are given away again."""

from __future__ import annotations

from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None if there is no such process.

    A zombie, which has ended and was not waited for yet, counts as none.
    """
    try:
        # The name, in parentheses, may hold spaces; the start time is the 20th field after it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
