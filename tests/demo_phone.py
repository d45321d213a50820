"""Run plans on virtual phones through a real adb server: `python -m tests.demo_phone [DEMO...]`.

quickstart   the quickstart on an x86_64 phone, at this computer's speed
energy       calibration of the fuel gauge, and a plan with energy, on an x86_64 phone
arm64        a short plan on an arm64 phone, whose programs run in emulation: its times mean
             nothing, its outputs are right
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.results.folder import read_sweep
from tests.fakes.phones import SMALL, own_adb_server, plugged_in
from tests.virtual_android import AdbServer


@dataclass(frozen=True)
class Demo:
    """A plan, and the virtual phone that it runs on."""

    plan: str
    abi: Literal["x86_64", "arm64-v8a"]
    calibrated: bool = False


DEMOS = {
    "quickstart": Demo("examples/quickstart.toml", "x86_64"),
    "energy": Demo("examples/energy.toml", "x86_64", calibrated=True),
    "arm64": Demo("examples/phone.toml", "arm64-v8a"),
}


def run_demo(adb: AdbServer, demo: Demo, output: Path) -> Path:
    """Run a plan on a new virtual phone; return the sweep, all of whose launches are ok."""
    spec = replace(SMALL, abi=demo.abi, data_bytes=4 << 30, serialno=f"VP-{demo.abi}")
    harness = [sys.executable, "-m", "harness"]
    with plugged_in(adb, spec) as phone:
        if demo.calibrated:
            subprocess.run([*harness, "calibrate", phone.serial], check=True)
        command = [*harness, "run", demo.plan, "--device", phone.serial, "-o", str(output)]
        # A virtual phone is an emulator, and doctor says so.
        subprocess.run([*command, "--accept", "all"], check=True)
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
    """Run every demo, or those that are named, and sum up at the end."""
    wanted = sys.argv[1:] or list(DEMOS)
    with own_adb_server() as adb:
        lines = [describe(name, run_demo(adb, DEMOS[name], Path("sweeps"))) for name in wanted]
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
