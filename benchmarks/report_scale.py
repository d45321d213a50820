"""How long a report of a large sweep takes, its figures included, and how large it is.

The sweep is synthetic and made before the clock starts. What is timed is the whole command in a
fresh process, imports included: `phonebench report FOLDER -o FILE`. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPES = ("fp32", "fp32-frozen", "int8-dynamic", "int8-static", "fp16")
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--launches", type=int, default=20, help="of each case")
    parser.add_argument("--samples", type=int, default=500, help="of each launch")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, page = Path(temporary) / "sweep", Path(temporary) / "report.html"
        # In a process of its own: a child begins with its parent's high-water mark.
        arguments = (folder, chosen.cases, chosen.launches, chosen.samples)
        maker = multiprocessing.get_context("spawn").Process(target=make_sweep, args=arguments)
        maker.start()
        maker.join()
        found = sum(1 for _ in (folder / "launches").rglob("*.jsonl"))
        print(f"{chosen.cases} cases, {found} launches of {chosen.samples} samples each")
        seconds, cpu_seconds, peak_mb = time_command(["report", str(folder), "-o", str(page)])
        html_mb = page.stat().st_size / 1e6
    print(
        f"the report took {seconds:.2f} s ({cpu_seconds:.2f} s of processors) and {peak_mb:.0f} MB, "
        f"and has {html_mb:.2f} MB"
    )
    print(json.dumps({"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3),
                      "peak_mb": round(peak_mb, 1), "html_mb": round(html_mb, 3)}))  # fmt: skip


def make_sweep(folder: Path, cases: int, launches: int, samples: int) -> None:
    """Write a synthetic sweep of exactly so many cases: models x 5 recipes x 4 thread counts."""
    sys.path.insert(0, str(ROOT))
    from tests.fakes.sweeps import Shape, write_sweep

    if cases % 20:
        raise SystemExit("--cases must be a multiple of 20 (5 recipes on 4 thread counts)")
    models = tuple(f"model-{number}" for number in range(cases // 20))
    shape = Shape(
        models=models,
        evaluated=models,
        recipes=RECIPES,
        threads=(1, 2, 3, 4),
        rounds=launches,
        samples=samples,
        passes=("latency",),
        device_names=("build-server",),
        troubles=False,
    )
    write_sweep(folder, shape)


def time_command(arguments: list[str]) -> tuple[float, float, float]:
    """Run phonebench to its end; return seconds, those of processors, and peak resident megabytes.

    What its own processes use counts, too; the peak is that of the largest one.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "harness", *arguments], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"phonebench ended with status {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
