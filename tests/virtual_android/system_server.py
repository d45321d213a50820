"""The commands that Android's services answer: getprop, settings, dumpsys, cmd, svc, logcat, ...

Each is a function of its arguments and the phone. Their output has the form of Android's own (AOSP:
BatteryService, ThermalManagerService, PowerManagerShellCommand, SettingsService). How the
commands reach this process is in `service_client.c`.
"""

from __future__ import annotations

import asyncio
import os
import struct
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.virtual_android.body import Body
from tests.virtual_android.phone_state import SUSPEND_PROPERTY, PhoneState
from tests.virtual_android.sandbox import Sandbox
from tests.virtual_android.spec import PhoneSpec
from tests.virtual_android.sysfs import CURRENT_NOW, SysFiles, temperatures

_FRAME = struct.Struct(">BI")
_STDOUT, _STDERR, _EXIT, _STARTED = 1, 2, 3, 4
PIECE_BYTES = 32 * 1024
STAY_ON_SOURCES = {"true": "15", "false": "0", "ac": "1", "usb": "2", "wireless": "4", "dock": "8"}


@dataclass(frozen=True)
class Reply:
    """What a command prints, and its exit code."""

    out: str = ""
    err: str = ""
    code: int = 0


@dataclass(frozen=True)
class Phone:
    """What commands act on."""

    spec: PhoneSpec
    state: PhoneState
    body: Body
    sys: SysFiles
    sandbox: Sandbox
    reboot: Callable[[], None]
    refresh: Callable[[], None]
    """Bring /sys up to date after a change."""
    advance: Callable[[], None]
    """Bring the body up to now."""


