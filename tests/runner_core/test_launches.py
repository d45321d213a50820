"""The core as a library: launches in one process, one after another, as an app has them."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.runners.synthetic_load import ENGINE as SYNTHETIC
from harness.runners.synthetic_load import SyntheticLoad
from harness.schema.engines import FORMAT_READ
from harness.schema.job import Channel, Job, Loop, Probe, TensorSource
from harness.schema.record import LaunchRecord, read_record
from tests.fakes.native_programs import build_program

pytestmark = pytest.mark.slow

FEW = Loop(min_iterations=5, min_seconds=0, max_iterations=5, max_seconds=60)
MEMORY = Probe(
    file="/proc/@PID/status",
    period_seconds=0.005,
    channels=(Channel(name="rss", unit="byte", after="VmRSS:", scale=1024),),
)
COMMAND = Probe(
    command=("echo", "7"), period_seconds=0.005, channels=(Channel(name="seven", unit="one"),)
)


class Square(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x


def make_model(engine: str, folder: Path) -> str:
    """Write a small model for an engine; returns its path."""
    if engine == SYNTHETIC:
        return str(SyntheticLoad(work=20_000).write(folder / "load.json"))
    path = folder / "square.ptl"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(Square().eval(), torch.rand(8, 8))
        traced._save_for_lite_interpreter(str(path))
    return str(path)


class Bench:
    """A process that is given jobs, and a model for them."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.program = build_program(f"launches_{engine}", engine=engine)
        self.model = make_model(engine, folder)

    def job(self, **changes: Any) -> str:
        usual: dict[str, Any] = {
            "launch": "0001-test", "engine": self.engine, "measured_pass": "latency",
            "model_file": self.model, "threads": 1, "inputs": (TensorSource(shape=(8, 8)),),
            "warmup": FEW, "steady": FEW,
        }  # fmt: skip
        return Job(**{**usual, **changes}).model_dump_json()

    def launch(self, *jobs: str) -> list[tuple[dict[str, Any], LaunchRecord | None]]:
        """Do the jobs in one process; returns what each left behind, and its result."""
        paths = []
        for number, content in enumerate(jobs):
            job, result = self.folder / f"job{number}", self.folder / f"result{number}.jsonl"
            job.write_text(content)
            result.unlink(missing_ok=True)
            paths += [job, result]
        done = subprocess.run([self.program, *paths], check=True, capture_output=True, text=True)
        left = [json.loads(line) for line in done.stdout.splitlines()]
        return list(zip(left, map(read_if_there, paths[1::2]), strict=True))

    def measure(self, *jobs: str) -> list[LaunchRecord]:
        """Do jobs that must all go well."""
        records = []
        for left, record in self.launch(*jobs):
            assert (left["ending"], left["reason"]) == ("ok", "")
            assert record is not None
            records.append(record)
        return records


def read_if_there(path: Path) -> LaunchRecord | None:
    if not path.exists():
        return None
    record = read_record(path)
    assert isinstance(record, LaunchRecord)
    return record


@pytest.fixture(scope="module", params=[*FORMAT_READ, SYNTHETIC])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(request.param, tmp_path_factory.mktemp(request.param))


def shape_of(record: LaunchRecord) -> tuple[list[str], dict[str, int], int, int]:
    counts: dict[str, int] = {
        phase: len(samples.start_ns) for phase, samples in record.samples.items()
    }
    steady = record.samples["steady"].counters
    iterations = steady.iterations if steady else 0
    return [mark.name for mark in record.marks], counts, iterations, record.end.records


def test_a_second_launch_in_one_process_is_as_whole_as_the_first(bench: Bench) -> None:
    first, second = bench.measure(bench.job(launch="first"), bench.job(launch="second"))
    assert (first.header.launch, second.header.launch) == ("first", "second")
    assert shape_of(first) == shape_of(second)
    assert first.header.main_ns == second.header.main_ns
    end, begin = first.mark("end"), second.mark("main")
    assert end is not None
    assert begin is not None
    assert end.time_ns < begin.time_ns


def test_a_profile_holds_nothing_of_the_one_before(bench: Bench) -> None:
    profiles = bench.measure(*[bench.job(measured_pass="profile")] * 2)
    calls = []
    for record in profiles:
        assert record.operators is not None
        calls.append({one.name: one.calls for one in record.operators.operators})
    assert calls[0] == calls[1]
    assert calls[0]


