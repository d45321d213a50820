"""What do probes cost? A model's latency with the memory pass's series beside it, and without.

The probes are those of a phone with eight cores and six thermal zones, at their own periods; files
that this computer lacks are stood for by files of the same content. Launches are interleaved in ABBA
blocks; the figure is the median over the pairs of with/without, each of a launch's median. Latency
itself is measured without: this is an upper limit. The goal is below 1.005. `sampler_cpu_share` is the CPU
time of the sampling process over the life of the launch, in the median: what is taken from all cores together.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

from harness.devices.probes import CORE_FILES, CPU, STAT, Readable, Zone, make_probes
from harness.job import Job, Loop, Probe, TensorSource
from harness.records import LaunchRecord, read_record
from harness.runtimes import RuntimePack, build_local

SHAPE = (1, 16, 128, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=12, help="ABBA blocks, two pairs each")
    parser.add_argument("--iterations", type=int, default=150, help="timed, in each launch")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    pack = build_local(progress=print)
    logs: list[float] = []
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, probes = export_model(folder / "model.ptl"), phone_probes(folder)
        print(f"{len(probes)} probes, {options.blocks} ABBA blocks")
        for block in range(options.blocks):
            for order in ("AB", "BA") if block % 2 == 0 else ("BA", "AB"):
                records = {
                    side: launch(pack, folder, model, probes if side == "A" else (), options)
                    for side in order
                }
                probed, plain = median_ns(records["A"]), median_ns(records["B"])
                logs.append(math.log(probed / plain))
                shares.append(sampler_cpu_share(records["A"]))
                print(f"  {probed / 1e6:.4f} ms with, {plain / 1e6:.4f} ms without")
    ratio = math.exp(statistics.median(logs))
    print(f"pairs from {math.exp(min(logs)):.4f} to {math.exp(max(logs)):.4f}")
    share = round(statistics.median(shares), 5)
    figures = {"latency_ratio": round(ratio, 5), "pairs": len(logs), "sampler_cpu_share": share}
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
    pack: RuntimePack,
    folder: Path,
    model: Path,
    probes: tuple[Probe, ...],
    options: argparse.Namespace,
) -> LaunchRecord:
    """Launch once, with all that it is asked to read really read."""

    def exactly(iterations: int) -> Loop:
        return Loop(
            min_iterations=iterations, min_seconds=0, max_iterations=iterations, max_seconds=3600
        )

    job = Job(
        launch="probe-cost",
        engine="lite",
        measured_pass="latency",
        model_file=str(model),
        threads=options.threads,
        inputs=(TensorSource(shape=SHAPE),),
        warm_loads=0,
        warmup=exactly(20),
        steady=exactly(options.iterations),
        probes=probes,
    )
    (folder / "job.json").write_text(job.model_dump_json())
    command = [pack.runner, folder / "job.json", folder / "result.jsonl"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    record = read_record(folder / "result.jsonl")
    if not isinstance(record, LaunchRecord):
        raise SystemExit(f"the runner was interrupted: {record.reason}")
    if record.sampling and record.sampling.failures:
        raise SystemExit(f"probes failed: {record.sampling.failures}")
    return record


def median_ns(record: LaunchRecord) -> float:
    """Return the median of the steady samples."""
    return float(statistics.median(record.durations_ns("steady").tolist()))


def sampler_cpu_share(record: LaunchRecord) -> float:
    """Return the CPU time of all readings over the time in which they were made."""
    assert record.sampling is not None
    return record.sampling.cpu_ns / (record.marks[-1].time_ns - record.marks[0].time_ns)


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