class SystemServer:
    """Answers the phone's service commands on a socket inside it."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    async def listen(self, path: Path) -> asyncio.Server:
        """Start to answer."""
        server = await asyncio.start_unix_server(self._serve, path)
        path.chmod(0o666)
        return server

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(IncompleteReadError, ConnectionError):
            arguments = [await _text(reader) for _ in range(await _number(reader))]
            if arguments[0] == "logcat":
                code = await self._logcat(arguments[1:], writer)
            elif arguments[0] == "perfetto":
                code = await self._perfetto(arguments[1:], reader, writer)
            else:
                reply = self._answer(arguments)
                await _print(writer, _STDOUT, reply.out)
                await _print(writer, _STDERR, reply.err)
                code = reply.code
            writer.write(_FRAME.pack(_EXIT, 1) + bytes([code]))
            await writer.drain()
        writer.close()

    def _answer(self, arguments: list[str]) -> Reply:
        name, *rest = arguments
        command = COMMANDS.get(name)
        if command is None:
            return Reply(err=f"{name}: not something that this phone does\n", code=1)
        return command(self._phone, rest)

    async def _logcat(self, arguments: list[str], writer: StreamWriter) -> int:
        log = self._phone.state.log
        if "-c" in arguments:
            log.clear()
            return 0
        async for piece in _log_pieces(log, follow="-d" not in arguments and "-t" not in arguments):
            await _print(writer, _STDOUT, piece)
        return 0

    async def _perfetto(
        self, arguments: list[str], reader: StreamReader, writer: StreamWriter
    ) -> int:
        # Only phones that are asked to record need the trace format.
        from tests.virtual_android import tracing

        phone = self._phone
        try:
            request = tracing.parse_request(arguments)
        except tracing.Refused as refused:
            await _print(writer, _STDERR, f"{refused}\n")
            return 1
        await _print_frame(writer, _STARTED, b"")
        rails = tracing.Rails(phone.spec.rails, phone.body, phone.sandbox, phone.advance)
        # One byte: it has been asked to end. None: it was killed, and what it recorded is lost.
        stopped = asyncio.ensure_future(reader.read(1))
        trace = await tracing.record(request, rails, stopped)
        if stopped.done() and not stopped.result():
            return 1
        stopped.cancel()
        if request.out == "-":
            for start in range(0, len(trace), PIECE_BYTES):
                await _print_frame(writer, _STDOUT, trace[start : start + PIECE_BYTES])
        else:
            tracing.save(phone.sandbox, request.out, trace)
        return 0


async def _log_pieces(log: deque[str], follow: bool) -> AsyncIterator[str]:
    """Give the log, joined to pieces, and then what is added to it."""
    seen: str | None = None
    while True:
        lines = list(log)
        start = lines.index(seen) + 1 if seen in lines else 0
        if lines[start:]:
            yield "".join(f"{line}\n" for line in lines[start:])
            seen = lines[-1]
        if not follow:
            return
        await asyncio.sleep(0.1)


async def _number(reader: StreamReader) -> int:
    return int.from_bytes(await reader.readexactly(4), "big")


async def _text(reader: StreamReader) -> str:
    return (await reader.readexactly(await _number(reader))).decode(errors="replace")


async def _print(writer: StreamWriter, channel: int, text: str) -> None:
    encoded = text.encode()
    for start in range(0, len(encoded), PIECE_BYTES):
        await _print_frame(writer, channel, encoded[start : start + PIECE_BYTES])


async def _print_frame(writer: StreamWriter, channel: int, piece: bytes) -> None:
    writer.write(_FRAME.pack(channel, len(piece)) + piece)
    await writer.drain()


# --- properties and settings ---------------------------------------------------------------------


def _getprop(phone: Phone, arguments: list[str]) -> Reply:
    properties = phone.state.properties
    if not arguments:
        return Reply("".join(f"[{k}]: [{v}]\n" for k, v in sorted(properties.items())))
    default = arguments[1] if len(arguments) > 1 else ""
    return Reply(properties.get(arguments[0], default) + "\n")


def _setprop(phone: Phone, arguments: list[str]) -> Reply:
    if len(arguments) != 2:
        return Reply(err="usage: setprop NAME VALUE\n", code=1)
    name, value = arguments
    if name.startswith("ro."):
        return Reply(err=f"Failed to set property '{name}' to '{value}'.\n", code=1)
    if value:
        phone.state.properties[name] = value
    else:
        phone.state.properties.pop(name, None)
    if name == SUSPEND_PROPERTY:
        phone.body.input_suspended = value in ("true", "1")
        phone.refresh()
    return Reply()


def _settings(phone: Phone, arguments: list[str]) -> Reply:
    match arguments:
        case ["list", space] if space in phone.state.settings:
            values = sorted(phone.state.settings[space].items())
            return Reply("".join(f"{name}={value}\n" for name, value in values))
        case ["get", space, name] if space in phone.state.settings:
            return Reply(phone.state.settings[space].get(name, "null") + "\n")
        case ["put", space, name, value] if space in phone.state.settings:
            phone.state.settings[space][name] = value
            return Reply()
        case ["delete", space, name] if space in phone.state.settings:
            there = phone.state.settings[space].pop(name, None) is not None
            return Reply(f"Deleted {int(there)} rows\n")
    return Reply(err="Bad arguments\n", code=255)


# --- battery -------------------------------------------------------------------------------------


def _battery_readings(phone: Phone) -> dict[str, str]:
    """Return BatteryService's fields, with what `set` and `unplug` pretend."""
    body, gauge = phone.body, phone.body.gauge
    flag = {True: "true", False: "false"}
    real = {
        "AC powered": "false",
        "USB powered": flag[body.cable_in],
        "Wireless powered": "false",
        "Dock powered": "false",
        "Max charging current": "500000" if body.cable_in else "0",
        "Max charging voltage": "5000000" if body.cable_in else "0",
        "Charge counter": str(gauge.charge_uah),
        "status": str(gauge.status),
        "health": "2",
        "present": "true",
        "level": str(gauge.level_percent),
        "scale": "100",
        "voltage": str(gauge.voltage_mv),
        "temperature": str(round(gauge.temperature_celsius * 10)),
        "technology": "Li-ion",
    }
    return real if phone.state.battery_override is None else phone.state.battery_override


_BATTERY_FIELDS = {
    "ac": "AC powered", "usb": "USB powered", "wireless": "Wireless powered", "level": "level",
    "status": "status", "temp": "temperature", "counter": "Charge counter",
}  # fmt: skip