def test_what_a_job_set_does_not_bind_the_next(bench: Bench) -> None:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    bound, free = bench.launch(
        bench.job(threads=2, affinity=cores[:1], quantized_engine="qnnpack"), bench.job()
    )
    for left, _ in (bound, free):
        assert left["affinity"] == list(cores)
    assert bound[1] is not None
    assert free[1] is not None
    assert bound[1].actual is not None
    assert free[1].actual is not None
    assert bound[1].actual.affinity == cores[:1]
    assert free[1].actual.affinity == cores
    assert (bound[1].actual.threads, free[1].actual.threads) == (2, 1)
    alone = bench.measure(bench.job())[0].actual
    assert alone is not None
    assert free[1].actual.quantized_engine == alone.quantized_engine


def test_a_launch_leaves_no_process_no_descriptor_and_no_signal_handler(bench: Bench) -> None:
    a_while = Loop(min_iterations=1, min_seconds=0.5, max_iterations=1_000_000, max_seconds=60)
    probed = bench.job(measured_pass="memory", probes=(MEMORY, COMMAND), steady=a_while)
    (first, _), (second, record) = bench.launch(probed, probed)
    assert first["descriptors"] == second["descriptors"]
    assert (first["handled_signals"], first["has_children"]) == ([], False)
    assert first["told"] == ["warming up", "measuring", "done"]
    assert record is not None
    memory, command = record.trace("rss"), record.trace("seven")
    assert memory is not None
    assert memory.values
    assert command is not None
    assert set(command.values) <= {7.0}


def absent(bench: Bench) -> str:
    return bench.job(model_file="/no/such.model")


def refused(bench: Bench) -> str:
    return json.dumps({"job_version": 99})


@pytest.mark.parametrize(
    ("make", "kind", "phase"),
    [(absent, "model_load", "cold_load"), (refused, "job", "job")],
)
def test_a_job_that_fails_leaves_an_error_and_returns_and_the_next_is_done(
    bench: Bench, make: Callable[[Bench], str], kind: str, phase: str
) -> None:
    before, failed, after = bench.launch(bench.job(), make(bench), bench.job())
    left, record = failed
    assert record is not None
    assert record.error is not None
    assert (left["ending"], left["reason"]) == ("failed", record.error.message)
    assert (record.error.kind, record.error.phase, record.end.status) == (kind, phase, "failed")
    assert left["told"][-1] == "failed"
    for good, result in (before, after):
        assert good["ending"] == "ok"
        assert result is not None
    for what in ("descriptors", "handled_signals", "has_children", "affinity"):
        assert left[what] == before[0][what]


def test_a_failure_within_the_measuring_leaves_nothing_either(bench: Bench) -> None:
    profile = bench.job(measured_pass="profile", probes=(MEMORY,))
    too_many = bench.job(checks=((TensorSource(shape=(2, 3), file="/no/input"),),))
    first, (left, record), last = bench.launch(profile, too_many, profile)
    assert record is not None
    assert record.error is not None
    assert (left["ending"], record.error.phase) == ("failed", "checks")
    assert first[1] is not None
    assert last[1] is not None
    assert first[1].end.records == last[1].end.records


def test_a_result_that_cannot_be_written_is_told_by_the_return_value(bench: Bench) -> None:
    job = bench.folder / "job"
    job.write_text(bench.job())
    asked: list[Path | str] = [job, "/no/such/result.jsonl", job, bench.folder / "result.jsonl"]
    done = subprocess.run([bench.program, *asked], check=True, capture_output=True, text=True)
    left = [json.loads(line) for line in done.stdout.splitlines()]
    assert left[0]["ending"] == "no result"
    assert left[0]["reason"].startswith("storage: cannot create /no/such/result.jsonl.partial")
    assert left[1]["ending"] == "ok"


def test_the_words_of_a_job_do_not_decide_where_the_model_lies(tmp_path: Path) -> None:
    program = build_program("model_heap")
    usual: dict[str, Any] = {
        "engine": "lite", "measured_pass": "latency", "model_file": "model", "threads": 1,
        "warmup": FEW, "steady": FEW, "warm_loads": 0,
    }  # fmt: skip
    places = set()
    for words, size in ((1, 1), (300, 1), (5000, 1), (1, 50_000)):
        job = tmp_path / "job.json"
        source = TensorSource(shape=(size,))
        job.write_text(Job(launch="x" * words, inputs=(source,), **usual).model_dump_json())
        command = [program, job, tmp_path / "result.jsonl"]
        places.add(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert len(places) == 1
    assert len(places.pop().splitlines()) == 4
