"""Is the runner's timing true? Its measuring loop against bare C++ loops that share no code with it.

1. Both loops in one process, over one loaded model, in turns: a block of inferences each. The figure
   of a process is the median over its rounds of runner/bare, and the ratio the median over some
   processes, for what lies where in memory is drawn once in each. The goal is 1.000 +- 0.003, for a
   tiny model and for a phone-sized one.
2. The instructions of an inference in either loop, counted by callgrind where it is installed. Luck
   has no part in them.
3. Whole launches of the runner and of a program with the bare loop, in ABBA blocks, each a process of
   its own: what a person would compare. A program's heap lies alike in all its launches, so this figure
   holds a luck that no number of them averages out: a few kilobytes allocated before the model moved
   the same bare loop by up to 5%.

`forward_more_ns` is what a loop shows beyond either that calls `forward(inputs)`: it looks the method
up and copies the arguments within the time. Where the machine is not calm, give this the cores first:
`chrt -f 1 python -m benchmarks.timing_truth`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import statistics
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import quantile_test

from harness.runners.build import run_cmake
from harness.runners.local import build_local, find_toolchain
from harness.runners.pack import RunnerPack
from harness.schema.job import Job, Loop, TensorSource
from harness.schema.record import LaunchRecord, read_record
from harness.storage.cache import cache_folder

RUNNER, BARE, FORWARD = range(3)  # as both_loops numbers them
COUNTED = ("phonebench::run_loop*", "run_bare_loop*")
COUNTED_ROUNDS = 5


@dataclass(frozen=True)
class Subject:
    """A model to time: its file, its one input, and how much of it is timed together."""

    name: str
    file: Path
    shape: tuple[int, ...]
    iterations: int  # of a launch
    block: int  # in one process, of each loop's turn
    rounds: int  # of turns in a process
    short: bool  # whether a hundred instructions show beside the model's own

    def job(self, threads: int, warmup: int, steady: int) -> Path:
        """Write a job of so many inferences; return its file."""
        job = Job(
            launch="timing-truth",
            engine="lite",
            measured_pass="latency",
            model_file=str(self.file),
            threads=threads,
            inputs=(TensorSource(shape=self.shape),),
            warm_loads=0,
            warmup=exactly(warmup),
            steady=exactly(steady),
        )
        file = self.file.with_suffix(".json")
        file.write_text(job.model_dump_json())
        return file


class Programs(NamedTuple):
    """What is run: the runner, the bare loop alone, and both loops in one process."""

    pack: RunnerPack
    bare: Path
    both: Path


class Ratio(NamedTuple):
    """A median ratio with its 95% interval, which assumes no distribution."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def rounded(self) -> list[float]:
        """Return estimate, low and high as the JSON line shows them."""
        return [round(value, 4) for value in self]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=15, help="with both loops, a model")
    parser.add_argument("--blocks", type=int, default=12, help="ABBA blocks of launches, a model")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    programs = build_programs()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for subject in export_subjects(Path(temporary)):
            figures |= compare_in_turns(subject, programs, options.processes, options.threads)
            if subject.short:
                figures |= count_instructions(subject, programs)
            figures |= compare_launches(subject, programs, options.blocks, options.threads)
    print(json.dumps(figures))


# --- both loops in one process -------------------------------------------------------------------


def compare_in_turns(
    subject: Subject, programs: Programs, processes: int, threads: int
) -> dict[str, object]:
    """Return the ratio of the loops' times in one process; of a short model, what forward() adds."""
    print(
        f"{subject.name}: {processes} processes with both loops, {subject.rounds} rounds each of "
        f"{subject.block} inferences a loop, {threads} thread(s)"
    )
    job = subject.job(threads, warmup=10 * subject.block, steady=subject.block)
    loops = FORWARD + 1 if subject.short else FORWARD
    ratios, more_ns = [], []
    for _ in range(processes):
        done = run(programs.both, job, subject.rounds, loops)
        times = np.array([line.split() for line in done.splitlines()], float)
        ratios.append(float(np.median(times[:, RUNNER] / times[:, BARE])))
        more_ns.append(float(np.median(times[:, loops - 1] - times[:, BARE])))
    ratio = median_ratio(ratios)
    print(f"  {' '.join(f'{one:.4f}' for one in sorted(ratios))}\n  runner/bare {ratio}")
    figures: dict[str, object] = {
        f"ratio_{subject.name}": round(ratio.estimate, 4),
        f"ratio_{subject.name}_interval": ratio.rounded()[1:],
    }
    return figures | (
        {"forward_more_ns": round(statistics.median(more_ns))} if subject.short else {}
    )


