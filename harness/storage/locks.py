"""Locks on files and folders that end with the process that holds them (flock). Not here: locks on phones."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def lock_folder(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold a folder for this process. Raises BlockingIOError if another has it and `wait` is off.

    The folder itself is locked, not a file in it: each of these may be replaced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def lock_file(file: IO[str] | IO[bytes], *, wait: bool) -> None:
    """Hold an open file until it is closed. Raises BlockingIOError if another has it and `wait` is off."""
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def is_locked(file: IO[str] | IO[bytes]) -> bool:
    """Tell whether another process holds an open file; it is not taken."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
