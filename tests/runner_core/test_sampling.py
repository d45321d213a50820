"""What the runner reads while it measures, and its passes: on a load that is known exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.runners.local import build_local
from harness.runners.synthetic_load import ENGINE, SyntheticLoad
from harness.schema.job import Channel, Job, Loop, Probe, Reading, TensorSource
from harness.schema.record import LaunchRecord, ProbeFailure, read_record

pytestmark = pytest.mark.slow

LIGHT = SyntheticLoad(work=20_000)
MEMORY = Probe(
    file="/proc/@PID/status",
    period_seconds=0.01,
    channels=(
        Channel(name="rss", unit="byte", after="VmRSS:", scale=1024),
        Channel(name="swap", unit="byte", after="VmSwap:", scale=1024),
    ),
)
BUSY = Probe(file="/proc/stat", reading="cpu_busy", channels=(Channel(name="cpu_busy", unit="ns"),))
ENDLESS = Loop(min_iterations=1_000_000, min_seconds=60, max_iterations=1_000_000, max_seconds=60)


def exactly(iterations: int) -> Loop:
    return Loop(min_iterations=iterations, min_seconds=0, max_iterations=iterations, max_seconds=60)


def channel(name: str, **more: Any) -> Channel:
    return Channel(name=name, unit="unit", **more)


def probe(name: str = "it", **more: Any) -> Probe:
    return Probe(**{"period_seconds": 0.01, "channels": (channel(name),), **more})


@dataclass(frozen=True)
class Bench:
    """The runner of the synthetic engine, and a folder."""

    runner: Path
    folder: Path

    def start(self, load: SyntheticLoad, **changes: Any) -> subprocess.Popen[str]:
        usual: dict[str, Any] = {
            "launch": "0001-test", "engine": ENGINE, "measured_pass": "memory", "threads": 1,
            "model_file": str(load.write(self.folder / "load.json")),
            "inputs": (TensorSource(shape=(1,)),),
            "warmup": exactly(2), "steady": exactly(20),
        }  # fmt: skip
        job = self.folder / "job.json"
        job.write_text(Job(**{**usual, **changes}).model_dump_json())
        command = [self.runner, job, self.result]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @property
    def result(self) -> Path:
        return self.folder / "result.jsonl"

    def collect(self, process: subprocess.Popen[str]) -> LaunchRecord:
        """Wait for a launch that must go well."""
        process.communicate(timeout=60)
        record = read_record(self.result)
        assert isinstance(record, LaunchRecord)
        assert (process.returncode, record.error) == (0, None)
        return record

    def measure(self, load: SyntheticLoad = LIGHT, **changes: Any) -> LaunchRecord:
        return self.collect(self.start(load, **changes))

    @contextmanager
    def busy(self, load: SyntheticLoad = LIGHT, **changes: Any) -> Iterator[subprocess.Popen[str]]:
        """Start a launch, and go on when its steady loop runs; it is gone in the end."""
        with self.start(load, **changes) as process:
            try:
                assert process.stdout is not None
                while process.stdout.readline() != "measuring\n":
                    assert process.poll() is None
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def runner() -> Path:
    return build_local(ENGINE).runner


@pytest.fixture
def bench(runner: Path, tmp_path: Path) -> Bench:
    return Bench(runner, tmp_path)


def values(record: LaunchRecord, name: str = "it") -> list[float]:
    trace = record.trace(name)
    assert trace is not None
    return trace.values


def failures(record: LaunchRecord) -> dict[str, ProbeFailure]:
    assert record.sampling is not None
    return {failure.channel: failure for failure in record.sampling.failures}


def rss(record: LaunchRecord, mark: str) -> int:
    found = record.mark(mark)
    assert found is not None
    return found.rss_bytes


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    """Tell whether a process still does anything: a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    for _ in range(1000):
        if not any(is_alive(pid) for pid in pids):
            return
        time.sleep(0.01)
    raise AssertionError("a sampler outlived its runner")


# What is read


