"""What an Android phone's answers mean: pure functions on captured text.

One script asks everything at once, because a round trip costs more than the questions; its output
is cut into sections again here. Not here: the questions (`android_runner/scripts/questions/`).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass

from harness.schema.device import Conditions, DeviceInfo

# What `section` prints (lib.sh).
_MARK = "phonebench "


def sections(answer: str) -> dict[str, str]:
    """Cut the answer of a script that asks several questions into its sections, by name."""
    parts = re.split(rf"^{_MARK}(\w+)$", answer, flags=re.MULTILINE)
    return {name: text.strip("\n") for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def quote(answer: str) -> str:
    """Return the end of what a phone said, for a person to read."""
    line = " ".join(answer.split())
    return f'"{line[-80:]}"' if line else "nothing"


@dataclass(frozen=True)
class Core:
    """One core of the processor. `max_khz` is None where the kernel does not tell."""

    number: int
    max_khz: int | None


def parse_properties(text: str) -> dict[str, str]:
    """Read the output of getprop; values may hold several lines."""
    pairs = re.findall(r"^\[(.+?)\]: \[(.*?)\]$", text, flags=re.MULTILINE | re.DOTALL)
    return dict(pairs)


def parse_cores(text: str) -> tuple[Core, ...]:
    """Read "NUMBER MAX_KHZ" lines, in core order."""
    cores = []
    for line in text.splitlines():
        number, _, khz = line.partition(" ")
        if number.isdigit():
            cores.append(Core(int(number), int(khz) if khz.strip().isdigit() else None))
    return tuple(sorted(cores, key=lambda core: core.number))


def describe(serial: str, answer: str) -> tuple[DeviceInfo, tuple[Core, ...]]:
    """Return what a phone is, from the answer to identify.sh, and its cores.

    The fingerprint covers hardware, build and the phone's own serial number: neither what changes
    in use nor how the phone is attached (cable or network). Not the clocks: they follow from the
    SoC, and a cluster that is offline does not tell them.
    """
    found = sections(answer)
    properties = parse_properties(found.get("properties", ""))
    cores = parse_cores(found.get("cores", ""))
    memory = parse_meminfo(found.get("memory", ""), "MemTotal") or 0

    def read(*names: str) -> str:
        return next((properties[name] for name in names if properties.get(name)), "unknown")

    soc = f"{read('ro.soc.manufacturer')} {read('ro.soc.model', 'ro.board.platform')}"
    model = f"{read('ro.product.manufacturer')} {read('ro.product.model')}"
    release, sdk = read("ro.build.version.release"), read("ro.build.version.sdk")
    page = found.get("page", "").strip()
    details = {
        "serial_number": read("ro.serialno"),
        "build": read("ro.build.fingerprint"),
        "kernel": found.get("kernel", "").strip(),
        "page_bytes": page,
        "max_clocks_khz": ", ".join(str(core.max_khz or "?") for core in cores),
    }
    # The kernel's reserved memory moves MemTotal by a little from boot to boot.
    memory_gib = math.ceil(memory / 2**30)
    hardware = [soc, model, len(cores), memory_gib, page, details["serial_number"]]
    content = json.dumps([*hardware, release, details["build"], read("ro.product.cpu.abi")])
    info = DeviceInfo(
        id=serial,
        name=model,
        kind="android",
        fingerprint=hashlib.sha256(content.encode()).hexdigest()[:16],
        system=f"Android {release} (API {sdk})",
        abi=read("ro.product.cpu.abi"),
        cpu=soc,
        cores=len(cores),
        memory_total_bytes=memory,
        details=details,
    )
    return info, cores


def parse_conditions(answer: str, unix: float) -> Conditions:
    """Return a phone's state from the answer to conditions.sh; what it does not tell is None."""
    found = sections(answer)
    battery = parse_battery(found.get("battery", ""))
    thermal = parse_thermal(found.get("thermal", ""))
    load = re.match(r"[\d.]+", found.get("load", ""))
    return Conditions(
        unix=unix,
        load_1min=float(load.group()) if load else None,
        memory_available_bytes=parse_meminfo(found.get("memory", ""), "MemAvailable"),
        temperature_celsius=thermal.skin_celsius or battery.temperature_celsius,
        clocks_khz=_parse_clocks(found.get("clocks", "")),
        clock_limits_khz=_parse_clocks(found.get("limits", "")),
        governor=found.get("governor", "").strip() or None,
        battery_percent=battery.percent,
        charging=battery.charging,
        thermal_status=thermal.status,
    )


def _parse_clocks(text: str) -> tuple[int, ...] | None:
    """Read one clock a core; None where the phone tells none."""
    return tuple(int(word) for word in text.split() if word.isdigit()) or None


def parse_meminfo(text: str, key: str) -> int | None:
    """Return a line of /proc/meminfo in bytes."""
    match = re.search(rf"^{key}:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


@dataclass(frozen=True)
class Battery:
    """What `dumpsys battery` tells. Charging: it is plugged in and draws from the plug."""

    percent: float | None
    charging: bool | None
    temperature_celsius: float | None


def parse_battery(text: str) -> Battery:
    """Read `dumpsys battery`; its temperature is in tenths of a degree, status 2 is charging."""
    values = dict(re.findall(r"^\s+([\w ]+): (\S+)$", text, flags=re.MULTILINE))

    def number(key: str) -> float | None:
        return float(values[key]) if re.fullmatch(r"-?\d+", values.get(key, "")) else None

    level, scale, tenths = number("level"), number("scale"), number("temperature")
    status = number("status")
    return Battery(
        percent=100 * level / scale if level is not None and scale else None,
        charging=None if status is None else status == 2,
        temperature_celsius=None if tenths is None else tenths / 10,
    )


@dataclass(frozen=True)
class Thermal:
    """What `dumpsys thermalservice` tells. Status: 0 none, 1 light, ... 6 shutdown."""

    status: int | None
    skin_celsius: float | None


def parse_thermal(text: str) -> Thermal:
    """Read `dumpsys thermalservice`.

    Only "Current temperatures from HAL" are readings: the cached ones may be old. A value of
    exactly 0.0 is a sensor that does not answer. Type 3 is the skin (android.os.Temperature).
    """
    status = re.search(r"^Thermal Status: (\d+)$", text, flags=re.MULTILINE)
    current = text.partition("Current temperatures from HAL:")[2].partition("Current cooling")[0]
    readings = re.findall(r"mValue=(-?[\d.]+), mType=(\d+)", current)
    skins = [float(value) for value, kind in readings if kind == "3" and float(value) != 0.0]
    return Thermal(int(status.group(1)) if status else None, max(skins, default=None))


def parse_free_bytes(df: str) -> int | None:
    """Return the available bytes of `df -k FOLDER`."""
    fields = df.strip().splitlines()[-1].split() if df.strip() else []
    return int(fields[3]) * 1024 if len(fields) >= 4 and fields[3].isdigit() else None


def select_cores(affinity: str, cores: tuple[Core, ...]) -> tuple[int, ...] | None:
    """Return the cores that "big" or "little" names: those of the highest or lowest clock.

    None where all cores have the same clock, or none tells it: then there is no such group. A core
    that does not tell its clock is offline, and belongs to none.
    """
    known = [(core.max_khz, core.number) for core in cores if core.max_khz is not None]
    if len({khz for khz, _ in known}) < 2:
        return None
    wanted = max(known)[0] if affinity == "big" else min(known)[0]
    return tuple(number for khz, number in known if khz == wanted)
