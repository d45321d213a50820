"""Run a plan on a virtual phone through a real adb server: `python -m tests.demo_phone DEMO`.

quickstart   the quickstart on an x86_64 phone, at this computer's speed, on one thread
energy       calibration of the fuel gauge, and a plan with energy, on an x86_64 phone
arm64        a short plan on an arm64 phone, whose programs run in emulation: its times mean
             nothing, its outputs are right

It needs what a run needs, and nothing that only tests need: pytest is not imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.results.folder import read_sweep
from tests.virtual_android import AdbServer, PhoneSpec, VirtualPhone
from tests.virtual_android.image import missing_tools


@dataclass(frozen=True)
class Demo:
    """A plan, and the virtual phone that it runs on."""

    plan: str
    abi: Literal["x86_64", "arm64-v8a"]
    options: tuple[str, ...] = ()
    calibrated: bool = False


DEMOS = {
    # One thread: half the launches, and none that waits for a core which this computer has lent.
    "quickstart": Demo("examples/quickstart.toml", "x86_64", options=("--set", "matrix.threads=1")),
    "energy": Demo("examples/energy.toml", "x86_64", calibrated=True),
    "arm64": Demo("examples/phone.toml", "arm64-v8a"),
}


def run_demo(adb: AdbServer, demo: Demo, output: Path) -> Path:
    """Run a plan on a new virtual phone; return the sweep, all of whose launches are ok."""
    spec = PhoneSpec(
        abi=demo.abi, serialno=f"VP-{demo.abi}", data_bytes=4 << 30,
        boot_seconds=0.5, boot_completed_seconds=0.3,
    )  # fmt: skip
    harness = [sys.executable, "-m", "harness"]
    with VirtualPhone(spec) as phone:
        phone.plug_in(adb)
        if demo.calibrated:
            subprocess.run([*harness, "calibrate", phone.serial], check=True)
        command = [*harness, "run", demo.plan, "--device", phone.serial, *demo.options]
        # A virtual phone is an emulator, and doctor says so.
        subprocess.run([*command, "--accept", "all", "-o", str(output)], check=True)
        assert phone.altered() == {}, "the phone is as it was"
    return max(output.glob("*/sweep.json"), key=lambda path: path.stat().st_mtime).parent


def describe(name: str, sweep: Path) -> str:
    """Say in a line how many launches went well, and how far their outputs are from eager's."""
    entries = read_sweep(sweep).entries
    ok = [entry for entry in entries if entry.status == "ok"]
    checked = [entry.fidelity for entry in ok if entry.fidelity is not None]
    worst_db = min((f.sqnr_db for f in checked if f.sqnr_db is not None), default=None)
    worst = "equal to eager's" if worst_db is None else f"at worst {worst_db:.1f} dB from eager's"
    return (
        f"{name}: {len(ok)} of {len(entries)} launches ok; the outputs of {len(checked)} were "
        f"compared, {worst}\n  {sweep / 'report.html'}"
    )


def main() -> None:
    """Run the demo that is named, and sum it up."""
    if len(sys.argv) != 2 or sys.argv[1] not in DEMOS:
        sys.exit(f"Name a demo: {', '.join(DEMOS)}")
    name = sys.argv[1]
    if missing := [*(() if shutil.which("adb") else ("adb",)), *missing_tools()]:
        sys.exit(f"{', '.join(missing)} not installed: see tools/system-packages.sh")
    with AdbServer() as adb:
        os.environ.update(adb.environment)
        sweep = run_demo(adb, DEMOS[name], Path("sweeps"))
    print("\n" + describe(name, sweep))


if __name__ == "__main__":
    main()
