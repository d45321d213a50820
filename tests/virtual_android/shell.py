"""The services that start a command: shell (old and v2, with a terminal or without) and exec.

Source: AOSP adb, SERVICES.TXT and shell_protocol.h. Where commands run is not here: see `sandbox.py`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from tests.virtual_android.connection import Stream, StreamClosed
from tests.virtual_android.sandbox import Process, Sandbox

PIECE_BYTES = 256 * 1024
PIPE_BYTES = 1024 * 1024
SHELL = "/system/bin/sh"
_V2_HEADER = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN, _WINDOW_SIZE = range(6)


@dataclass(frozen=True)
class ShellRequest:
    """What the name of a shell or exec service asks for."""

    command: str
    v2: bool
    terminal: bool
    term: str


def parse_service(name: str) -> ShellRequest:
    """Read `shell:...`, `shell,v2,TERM=xterm,pty:...` or `exec:...`."""
    options, _, command = name.partition(":")
    kind, *arguments = options.split(",")
    term = next((a.removeprefix("TERM=") for a in arguments if a.startswith("TERM=")), "dumb")
    # Without a word on it, adbd gives a terminal to an interactive shell only.
    terminal = kind == "shell" and ("pty" in arguments or ("raw" not in arguments and not command))
    return ShellRequest(command, "v2" in arguments, terminal, term)


class ShellService:
    """Runs one command and connects it with one stream."""

    def __init__(self, sandbox: Sandbox, request: ShellRequest) -> None:
        self._sandbox, self._request = sandbox, request

    async def __call__(self, stream: Stream) -> None:
        """Serve the stream until the command has ended, or the host has closed it."""
        command = await (self._with_terminal() if self._request.terminal else self._with_sockets())
        output = asyncio.create_task(self._send_output(stream, command))
        keys = asyncio.create_task(self._take_input(stream, command))
        hung_up = asyncio.create_task(stream.closed.wait())
        await asyncio.wait({output, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if not output.done():
            # Only the shell hears of it: what it has detached lives on.
            self._sandbox.hang_up(command.process)
        for task in (output, keys, hung_up):
            task.cancel()
        await asyncio.gather(output, keys, hung_up, return_exceptions=True)
        command.close()

    def _arguments(self) -> Sequence[str]:
        return [SHELL, "-c", self._request.command] if self._request.command else [SHELL, "-"]

    async def _with_sockets(self) -> _Command:
        """Start the command as adbd does: one socket for stdin and stdout, one for stderr."""
        ours, theirs = socket.socketpair()
        our_errors, their_errors = socket.socketpair()
        with theirs, their_errors:
            # Without the v2 protocol there is one channel back: errors go among the output.
            errors = their_errors if self._request.v2 else theirs
            process = self._sandbox.start(
                self._arguments(),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=errors.fileno(),
            )
        output, keys = await asyncio.open_unix_connection(sock=ours, limit=PIPE_BYTES)
        error_output, error_keys = await asyncio.open_unix_connection(sock=our_errors)
        outputs = [(_STDOUT, output), (_STDERR, error_output)]
        return _Command(process, outputs, _SocketInput(keys, error_keys))

    async def _with_terminal(self) -> _Command:
        master, slave = self._sandbox.open_terminal()
        process = self._sandbox.start(
            self._arguments(), stdin=slave, stdout=slave, stderr=slave, terminal=self._request.term
        )
        os.close(slave)
        reader = StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(master, "rb", 0)
        )
        return _Command(process, [(_STDOUT, reader)], _TerminalInput(master, transport))

    async def _send_output(self, stream: Stream, command: _Command) -> None:
        v2 = self._request.v2
        await asyncio.gather(*(_copy(stream, kind, pipe, v2) for kind, pipe in command.outputs))
        code = await exit_code(command.process)
        if v2:
            # The shell's way of telling death by a signal.
            status = code if code >= 0 else 128 - code
            await stream.write(_V2_HEADER.pack(_EXIT, 1) + bytes([status & 0xFF]))

    async def _take_input(self, stream: Stream, command: _Command) -> None:
        keys = command.keys
        with suppress(StreamClosed, OSError):
            while not self._request.v2:
                await keys.type(await stream.read())
            while True:
                kind, length = _V2_HEADER.unpack(await stream.read_exactly(_V2_HEADER.size))
                payload = await stream.read_exactly(length)
                if kind == _STDIN:
                    await keys.type(payload)
                elif kind == _CLOSE_STDIN:
                    keys.end()
                elif kind == _WINDOW_SIZE:
                    keys.resize(payload.decode())


class _Input(Protocol):
    """The way to a command's stdin."""

    async def type(self, payload: bytes) -> None: ...
    def end(self) -> None: ...
    def resize(self, size: str) -> None: ...
    def close(self) -> None: ...


@dataclass
class _Command:
    """A running command and its channels."""

    process: Process
    outputs: list[tuple[int, StreamReader]]
    keys: _Input

    def close(self) -> None:
        """Let go of the channels: whoever still writes gets SIGPIPE, or a hang-up."""
        self.keys.close()


class _SocketInput:
    def __init__(self, keys: StreamWriter, errors: StreamWriter) -> None:
        self._keys, self._errors = keys, errors

    async def type(self, payload: bytes) -> None:
        self._keys.write(payload)
        await self._keys.drain()

    def end(self) -> None:
        self._keys.write_eof()

    def resize(self, size: str) -> None:
        pass

    def close(self) -> None:
        self._keys.transport.abort()
        self._errors.transport.abort()


class _TerminalInput:
    def __init__(self, master: int, transport: asyncio.ReadTransport) -> None:
        self._master, self._transport = master, transport

    async def type(self, payload: bytes) -> None:
        os.write(self._master, payload)

    def end(self) -> None:
        os.write(self._master, b"\x04")

    def resize(self, size: str) -> None:
        """Take `ROWSxCOLUMNS,XPIXELSxYPIXELS`."""
        rows, columns = (int(n) for n in size.rstrip("\0").split(",")[0].split("x"))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def close(self) -> None:
        self._transport.close()


async def exit_code(process: Process) -> int:
    """Wait for a process to end, without a thread."""
    if process.poll() is None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    return process.wait()


async def _copy(stream: Stream, kind: int, pipe: StreamReader, v2: bool) -> None:
    """Send a pipe's bytes until its end; a terminal ends with an error instead."""
    with suppress(OSError):
        while piece := await pipe.read(PIECE_BYTES):
            await stream.write(_V2_HEADER.pack(kind, len(piece)) + piece if v2 else piece)
