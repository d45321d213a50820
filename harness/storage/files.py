"""Writing files so that they are wholly there, on storage, or not at all, and their hashes. Not here: what is in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import StorageError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either wholly there, on storage, or not at all.

    What is no file (a pipe, /dev/null) is written into, never replaced. Raises StorageError.
    """
    with storage_errors(path):
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, if it is not there. Raises StorageError."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder, so that a rename in it survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong in writing `path` into a StorageError with a way out."""
    try:
        yield
    except IsADirectoryError as error:
        raise StorageError(f"cannot write {path}: it is a folder", "Name a file in it.") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"cannot write {path}: a file stands where its path needs a folder",
            "Name another place.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            "Free some space or fix the permissions.",
        ) from error


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