def _battery(phone: Phone, arguments: list[str]) -> Reply:
    """Answer `dumpsys battery` and `cmd battery`: pretending also freezes every reading."""
    words = [word for word in arguments if word != "-f"]
    readings = _battery_readings(phone)
    match words:
        case []:
            frozen = phone.state.battery_override is not None
            notice = "  (UPDATES STOPPED -- use 'reset' to restart)\n" if frozen else ""
            lines = "".join(f"  {name}: {value}\n" for name, value in readings.items())
            return Reply(f"Current Battery Service state:\n{notice}{lines}")
        case ["unplug"]:
            powered = {name: "false" for name in readings if name.endswith(" powered")}
            phone.state.battery_override = {**readings, **powered, "status": "3"}
        case ["set", name, value] if name in _BATTERY_FIELDS:
            value = (
                {"1": "true", "0": "false"}[value] if name in ("ac", "usb", "wireless") else value
            )
            phone.state.battery_override = {**readings, _BATTERY_FIELDS[name]: value}
        case ["reset"]:
            phone.state.battery_override = None
        case ["get", "current_now"] if phone.spec.battery.cmd_get:
            return Reply(f"{phone.sys.as_root_reads(CURRENT_NOW)}\n")
        case ["get", name] if name in _BATTERY_FIELDS:
            return Reply(readings[_BATTERY_FIELDS[name]] + "\n")
        case _:
            return Reply(err=f"Unknown command: {' '.join(words)}\n", code=255)
    return Reply()


# --- heat, power, load ---------------------------------------------------------------------------


def _thermalservice(phone: Phone, arguments: list[str]) -> Reply:
    kinds = {"cpu0": 0, "battery": 2, "skin": 3}
    status = phone.body.thermal_status

    def lines() -> str:
        return "".join(
            f"\tTemperature{{mValue={celsius}, mType={kinds[name]}, mName={name}, "
            f"mStatus={status if name == 'skin' else 0}}}\n"
            for name, celsius in temperatures(phone.body)
        )

    overridden = phone.body.status_override is not None
    return Reply(
        f"IsStatusOverride: {str(overridden).lower()}\nThermalEventListeners:\n\tcallbacks: 1\n"
        "\tkilled: false\n\tbroadcasts count: -1\nThermalStatusListeners:\n\tcallbacks: 1\n"
        f"\tkilled: false\n\tbroadcasts count: -1\nThermal Status: {status}\n"
        f"Cached temperatures:\n{lines()}HAL Ready: true\nHAL connection:\n"
        f"\tThermal HAL AIDL 1 connected: yes\nCurrent temperatures from HAL:\n{lines()}"
        "Current cooling devices from HAL:\n"
        "\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}\n"
    )


def _dump_powerstats(phone: Phone, arguments: list[str]) -> Reply:
    channels = "".join(
        f"  ChannelId: {number}, ChannelName: {rail},"
        f" ChannelSubsystem: {'CPU' if 'CPU' in rail else 'Other'}\n"
        for number, rail in enumerate(phone.spec.rails)
    )
    return Reply(
        "PowerStatsService dumpsys: available PowerEntities\n"
        f"PowerStatsService dumpsys: available Channels\n{channels}"
        "PowerStatsService dumpsys: available EnergyConsumers\n"
    )


def _dump_power(phone: Phone, arguments: list[str]) -> Reply:
    on = phone.state.screen_on
    stay = phone.state.settings["global"].get("stay_on_while_plugged_in", "0")
    stays = stay != "0" and phone.body.cable_in
    return Reply(
        "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
        f"  mWakefulness={'Awake' if on else 'Asleep'}\n"
        f"  mIsPowered={str(phone.body.cable_in).lower()}\n"
        f"  mBatteryLevel={phone.body.gauge.level_percent}\n"
        f"  mStayOn={str(stays).lower()}\n  mStayOnWhilePluggedInSetting={stay}\n"
        f"Display Power: state={'ON' if on else 'OFF'}\n"
    )


def _dump_cpuinfo(phone: Phone, arguments: list[str]) -> Reply:
    one, five, fifteen = os.getloadavg()
    return Reply(
        f"Load: {one:.2f} / {five:.2f} / {fifteen:.2f}\nCPU usage from 10000ms to 0ms ago:\n"
        "  0.3% 612/system_server: 0.2% user + 0.1% kernel\n"
        "0.3% TOTAL: 0.2% user + 0.1% kernel\n"
    )


