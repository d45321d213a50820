"""The health of an Android phone: what its answers mean, and the link's speed.

Nothing is changed on the phone, and no lock is taken: a phone that another host uses can be
examined too. Not here: what is a reason to worry (`harness/doctor/examine.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import adbutils

from harness.devices.android import facts
from harness.devices.android.adb import Adb, make_client
from harness.devices.android.lock import find_holder
from harness.devices.android.scripts import ROOT, program, script
from harness.devices.health import Health, Link, Load, measure_load, parse_clock_cap, parse_offline
from harness.errors import HarnessError

LINK_TEST_BYTES = 4 << 20

# What ro.hardware says on emulators: Google's (goldfish, ranchu), Cuttlefish (cutf_cvm, vsoc),
# Genymotion (vbox86), and the virtual phone of this project's tests.
_EMULATED_HARDWARE = ("goldfish", "ranchu", "cutf_cvm", "vsoc", "vbox86", "virtual")


def read_health(serial: str, measure_link: bool) -> Health:
    """Examine a phone. With `measure_link`, files are sent there and back, if nobody measures."""
    adb = Adb(serial)
    holder = find_holder(adb)
    asked = program(script("questions/conditions"), script("questions/health"))
    answer = adb.shell(asked).text
    link = _read_link(adb, measure_link and not holder)
    return parse_health(answer, time.time(), holder, link)


def parse_health(answer: str, unix: float, holder: str | None, link: Link | None) -> Health:
    """Return a phone's health from the answer to health.sh; what it does not tell is None."""
    found = facts.sections(answer)
    properties = facts.parse_properties(found.get("properties", ""))
    battery = found.get("battery", "")
    awake = re.search(r"mWakefulness=(\w+)", found.get("power", ""))
    return Health(
        kind="android",
        conditions=facts.parse_conditions(answer, unix),
        holder=holder,
        virtual_signs=find_virtual_signs(properties),
        load=_parse_load(found),
        free_bytes=facts.parse_free_bytes(found.get("space", "")),
        governors=tuple(sorted(set(found.get("governors", "").split()))) or None,
        clock_cap=parse_clock_cap(found.get("caps", "")),
        offline_cores=parse_offline(found.get("present", ""), found.get("online", "")),
        missing_tools=_parse_tools(found.get("tools", "")),
        build_type=properties.get("ro.build.type") or None,
        # BatteryService's own words while `dumpsys battery set` or `unplug` is in force.
        battery_frozen="UPDATES STOPPED" in battery if battery else None,
        battery_saver={"1": True, "0": False, "null": False}.get(found.get("saver", "").strip()),
        screen_on=awake.group(1) == "Awake" if awake else None,
        selinux=found.get("selinux", "").strip() or None,
        link=link,
    )


def find_virtual_signs(properties: dict[str, str]) -> str | None:
    """Return the property that gives an emulator away, "" if none does, None without properties.

    After AndroidX Benchmark's DeviceInfo, which looks at the same values.
    """
    if not properties:
        return None
    hardware = properties.get("ro.hardware", "")
    signs = {
        "ro.kernel.qemu": properties.get("ro.kernel.qemu") == "1",
        "ro.boot.qemu": properties.get("ro.boot.qemu") == "1",
        "ro.hardware": hardware.startswith(_EMULATED_HARDWARE),
        "ro.product.model": bool(
            re.search("sdk_gphone|google_sdk|Emulator", properties.get("ro.product.model", ""))
        ),
        "ro.build.fingerprint": properties.get("ro.build.fingerprint", "").startswith("generic"),
    }
    return next((f"{name} is {properties[name]}" for name, seen in signs.items() if seen), "")


def _parse_tools(text: str) -> tuple[str, ...] | None:
    """Return the tools that are missing; the last line only says that the list is whole."""
    *missing, end = text.split() or [""]
    return tuple(missing) if end == "." else None


def _parse_load(found: dict[str, str]) -> Load | None:
    before, _, after = found.get("stats", "").partition("\n@\n")
    started, ended = (re.match(r"[\d.]+", text) for text in (before, after))
    if not started or not ended:
        return None
    own = frozenset(
        int(line.split()[0]) for line in found.get("own", "").splitlines() if line[:1].isdigit()
    )
    rows = (line.split(maxsplit=1) for line in found.get("names", "").splitlines())
    names = {int(row[0]): row[1] for row in rows if len(row) == 2 and row[0].isdigit()}
    return measure_load(before, after, float(ended.group()) - float(started.group()), own, names)


# --- the link ----------------------------------------------------------------------------------


def _read_link(adb: Adb, measure: bool) -> Link:
    push, pull = _measure_link(adb) if measure else (None, None)
    client, server = _adb_versions()
    # adb's names for phones on a network: HOST:PORT, or the mDNS name of wireless debugging.
    over_network = ":" in adb.serial or "_adb-tls-connect" in adb.serial
    return Link("network" if over_network else "usb", client, server, push, pull)


def _adb_versions() -> tuple[int | None, int | None]:
    """Return the protocol numbers of the adb program and of the running server (41, say)."""
    told = subprocess.run(
        [adbutils.adb_path(), "version"], capture_output=True, text=True, timeout=10, check=False
    )
    client = re.search(r"version \d+\.\d+\.(\d+)", told.stdout)
    server = make_client().server_version()
    return int(client.group(1)) if client else None, server


def _measure_link(adb: Adb) -> tuple[float | None, float | None]:
    """Return the speed to and from the phone, in bytes per second, on a file that is removed.

    None for both where it cannot be written: a full phone is another finding.
    """
    remote = f"{ROOT}/link-test.{uuid.uuid4().hex}"
    try:
        adb.shell(program(script("files/link_begin")))
        with tempfile.NamedTemporaryFile() as file:
            file.write(os.urandom(LINK_TEST_BYTES))
            file.flush()
            begin = time.monotonic()
            adb.push(Path(file.name), remote)
            pushed = time.monotonic()
            adb.shell(program(script("files/link_read", file=remote)))
            pulled = time.monotonic()
        return LINK_TEST_BYTES / (pushed - begin), LINK_TEST_BYTES / (pulled - pushed)
    except HarnessError:
        return None, None
    finally:
        with contextlib.suppress(HarnessError):
            adb.try_shell(program(script("files/link_end", file=remote)))
