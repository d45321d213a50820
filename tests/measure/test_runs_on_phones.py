"""Whole runs on virtual phones, as people start them: real models, real runner packs, real adb."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.results.folder import read_sweep
from tests.conftest import require_tool
from tests.demo_phone import DEMOS, run_demo
from tests.fakes.phones import SMALL, await_truth, plugged_in
from tests.places import REPOSITORY
from tests.virtual_android import AdbServer

pytestmark = pytest.mark.slow

MODEL = (
    "examples.digits:trained", "--shape", "1x1x32x32", "--recipe", "fp32,int8-dynamic",
    "--rounds", "3", "--passes", "latency",
    "--set", "measure.min_iterations=5", "--set", "measure.min_seconds=0.3",
)  # fmt: skip


def phonebench(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )


def ok_launches(output: Path) -> list[int | None]:
    """Return the indices of the launches that are ok in the only sweep there is."""
    ledgers = list(output.glob("*/ledger.jsonl"))
    if not ledgers:
        return []
    return [e.index for e in read_sweep(ledgers[0].parent).entries if e.status == "ok"]


def test_a_run_that_is_killed_goes_on_on_the_phone_and_sends_nothing_again(
    adb: AdbServer, tmp_path: Path
) -> None:
    with plugged_in(adb, replace(SMALL, data_bytes=4 << 30)) as phone:
        options = ("--device", phone.serial, "--accept", "all", "--no-report", "-o", tmp_path)
        first = phonebench("run", *MODEL, *options)
        await_truth(lambda: len(set(ok_launches(tmp_path))) >= 2, seconds=400)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert len(set(ok_launches(tmp_path))) < 6
        sent = phone.state()["pushed_bytes"]
        (sweep,) = tmp_path.iterdir()
        assert phonebench("run", "--resume", sweep, "--no-report").wait() == 0
        # Some more than once, where this computer was busy.
        assert set(ok_launches(tmp_path)) == {1, 2, 3, 4, 5, 6}
        assert phone.state()["pushed_bytes"] == sent
        assert phone.altered() == {}
    entries = read_sweep(sweep).entries
    assert all(e.fidelity is not None for e in entries if e.status == "ok")
    before = [e.before for e in entries if e.before is not None]
    assert len(before) >= len(entries) - 1, "only the host that was killed knew it of its last"
    # It charges meanwhile.
    assert {conditions.battery_percent for conditions in before} <= {80, 81, 82, 83}


def test_an_arm64_phone_computes_what_eager_does(adb: AdbServer, tmp_path: Path) -> None:
    require_tool("qemu-aarch64-static")
    require_tool("aarch64-linux-gnu-g++")
    sweep = run_demo(adb, DEMOS["arm64"], tmp_path)
    entries = read_sweep(sweep).entries
    # More than one attempt, where this computer was busy.
    assert {(entry.index, entry.status) for entry in entries} == {(1, "ok"), (2, "ok")}
    # What each recipe must reach is the sweep's own criterion; a launch below it fails.
    assert all(entry.fidelity is not None for entry in entries)
    assert (sweep / "report.html").exists()