def test_probes_with_a_period_make_series_from_the_start_of_a_launch_to_its_end(
    bench: Bench,
) -> None:
    record = bench.measure(SyntheticLoad(sleep_ms=5), steady=exactly(40), probes=(MEMORY,))
    trace = record.trace("rss")
    assert trace is not None
    assert (trace.unit, len(values(record, "swap"))) == ("byte", len(trace.values))
    assert len(trace.values) > 5
    assert trace.time_ns == sorted(trace.time_ns)
    first, last = record.marks[0], record.marks[-1]
    assert first.time_ns < trace.time_ns[0]
    assert trace.time_ns[-1] < record.end.time_ns
    # Not the last inference: a busy computer may let the sampler wait.
    assert trace.time_ns[-1] > record.samples["steady"].start_ns[20]
    assert 0.5 * first.rss_bytes < trace.values[0] < 2 * last.rss_bytes
    assert failures(record) == {}


def test_probes_without_a_period_are_read_at_every_mark_from_the_ready_engine_on(
    bench: Bench,
) -> None:
    record = bench.measure(measured_pass="latency", probes=(BUSY,))
    marks = [mark for mark in record.marks if mark.name != "main"]
    trace = record.trace("cpu_busy")
    assert trace is not None
    assert all(m.time_ns + m.cost_ns <= t for m, t in zip(marks, trace.time_ns, strict=True))
    assert trace.values == sorted(trace.values)
    steady, done = record.samples["steady"], record.mark("warmup_done")
    assert done is not None
    assert trace.time_ns[marks.index(done)] < steady.start_ns[0]
    assert record.sampling is not None
    assert record.sampling.reads == len(marks)
    assert record.sampling.wall_ns > 0
    assert record.sampling.cpu_ns > 0


@pytest.mark.parametrize(
    ("reading", "text", "value"),
    [
        ("number", "VmRSS:\t  5032 kB\n", 5032.0),
        ("number", "level: -12.5e2, or so", -1250.0),
        ("number", "voltage=.25", 0.25),
        ("number", "+7", 7.0),
        ("number", "-", None),
        ("number", "nan inf", None),
        ("number", "1e999", None),
        ("number", "", None),
        ("number", "\x00\xff garbage", None),
        ("time_in_state", "300000 100\n600000 50\n", (300000 * 100 + 600000 * 50) / 100),
        ("time_in_state", "300000 100\n600000\n", None),
        ("time_in_state", "1e300 1e300\n", None),
        ("time_in_state", "", None),
        ("cpu_busy", "cpu  1 2 3 400 500 6 7 8 9 10\ncpu0 1 2", 27e7),
        ("cpu_busy", "cpu  1e308 2 3 4 5 6 7 8", None),
        ("cpu_busy", "intr 5", None),
        ("charging", "Charging\n", 1.0),
        ("charging", "Full\n", 1.0),
        ("charging", "Not charging\n", 1.0),
        ("charging", "Discharging\n", 0.0),
        ("charging", "", None),
    ],
)
def test_text_becomes_a_value_or_a_counted_failure_that_quotes_it(
    bench: Bench, reading: Reading, text: str, value: float | None
) -> None:
    assert os.sysconf("SC_CLK_TCK") == 100
    (bench.folder / "text").write_text(text, encoding="latin-1")
    here = probe(file=str(bench.folder / "text"), reading=reading, period_seconds=None)
    record = bench.measure(probes=(here,))
    if value is not None:
        assert set(values(record)) == {value}
        assert failures(record) == {}
    else:
        assert values(record) == []
        failure = failures(record)["it"]
        assert failure.count == len(record.marks) - 1
        assert failure.reason.startswith("no number in: ")


def test_a_channel_is_the_number_after_its_words_times_its_scale(bench: Bench) -> None:
    (bench.folder / "text").write_text("1 level\t-2 volts: unknown 3 current \nlimit: 500")
    after = {"a": "level", "missing": "amps", "garbage": "volts:", "nothing": "current"}
    channels = tuple(channel(name, after=words, scale=10) for name, words in after.items())
    channels = (*channels, channel("first"))
    text = probe(file=str(bench.folder / "text"), period_seconds=None, channels=channels)
    record = bench.measure(probes=(text,))
    assert (values(record, "a")[0], values(record, "first")[0]) == (-20, 1)
    assert set(failures(record)) == {"missing", "garbage", "nothing"}


