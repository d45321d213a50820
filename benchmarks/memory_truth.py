"""Is memory true? Peaks against a known allocation, and leaks found where they were planted.

Each launch is a memory pass of the synthetic engine, whose load is known to the byte, with this
device's own probes. Half of the launches lose 1 KB an inference, the others nothing; work, scratch
and held memory are drawn from a seed. `peak_error` is the worst |(peak - engine's own) / truth - 1|
over the launches that lose nothing; the goal is 0.01, every leak found, none invented.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

from harness.analysis.memory import growth, peak_until
from harness.devices.kernel_files import STAT, Readable, make_probes
from harness.runners.local import build_local
from harness.runners.pack import RunnerPack
from harness.runners.synthetic_load import ENGINE, SyntheticLoad
from harness.schema.job import Job, Loop, TensorSource
from harness.schema.record import LaunchRecord, read_record

LEAK_BYTES = 1024
HELD_BYTES = 64 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launches", type=int, default=50, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pack, draw = build_local(ENGINE, progress=print), random.Random(options.seed)
    errors, found, false = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.launches):
            sound, leaking = (measure(pack, Path(folder), make_load(draw, leak))
                              for leak in (0, LEAK_BYTES))  # fmt: skip
            errors.append(sound[0])
            false += sound[1]
            found += leaking[1]
            print(f"  {number + 1}: peak off by {sound[0]:.3%}, "
                  f"{'a leak invented' if sound[1] else 'no leak invented'}, "
                  f"{'the leak found' if leaking[1] else 'the leak missed'}")  # fmt: skip
    figures = {"peak_error": round(max(errors), 5), "leaks_found": found,
               "leaks_planted": options.launches, "false_leaks": false}  # fmt: skip
    print(json.dumps(figures))


def make_load(draw: random.Random, leak_bytes: int) -> SyntheticLoad:
    """Draw a load: 0.2 to 3 ms an inference, up to 4 MB of scratch."""
    return SyntheticLoad(
        work=draw.randrange(200_000, 3_000_000),
        allocate_bytes=HELD_BYTES,
        scratch_bytes=draw.choice((0, 1000, 100_000, 1_000_000, draw.randrange(4 << 20))),
        leak_bytes_per_inference=leak_bytes,
    )


def measure(pack: RunnerPack, folder: Path, load: SyntheticLoad) -> tuple[float, bool]:
    """Launch once; return how far the peak is off, as a share, and whether a leak was found."""
    job = Job(
        launch="memory-truth",
        engine=ENGINE,
        measured_pass="memory",
        model_file=str(load.write(folder / "load.json")),
        threads=1,
        inputs=(TensorSource(shape=(1,)),),
        warmup=Loop(min_iterations=5, min_seconds=0.2, max_iterations=1000, max_seconds=60),
        steady=Loop(min_iterations=500, min_seconds=1, max_iterations=100_000, max_seconds=60),
        probes=make_probes(Readable(frozenset({STAT}), ()), "memory"),
    )
    (folder / "job.json").write_text(job.model_dump_json())
    command = [pack.runner, folder / "job.json", folder / "result.jsonl"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    record = read_record(folder / "result.jsonl")
    if not isinstance(record, LaunchRecord):
        raise SystemExit(f"the runner was interrupted: {record.reason}")
    peak, own = peak_until(record, "steady_done"), peak_until(record, "engine_ready")
    assert peak is not None
    assert own is not None
    grown = growth(record)
    truth = load.allocate_bytes + load.scratch_bytes
    return abs((peak - own) / truth - 1), grown is not None and grown.grows


if __name__ == "__main__":
    main()
