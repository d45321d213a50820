"""The cable: bytes between the adb server and the phone, and what may happen to them on the way.

Which faults there are is in `faults.py`; what the bytes mean is in `connection.py`.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass, field

SLOW_CHUNK_BYTES = 4096
# A loop cannot sleep for less than about a millisecond: what crosses at once takes longer than that.
SLOW_CHUNK_SECONDS = 0.005


@dataclass
class LinkCondition:
    """What all connections of one phone suffer at present."""

    bytes_per_second: int | None = None
    stalled_until: float = 0.0
    crossed_bytes: int = 0
    fuses: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    """(at how many bytes crossed in all, what then happens)"""

    def stall(self, seconds: float) -> None:
        """Let nothing pass for so long."""
        self.stalled_until = max(self.stalled_until, time.monotonic() + seconds)

    def after_bytes(self, count: int, strike: Callable[[], None]) -> None:
        """Call `strike` when `count` more bytes have crossed."""
        self.fuses.append((self.crossed_bytes + count, strike))

    def chunk_bytes(self, wanted: int) -> int:
        """Return how many bytes may cross at once: up to the next fuse, little when slow."""
        room = min((at - self.crossed_bytes for at, _ in self.fuses), default=wanted)
        if self.bytes_per_second is not None:
            in_one_sleep = int(self.bytes_per_second * SLOW_CHUNK_SECONDS)
            room = min(room, max(SLOW_CHUNK_BYTES, in_one_sleep))
        return min(wanted, max(room, 1))

    async def delay(self, count: int) -> None:
        """Wait as long as `count` bytes take."""
        if self.bytes_per_second is not None:
            await asyncio.sleep(count / self.bytes_per_second)
        while (left := self.stalled_until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def count(self, crossed: int) -> None:
        """Take note of bytes that have crossed, and strike what is due."""
        self.crossed_bytes += crossed
        due = [fuse for fuse in self.fuses if fuse[0] <= self.crossed_bytes]
        self.fuses = [fuse for fuse in self.fuses if fuse[0] > self.crossed_bytes]
        for _, strike in due:
            strike()


class Link:
    """One TCP connection with an adb server."""

    def __init__(
        self, reader: StreamReader, writer: StreamWriter, condition: LinkCondition
    ) -> None:
        self._reader, self._writer, self._condition = reader, writer, condition
        self._sending = asyncio.Lock()
        # Nothing may wait in our own buffers: "dropped at byte N" must mean that byte.
        writer.transport.set_write_buffer_limits(high=0)

    async def receive(self, count: int) -> bytes:
        """Read exactly so many bytes; raises IncompleteReadError or ConnectionError at the end."""
        condition = self._condition
        if not condition.fuses and condition.bytes_per_second is None:
            received = await self._reader.readexactly(count)
            await self._pass(count)
            return received
        parts = []
        while count > 0:
            part = await self._reader.readexactly(condition.chunk_bytes(count))
            parts.append(part)
            count -= len(part)
            await self._pass(len(part))
        return b"".join(parts)

    async def send(self, *parts: bytes) -> None:
        """Write the parts, whole, before anybody else's."""
        async with self._sending:
            for part in parts:
                view = memoryview(part)
                while view:
                    chunk = self._condition.chunk_bytes(len(view))
                    self._writer.write(view[:chunk])
                    await self._writer.drain()
                    await self._pass(chunk)
                    view = view[chunk:]

    async def _pass(self, count: int) -> None:
        await self._condition.delay(count)
        self._condition.count(count)
        if self._writer.transport.is_closing():
            raise ConnectionResetError

    def drop(self) -> None:
        """Break the connection, without a word to the other side."""
        self._writer.transport.abort()