def _dumpsys(phone: Phone, arguments: list[str]) -> Reply:
    services = {
        "battery": _battery,
        "cpuinfo": _dump_cpuinfo,
        "power": _dump_power,
        "powerstats": _dump_powerstats,
        "thermalservice": _thermalservice,
    }
    if arguments in ([], ["-l"]):
        return Reply("Currently running services:\n" + "".join(f"  {n}\n" for n in services))
    name, *rest = arguments
    if name not in services:
        return Reply(err=f"Can't find service: {name}\n")
    return services[name](phone, rest)


def _cmd(phone: Phone, arguments: list[str]) -> Reply:
    match arguments:
        case ["power", "set-fixed-performance-mode-enabled", ("true" | "false") as wanted]:
            phone.state.fixed_performance = wanted == "true"
            phone.refresh()
            return Reply()
        case ["thermalservice", "override-status", status] if status in "0123456":
            phone.body.status_override = int(status)
            phone.refresh()
            return Reply()
        case ["thermalservice", "reset"]:
            phone.body.status_override = None
            phone.refresh()
            return Reply()
        case ["battery", *rest] if rest:
            return _battery(phone, rest)
        case ["settings", *rest]:
            return _settings(phone, rest)
        case [("power" | "thermalservice" | "battery") as name, *rest]:
            return Reply(err=f"{name}: unknown command: {' '.join(rest)}\n", code=255)
    return Reply(err=f"cmd: Can't find service: {' '.join(arguments[:1])}\n", code=20)


def _svc(phone: Phone, arguments: list[str]) -> Reply:
    match arguments:
        case ["power", "stayon", source] if source in STAY_ON_SOURCES:
            value = STAY_ON_SOURCES[source]
            phone.state.settings["global"]["stay_on_while_plugged_in"] = value
            if value != "0":
                phone.state.screen_on = True
            return Reply()
        case ["power", "reboot"]:
            phone.reboot()
            return Reply()
    return Reply(err="Available commands:\n    help\n    power\n", code=1)


def _input(phone: Phone, arguments: list[str]) -> Reply:
    key = arguments[-1].removeprefix("KEYCODE_") if arguments[:1] == ["keyevent"] else ""
    if key in ("26", "POWER"):
        phone.state.screen_on = not phone.state.screen_on
    elif key in ("224", "WAKEUP"):
        phone.state.screen_on = True
    elif key in ("223", "SLEEP"):
        phone.state.screen_on = False
    return Reply()


# --- the rest ------------------------------------------------------------------------------------


def _wm(phone: Phone, arguments: list[str]) -> Reply:
    answers = {"size": "Physical size: 1080x2400\n", "density": "Physical density: 420\n"}
    return Reply(answers.get(" ".join(arguments), ""))


def _log(phone: Phone, arguments: list[str]) -> Reply:
    tag = "log"
    if arguments[:1] == ["-t"]:
        _, tag, *arguments = arguments
    phone.state.note(tag, " ".join(arguments))
    return Reply()


def _uname(phone: Phone, arguments: list[str]) -> Reply:
    host = os.uname()
    machine = "aarch64" if phone.spec.abi == "arm64-v8a" else host.machine
    values = {
        "s": "Linux", "n": "localhost", "r": host.release, "v": host.version, "m": machine,
        "o": "Toybox",
    }  # fmt: skip
    letters = set("".join(arguments).replace("-", "")) or {"s"}
    shown = values if "a" in letters else {k: v for k, v in values.items() if k in letters}
    return Reply(" ".join(shown.values()) + "\n")


def _reboot(phone: Phone, arguments: list[str]) -> Reply:
    phone.reboot()
    return Reply()


COMMANDS: dict[str, Callable[[Phone, list[str]], Reply]] = {
    "cmd": _cmd,
    "dumpsys": _dumpsys,
    "getenforce": lambda phone, arguments: Reply("Enforcing\n"),
    "getprop": _getprop,
    "input": _input,
    "log": _log,
    "reboot": _reboot,
    "setprop": _setprop,
    "settings": _settings,
    "svc": _svc,
    "uname": _uname,
    "wm": _wm,
}
