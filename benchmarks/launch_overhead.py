"""The harness is cheap: what a launch costs beyond the life of the runner process.

Compares, launch by launch, the wall time of a whole launch on this computer (staging, starting,
waiting, collecting, checking, storing, with every fsync) with the life of its runner process as
its supervisor saw it; and times `phonebench --help` as a whole process.
Goals: at most 30 ms in the median, and 0.4 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from harness.results.folder import read_sweep

_MODEL = """
import torch

def net():
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()).eval()
"""


def _sweep(folder: Path, launches: int) -> list[float]:
    """Run a small sweep; return, per launch, the milliseconds between runner and launch."""
    (folder / "small_model.py").write_text(_MODEL)
    command = [
        *(sys.executable, "-m", "harness", "run", "small_model:net", "--shape", "1x64"),
        *("--rounds", str(launches), "--passes", "latency", "--no-report"),
        *("--set", "measure.min_iterations=20", "--set", "measure.min_seconds=0.05"),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    sweep = read_sweep(next((folder / "sweeps").iterdir()))
    # From one launch's start to the next one's: nothing between two launches escapes.
    entries = [entry for entry in sweep.entries if entry.status == "ok"]
    overheads = []
    for this, following in pairwise(entries):
        assert this.started_unix is not None
        assert following.started_unix is not None
        assert this.runner_ns is not None
        wall_ms = (following.started_unix - this.started_unix) * 1e3
        overheads.append(wall_ms - this.runner_ns / 1e6)
    return overheads


def _help_seconds(runs: int) -> float:
    phonebench = Path(sys.executable).with_name("phonebench")
    times = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run([phonebench, "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launches", type=int, default=40)
    parser.add_argument("--help-runs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overheads = _sweep(Path(folder), options.launches)
    p90 = statistics.quantiles(overheads, n=10)[-1]
    figures = {
        "overhead_ms_median": round(statistics.median(overheads), 2),
        "overhead_ms_p90": round(p90, 2),
        "launches": len(overheads),
        "help_s": round(_help_seconds(options.help_runs), 3),
    }
    print(f"launch minus runner: {figures['overhead_ms_median']} ms in the median (goal: 30)")
    print(f"phonebench --help:   {figures['help_s']} s in the median (goal: 0.4)")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