def test_commands_are_read_too(bench: Bench) -> None:
    steady = SyntheticLoad(sleep_ms=5)
    often = probe("often", command=("echo", "42 mA"))
    marked = probe("marked", command=("/bin/sh", "-c", "echo $((6 * 7))"), period_seconds=None)
    record = bench.measure(steady, probes=(often, marked))
    assert set(values(record, "often")) == set(values(record, "marked")) == {42}


# What goes wrong


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"file": "/no/such"}, "No such file or directory"),
        ({"file": "/proc"}, "Is a directory"),
        ({"file": "/etc/hostname/x"}, "Not a directory"),
        ({"file": "/dev/null"}, "no number in: "),
        ({"command": ("/no/such",)}, "No such file or directory"),
        ({"command": ("/etc/passwd",)}, "Permission denied"),
        ({"command": ("false",)}, "the command ended with exit code 1"),
        ({"command": ("sh", "-c", "kill -9 $$")}, "the command was ended by signal 9"),
        ({"command": ("echo", "é\n\x01" + "x" * 99)}, "no number in:     " + "x" * 56),
    ],
)
def test_what_cannot_be_read_is_a_gap_and_a_failure_with_its_reason(
    bench: Bench, wrong: dict[str, Any], reason: str
) -> None:
    record = bench.measure(SyntheticLoad(sleep_ms=5), probes=(probe(**wrong), MEMORY))
    assert values(record) == []
    failure = failures(record)["it"]
    assert failure.count > 1
    assert failure.reason.strip() == reason.strip()
    assert set(failures(record)) == {"it"}
    assert values(record, "rss")


def test_a_command_that_hangs_holds_up_no_file_and_is_gone_with_the_launch(bench: Bench) -> None:
    hangs = probe(command=("sleep", "1000"))
    with bench.busy(SyntheticLoad(sleep_ms=5), steady=exactly(60), probes=(hangs, MEMORY)) as it:
        below = [child for sampler in children(it.pid) for child in children(sampler)]
        record = bench.collect(it)
    assert failures(record)["it"].reason == "never read"
    assert len(values(record, "rss")) > 5
    wait_until_gone(below)


def test_a_file_that_is_replaced_and_then_vanishes_is_followed(bench: Bench) -> None:
    gauge, other = bench.folder / "gauge", bench.folder / "other"
    gauge.write_text("1")
    load = SyntheticLoad(sleep_ms=5)
    with bench.busy(load, steady=exactly(200), probes=(probe(file=str(gauge)),)) as process:
        time.sleep(0.2)
        other.write_text("2")
        other.rename(gauge)
        time.sleep(0.2)
        gauge.unlink()
        record = bench.collect(process)
    assert set(values(record)) == {1, 2}
    assert values(record) == sorted(values(record))
    assert failures(record)["it"].reason == "No such file or directory"


def test_a_sampler_that_is_killed_ends_its_series_and_not_the_launch(bench: Bench) -> None:
    load = SyntheticLoad(sleep_ms=5)
    with bench.busy(load, steady=exactly(100), probes=(MEMORY, BUSY)) as process:
        time.sleep(0.1)
        (sampler,) = children(process.pid)
        os.kill(sampler, signal.SIGKILL)
        record = bench.collect(process)
    assert values(record, "rss")
    assert len(values(record, "cpu_busy")) == len(record.marks) - 1
    reasons = {name: failure.reason for name, failure in failures(record).items()}
    assert reasons == dict.fromkeys(("rss", "swap"), "the sampler was ended by signal 9")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_runner_that_dies_takes_its_samplers_along(bench: Bench, number: int) -> None:
    probes = (MEMORY, probe(command=("echo", "1")))
    with bench.busy(steady=ENDLESS, probes=probes) as process:
        samplers = children(process.pid)
        assert len(samplers) == 2
        process.send_signal(number)
        assert process.wait(20) == -number
    wait_until_gone(samplers)
    if number != signal.SIGKILL:
        record = read_record(bench.result)
        assert isinstance(record, LaunchRecord)
        assert record.error is not None
        assert (record.error.kind, record.error.phase) == ("signal", "steady")


