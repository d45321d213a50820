"""What the runner refuses, and how it ends when something strikes it."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.schema.job import TensorSource
from harness.schema.record import Interrupted, LaunchRecord, read_record
from tests.fakes.runner_bench import (
    IMAGE,
    Bench,
    export,
    without,
)

pytestmark = pytest.mark.slow


class Raises(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() < 1e9):
            raise RuntimeError("bad luck")
        return x


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
    assert (facts["record_version"], facts["job_version"]) == (3, 2)
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
