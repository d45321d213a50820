"""Files as the phone sees them, opened from outside: no path leads out of its root.

A symbolic link inside the phone, absolute or not, must be resolved against the phone's root, never
against the host's. What the sync service does with the files is not here: see `sync.py`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHELL_ID = 2000
"""Android's user and group `shell`."""

# openat2(2), Linux 5.6; the same number on every architecture, and no wrapper in Python 3.11.
_SYS_OPENAT2 = 437
_RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)


def can_be_shell() -> bool:
    """Tell whether processes can become the shell user: as root of the host, not of a user namespace."""
    mapped = Path("/proc/self/uid_map").read_text().split()
    return os.geteuid() == 0 and int(mapped[2]) > SHELL_ID


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class PhoneFiles:
    """The files of one running phone, as its shell user may touch them."""

    def __init__(self, init_pid: int) -> None:
        self._root = os.open(f"/proc/{init_pid}/root", os.O_PATH | os.O_DIRECTORY)
        self._as_shell = can_be_shell()

    def close(self) -> None:
        """Let go of the phone's root."""
        os.close(self._root)
        self._root = -1  # whoever still comes gets EBADF, not another's descriptor

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Open a path of the phone; the caller closes the descriptor. Raises OSError."""
        how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT)
        with self._user():
            descriptor = _libc.syscall(
                _SYS_OPENAT2, self._root, path.encode(), ctypes.byref(how), ctypes.sizeof(how)
            )
            if descriptor < 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), path)
        return int(descriptor)

    def stat(self, path: str, follow: bool) -> os.stat_result:
        """Stat a path, or the link itself when not to `follow`."""
        descriptor = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def entries(self, path: str) -> list[tuple[str, os.stat_result]]:
        """List a folder: names, `.` and `..` among them as adbd has it, and what each is."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = []
            names = os.listdir(descriptor)  # noqa: PTH208 - a descriptor has no path
            for name in (".", "..", *names):
                with _ignored(FileNotFoundError):
                    found.append((name, os.stat(name, dir_fd=descriptor, follow_symlinks=False)))
            return found
        finally:
            os.close(descriptor)

    def create(self, path: str, mode: int) -> int:
        """Make an empty file in place of what is there, with the folders above it."""
        self.remove(path)
        self.make_folders(posixpath.dirname(path))
        return self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link in place of what is there."""
        self.remove(path)
        self.make_folders(posixpath.dirname(path))
        with self._folder_of(path) as (folder, name), self._user():
            os.symlink(target, name, dir_fd=folder)

    def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        with _ignored(FileNotFoundError), self._folder_of(path) as (folder, name), self._user():
            os.unlink(name, dir_fd=folder)

    def make_folders(self, path: str) -> None:
        """Make a folder and those above it."""
        if path in ("", "/"):
            return
        try:
            os.close(self.open(path, os.O_PATH))
        except FileNotFoundError:
            self.make_folders(posixpath.dirname(path))
            with self._folder_of(path) as (folder, name), self._user():
                os.mkdir(name, 0o771, dir_fd=folder)

    @contextmanager
    def _folder_of(self, path: str) -> Iterator[tuple[int, str]]:
        parent, name = posixpath.split(path.rstrip("/"))
        if not name:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        folder = self.open(parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            yield folder, name
        finally:
            os.close(folder)

    @contextmanager
    def _user(self) -> Iterator[None]:
        """Act as the shell user, so that the kernel itself refuses what a phone would."""
        if not self._as_shell:
            yield
            return
        os.setegid(SHELL_ID)
        os.seteuid(SHELL_ID)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)


@contextmanager
def _ignored(error: type[OSError]) -> Iterator[None]:
    try:
        yield
    except error:
        return
