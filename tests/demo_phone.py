"""Run plans on virtual phones through a real adb server: `python -m tests.demo_phone [ABI...]`.

The quickstart on an x86_64 phone, at this computer's speed, with its report; and a short plan on
an arm64 phone, whose programs run in emulation: its times mean nothing, its outputs are right.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

from harness.ledger import read_sweep
from tests.phones import SMALL, own_adb_server, plugged_in
from tests.virtual_phone import AdbServer

Abi = Literal["x86_64", "arm64-v8a"]
PLANS: dict[Abi, str] = {
    "x86_64": "examples/quickstart.toml",
    "arm64-v8a": "examples/phone.toml",
}


def run_plan(adb: AdbServer, abi: Abi, plan: str, output: Path) -> Path:
    """Run a plan on a new virtual phone; return the sweep, all of whose launches are ok."""
    spec = replace(SMALL, abi=abi, data_bytes=4 << 30, serialno=f"VP-{abi}")
    with plugged_in(adb, spec) as phone:
        command = [sys.executable, "-m", "harness", "run", plan, "--device", phone.serial]
        # A virtual phone is an emulator, and doctor says so.
        subprocess.run([*command, "--accept", "all", "-o", str(output)], check=True)
        assert phone.altered() == {}, "the phone is as it was"
    return max(output.glob("*/sweep.json"), key=lambda path: path.stat().st_mtime).parent


def describe(abi: Abi, sweep: Path) -> str:
    """Say in a line how many launches went well, and how far their outputs are from eager's."""
    entries = read_sweep(sweep).entries
    ok = [entry for entry in entries if entry.status == "ok"]
    checked = [entry.fidelity for entry in ok if entry.fidelity is not None]
    worst_db = min((f.sqnr_db for f in checked if f.sqnr_db is not None), default=None)
    worst = "equal to eager's" if worst_db is None else f"at worst {worst_db:.1f} dB from eager's"
    return (
        f"{abi}: {len(ok)} of {len(entries)} launches ok; the outputs of {len(checked)} were "
        f"compared, {worst}\n  {sweep / 'report.html'}"
    )


def main() -> None:
    """Run every plan, and sum up at the end."""
    wanted = sys.argv[1:] or list(PLANS)
    lines = []
    with own_adb_server() as adb:
        for abi, plan in PLANS.items():
            if abi in wanted:
                lines.append(describe(abi, run_plan(adb, abi, plan, Path("sweeps"))))
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
