"""A launch by the runner: every phase, loop and read-back of every pass."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.schema.job import Loop, TensorSource
from harness.schema.record import LaunchRecord, read_record
from tests.fakes.runner_bench import (
    FEW,
    IMAGE,
    Bench,
    export,
    values,
)

pytestmark = pytest.mark.slow


NONE = Loop(min_iterations=0, min_seconds=0, max_iterations=1, max_seconds=60)


class Matmul(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x @ x @ x


def test_a_latency_pass_measures_every_phase_in_order(bench: Bench) -> None:
    record = bench.measure(checks=((IMAGE,),))
    assert [mark.name for mark in record.marks] == [
        "main", "engine_ready", "model_loaded", "first_inference_done", "warmup_done",
        "steady_done", "end",
    ]  # fmt: skip
    times = [mark.time_ns for mark in record.marks]
    assert times == sorted(times)
    counts = {phase: len(samples.start_ns) for phase, samples in record.samples.items()}
    expected = {"cold_load": 1, "first_inference": 1, "warmup": 5, "steady": 5, "warm_load": 3}
    assert counts == expected
    assert record.header.launch == "0001-test"
    assert all(mark.pss_bytes is None for mark in record.marks)


def test_samples_do_not_overlap_and_lie_within_their_phase(bench: Bench) -> None:
    record = bench.measure()
    steady = record.samples["steady"]
    ends = [s + d for s, d in zip(steady.start_ns, steady.duration_ns, strict=True)]
    assert all(end <= start for end, start in zip(ends, steady.start_ns[1:], strict=False))
    done, first = record.mark("steady_done"), record.mark("first_inference_done")
    assert done is not None
    assert first is not None
    assert first.time_ns < steady.start_ns[0]
    assert ends[-1] <= done.time_ns
    assert steady.counters is not None
    assert steady.counters.wall_ns >= sum(steady.duration_ns)


def test_a_memory_pass_reads_pss_and_loads_only_once(bench: Bench) -> None:
    record = bench.measure(measured_pass="memory")
    assert "warm_load" not in record.samples
    for mark in record.marks:
        assert mark.pss_bytes is not None
        assert 0 < mark.pss_bytes <= mark.vm_hwm_bytes
        assert 0 < mark.rss_bytes <= mark.vm_hwm_bytes
        assert mark.rss_anon_bytes
        assert mark.rss_file_bytes
        assert mark.rss_anon_bytes + mark.rss_file_bytes <= mark.rss_bytes


def test_room_for_many_samples_does_not_count_as_memory_of_the_model(bench: Bench) -> None:
    roomy = Loop(min_iterations=5, min_seconds=0, max_iterations=1_000_000, max_seconds=60)
    peaks = {}
    for name, loop in (("few", FEW), ("roomy", roomy)):
        mark = bench.measure(measured_pass="memory", steady=loop).mark("steady_done")
        assert mark is not None
        peaks[name] = mark.vm_hwm_bytes
    assert peaks["roomy"] - peaks["few"] < 4 << 20  # the room itself is 16 MB


def test_a_profile_accounts_for_the_time_of_the_inferences(bench: Bench) -> None:
    model = bench.model("matmul", lambda path: export(Matmul(), path, torch.rand(256, 256)))
    loop = Loop(min_iterations=50, min_seconds=0, max_iterations=50, max_seconds=60)
    record = bench.measure(
        measured_pass="profile",
        model_file=model,
        inputs=(TensorSource(shape=(256, 256)),),
        steady=loop,
    )
    assert "steady" not in record.samples
    assert record.operators is not None
    assert record.operators.iterations == 50
    operators = {operator.name: operator for operator in record.operators.operators}
    assert operators["aten::mm"].calls == 150
    assert operators["aten::matmul"].self_ns < operators["aten::matmul"].total_ns
    warmup, done = record.samples["warmup"], record.mark("steady_done")
    assert done is not None
    span = done.time_ns - warmup.start_ns[-1] - warmup.duration_ns[-1]
    total = sum(operator.self_ns for operator in operators.values())
    assert 0.5 * span < total <= span


def test_loops_stop_at_their_maxima_and_may_be_empty(bench: Bench) -> None:
    at_most_seven = Loop(min_iterations=0, min_seconds=60, max_iterations=7, max_seconds=60)
    record = bench.measure(warmup=NONE, steady=at_most_seven, warm_loads=0)
    assert record.durations_ns("warmup").size == 0
    assert record.durations_ns("steady").size == 7
    assert "warm_load" not in record.samples
    soon = Loop(min_iterations=10**6, min_seconds=0, max_iterations=10**6, max_seconds=0.05)
    assert 0 < bench.measure(steady=soon).durations_ns("steady").size < 10**6


def test_the_delay_lies_between_inferences_and_not_within(bench: Bench) -> None:
    steady = bench.measure(delay_seconds=0.02).samples["steady"]
    gaps = np.diff(steady.start_ns) - np.asarray(steady.duration_ns[:-1])
    assert (gaps >= 20_000_000).all()


def test_the_process_start_is_noted_when_its_parent_says_when(bench: Bench) -> None:
    job, result = bench.paths(bench.job().model_dump_json())
    exec_ns = time.monotonic_ns()
    environment = {**os.environ, "PHONEBENCH_EXEC_NS": str(exec_ns)}
    subprocess.run([bench.pack.runner, job, result], check=True, env=environment, stdout=-3)
    record = read_record(result)
    assert isinstance(record, LaunchRecord)
    assert record.header.exec_ns == exec_ns < record.header.main_ns


def test_threads_and_cores_are_read_back(bench: Bench) -> None:
    two = bench.measure(threads=2).actual
    assert two is not None
    assert two.threads == 2
    core = min(os.sched_getaffinity(0))
    pinned = bench.measure(affinity=(core,)).actual
    assert pinned is not None
    assert pinned.affinity == (core,)


def test_the_quantized_engine_in_force_is_recorded_also_when_it_is_not_the_one_asked_for(
    bench: Bench,
) -> None:
    chosen = bench.measure(quantized_engine="qnnpack").actual
    assert chosen is not None
    assert chosen.quantized_engine == "qnnpack"
    absent = bench.measure(quantized_engine="abacus").actual
    assert absent is not None
    assert absent.quantized_engine not in {"abacus", None}


def test_the_pages_of_the_model_are_really_dropped_before_the_cold_load(bench: Bench) -> None:
    Path(bench.net()).read_bytes()
    kept = bench.measure(drop_page_cache=False).actual
    assert kept is not None
    assert kept.model_resident_fraction == 1.0
    kind = subprocess.run(["stat", "-f", "-c", "%T", bench.net()], capture_output=True, text=True)
    if kind.stdout.strip() in {"tmpfs", "ramfs"}:
        pytest.skip("this file system lives in memory: it has no pages to drop")
    dropped = bench.measure().actual
    assert dropped is not None
    assert dropped.model_resident_fraction == 0.0


def test_channels_last_inputs_are_in_force_and_give_the_same_outputs(bench: Bench) -> None:
    plain = bench.measure(checks=((IMAGE,),))
    last = bench.measure(checks=((IMAGE,),), memory_format="channels_last")
    assert plain.actual is not None
    assert last.actual is not None
    formats = (plain.actual.memory_format, last.actual.memory_format)
    assert formats == ("contiguous", "channels_last")
    np.testing.assert_allclose(values(last)[0], values(plain)[0], rtol=1e-5)
