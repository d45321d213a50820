"""The transport of ADB, the phone's side: handshake, streams, flow control.

Source: AOSP adb, protocol.txt. Bytes and their mishaps are in `link.py`; what the services do is not
here: see `services.py`.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import IncompleteReadError
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.virtual_android import packets
from tests.virtual_android.link import Link
from tests.virtual_android.packets import MAX_PAYLOAD_BYTES, Packet


class StreamClosed(Exception):
    """The host closed the stream, or the connection broke."""


class Stream:
    """One stream: what a service reads from the host and writes to it."""

    def __init__(self, connection: Connection, local_id: int, remote_id: int) -> None:
        self._connection, self.local_id, self.remote_id = connection, local_id, remote_id
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unread = bytearray()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.closed = asyncio.Event()

    async def read(self) -> bytes:
        """Return the host's next piece, and let it send another; raises StreamClosed."""
        payload = await self._inbox.get()
        if payload is None:
            self._inbox.put_nowait(None)
            raise StreamClosed
        await self._connection.send(Packet(packets.OKAY, self.local_id, self.remote_id))
        return payload

    async def read_exactly(self, count: int) -> bytes:
        """Return exactly so many bytes; raises StreamClosed."""
        while len(self._unread) < count:
            self._unread += await self.read()
        piece = bytes(memoryview(self._unread)[:count])
        del self._unread[:count]
        return piece

    async def write(self, payload: bytes) -> None:
        """Send bytes, one piece at a time: the next only when the host has taken this one."""
        view = memoryview(payload)
        while view:
            await self._may_write.wait()
            if self.closed.is_set():
                raise StreamClosed
            self._may_write.clear()
            piece, view = view[:MAX_PAYLOAD_BYTES], view[MAX_PAYLOAD_BYTES:]
            await self._connection.send(
                Packet(packets.WRTE, self.local_id, self.remote_id, bytes(piece))
            )

    def take(self, payload: bytes) -> None:
        """Accept a piece that the host sent."""
        self._inbox.put_nowait(payload)

    def taken(self) -> None:
        """Learn that the host has accepted our last piece."""
        self._may_write.set()

    def end(self) -> None:
        """Learn that the host has closed the stream."""
        self.closed.set()
        self._may_write.set()
        self._inbox.put_nowait(None)


Service = Callable[[Stream], Awaitable[None]]


class Connection:
    """One connection with an adb server, from its handshake to its end."""

    def __init__(
        self,
        link: Link,
        banner: bytes,
        authorization: Callable[[], str],
        open_service: Callable[[str], Service | None],
    ) -> None:
        self._link, self._banner = link, banner
        self._authorization, self._open_service = authorization, open_service
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._tasks: set[asyncio.Task[None]] = set()
        self._online = False
        self._asked = False

    async def serve(self) -> None:
        """Answer the host until the connection ends."""
        try:
            while True:
                await self._answer(await self._receive())
        except (IncompleteReadError, ConnectionError, StreamClosed, packets.ProtocolError):
            pass
        finally:
            self._link.drop()
            for stream in list(self._streams.values()):
                stream.end()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def drop(self) -> None:
        """Break the connection."""
        self._link.drop()

    async def send(self, packet: Packet) -> None:
        """Send a packet; raises StreamClosed when the connection is gone."""
        try:
            await self._link.send(packet.header(), packet.payload)
        except ConnectionError:
            raise StreamClosed from None

    async def _receive(self) -> Packet:
        header = await self._link.receive(packets.HEADER.size)
        command, arg0, arg1, length = packets.parse_header(header)
        return Packet(command, arg0, arg1, await self._link.receive(length) if length else b"")

    async def _answer(self, packet: Packet) -> None:
        if packet.command == packets.CNXN:
            await self._greet()
        elif packet.command == packets.AUTH:
            await self._authorize(packet)
        elif not self._online:
            raise ConnectionResetError
        elif packet.command == packets.OPEN:
            await self._open(packet)
        elif stream := self._streams.get(packet.arg1):
            if packet.command == packets.WRTE:
                stream.take(packet.payload)
            elif packet.command == packets.OKAY:
                stream.taken()
            elif packet.command == packets.CLSE:
                stream.end()

    async def _greet(self) -> None:
        """Answer CNXN: with our banner, with a token to sign, or not at all."""
        authorization = self._authorization()
        if authorization == "none":
            await self._welcome()
        elif authorization != "silent":
            await self._ask_for_key()

    async def _authorize(self, packet: Packet) -> None:
        """Never know the key that signed; take its public half when the person at the screen would."""
        if packet.arg0 == packets.AUTH_SIGNATURE:
            await self._ask_for_key()
        else:
            self._asked = True
            await self.authorize_now()

    async def authorize_now(self) -> None:
        """Let a host in that has asked, if the person at the screen accepts it by now."""
        if self._asked and not self._online and self._authorization() != "refuses":
            with suppress(StreamClosed):
                await self._welcome()

    async def _ask_for_key(self) -> None:
        await self.send(Packet(packets.AUTH, packets.AUTH_TOKEN, 0, os.urandom(20)))

    async def _welcome(self) -> None:
        self._online = True
        await self.send(Packet(packets.CNXN, packets.VERSION, MAX_PAYLOAD_BYTES, self._banner))

    async def _open(self, packet: Packet) -> None:
        name = packet.payload.rstrip(b"\0").decode(errors="replace")
        service = self._open_service(name)
        if service is None:
            await self.send(Packet(packets.CLSE, 0, packet.arg0))
            return
        stream = Stream(self, self._next_id, packet.arg0)
        self._streams[stream.local_id] = stream
        self._next_id += 1
        await self.send(Packet(packets.OKAY, stream.local_id, stream.remote_id))
        task = asyncio.create_task(self._run(stream, service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, stream: Stream, service: Service) -> None:
        try:
            with suppress(StreamClosed):
                await service(stream)
        finally:
            del self._streams[stream.local_id]
            with suppress(StreamClosed):
                await self.send(Packet(packets.CLSE, stream.local_id, stream.remote_id))
