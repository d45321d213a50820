"""What do probes cost? A model's latency with the memory pass's series beside it, and without.

The probes are those of a phone with eight cores and six thermal zones, at their own periods; files
that this computer lacks are stood for by files of the same content. Within each launch the sampler
is held (SIGSTOP) and let go again in blocks of a third of a second, in seeded ABBA order: whole launches
differ by far more than what is looked for. The figure is the median over the pairs of with/without,
each of a block's median. Latency itself is measured without probes: this is an upper limit. The goal is
below 1.005. `sampler_cpu_share` is the CPU time of all readings over the time they were made in.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.analysis.stats import estimate
from harness.devices.kernel_files import CORE_FILES, CPU, STAT, Readable, Zone, make_probes
from harness.runners.local import build_local
from harness.runners.pack import RunnerPack
from harness.schema.job import Job, Loop, Probe, TensorSource
from harness.schema.record import LaunchRecord, read_record

SHAPE = (1, 16, 128, 128)
BLOCK_SECONDS = 0.35


@dataclass(frozen=True)
class Block:
    """A stretch of the steady loop, with the sampler at work or held. Times are CLOCK_MONOTONIC."""

    probed: bool
    begin_ns: int
    end_ns: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launches", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=24, help="pairs of blocks in each launch")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pack = build_local(progress=print)
    rng = random.Random(options.seed)
    logs: list[float] = []
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, probes = export_model(folder / "model.ptl"), phone_probes(folder)
        print(f"{len(probes)} probes")
        for number in range(options.launches):
            record, blocks = launch(pack, folder, model, probes, options.pairs, rng)
            own = list(pair_logs(record, blocks))
            logs += own
            shares.append(sampler_cpu_share(record, blocks))
            print(
                f"  launch {number + 1}: {median_ns(record) / 1e6:.3f} ms, "
                f"{math.exp(statistics.median(own)):.4f} over {len(own)} pairs"
            )
    found = estimate(logs)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    print(f"95% interval of the ratio: {math.exp(found.low):.4f} to {math.exp(found.high):.4f}")
    figures = {
        "latency_ratio": round(math.exp(found.median), 5),
        "pairs": len(logs),
        "sampler_cpu_share": round(statistics.median(shares), 5),
    }
    print(json.dumps(figures))


def phone_probes(folder: Path) -> tuple[Probe, ...]:
    """Return the memory pass's probes as a phone would have them, on files that are here."""
    files = frozenset(
        {STAT, *(f"{CPU}/cpu{core}/{file}" for core in range(8) for file in CORE_FILES)}
    )
    zones = tuple(Zone(f"thermal_zone{n}", f"zone{n}", 30_000) for n in range(6))
    return tuple(
        probe if _is_here(probe) else _stand_in(probe, folder / f"probe{number}")
        for number, probe in enumerate(make_probes(Readable(files, zones), "memory"))
    )


def _is_here(probe: Probe) -> bool:
    assert probe.file is not None
    return "@PID" in probe.file or Path(probe.file).exists()


def _stand_in(probe: Probe, path: Path) -> Probe:
    states = "".join(f"{300_000 + 100_000 * n} {n}\n" for n in range(20))
    path.write_text(states if probe.reading == "time_in_state" else "30000\n")
    return probe.model_copy(update={"file": str(path)})


def launch(
    pack: RunnerPack,
    folder: Path,
    model: Path,
    probes: tuple[Probe, ...],
    pairs: int,
    rng: random.Random,
) -> tuple[LaunchRecord, list[Block]]:
    """Launch once, and hold the sampler in every second block or so of its steady loop."""
    warmup_seconds = 1.0
    seconds = 2 * pairs * BLOCK_SECONDS + 4.0
    job = Job(
        launch="probe-cost",
        engine="lite",
        measured_pass="latency",
        model_file=str(model),
        threads=1,
        inputs=(TensorSource(shape=SHAPE),),
        warm_loads=0,
        warmup=loop(warmup_seconds),
        steady=loop(seconds),
        probes=probes,
    )
    (folder / "job.json").write_text(job.model_dump_json())
    command = [pack.runner, folder / "job.json", folder / "result.jsonl"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as runner:
        time.sleep(warmup_seconds + 1.5)  # it is in its steady loop now
        blocks = toggle(find_sampler(runner.pid), pairs, rng)
    record = read_record(folder / "result.jsonl")
    if runner.returncode != 0 or not isinstance(record, LaunchRecord):
        raise SystemExit("the runner failed")
    if record.sampling and record.sampling.failures:
        raise SystemExit(f"probes failed: {record.sampling.failures}")
    return record, blocks


def loop(seconds: float) -> Loop:
    """Return a loop that lasts so long."""
    return Loop(
        min_iterations=1, min_seconds=seconds, max_iterations=1_000_000, max_seconds=seconds
    )


def find_sampler(runner: int) -> int:
    """Return the process that reads files beside a runner: its only child."""
    (child,) = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
    return int(child)


def toggle(sampler: int, pairs: int, rng: random.Random) -> list[Block]:
    """Hold the sampler and let it go, pair by pair in random order."""
    blocks = []
    for _ in range(pairs):
        for probed in rng.choice(((True, False), (False, True))):
            os.kill(sampler, signal.SIGCONT if probed else signal.SIGSTOP)
            begin_ns = time.monotonic_ns()
            time.sleep(BLOCK_SECONDS)
            blocks.append(Block(probed, begin_ns, time.monotonic_ns()))
    os.kill(sampler, signal.SIGCONT)
    return blocks


def pair_logs(record: LaunchRecord, blocks: list[Block]) -> list[float]:
    """Return each pair's log ratio of medians, with over without; inferences at edges are left out."""
    samples = record.samples["steady"]
    timed = list(zip(samples.start_ns, samples.duration_ns, strict=True))

    def median_of(block: Block) -> float:
        inside = [
            duration
            for start, duration in timed
            if block.begin_ns <= start and start + duration <= block.end_ns
        ]
        return statistics.median(inside)

    logs = []
    for first, second in zip(blocks[::2], blocks[1::2], strict=True):
        ratio = math.log(median_of(first) / median_of(second))
        logs.append(ratio if first.probed else -ratio)
    return logs


def median_ns(record: LaunchRecord) -> float:
    """Return the median of the steady samples."""
    return float(statistics.median(record.durations_ns("steady").tolist()))


def sampler_cpu_share(record: LaunchRecord, blocks: list[Block]) -> float:
    """Return the CPU time of all readings over the time in which they were made."""
    assert record.sampling is not None
    held_ns = sum(block.end_ns - block.begin_ns for block in blocks if not block.probed)
    life_ns = record.marks[-1].time_ns - record.marks[0].time_ns
    return record.sampling.cpu_ns / (life_ns - held_ns)


def export_model(path: Path) -> Path:
    """Export a convolutional network of 5 to 10 ms on an ordinary computer."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for _ in range(8):
        layers += [torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(torch.nn.Sequential(*layers).eval(), torch.rand(SHAPE))
        traced._save_for_lite_interpreter(str(path))
    return path


if __name__ == "__main__":
    main()
