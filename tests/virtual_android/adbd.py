"""The process that is a virtual phone: listens for adb, keeps the body alive, carries faults out.

Started by `phone.py` in a mount namespace of its own: `python -m tests.virtual_android.adbd FOLDER PORT`, with
the spec as the first line of stdin. It ends, and everything of the phone with it, when stdin ends: so nothing
outlives a test that was killed. Tests talk to it on an abstract socket, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tests.virtual_android.body import Body
from tests.virtual_android.clocks import Clocks
from tests.virtual_android.connection import Connection, Service, Stream
from tests.virtual_android.control import control_address
from tests.virtual_android.faults import Fault, ProcessWatch
from tests.virtual_android.history import History
from tests.virtual_android.link import Link, LinkCondition
from tests.virtual_android.phone_state import PhoneState
from tests.virtual_android.sandbox import Sandbox
from tests.virtual_android.shell import ShellService, parse_service
from tests.virtual_android.spec import PhoneSpec
from tests.virtual_android.sync import Direction, SyncService
from tests.virtual_android.sysfs import SysFiles, Trouble
from tests.virtual_android.system_server import Phone, SystemServer

# Below the range that Linux gives away by itself: a port that is refused for a while stays ours.
PORTS = range(20_000, 32_000)
READ_CLOCKS_TIMES, READ_CLOCKS_NS = 5, 300_000
READ_BUFFER_BYTES = 4 * 1024 * 1024


class VirtualAdbd:
    """One phone."""

    def __init__(self, spec: PhoneSpec, folder: Path) -> None:
        self._spec = spec
        self._sandbox = Sandbox(spec, folder)
        self._state, self._body = PhoneState(spec), Body(spec)
        self._clocks, self._sys = Clocks(spec), SysFiles(self._sandbox.sys, spec)
        self._online = set(range(len(spec.cores)))
        self._condition = LinkCondition()
        self._connections: set[Connection] = set()
        self._authorization: str = spec.authorization
        self._listener: asyncio.Server | None = None
        self._absences = 0
        self._wireless = False
        self._rebooting = False
        self._silences = 0
        self._on_service: list[Fault] = []
        self._on_process: list[ProcessWatch] = []
        self._on_refresh: list[Callable[[], None]] = []
        self._corruptions: list[Fault] = []
        self._struck: list[Fault] = []
        self._file_bytes = {"push": 0, "pull": 0}
        self._armed: list[asyncio.TimerHandle] = []
        self._undo: dict[int, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._history = History()
        self._last_ns, self._last_cpu = time.monotonic_ns(), 0.0
        self.port = 0

    async def run(self, port: int, started: Callable[[], None]) -> None:
        """Be a phone until stdin ends."""
        phone = Phone(
            self._spec, self._state, self._body, self._sys, self._sandbox, self.reboot,
            self._write_sys, self._advance,
        )  # fmt: skip
        self._state.booting()
        self._write_sys()
        services = await SystemServer(phone).listen(self._sandbox.sockets / "system_server")
        self._sandbox.boot()
        self._state.booted()
        try:
            await self._listen(port)
            control = await asyncio.start_unix_server(self._control, control_address(self.port))
            started()
            body = asyncio.create_task(self._live())
            await _stdin_ends()
            body.cancel()
            control.close()
            services.close()
        finally:
            self._sandbox.shut_down()
            self._sandbox.remove()

    # --- the body --------------------------------------------------------------------------------

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._spec.step_seconds)
            self._advance()
            self._watch_processes()

    def _advance(self) -> None:
        """Bring the body up to now, and note what it has consumed."""
        now_ns, cpu = self._read_clocks()
        seconds, cpu_seconds = (now_ns - self._last_ns) / 1e9, cpu - self._last_cpu
        self._last_ns, self._last_cpu = now_ns, cpu
        self._history.note(now_ns, cpu)
        refreshed = self._body.advance(seconds, cpu_seconds)
        self._clocks.advance(seconds, cpu_seconds / seconds, self._online)
        self._limit_clocks()
        if refreshed:
            due, self._on_refresh = self._on_refresh, []
            for act in due:
                act()
            self._write_sys()
        else:
            self._sys.write_quick(self._body, self._clocks)

    def _write_sys(self) -> None:
        self._limit_clocks()
        self._sys.write(self._body, self._clocks, self._online)

    def _limit_clocks(self) -> None:
        self._clocks.limit(self._body.thermal_status, self._state.fixed_performance)

    def _read_clocks(self) -> tuple[int, float]:
        """Return the time and the CPU time used until then: read anew if something came in between."""
        for _ in range(READ_CLOCKS_TIMES):
            before_ns = time.monotonic_ns()
            cpu = self._sandbox.cpu.seconds()
            after_ns = time.monotonic_ns()
            if after_ns - before_ns < READ_CLOCKS_NS:
                break
        return (before_ns + after_ns) // 2, cpu

    # --- connections -----------------------------------------------------------------------------

    async def _listen(self, port: int = 0) -> None:
        """Accept connections, on the port we had, on this one, or on any free one."""
        port = self.port or port
        while self._listener is None:
            wanted = port or random.SystemRandom().choice(PORTS)
            try:
                self._listener = await asyncio.start_server(
                    self._accept, "127.0.0.1", wanted, limit=READ_BUFFER_BYTES
                )
                self.port = wanted
            except OSError:
                if port:
                    raise

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = Connection(
            Link(reader, writer, self._condition),
            self._banner(),
            lambda: "silent" if self._silences else self._authorization,
            self._open,
        )
        self._connections.add(connection)
        with suppress(asyncio.CancelledError):
            await connection.serve()
        self._connections.discard(connection)

    def _banner(self) -> bytes:
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        properties = "".join(f"{name}={self._state.properties[name]};" for name in names)
        return f"device::{properties}features={','.join(self._spec.features)}".encode()

    def _open(self, name: str) -> Service | None:
        """Return what serves a stream of this name; None refuses it."""
        for fault in [f for f in self._on_service if (f.on_service or "") in name]:
            self._on_service.remove(fault)
            self._strike(fault)
        if name.startswith(("shell", "exec:")):
            return ShellService(self._sandbox, parse_service(name))
        if name == "sync:":
            return SyncService(self._sandbox.files, self._transfer)
        if name.startswith("reboot:"):
            asyncio.get_running_loop().call_later(0.05, self.reboot)
            return _say("")
        if name.startswith("root:"):
            return _say("adbd cannot run as root in production builds\n")
        return None

    def _transfer(self, direction: Direction, offset: int, piece: bytes) -> bytes:
        """Count a piece of a file, and change the byte that a fault is after."""
        self._file_bytes[direction] += len(piece)
        for fault in self._corruptions:
            at = fault.at_byte - offset
            if fault.direction == direction and 0 <= at < len(piece):
                self._corruptions.remove(fault)
                self._struck.append(fault)
                return piece[:at] + bytes([piece[at] ^ 0x20]) + piece[at + 1 :]
        return piece

    def _drop(self) -> None:
        for connection in list(self._connections):
            connection.drop()

    def _leave(self) -> None:
        """Refuse connections, until `_return` was called as often."""
        self._absences += 1
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _return(self) -> None:
        self._absences -= 1
        if self._absences == 0:
            self._start(self._listen())

    def reboot(self) -> None:
        """Kill every process, keep /data, and come back."""
        if not self._rebooting:
            self._rebooting = True
            self._start(self._reboot())

    async def _reboot(self) -> None:
        self._leave()
        self._drop()
        self._sandbox.shut_down()
        self._state.booting()
        self._body.input_suspended = False
        self._body.status_override = None
        await asyncio.sleep(self._spec.boot_seconds)
        self._sandbox.boot()
        self._write_sys()
        self._rebooting = False
        self._return()
        _later(self._spec.boot_completed_seconds, self._state.booted)

    # --- faults ----------------------------------------------------------------------------------

    def add(self, fault: Fault) -> None:
        """Arm a fault: it strikes when its trigger says."""
        if fault.after_bytes is not None:
            self._condition.after_bytes(fault.after_bytes, partial(self._strike, fault))
        elif fault.after_seconds is not None:
            self._armed.append(_later(fault.after_seconds, partial(self._strike, fault)))
        elif fault.on_service is not None:
            self._on_service.append(fault)
        elif fault.on_process is not None:
            watch = ProcessWatch(fault)
            watch.strikes_now(self._sandbox.processes())
            self._on_process.append(watch)
        else:
            self._strike(fault)

    def _watch_processes(self) -> None:
        if not self._on_process:
            return
        processes = self._sandbox.processes()
        for watch in list(self._on_process):
            if watch.strikes_now(processes):
                strike = partial(self._strike, watch.fault)
                self._armed.append(_later(watch.fault.delay_seconds, strike))
            if watch.over():
                self._on_process.remove(watch)

    def _strike(self, fault: Fault) -> None:
        self._state.note("fault", fault.kind, "W")
        if fault.kind == "corrupt":
            self._corruptions.append(fault)  # strikes when its byte comes
            return
        self._struck.append(fault)
        undo = getattr(self, f"_strike_{fault.kind}")(fault)
        if undo is not None:
            number = len(self._struck)
            self._undo[number] = undo
            if fault.seconds > 0:
                _later(fault.seconds, partial(self._heal, number))

    def _heal(self, number: int) -> None:
        """End a lasting fault, unless that was done already."""
        if undo := self._undo.pop(number, None):
            undo()

    def _forget(self) -> None:
        """Disarm what has not struck, end what lasts."""
        self._on_service, self._corruptions, self._condition.fuses = [], [], []
        self._on_process = []
        self._condition.stalled_until = 0.0
        for timer in self._armed:
            timer.cancel()
        for number in list(self._undo):
            self._heal(number)

    def _strike_drop(self, fault: Fault) -> None:
        self._drop()

    def _strike_unplug(self, fault: Fault) -> Callable[[], None]:
        self._connect(cable=False, wireless=self._wireless)
        return self._plugged_in_again

    def _plugged_in_again(self) -> None:
        self._connect(cable=True, wireless=self._wireless)

    def _connect(self, cable: bool, wireless: bool) -> None:
        """Put the cable in or out, and let adb come over the air or not."""
        before = self._body.cable_in or self._wireless
        # What has been consumed so far was so with the cable as it was.
        self._advance()
        self._body.cable_in, self._wireless = cable, wireless
        if before and not (cable or wireless):
            self._leave()
            self._drop()
        elif not before and (cable or wireless):
            self._return()
        self._write_sys()

    def _strike_refuse(self, fault: Fault) -> Callable[[], None]:
        self._leave()
        return self._return

    def _strike_stall(self, fault: Fault) -> None:
        self._condition.stall(fault.seconds)

    def _strike_slow(self, fault: Fault) -> Callable[[], None]:
        self._condition.bytes_per_second = fault.bytes_per_second
        return partial(setattr, self._condition, "bytes_per_second", None)

    def _strike_disk_full(self, fault: Fault) -> Callable[[], None]:
        self._sandbox.leave_free(fault.free_bytes)
        return partial(self._sandbox.leave_free, None)

    def _strike_offline(self, fault: Fault) -> Callable[[], None]:
        self._silences += 1
        self._drop()
        return self._speak_again

    def _speak_again(self) -> None:
        self._silences -= 1
        # Whoever greeted in vain would wait for ever.
        self._drop()

    def _strike_unauthorized(self, fault: Fault) -> Callable[[], None]:
        self._authorization = "refuses"
        self._drop()
        return self._authorize

    def _authorize(self) -> None:
        self._authorization = self._spec.authorization
        for connection in list(self._connections):
            self._start(connection.authorize_now())

    def _strike_reboot(self, fault: Fault) -> None:
        self.reboot()

    def _strike_core_offline(self, fault: Fault) -> Callable[[], None]:
        self._set_online(self._online - {fault.core})
        return lambda: self._set_online(self._online | {fault.core})

    def _set_online(self, cores: set[int]) -> None:
        self._online = cores
        self._sandbox.set_online(cores)
        self._write_sys()

    def _strike_heat(self, fault: Fault) -> Callable[[], None] | None:
        self._body.skin_celsius += fault.celsius
        self._write_sys()
        if fault.seconds == 0:
            return None
        self._body.held_celsius = self._body.skin_celsius
        return partial(setattr, self._body, "held_celsius", -math.inf)

    def _strike_sensor(self, fault: Fault) -> Callable[[], None] | None:
        trouble = Trouble(fault.file, fault.answer, fault.text)
        if fault.answer == "jump":
            # From one refresh of the gauge to the next.
            self._on_refresh.append(partial(self._jump, trouble))
            return None
        self._sys.add(trouble)
        return partial(self._sys.remove, trouble)

    def _jump(self, trouble: Trouble) -> None:
        self._sys.add(trouble)
        self._on_refresh.append(partial(self._sys.remove, trouble))

    def _strike_kill(self, fault: Fault) -> None:
        victims = self._sandbox.kill(fault.process)
        self._state.note("lowmemorykiller", f"Killed {victims} to free memory", "W")

    # --- orders ----------------------------------------------------------------------------------

    async def _control(self, reader: StreamReader, writer: StreamWriter) -> None:
        # Cancelled only when the phone ends, and then there is nobody left to tell.
        with suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(json.dumps(self._obey(json.loads(line))).encode() + b"\n")
                await writer.drain()
        writer.close()

    def _obey(self, order: dict[str, Any]) -> Any:
        match order["do"]:
            case "state":
                return self._report()
            case "processes":
                return [asdict(process) for process in self._sandbox.processes()]
            case "log":
                return list(self._state.log)
            case "consumed":
                return self._consumed(order["from_ns"], order["to_ns"])
            case "fault":
                self.add(Fault(**order["fault"]))
            case "forget":
                self._forget()
            case "connect":
                self._connect(order["cable"], order.get("wireless", self._wireless))
            case "body":
                for name, value in order["values"].items():
                    setattr(self._body, name, value)
                self._write_sys()
        return None

    def _consumed(self, from_ns: int, to_ns: int) -> dict[str, float] | None:
        self._advance()
        offset_ns = self._sandbox.clock_offset_ns
        cpu = self._history.cpu_seconds_between(from_ns + offset_ns, to_ns + offset_ns)
        if cpu is None:
            return None
        return asdict(self._body.consumption((to_ns - from_ns) / 1e9, cpu))

    def _report(self) -> dict[str, Any]:
        """Return everything that a test may want to know, exact and up to now."""
        self._advance()
        body = self._body
        return {
            "serialno": self._spec.serialno,
            "monotonic_ns": self._last_ns - self._sandbox.clock_offset_ns,
            "seconds": body.seconds,
            "consumed_mj": body.consumed_mj,
            "cpu_seconds": body.cpu_seconds,
            "charge_uah": body.charge_uah,
            "current_ma": body.current_ma,
            "skin_celsius": body.skin_celsius,
            "thermal_status": body.thermal_status,
            "charging": body.charging,
            "wireless": self._wireless,
            "cable_in": body.cable_in,
            "present": (body.cable_in or self._wireless) and not self._rebooting,
            "listening": self._listener is not None,
            "silent": self._silences > 0,
            "boots": self._state.boots,
            "online_cores": sorted(self._online),
            "screen_on": self._state.screen_on,
            "fixed_performance": self._state.fixed_performance,
            "properties": self._state.properties,
            "settings": self._state.settings,
            "altered": self._state.altered(),
            "link_bytes": self._condition.crossed_bytes,
            "pushed_bytes": self._file_bytes["push"],
            "pulled_bytes": self._file_bytes["pull"],
            "struck": [fault.to_fields() for fault in self._struck],
        }

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _later(seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, act)


def _say(text: str) -> Service:
    async def serve(stream: Stream) -> None:
        await stream.write(text.encode())

    return serve


async def _stdin_ends() -> None:
    reader = StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


async def main() -> None:
    """Be the phone that stdin's first line describes."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    phone = VirtualAdbd(PhoneSpec.from_json(sys.stdin.readline()), folder)
    await phone.run(port, lambda: print(phone.port, flush=True))


if __name__ == "__main__":
    asyncio.run(main())
