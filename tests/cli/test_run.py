"""The verb run as a person uses it: real exports, the real runner, on this computer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.measure.resume import deserves_another
from harness.measure.sweep import is_complete
from harness.results.folder import read_sweep
from harness.schema.plan import load_plan
from harness.schema.record import LaunchRecord, read_record
from tests.fakes.desk import PHONEBENCH, QUICK, phonebench, write_plan

pytestmark = pytest.mark.slow


def test_a_run_without_a_plan_measures_reports_and_can_be_run_again(desk: Path) -> None:
    ended = phonebench(
        "run",
        "my_models:net",
        *QUICK,
        "--recipe",
        "fp32,int8-dynamic",
        "--threads",
        "1,2",
        cwd=desk,
    )
    (folder,) = (desk / "sweeps").iterdir()
    sweep = read_sweep(folder)
    assert is_complete(sweep)
    # On a busy computer some are tried again.
    assert len({entry.index for entry in sweep.entries if entry.status == "ok"}) == 4 * 2 * 2
    assert f"report: sweeps/{folder.name}/report.html" in ended.stdout
    assert load_plan(folder / "plan.toml").sha256() == sweep.file.plan_sha256
    assert "complete" not in ended.stderr
    for entry in sweep.entries:
        record = read_record(folder / str(entry.file))
        assert isinstance(record, LaunchRecord)
        assert record.header.job is not None
        assert record.header.job.threads == sweep.cases()[entry.case].threads
        if entry.measured_pass == "latency":
            assert len(record.durations_ns("steady")) >= 5


def test_cases_on_other_cores_are_told_apart_and_a_log_has_a_line_a_launch(desk: Path) -> None:
    phonebench("run", "my_models:net", *QUICK, "--no-report", cwd=desk)
    (first,) = (desk / "sweeps").iterdir()
    cores = ["--set", 'matrix.affinity=["all", "0"]', "--set", "measure.retries=0"]
    ended = phonebench("run", str(first / "plan.toml"), *cores, cwd=desk)
    rows = [line for line in ended.stdout.splitlines() if line.startswith("  fp32 · t1")]
    assert ["cores 0" in row for row in rows] == [False, True]
    told = [line for line in ended.stderr.splitlines() if line.startswith("local [")]
    assert len(told) == 2 * 2 * 2
    assert all(" left" in line for line in told)
    (page,) = desk.glob("sweeps/*/report.html")
    assert "lite, 1 thread on cores 0" in page.read_text()


def test_json_on_stdout_is_all_that_a_script_needs(desk: Path) -> None:
    ended = phonebench("run", "my_models:net", *QUICK, "--no-report", "--json", cwd=desk)
    content = json.loads(ended.stdout)
    assert content["report"] is None
    (case,) = content["cases"]
    # Which, depends on what else runs here.
    assert case["status"] in ("ok", "no valid latency", "no valid launch")


def test_a_model_that_raises_is_named_and_the_rest_goes_on(desk: Path) -> None:
    (desk / "plan.toml").write_text(
        """
        [plan]
        name = "one of two"
        rounds = 1
        [[model]]
        name = "good"
        source = "my_models:net"
        inputs = [{ shape = [1, 1, 8, 8] }]
        [[model]]
        name = "bad"
        source = "my_models:broken"
        inputs = [{ shape = [1, 1, 8, 8] }]
        [measure]
        min_iterations = 5
        min_seconds = 0.01
        """
    )
    ended = phonebench("run", "plan.toml", cwd=desk, code=3)
    assert "no weights today" in ended.stdout + ended.stderr
    (folder,) = (desk / "sweeps").iterdir()
    statuses = {entry.case: entry.status for entry in read_sweep(folder).entries}
    assert statuses == {"good.fp32.lite.t1": "ok", "bad.fp32.lite.t1": "failed"}


def test_a_run_of_which_nothing_could_be_launched_says_so(desk: Path) -> None:
    write_plan(desk / "broken.toml", "my_models:broken")
    ended = phonebench("run", "broken.toml", "--no-report", cwd=desk, code=3)
    assert "some cases were never launched" in ended.stderr
    (folder,) = (desk / "sweeps").iterdir()
    ended = phonebench("trace", str(folder), "1", "-o", "x.pftrace", cwd=desk, code=2)
    assert "was never launched" in ended.stderr
    assert "no weights today" in ended.stderr


def test_energy_that_cannot_be_measured_is_no_reason_to_resume_for_ever(desk: Path) -> None:
    write_plan(desk / "energy.toml", "my_models:net", passes=["energy"], energy_source="rails")
    told = ("run", "energy.toml", "--no-report", "--accept", "all")
    ended = phonebench(*told, cwd=desk, code=3)
    assert "leave energy out of measure.passes; if what it needs can be had" in ended.stderr
    assert "not done yet" not in ended.stderr


def test_cores_that_a_computer_has_not_are_named_with_the_key(desk: Path) -> None:
    model = ("run", "my_models:net", *QUICK, "--rounds", "1", "--passes", "latency")
    cores = ("--set", "matrix.affinity=1023")
    ended = phonebench(*model, *cores, "--no-report", cwd=desk, code=3)
    assert 'The plan\'s affinity is "1023"' in ended.stdout + ended.stderr


def test_kill_9_of_the_whole_harness_loses_and_repeats_nothing(desk: Path) -> None:
    slower = ["--rounds", "4", "--set", "measure.min_seconds=0.3", "--no-report"]
    command = [*PHONEBENCH, "run", "my_models:net", *QUICK, *slower]
    first = subprocess.Popen(
        command, cwd=desk, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ledger = _wait_for_ledger(desk)
    for _ in range(3):
        before = len(ledger.read_bytes().splitlines())
        while len(ledger.read_bytes().splitlines()) == before and first.poll() is None:
            time.sleep(0.01)
        first.kill()
        first.wait()
        first = subprocess.Popen(
            [*PHONEBENCH, "run", "--resume", "--no-report"],
            cwd=desk,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    assert first.wait() == 0
    sweep = read_sweep(ledger.parent)
    finished = [entry for entry in sweep.entries if entry.status == "ok"]
    # On a busy computer a launch may not count, and is made again; one that counts never is.
    last = {entry.index: entry for entry in finished}
    assert sorted(index or 0 for index in last) == list(range(1, 4 + 3 + 1))
    repeated = [entry for entry in finished if entry is not last[entry.index]]
    assert all(deserves_another(entry) for entry in repeated), "nothing is repeated for nothing"
    # A host killed just before it starts a job leaves a job that never ran: that is said, too.
    assert {entry.status for entry in sweep.entries} <= {"ok", "interrupted"}


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(desk: Path) -> None:
    command = [*PHONEBENCH, "run", "my_models:net", *QUICK, "--set", "measure.min_seconds=1"]
    process = subprocess.Popen(
        command, cwd=desk, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for_ledger(desk)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "phonebench run --resume sweeps/" in errors
    assert "report: sweeps/" in output
    assert "Traceback" not in errors
    phonebench("run", "--resume", cwd=desk)


def _wait_for_ledger(desk: Path) -> Path:
    """Wait until the first launch is in the ledger; return the ledger."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = list(desk.glob("sweeps/*/ledger.jsonl"))
        if found and found[0].stat().st_size > 0:
            return found[0]
        time.sleep(0.02)
    raise AssertionError("no launch ended: the run was refused, or hangs")


def test_a_resumed_sweep_knows_the_other_interpreter_and_needs_its_folder(desk: Path) -> None:
    own = ["--mobile-python", sys.executable, "--recipe", "fp32,fp32-mobile"]
    phonebench("run", "my_models:net", *QUICK, *own, "--no-report", cwd=desk)
    (folder,) = (desk / "sweeps").iterdir()
    assert load_plan(folder / "plan.toml").export.mobile_python == sys.executable
    elsewhere = desk.parent / "elsewhere"
    desk.rename(elsewhere)
    moved = elsewhere / "sweeps" / folder.name
    ended = phonebench("run", "--resume", str(moved), cwd=elsewhere, code=2)
    assert f"was begun in is gone: {desk}" in ended.stderr


def test_resume_refuses_a_plan_that_has_changed(desk: Path) -> None:
    phonebench("run", "my_models:net", *QUICK, "--no-report", cwd=desk)
    (folder,) = (desk / "sweeps").iterdir()
    plan = (folder / "plan.toml").read_text()
    (desk / "plan.toml").write_text(plan.replace("rounds = 2", "rounds = 3"))
    ended = phonebench("run", "--resume", "plan.toml", cwd=desk, code=2)
    assert "the plan has changed" in ended.stderr
    (desk / "plan.toml").write_text(plan)
    phonebench("run", "--resume", "plan.toml", cwd=desk)
