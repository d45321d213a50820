from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.runners.local import build_local
from harness.runners.pack import RunnerPack
from harness.schema.engines import FORMAT_READ
from harness.schema.job import Dtype, Job, Loop, Pass, TensorSource
from harness.schema.record import Interrupted, LaunchRecord, read_record
from tests.conftest import missing
from tests.fakes.inputs import generate

pytestmark = pytest.mark.slow

FEW = Loop(min_iterations=5, min_seconds=0, max_iterations=5, max_seconds=60)
NONE = Loop(min_iterations=0, min_seconds=0, max_iterations=1, max_seconds=60)
ENDLESS = Loop(min_iterations=1_000_000, min_seconds=60, max_iterations=1_000_000, max_seconds=60)
IMAGE = TensorSource(shape=(1, 3, 16, 16), seed=1)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.linear = torch.nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(torch.relu(self.convolution(x)).mean((2, 3)))
        return y


class Clones(torch.nn.Module):
    def forward(
        self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return a.clone(), b.clone(), c.clone(), d.clone()


class Nested(torch.nn.Module):
    def forward(
        self, x: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], list[torch.Tensor], tuple[torch.Tensor, int]]:
        q = torch.quantize_per_tensor(x, 0.25, 0, torch.qint8)
        return {"z": x + 1, "a": x + 2}, [x + 3, x.half()], (q, 7)


class Raises(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() < 1e9):
            raise RuntimeError("bad luck")
        return x


