"""The file service of ADB: stat, list, send and receive, in their old and their v2 forms.

Source: AOSP adb, SYNC.TXT and file_sync_protocol.h. How a path is opened is in `files.py`.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from os import stat_result
from typing import Literal

from tests.virtual_android.connection import Stream, StreamClosed
from tests.virtual_android.files import PhoneFiles

DATA_BYTES = 64 * 1024
"""The most that one DATA message may hold."""
BATCH_BYTES = 1024 * 1024 - 16 * 8
_HEADER = struct.Struct("<4sI")
_STAT_V1 = struct.Struct("<4s3I")
_DENT_V1 = struct.Struct("<4s4I")
_STAT_V2 = struct.Struct("<4sIQQIIIIQqqq")
_DENT_V2 = struct.Struct("<4sIQQIIIIQqqqI")

Direction = Literal["push", "pull"]
Corrupt = Callable[[Direction, int, bytes], bytes]
"""(direction, offset of the piece in the file, piece) -> what arrives instead."""


class SyncService:
    """Serves one sync stream."""

    def __init__(self, files: PhoneFiles, corrupt: Corrupt) -> None:
        self._files, self._corrupt = files, corrupt

    async def __call__(self, stream: Stream) -> None:
        """Answer requests until QUIT or the stream's end."""
        while True:
            kind, length = _HEADER.unpack(await stream.read_exactly(_HEADER.size))
            if kind == b"QUIT":
                return
            path = (await stream.read_exactly(length)).decode(errors="surrogateescape")
            try:
                await self._answer(stream, kind, path)
            except OSError as error:
                await _fail(stream, error.strerror or str(error))

    async def _answer(self, stream: Stream, kind: bytes, path: str) -> None:
        if kind == b"STAT":
            await stream.write(self._stat_v1(path))
        elif kind in (b"STA2", b"LST2"):
            await stream.write(self._stat_v2(kind, path))
        elif kind == b"LIST":
            await self._list(stream, path, _dent_v1, _DENT_V1.size)
        elif kind == b"LIS2":
            await self._list(stream, path, _dent_v2, _DENT_V2.size)
        elif kind == b"SEND":
            path, _, mode = path.rpartition(",")
            await self._accept(stream, path, int(mode))
        elif kind == b"SND2":
            _, mode, _flags = struct.unpack("<4sII", await stream.read_exactly(12))
            await self._accept(stream, path, mode)
        elif kind == b"RECV":
            await self._send(stream, path)
        elif kind == b"RCV2":
            await stream.read_exactly(8)
            await self._send(stream, path)
        else:
            await _fail(stream, f"unknown command {kind!r}")
            raise StreamClosed

    def _stat_v1(self, path: str) -> bytes:
        try:
            found = self._files.stat(path, follow=False)
        except OSError:
            return _STAT_V1.pack(b"STAT", 0, 0, 0)
        return _STAT_V1.pack(b"STAT", *_short(found))

    def _stat_v2(self, kind: bytes, path: str) -> bytes:
        try:
            found = self._files.stat(path, follow=kind == b"STA2")
        except OSError as error:
            return _STAT_V2.pack(kind, error.errno or 0, *(0,) * 10)
        return _STAT_V2.pack(kind, 0, *_long(found))

    async def _list(
        self,
        stream: Stream,
        path: str,
        entry: Callable[[str, stat_result], bytes],
        record_bytes: int,
    ) -> None:
        listing = bytearray()
        with suppress(OSError):  # adbd lists nothing where it may not look
            for name, found in self._files.entries(path):
                listing += entry(name, found)
        await stream.write(bytes(listing) + b"DONE".ljust(record_bytes, b"\0"))

    async def _accept(self, stream: Stream, path: str, mode: int) -> None:
        """Take a file from the host; after an error, its remaining bytes are read and forgotten."""
        if stat.S_ISLNK(mode):
            await self._accept_link(stream, path)
            return
        try:
            descriptor = self._files.create(path, 0o600)
        except OSError as error:
            await _fail(stream, f"couldn't create file: {error.strerror}")
            await _skip_file(stream)
            return
        try:
            mtime = await self._accept_data(stream, descriptor)
            os.fchmod(descriptor, (mode & 0o777) | 0o600)
            os.utime(descriptor, (mtime, mtime))
        except (OSError, StreamClosed) as error:
            with suppress(OSError):
                self._files.remove(path)
            if isinstance(error, StreamClosed):
                raise
            await _fail(stream, f"write failed: {error.strerror}")
            await _skip_file(stream)
            return
        finally:
            os.close(descriptor)
        await stream.write(_HEADER.pack(b"OKAY", 0))

    async def _accept_data(self, stream: Stream, descriptor: int) -> int:
        offset = 0
        while True:
            kind, length = _HEADER.unpack(await stream.read_exactly(_HEADER.size))
            if kind == b"DONE":
                return int(length)
            piece = self._corrupt("push", offset, await stream.read_exactly(length))
            offset += len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]

    async def _accept_link(self, stream: Stream, path: str) -> None:
        target = b""
        while True:
            kind, length = _HEADER.unpack(await stream.read_exactly(_HEADER.size))
            if kind == b"DONE":
                break
            target += await stream.read_exactly(length)
        self._files.link(path, target.rstrip(b"\0").decode())
        await stream.write(_HEADER.pack(b"OKAY", 0))

    async def _send(self, stream: Stream, path: str) -> None:
        descriptor = self._files.open(path, os.O_RDONLY)
        try:
            offset, batch = 0, bytearray()
            while piece := os.read(descriptor, DATA_BYTES):
                batch += _HEADER.pack(b"DATA", len(piece))
                batch += self._corrupt("pull", offset, piece)
                offset += len(piece)
                if len(batch) + DATA_BYTES > BATCH_BYTES:
                    await stream.write(bytes(batch))
                    batch.clear()
            await stream.write(bytes(batch) + _HEADER.pack(b"DONE", 0))
        finally:
            os.close(descriptor)


async def _skip_file(stream: Stream) -> None:
    while True:
        kind, length = _HEADER.unpack(await stream.read_exactly(_HEADER.size))
        if kind == b"DONE":
            return
        await stream.read_exactly(length)


async def _fail(stream: Stream, message: str) -> None:
    text = message.encode()
    await stream.write(_HEADER.pack(b"FAIL", len(text)) + text)


def _short(found: stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime) & 0xFFFFFFFF


def _long(found: stat_result) -> tuple[int, ...]:
    return (
        found.st_dev, found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid,
        found.st_size, int(found.st_atime), int(found.st_mtime), int(found.st_ctime),
    )  # fmt: skip


def _dent_v1(name: str, found: stat_result) -> bytes:
    encoded = os.fsencode(name)
    return _DENT_V1.pack(b"DENT", *_short(found), len(encoded)) + encoded


def _dent_v2(name: str, found: stat_result) -> bytes:
    encoded = os.fsencode(name)
    return _DENT_V2.pack(b"DNT2", 0, *_long(found), len(encoded)) + encoded
