"""Is the runner's timing true? Its median against that of a bare C++ loop that shares no code.

Both run the same artifact with the same library, thread count and allocator settings, each launch
a process of its own, in ABBA blocks (so that drift cancels). The figure is the median over the blocks of
runner/bare; the goal is 1.00 +- 0.01, for a tiny model and for a phone-sized one.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cmake
import ninja
import torch

from harness.runners.local import build_local
from harness.runners.pack import RunnerPack
from harness.schema.job import Job, Loop, TensorSource
from harness.schema.record import LaunchRecord, read_record
from harness.storage.cache import cache_folder

WARMUP_SHARE = 0.2


@dataclass(frozen=True)
class Subject:
    """A model to time: its file, its one input, and how long a launch is."""

    name: str
    file: Path
    shape: tuple[int, ...]
    iterations: int

    @property
    def warmup(self) -> int:
        """Inferences before the timed ones."""
        return math.ceil(self.iterations * WARMUP_SHARE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12, help="ABBA blocks per model")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    pack, bare = build_local(progress=print), build_bare_loop()
    ratios = {}
    with tempfile.TemporaryDirectory() as temporary:
        for subject in export_subjects(Path(temporary)):
            print(
                f"{subject.name}: runner against bare loop, {options.blocks} ABBA blocks of "
                f"{subject.iterations} inferences a launch, {options.threads} thread(s)"
            )
            ratios[subject.name] = compare(subject, pack, bare, options.blocks, options.threads)
    print(json.dumps({f"ratio_{name}": round(ratio, 4) for name, ratio in ratios.items()}))


def compare(subject: Subject, pack: RunnerPack, bare: Path, blocks: int, threads: int) -> float:
    """Return the median ratio of the runner's median to the bare loop's, over ABBA blocks."""
    logs = []
    for block in range(blocks):
        times: dict[str, list[float]] = {"A": [], "B": []}
        for side in "ABBA" if block % 2 == 0 else "BAAB":
            median_ns = (
                run_runner(subject, pack, threads)
                if side == "A"
                else run_bare_loop(subject, bare, threads)
            )
            times[side].append(math.log(median_ns))
        logs.append(statistics.mean(times["A"]) - statistics.mean(times["B"]))
        runner_ms, bare_ms = (math.exp(statistics.mean(times[side])) / 1e6 for side in "AB")
        print(f"  block {block + 1}: {runner_ms:.4f} ms / {bare_ms:.4f} ms")
    print(f"  ratio {math.exp(statistics.median(logs)):.4f}, "
          f"blocks from {math.exp(min(logs)):.4f} to {math.exp(max(logs)):.4f}")  # fmt: skip
    return math.exp(statistics.median(logs))


def run_runner(subject: Subject, pack: RunnerPack, threads: int) -> float:
    """Launch the runner; return the median of its steady samples in nanoseconds."""

    def exactly(iterations: int) -> Loop:
        return Loop(
            min_iterations=iterations, min_seconds=0, max_iterations=iterations, max_seconds=3600
        )

    job = Job(
        launch="timing-truth",
        engine="lite",
        measured_pass="latency",
        model_file=str(subject.file),
        threads=threads,
        inputs=(TensorSource(shape=subject.shape),),
        warm_loads=0,
        warmup=exactly(subject.warmup),
        steady=exactly(subject.iterations),
    )
    job_file, result = subject.file.with_suffix(".json"), subject.file.with_suffix(".jsonl")
    job_file.write_text(job.model_dump_json())
    subprocess.run([pack.runner, job_file, result], check=True, stdout=subprocess.DEVNULL)
    record = read_record(result)
    if not isinstance(record, LaunchRecord):
        raise SystemExit(f"the runner was interrupted: {record.reason}")
    return float(statistics.median(record.durations_ns("steady").tolist()))


def run_bare_loop(subject: Subject, bare: Path, threads: int) -> float:
    """Launch the bare loop; return its median in nanoseconds."""
    arguments = [threads, subject.warmup, subject.iterations, *subject.shape]
    done = subprocess.run(
        [bare, subject.file, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def build_bare_loop() -> Path:
    torch_spec = find_spec("torch")
    assert torch_spec is not None
    assert torch_spec.origin is not None
    build = cache_folder() / "bare_loop"
    program = str(Path(cmake.CMAKE_BIN_DIR, "cmake"))
    configure = [
        program, "-S", str(Path(__file__).parent / "bare_loop"), "-B", str(build), "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR, 'ninja')}",
        f"-DPHONEBENCH_TORCH={Path(torch_spec.origin).parent}",
    ]  # fmt: skip
    for command in (configure, [program, "--build", str(build)]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return build / "bare_loop"


def export_subjects(folder: Path) -> list[Subject]:
    """Export a tiny network and a phone-sized one."""
    from examples import mobilenet

    tiny = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(), torch.nn.Linear(128, 10),
    )  # fmt: skip
    subjects = []
    for name, module, shape, iterations in (
        ("tiny", tiny, (1, 1, 32, 32), 10_000),
        ("phone_sized", mobilenet.random(), (1, 3, 224, 224), 40),
    ):
        path = folder / f"{name}.ptl"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(module.eval(), torch.rand(shape))
            traced._save_for_lite_interpreter(str(path))
        subjects.append(Subject(name, path, shape, iterations))
    return subjects


if __name__ == "__main__":
    main()