class Matmul(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x @ x @ x


class Embeds(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(50, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.table(tokens)
        return y


@contextmanager
def deprecated_torchscript() -> Iterator[None]:
    """The lite interpreter and its exporter are deprecated upstream; we know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(`torch\.jit|Lite Interpreter)", DeprecationWarning)
        yield


def export(module: torch.nn.Module, path: Path, *inputs: torch.Tensor) -> str:
    """Trace (or script, without inputs) a module into a .ptl; returns its path."""
    with deprecated_torchscript():
        model = torch.jit.trace(module.eval(), inputs) if inputs else torch.jit.script(module)
        model._save_for_lite_interpreter(str(path))
    return str(path)


@dataclass
class Bench:
    """A runner, a folder, and models made once."""

    pack: RunnerPack
    folder: Path
    models: dict[str, str] = field(default_factory=dict)

    def model(self, name: str, make: Callable[[Path], str]) -> str:
        if name not in self.models:
            self.models[name] = make(self.folder / f"{name}.ptl")
        return self.models[name]

    def net(self) -> str:
        return self.model("net", lambda path: export(Net(), path, torch.rand(1, 3, 16, 16)))

    def job(self, **changes: Any) -> Job:
        usual: dict[str, Any] = {
            "launch": "0001-test",
            "engine": self.pack.engine,
            "measured_pass": "latency",
            "model_file": changes.get("model_file") or self.net(),
            "threads": 1,
            "inputs": (IMAGE,),
            "warmup": FEW,
            "steady": FEW,
        }
        return Job(**{**usual, **changes})

    def paths(self, content: str) -> tuple[Path, Path]:
        job, result = self.folder / "job.json", self.folder / "result.jsonl"
        job.write_text(content)
        result.unlink(missing_ok=True)
        result.with_name("result.jsonl.partial").unlink(missing_ok=True)
        return job, result

    def run(self, content: str) -> tuple[int, LaunchRecord]:
        """Run a job to its end; returns the exit code and the whole result."""
        job, result = self.paths(content)
        done = subprocess.run([self.pack.runner, job, result], capture_output=True, check=False)
        record = read_record(result)
        assert isinstance(record, LaunchRecord), done
        return done.returncode, record

    def measure(self, **changes: Any) -> LaunchRecord:
        """Run a job that must go well."""
        code, record = self.run(self.job(**changes).model_dump_json())
        assert (code, record.end.status, record.error) == (0, "ok", None)
        return record

    def fail(self, content: str | None = None, **changes: Any) -> tuple[str, str, str]:
        """Run a job that must fail; returns kind, phase and message."""
        code, record = self.run(
            self.job(**changes).model_dump_json() if content is None else content
        )
        assert (code, record.end.status) == (1, "failed")
        assert record.error is not None
        return record.error.kind, record.error.phase, record.error.message

    def end_by(self, number: signal.Signals) -> Path:
        """Start a job that does not end by itself, and signal it while it measures."""
        job, result = self.paths(self.job(steady=ENDLESS).model_dump_json())
        with subprocess.Popen([self.pack.runner, job, result], stdout=-1, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines == ["warming up\n", "measuring\n"]
            process.send_signal(number)
            assert process.wait(20) == -number
        return result


@pytest.fixture(scope="module", params=FORMAT_READ)
def pack(request: pytest.FixtureRequest) -> RunnerPack:
    return build_local(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runner")


@pytest.fixture(scope="module")
def bench(pack: RunnerPack, folder: Path) -> Bench:
    return Bench(pack, folder)


def values(record: LaunchRecord, sample: int = 0) -> list[np.ndarray[Any, Any]]:
    return [output.values() for output in record.outputs if output.sample == sample]


# What is measured


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


# Requested is not actual


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


# Inputs and outputs


def test_outputs_equal_the_eager_models(bench: Bench) -> None:
    sources = [TensorSource(shape=(1, 3, 16, 16), seed=seed, low=-1) for seed in (5, 6)]
    record = bench.measure(checks=tuple((source,) for source in sources))
    for sample, source in enumerate(sources):
        with torch.inference_mode():
            eager = Net().eval()(torch.from_numpy(generate(source))).numpy()
        np.testing.assert_allclose(values(record, sample)[0], eager, rtol=1e-5, atol=1e-6)


def test_seeded_inputs_reach_the_model_as_the_same_bits_that_python_makes(bench: Bench) -> None:
    dtypes: tuple[Dtype, ...] = ("float32", "float16", "int64", "bool")
    shapes = ((3,), (2, 2), (5, 1, 2), (7,))
    inputs = tuple(
        TensorSource(shape=shape, dtype=dtype, seed=2**63 + n, low=-3, high=1000)
        for n, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    )
    examples = [torch.from_numpy(generate(source)) for source in inputs]
    model = bench.model("clones", lambda path: export(Clones(), path, *examples))
    outputs = values(bench.measure(model_file=model, inputs=inputs, checks=(inputs,)))
    for output, source in zip(outputs, inputs, strict=True):
        made = generate(source)
        wide = made.astype(np.float32) if source.dtype == "float16" else made
        assert output.dtype == wide.dtype
        assert output.shape == source.shape
        assert output.tobytes() == wide.tobytes()


def test_bfloat16_inputs_are_rounded_as_torch_rounds_them(bench: Bench) -> None:
    source = TensorSource(shape=(999,), dtype="bfloat16", seed=4, low=-5, high=5)
    fine = generate(source.model_copy(update={"dtype": "float32"}))
    rounded = torch.from_numpy(fine).bfloat16()
    assert generate(source).tobytes() == rounded.view(torch.uint16).numpy().tobytes()
    model = bench.model("relu", lambda path: export(torch.nn.Identity(), path))
    (output,) = values(bench.measure(model_file=model, inputs=(source,), checks=((source,),)))
    assert output.tobytes() == rounded.float().numpy().tobytes()


def test_half_precision_inputs_are_rounded_as_numpy_rounds_them_over_the_whole_range(
    bench: Bench,
) -> None:
    model = bench.model("relu", lambda path: export(torch.nn.Identity(), path))
    for high in (1e-7, 6e-5, 1.0, 65519.0, 66000.0):
        source = TensorSource(shape=(500,), dtype="float16", seed=4, low=-high, high=high)
        with np.errstate(over="ignore"):
            made = generate(source).astype(np.float32)
        (output,) = values(bench.measure(model_file=model, inputs=(source,), checks=((source,),)))
        assert output.tobytes() == made.tobytes()


def test_inputs_come_from_a_file_at_an_offset(bench: Bench) -> None:
    image = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    path = bench.folder / "inputs.bin"
    path.write_bytes(b"\0" * 12 + image.tobytes())
    source = TensorSource(shape=image.shape, file=str(path), offset_bytes=12)
    (output,) = values(bench.measure(inputs=(source,), checks=((source,),)))
    with torch.inference_mode():
        eager = Net().eval()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(output, eager, rtol=1e-5, atol=1e-6)


def test_token_ids_run_an_embedding(bench: Bench) -> None:
    tokens = TensorSource(shape=(1, 6), dtype="int64", seed=2, low=0, high=50)
    model = bench.model(
        "embeds", lambda path: export(Embeds(), path, torch.zeros(1, 6, dtype=torch.long))
    )
    (output,) = values(bench.measure(model_file=model, inputs=(tokens,), checks=((tokens,),)))
    with torch.inference_mode():
        eager = Embeds()(torch.from_numpy(generate(tokens))).numpy()
    assert output.tobytes() == eager.tobytes()


def test_nested_outputs_are_flattened_in_order_and_made_plain(bench: Bench) -> None:
    source = TensorSource(shape=(4,), seed=9)
    model = bench.model("nested", lambda path: export(Nested(), path))
    outputs = values(bench.measure(model_file=model, inputs=(source,), checks=((source,),)))
    x = generate(source)
    expected = [x + 1, x + 2, x + 3, x.astype(np.float16), np.round(x / 0.25) * 0.25, np.int64(7)]
    assert [o.dtype for o in outputs] == [np.float32] * 5 + [np.int64]
    for output, right in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(output, right)


# What goes wrong


def zip_with(source: str, path: Path, name: str, change: Callable[[bytes], bytes]) -> str:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry.endswith(name) else content)
    return str(path)


def from_the_future(pickle: bytes) -> bytes:
    assert b"K\x08" in pickle[:8]  # the first number is the version
    return pickle.replace(b"K\x08", b"K\x63", 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda good: b"", "is empty"),
        (lambda good: b"a letter to a friend", "is no model of the lite interpreter"),
        (lambda good: good[:100], "is damaged or cut short"),
        (lambda good: good[: len(good) // 2], "is damaged or cut short"),
        (lambda good: good[:-1], "is damaged or cut short"),
        (lambda good: b"\x2c\0\0\0PTMF" + good[:50], "does not load: "),
    ],
)
def test_a_file_that_is_no_whole_model_is_named_with_the_reason(
    bench: Bench, content: Callable[[bytes], bytes], says: str
) -> None:
    path = bench.folder / "bad.ptl"
    path.write_bytes(content(Path(bench.net()).read_bytes()))
    kind, phase, message = bench.fail(model_file=str(path))
    assert (kind, phase) == ("model_load", "cold_load")
    assert message.startswith(f"{path} {says}")
    assert "\n" not in message


def test_an_absent_model_is_named(bench: Bench) -> None:
    kind, _, message = bench.fail(model_file="/no/such.ptl")
    assert (kind, message) == ("model_load", "/no/such.ptl does not exist")


def test_full_torchscript_and_checkpoints_are_told_from_lite_models(bench: Bench) -> None:
    torch.save({"weight": torch.rand(2)}, bench.folder / "checkpoint.pt")
    with deprecated_torchscript():
        torch.jit.script(torch.nn.ReLU()).save(bench.folder / "full.pt")
    for name in ("checkpoint.pt", "full.pt"):
        kind, _, message = bench.fail(model_file=str(bench.folder / name))
        assert kind == "model_load"
        assert "holds no bytecode for the lite interpreter" in message


def test_a_model_of_a_future_bytecode_version_says_both_versions(bench: Bench) -> None:
    path = bench.folder / "future.ptl"
    kind, _, message = bench.fail(
        model_file=zip_with(bench.net(), path, "bytecode.pkl", from_the_future)
    )
    assert kind == "model_load"
    assert "must be between 4 and 9 but the model version is 99" in message


def test_missing_operators_are_listed(bench: Bench) -> None:
    library = torch.library.Library("phonebench_test", "DEF")
    library.define("odd(Tensor x) -> Tensor")
    library.impl("odd", lambda x: x + 1, "CPU")

    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = torch.ops.phonebench_test.odd(x)
            return y

    model = export(Odd(), bench.folder / "odd.ptl", torch.rand(2))
    kind, phase, message = bench.fail(model_file=model)
    assert (kind, phase) == ("missing_operator", "cold_load")
    assert message.endswith("operators that this engine lacks: [phonebench_test::odd]")


PREPACKED = """
import sys, torch
from torch.utils.mobile_optimizer import optimize_for_mobile
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
script = optimize_for_mobile(torch.jit.trace(model, torch.rand(1, 3, 16, 16)))
script._save_for_lite_interpreter(sys.argv[1], _use_flatbuffer=sys.argv[2] == "flatbuffer")
"""


@pytest.mark.parametrize("container", ["zip", "flatbuffer"])
def test_missing_classes_of_operators_are_named_and_not_an_internal_error(
    bench: Bench, container: str
) -> None:
    path = bench.folder / f"prepacked-{container}.ptl"
    other_torch = ["/usr/bin/python3", "-c", PREPACKED, str(path), container]
    if subprocess.run(other_torch, capture_output=True, check=False).returncode != 0:
        missing("/usr/bin/python3 has no torch with XNNPACK (Debian: python3-torch)")
    kind, phase, message = bench.fail(model_file=str(path))
    assert (kind, phase) == ("missing_operator", "cold_load")
    assert message.endswith("this engine lacks: those on [xnnpack.Conv2dOpContext]")


def test_wrong_inputs_say_what_the_model_was_given_and_what_it_said(bench: Bench) -> None:
    wrong = TensorSource(shape=(1, 4, 16, 16))
    kind, phase, message = bench.fail(inputs=(wrong,))
    assert (kind, phase) == ("inference", "first_inference")
    assert message.startswith("forward(float32[1,4,16,16]) raised: ")
    assert "to have 3 channels, but got 4 channels" in message
    assert "Long" in bench.fail(inputs=(IMAGE.model_copy(update={"dtype": "int64"}),))[2]


@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_wrong_number_of_inputs_is_an_error_and_not_a_crash(bench: Bench, count: int) -> None:
    kind, _, message = bench.fail(inputs=(IMAGE,) * count)
    assert (kind, message) == ("inference", f"the model takes 1 inputs; it is given {count}")


def test_a_model_that_raises_is_quoted(bench: Bench) -> None:
    model = bench.model("raises", lambda path: export(Raises(), path))
    kind, _, message = bench.fail(model_file=model)
    assert kind == "inference"
    assert message.endswith("raised: bad luck")


def test_a_wrong_check_sample_fails_in_the_checks(bench: Bench) -> None:
    wrong = TensorSource(shape=(1, 4, 16, 16))
    assert bench.fail(checks=((wrong,),))[:2] == ("inference", "checks")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file": "/no/such.bin"}, "cannot read the input file /no/such.bin"),
        ({"file": "/etc/hostname"}, "the input file /etc/hostname is too short: 3072 bytes"),
        ({"shape": (2**40, 2**30)}, "does not fit into memory"),
        ({"shape": (2**39,)}, "does not fit into memory"),
        ({"dtype": "int8", "high": 1000.0}, "int8 values lie in"),
        ({"dtype": "int64", "low": 0.2, "high": 0.4}, "int64 values lie in"),
    ],
)
def test_inputs_that_cannot_be_made_are_named(
    bench: Bench, change: dict[str, Any], says: str
) -> None:
    kind, phase, message = bench.fail(inputs=(IMAGE.model_copy(update=change),))
    assert (kind, phase) == ("input", "inputs")
    assert says in message


def changed(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda job: json.dumps({**job, **changes})


def without(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda job: json.dumps({name: job[name] for name in job if name != key})


def a_probe(**changes: Any) -> dict[str, Any]:
    channel = {"name": "it", "unit": "unit", "after": "", "scale": 1}
    usual = {"file": None, "command": None, "period_seconds": None, "reading": "number"}
    return {**usual, "channels": [channel], **changes}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda job: "{", "the job is not JSON"),
        (lambda job: "[]", "job_version is missing: this is not a job file"),
        (changed(job_version=1), "job_version is 1; this runner takes 2"),
        (changed(colour="red"), "colour is not known to this runner"),
        (without("threads"), "threads is missing"),
        (changed(threads="two"), "threads must be an integer in [1, 1024]"),
        (changed(threads=0), "threads must be an integer in [1, 1024]"),
        (changed(threads=1.5), "threads must be an integer in [1, 1024]"),
        (changed(measured_pass="guess"), "measured_pass is not a known pass: guess"),
        (changed(inputs=[{"shape": [1]}]), "inputs[0].dtype is missing"),
        (changed(steady={"min_iterations": -1}), "steady.min_iterations must be an integer in"),
        (changed(affinity=[]), "affinity names no core"),
        (changed(drop_page_cache=1), "drop_page_cache must be true or false"),
        (changed(baseline_seconds=-1), "baseline_seconds must not be negative"),
        (changed(baseline_seconds=1e300), "baseline_seconds must be 1e8 at most"),
        (changed(probes=[{"file": "x"}]), "probes[0].command is missing"),
        (changed(probes=[a_probe()]), "probes[0] must name either a file or a command"),
        (
            changed(probes=[a_probe(file="x", command=["y"])]),
            "must name either a file or a command",
        ),
        (changed(probes=[a_probe(file="x", period_seconds=1e-6)]), "period_seconds must be 0.001"),
        (changed(probes=[a_probe(file="x", reading="tea")]), "is not a known reading: tea"),
        (changed(probes=[a_probe(file="x")] * 2), "probes name the channel it twice"),
        (changed(probes=[a_probe(file="x", channels=[])]), "channels names no channel"),
    ],
)
def test_a_job_that_is_not_understood_is_refused_by_its_key(
    bench: Bench, make: Callable[[dict[str, Any]], str], says: str
) -> None:
    kind, phase, message = bench.fail(make(json.loads(bench.job().model_dump_json())))
    assert (kind, phase) == ("job", "job")
    assert says in message


def test_a_job_for_another_engine_is_refused(bench: Bench) -> None:
    job = json.loads(bench.job().model_dump_json())
    _, _, message = bench.fail(json.dumps({**job, "engine": "abacus"}))
    assert message.endswith(f"engine is abacus; this runner is for {bench.pack.engine}")


def test_a_job_file_that_is_absent_is_an_error_of_the_job(bench: Bench) -> None:
    _, result = bench.paths("")
    done = subprocess.run([bench.pack.runner, "/no/job.json", result], stdout=-3, check=False)
    record = read_record(result)
    assert done.returncode == 1
    assert isinstance(record, LaunchRecord)
    assert record.error is not None
    assert record.error.message == "cannot read the job file /no/job.json"


def test_cores_that_are_not_there_are_refused(bench: Bench) -> None:
    kind, phase, message = bench.fail(affinity=(1000,))
    assert (kind, phase) == ("job", "set_up")
    assert "affinity" in message


def test_wrong_usage_has_an_exit_code_of_its_own_and_the_version_is_one_json_line(
    bench: Bench,
) -> None:
    wrong = subprocess.run([bench.pack.runner], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("usage: ")
    version = subprocess.run([bench.pack.runner, "--version"], capture_output=True, check=True)
    facts = json.loads(version.stdout)
    assert (facts["record_version"], facts["job_version"]) == (2, 2)
    assert facts["engine"]["name"] == bench.pack.engine
    assert bench.pack.engine_version.startswith(facts["engine"]["version"])


@pytest.mark.parametrize(
    "name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTERM", "SIGINT", "SIGHUP"]
)
def test_a_fatal_signal_becomes_an_error_that_says_where_and_still_ends_the_process(
    bench: Bench, name: str
) -> None:
    record = read_record(bench.end_by(signal.Signals[name]))
    assert isinstance(record, LaunchRecord)
    assert record.error is not None
    assert (record.error.kind, record.error.phase) == ("signal", "steady")
    assert name in record.error.message
    assert record.mark("first_inference_done") is not None


def test_kill_9_leaves_an_interrupted_result_and_none_under_its_final_name(bench: Bench) -> None:
    result = bench.end_by(signal.SIGKILL)
    assert not result.exists()
    assert isinstance(read_record(result.with_name("result.jsonl.partial")), Interrupted)


def test_a_full_disk_is_told_on_stderr_and_leaves_no_result(bench: Bench) -> None:
    job, result = bench.paths(bench.job().model_dump_json())
    result.with_name("result.jsonl.partial").symlink_to("/dev/full")
    done = subprocess.run(
        [bench.pack.runner, job, result], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "storage: cannot write" in done.stderr
    assert "No space left on device" in done.stderr
    assert list(bench.folder.glob("result.jsonl*")) == []


def test_a_limit_on_file_sizes_is_a_storage_error_too_at_whatever_record_it_strikes(
    bench: Bench,
) -> None:
    job, result = bench.paths(bench.job().model_dump_json())
    for limit in (0, 1000, 2000):
        done = subprocess.run(
            [bench.pack.runner, job, result],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda limit=limit: resource.setrlimit(  # type: ignore[misc]
                resource.RLIMIT_FSIZE, (limit, limit)
            ),
        )
        assert done.returncode == 1
        assert "storage: cannot write" in done.stderr
        assert list(bench.folder.glob("result.jsonl*")) == []


def test_a_folder_that_is_not_there_is_a_storage_error(bench: Bench) -> None:
    job, _ = bench.paths(bench.job().model_dump_json())
    done = subprocess.run(
        [bench.pack.runner, job, "/no/such/result.jsonl"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "storage: cannot create /no/such/result.jsonl.partial" in done.stderr


# The supervisor


def supervise(bench: Bench, folder: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    return subprocess.Popen(
        [bench.pack.supervise, folder, "--", *command], start_new_session=True, stdout=-3
    )


def exit_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "exit").read_text())
    return content


def wait_for(path: Path) -> None:
    for _ in range(2000):
        if path.exists():
            return
        time.sleep(0.01)
    pytest.fail(f"{path} does not appear")


def runner_of(supervisor: int) -> int:
    for _ in range(2000):
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    pytest.fail("the supervisor starts nothing")


def test_the_supervisor_keeps_output_exit_code_times_and_peak_memory(
    bench: Bench, tmp_path: Path
) -> None:
    job = tmp_path / "job.json"
    job.write_text(bench.job().model_dump_json())
    folder = tmp_path / "run"
    begun = time.monotonic_ns()
    supervisor = supervise(bench, folder, bench.pack.runner, job, folder / "result.jsonl")
    assert supervisor.wait(60) == 0
    ended = exit_of(folder)
    assert (ended["exit_code"], ended["signal"]) == (0, None)
    assert begun <= ended["start_ns"] < ended["end_ns"] <= time.monotonic_ns()
    assert ended["max_rss_bytes"] > 1 << 20
    assert (folder / "stdout").read_text() == "warming up\nmeasuring\ndone\n"
    assert (folder / "stderr").read_bytes() == b""
    assert int((folder / "pid").read_text().split()[0]) == supervisor.pid
    record = read_record(folder / "result.jsonl")
    assert isinstance(record, LaunchRecord)
    assert record.header.exec_ns is not None
    assert ended["start_ns"] <= record.header.exec_ns <= record.header.main_ns


@pytest.mark.parametrize(
    ("script", "code", "by_signal"),
    [("exit 3", 3, None), ("kill -9 $$", None, 9), ("kill -11 $$", None, 11)],
)
def test_the_exit_file_tells_a_code_from_a_signal(
    bench: Bench, tmp_path: Path, script: str, code: int | None, by_signal: int | None
) -> None:
    assert supervise(bench, tmp_path / "run", "/bin/sh", "-c", script).wait(20) == 0
    ended = exit_of(tmp_path / "run")
    assert (ended["exit_code"], ended["signal"]) == (code, by_signal)


def test_a_program_that_is_not_there_ends_with_127_and_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    assert supervise(bench, tmp_path / "run", "/no/runner").wait(20) == 0
    assert exit_of(tmp_path / "run")["exit_code"] == 127
    assert "cannot execute /no/runner" in (tmp_path / "run" / "stderr").read_text()


def test_the_pid_file_recognises_the_process_by_its_start_time(
    bench: Bench, tmp_path: Path
) -> None:
    supervisor = supervise(bench, tmp_path / "run", "/bin/sleep", "60")
    wait_for(tmp_path / "run" / "pid")
    pid, ticks = map(int, (tmp_path / "run" / "pid").read_text().split())
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert (pid, ticks) == (supervisor.pid, int(stat[19]))
    os.killpg(pid, signal.SIGKILL)
    supervisor.wait(20)
    assert not (tmp_path / "run" / "exit").exists()


def test_a_job_outlives_the_process_that_asked_for_it(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], start_new_session=True)\n"
        "print('started', flush=True); time.sleep(60)"
    )
    command = [bench.pack.supervise, folder, "--", "/bin/sh", "-c", "read line < ../go; exit 5"]
    os.mkfifo(tmp_path / "go")
    host = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, command)], stdout=-1, cwd=folder
    )
    assert host.stdout is not None
    assert host.stdout.readline() == b"started\n"
    wait_for(folder / "pid")
    host.kill()
    host.wait(20)
    host.stdout.close()
    (tmp_path / "go").write_text("now\n")
    wait_for(folder / "exit")
    assert exit_of(folder)["exit_code"] == 5


def test_hangups_and_ctrl_c_do_not_reach_a_supervised_job(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    supervisor = supervise(
        bench, tmp_path / "run", "/bin/sh", "-c", f"read line < {tmp_path}/go; exit 6"
    )
    wait_for(tmp_path / "run" / "pid")
    runner_of(supervisor.pid)
    supervisor.send_signal(signal.SIGHUP)
    supervisor.send_signal(signal.SIGINT)
    (tmp_path / "go").write_text("now\n")
    assert supervisor.wait(20) == 0
    assert exit_of(tmp_path / "run")["exit_code"] == 6


def test_a_request_to_stop_reaches_the_runner_which_finishes_its_record(
    bench: Bench, tmp_path: Path
) -> None:
    job, folder = tmp_path / "job.json", tmp_path / "run"
    job.write_text(bench.job(steady=ENDLESS).model_dump_json())
    supervisor = supervise(bench, folder, bench.pack.runner, job, folder / "result.jsonl")
    wait_for(folder / "stdout")
    while "measuring" not in (folder / "stdout").read_text():
        time.sleep(0.01)
    supervisor.terminate()
    assert supervisor.wait(20) == 0
    assert exit_of(folder)["signal"] == signal.SIGTERM
    record = read_record(folder / "result.jsonl")
    assert isinstance(record, LaunchRecord)
    assert record.error is not None
    assert "SIGTERM" in record.error.message


def test_a_runner_does_not_run_on_when_its_supervisor_is_killed(
    bench: Bench, tmp_path: Path
) -> None:
    supervisor = supervise(bench, tmp_path / "run", "/bin/sleep", "60")
    runner = runner_of(supervisor.pid)
    descriptor = os.pidfd_open(runner)
    supervisor.kill()
    supervisor.wait(20)
    with os.fdopen(descriptor):
        for _ in range(2000):
            stat = Path(f"/proc/{runner}/stat")
            if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.01)
    pytest.fail("the runner lives on")


def test_the_supervisor_refuses_wrong_usage(bench: Bench) -> None:
    done = subprocess.run([bench.pack.supervise, "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize("measured_pass", ["latency", "memory", "profile"])
def test_flatbuffers_run_like_zip_files_in_every_pass(bench: Bench, measured_pass: Pass) -> None:
    def make(path: Path) -> str:
        with deprecated_torchscript():
            traced = torch.jit.trace(Net().eval(), torch.rand(1, 3, 16, 16))
            traced._save_for_lite_interpreter(str(path), _use_flatbuffer=True)
        return str(path)

    flat = bench.model("flat", make)
    checks = ((IMAGE,),)
    record = bench.measure(model_file=flat, measured_pass=measured_pass, checks=checks)
    assert values(record)[0].tobytes() == values(bench.measure(checks=checks))[0].tobytes()