def test_without_a_period_there_is_no_process_beside_the_runner(bench: Bench) -> None:
    with bench.busy(measured_pass="latency", steady=ENDLESS, probes=(BUSY,)) as process:
        assert children(process.pid) == []


# The passes


def test_the_energy_pass_is_idle_before_and_after_its_work(bench: Bench) -> None:
    record = bench.measure(measured_pass="energy", baseline_seconds=0.1, probes=(MEMORY,))
    assert [mark.name for mark in record.marks] == [
        "main", "engine_ready", "model_loaded", "first_inference_done", "warmup_done",
        "idle_before_done", "steady_done", "idle_after_done", "end",
    ]  # fmt: skip
    times = {mark.name: mark.time_ns for mark in record.marks}
    steady = record.samples["steady"]
    assert times["idle_before_done"] - times["warmup_done"] >= 100_000_000
    assert times["idle_before_done"] < steady.start_ns[0]
    assert steady.start_ns[-1] + steady.duration_ns[-1] < times["steady_done"]
    assert times["idle_after_done"] - times["steady_done"] >= 100_000_000
    assert "warm_load" not in record.samples


def test_samples_are_thinned_evenly_when_there_is_no_room_and_all_are_counted(
    bench: Bench,
) -> None:
    record = bench.measure(SyntheticLoad(), steady=exactly(10_000))
    steady = record.samples["steady"]
    assert steady.counters is not None
    assert steady.counters.iterations == 10_000
    assert len(steady.start_ns) == 10_000 / 4
    assert steady.start_ns == sorted(set(steady.start_ns))
    latency = bench.measure(SyntheticLoad(), measured_pass="latency", steady=exactly(10_000))
    assert len(latency.samples["steady"].start_ns) == 10_000


def test_the_memory_of_a_model_is_what_it_holds_and_what_an_inference_needs(bench: Bench) -> None:
    load = SyntheticLoad(allocate_bytes=64 << 20, scratch_bytes=16 << 20)
    record = bench.measure(load, probes=(MEMORY, BUSY))
    held = rss(record, "model_loaded") - rss(record, "engine_ready")
    assert held == pytest.approx(64 << 20, rel=0.01)
    done = record.mark("steady_done")
    assert done is not None
    peak = done.vm_hwm_bytes - rss(record, "engine_ready")
    assert peak == pytest.approx(80 << 20, rel=0.01)
    assert done.pss_bytes is not None
    assert done.pss_bytes == pytest.approx(done.rss_bytes, rel=0.05)


@pytest.mark.parametrize("leak", [0, 1024])
def test_nothing_grows_over_the_steady_loop_but_what_the_model_loses(
    bench: Bench, leak: int
) -> None:
    load = SyntheticLoad(work=1000, scratch_bytes=100_000, leak_bytes_per_inference=leak)
    record = bench.measure(load, warmup=exactly(20), steady=exactly(20_000), probes=(MEMORY,))
    grown = rss(record, "steady_done") - rss(record, "warmup_done")
    assert grown == pytest.approx(20_000 * leak, rel=0.05, abs=256 << 10)


# The known load


def test_a_synthetic_load_has_its_output_its_threads_and_its_profile(bench: Bench) -> None:
    check = ((TensorSource(shape=(1,)),),)
    record = bench.measure(threads=2, measured_pass="profile", checks=check)
    assert record.outputs[0].values().tolist() == [1.0]
    assert record.actual is not None
    assert (record.actual.threads, record.marks[-1].os_threads) == (2, 2)
    assert record.operators is not None
    assert record.operators.operators[0].calls == record.operators.iterations == 20


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"work": -1}', '{"work": 1.5}'])
def test_a_file_that_is_no_synthetic_load_is_named(bench: Bench, content: str) -> None:
    path = bench.folder / "bad.json"
    path.write_text(content)
    process = bench.start(LIGHT, model_file=str(path))
    process.communicate(timeout=60)
    record = read_record(bench.result)
    assert isinstance(record, LaunchRecord)
    assert record.error is not None
    assert (record.error.kind, record.error.phase) == ("model_load", "cold_load")
    assert record.error.message.startswith(f"{path} is no synthetic load")
