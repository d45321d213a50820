"""Nothing is sent twice, and sending is as fast as adb itself.

    second_run_bytes   bytes of files that cross the link when a sweep's files and pack are brought
                       to a phone by a second host; goal: 0
    throughput_ratio   the first push, with its hash checked on the phone, against `adb push` of as
                       many bytes: pairs in the order ABBA, the median of their ratios; goal: 0.9

On a virtual phone through a real adb server. Its link carries what a good USB 2 port does, because the
loopback of this computer is faster than any cable, and than the phone's sha256sum.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from harness.devices.android.device import AndroidPhone
from tests.fakes.packs import fake_runner_pack
from tests.fakes.phones import SMALL, own_adb_server, plugged_in
from tests.virtual_android import AdbServer, Fault, VirtualPhone

USB_2_BYTES_PER_SECOND = 40_000_000


def _second_run_bytes(phone: VirtualPhone, folder: Path) -> int:
    """Bring files to the phone twice, as two hosts would; return what the second one sent."""
    pack = fake_runner_pack()
    files = [_make_file(folder / f"model-{number}", 2_000_000, number) for number in range(5)]
    before = 0
    for host in ("first", "second"):
        before = int(phone.state()["pushed_bytes"])
        with closing(AndroidPhone(phone.serial, f"the {host} host")) as device:
            device.install(pack)
            for path, sha256 in files:
                device.stage(path, sha256)
    return int(phone.state()["pushed_bytes"]) - before


def _make_file(path: Path, size_bytes: int, seed: int) -> tuple[Path, str]:
    path.write_bytes(random.Random(seed).randbytes(size_bytes))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def _throughput_ratio(
    adb: AdbServer, phone: VirtualPhone, folder: Path, size_bytes: int, pairs: int
) -> float:
    """Return the median of (seconds of adb push) / (seconds of staging)."""
    ratios = []
    phone.faults.add(Fault("slow", bytes_per_second=USB_2_BYTES_PER_SECOND))
    with closing(AndroidPhone(phone.serial, "staging")) as device:
        for pair in range(pairs):
            path, sha256 = _make_file(folder / "large", size_bytes, 100 + pair)
            seconds = {}
            for way in ("adb", "stage") if pair % 2 else ("stage", "adb"):
                os.sync()
                begin = time.perf_counter()
                if way == "stage":
                    device.stage(path, sha256)
                else:
                    adb.run("-s", phone.serial, "push", str(path), "/data/local/tmp/", check=True)
                seconds[way] = time.perf_counter() - begin
            ratios.append(seconds["adb"] / seconds["stage"])
            adb.run("-s", phone.serial, "shell", "rm /data/local/tmp/large")
    phone.faults.clear()
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=4)
    options = parser.parse_args()
    spec = replace(SMALL, data_bytes=4 << 30)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        adb = stack.enter_context(own_adb_server())
        phone = stack.enter_context(plugged_in(adb, spec))
        size_bytes = options.megabytes * 1_000_000
        ratio = _throughput_ratio(adb, phone, folder, size_bytes, options.pairs)
        figures = {
            "second_run_bytes": _second_run_bytes(phone, folder),
            "throughput_ratio": round(ratio, 3),
        }
    print(f"sent by the second host: {figures['second_run_bytes']} bytes (goal: 0)")
    print(f"staging against adb push: {figures['throughput_ratio']} of its speed (goal: 0.9)")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