def count_instructions(subject: Subject, programs: Programs) -> dict[str, object]:
    """Return the instructions of an inference, runner's loop to bare loop; None without a tool."""
    unknown: dict[str, object] = {"instructions_ratio": None, "instructions_more": None}
    if shutil.which("valgrind") is None:
        print("  instructions are not counted: valgrind is not installed")
        return unknown
    job = subject.job(1, warmup=subject.block, steady=subject.block)
    counts = [count_within(function, programs.both, job) for function in COUNTED]
    if None in counts:
        return unknown
    runner, bare = (float(count or 0) / (COUNTED_ROUNDS * subject.block) for count in counts)
    print(f"  instructions an inference: runner {runner:.0f}, bare {bare:.0f}")
    return {
        "instructions_ratio": round(runner / bare, 5),
        "instructions_more": round(runner - bare),
    }


def count_within(function: str, program: Path, job: Path) -> int | None:
    """Return the instructions within a function and what it calls; say why if they do not count."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        f"--toggle-collect={function}", str(program), str(job), str(COUNTED_ROUNDS), str(FORWARD),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        print(f"  instructions are not counted: valgrind says\n{done.stderr.strip()[-500:]}")
        return None
    return int(found[1])


# --- launches ------------------------------------------------------------------------------------


def compare_launches(
    subject: Subject, programs: Programs, blocks: int, threads: int
) -> dict[str, object]:
    """Return the median ratio of the runner's median to the bare loop's, over ABBA blocks."""
    print(f"{subject.name}: {blocks} ABBA blocks of launches of {subject.iterations} inferences")
    ratios = []
    for block in range(blocks):
        times: dict[str, list[float]] = {"A": [], "B": []}
        for side in "ABBA" if block % 2 == 0 else "BAAB":
            launch = run_runner if side == "A" else run_bare_loop
            times[side].append(math.log(launch(subject, programs, threads)))
        ratios.append(math.exp(statistics.mean(times["A"]) - statistics.mean(times["B"])))
    ratio = median_ratio(ratios)
    print(f"  {' '.join(f'{one:.4f}' for one in sorted(ratios))}\n  runner/bare {ratio}")
    return {f"launches_ratio_{subject.name}": ratio.rounded()}


def run_runner(subject: Subject, programs: Programs, threads: int) -> float:
    """Launch the runner; return the median of its steady samples in nanoseconds."""
    job = subject.job(threads, warmup=subject.iterations // 5, steady=subject.iterations)
    result = subject.file.with_suffix(".jsonl")
    run(programs.pack.runner, job, result)
    record = read_record(result)
    if not isinstance(record, LaunchRecord):
        raise SystemExit(f"the runner was interrupted: {record.reason}")
    return float(statistics.median(record.durations_ns("steady").tolist()))


def run_bare_loop(subject: Subject, programs: Programs, threads: int) -> float:
    """Launch the bare loop; return its median in nanoseconds."""
    warmup = subject.iterations // 5
    arguments = (threads, warmup, subject.iterations, *subject.shape)
    return float(run(programs.bare, subject.file, *arguments))


# --- what both need ------------------------------------------------------------------------------


def median_ratio(ratios: Sequence[float]) -> Ratio:
    """Return the median of some ratios, with its interval from their order alone."""
    test: Any = quantile_test(ratios, p=0.5)  # its stub says less than there is
    interval = test.confidence_interval(0.95)
    return Ratio(statistics.median(ratios), float(interval.low), float(interval.high))


def exactly(iterations: int) -> Loop:
    """Return a loop of so many inferences."""
    return Loop(
        min_iterations=iterations, min_seconds=0, max_iterations=iterations, max_seconds=3600
    )


def run(program: Path, *arguments: object) -> str:
    """Run a program that must go well; return what it prints."""
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build_programs() -> Programs:
    """Build what is compared, or find it built."""
    pack, tools = build_local(progress=print), find_toolchain()
    folder = cache_folder() / "bare_loop"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "CMAKE_CXX_COMPILER": str(tools.compiler),
        "PHONEBENCH_RUNNER_CORE": str(tools.sources),
        "PHONEBENCH_TORCH": str(tools.torch),
        "PHONEBENCH_JSON_INCLUDE": str(tools.json_include),
    }
    names = ("bare_loop", "both_loops")
    sources = Path(__file__).parent / "bare_loop"
    run_cmake(sources, folder, folder.with_suffix(".log"), options, names)
    return Programs(pack, folder / names[0], folder / names[1])


def export_subjects(folder: Path) -> list[Subject]:
    """Export a tiny network and a phone-sized one."""
    from examples import mobilenet

    tiny = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(), torch.nn.Linear(128, 10),
    )  # fmt: skip
    subjects = {
        Subject("tiny", folder / "tiny.ptl", (1, 1, 32, 32), 10_000, 200, 200, True): tiny,
        Subject("phone_sized", folder / "large.ptl", (1, 3, 224, 224), 40, 1, 100, False): (
            mobilenet.random()
        ),
    }
    for subject, module in subjects.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(module.eval(), torch.rand(subject.shape))
            traced._save_for_lite_interpreter(str(subject.file))
    return list(subjects)


if __name__ == "__main__":
    main()
