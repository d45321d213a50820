"""The command as a person uses it: whole processes, real exports, the real runner."""

from __future__ import annotations

import json
import os
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
from tests.fakes.sweeps import Shape, write_sweep

PHONEBENCH = [sys.executable, "-m", "harness"]

MODELS = """
import torch

def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    ).eval()

def broken() -> torch.nn.Module:
    raise RuntimeError("no weights today")
"""

QUICK = ["--shape", "1x1x8x8", "--rounds", "2", "--min-iterations", "5", "--min-seconds", "0.01"]


def phonebench(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in `cwd`; it must end with `code`."""
    ended = subprocess.run(
        [*PHONEBENCH, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as a user has it: some models, and nothing else."""
    (tmp_path / "my_models.py").write_text(MODELS)
    return tmp_path


def write_plan(path: Path, source: str, **measure: object) -> None:
    """Write a small plan of one model."""
    path.write_text(
        f'''
        [plan]
        name = "{path.stem}"
        rounds = 1
        [[model]]
        name = "net"
        source = "{source}"
        inputs = [{{ shape = [1, 1, 8, 8] }}]
        [measure]
        '''
        + "\n".join(f"{key} = {json.dumps(value)}" for key, value in measure.items())
    )


@pytest.mark.parametrize(
    "verb", ["devices", "doctor", "clean", "init", "plan", "export", "run", "report", "trace"]
)
def test_every_verb_teaches_with_an_example(verb: str, tmp_path: Path) -> None:
    text = phonebench(verb, "--help", cwd=tmp_path).stdout
    assert f"phonebench {verb}" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_help_does_not_import_torch_or_pydantic(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from harness.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print([name for name in ('torch', 'pydantic', 'numpy') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_plan_that_init_writes_passes_the_check(desk: Path) -> None:
    phonebench("init", cwd=desk)
    text = phonebench("plan", "plan.toml", cwd=desk).stdout
    assert "6 cases on local" in text
    assert "already" in phonebench("init", cwd=desk, code=2).stderr


def test_devices_lists_this_computer_for_people_and_for_scripts(tmp_path: Path) -> None:
    assert phonebench("devices", cwd=tmp_path).stdout.splitlines()[1].startswith("local")
    (device,) = json.loads(phonebench("devices", "--json", cwd=tmp_path).stdout)
    assert device["id"] == "local"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "none.toml"], "cannot read the plan none.toml"),
        (["run"], "nothing to run is named"),
        (["run", "my_models:net"], "Add --shape 1x3x224x224"),
        (["run", "my_models:net", "--shape", "1x1x8x8", "--recipe", "fp23"], "fp23"),
        (["run", "my_models:net", "--shape", "1x1x8x8", "--threads", "two"], "--threads two"),
        (["run", "my_models:net", "--shape", "1x1x8x8", "--device", "pixel"], "no device 'pixel'"),
        (["run", "none.ptl", "--shape", "1x8"], "'none.ptl' of none does not exist"),
        (["run", "my_models.py", "--shape", "1x8"], "neither a callable nor a known file"),
        (["export", "none.ptl", "--shape", "1x8"], "'none.ptl' of none does not exist"),
        (["run", "--resume"], "no sweep under sweeps/"),
        (["run", "--resume", "."], "is not a sweep folder"),
        (["run", "--resume", "--rounds", "3"], "--rounds cannot change it"),
        (["run", "my_modelz:net", "--shape", "1x8"], 'source "my_modelz:net" of net: there is no'),
        (["run", "my_models:net", "--shape", "1x8", "-o", "my_models.py"], "Name another place"),
        (["export", "my_models:net", "--shape", "1x8", "-o", "my_models.py"], "a file stands"),
        (["export", "my_models:net", "--shape", "1x8", "--calibration", "x.y:z"], '"x.y:z"'),
        (["export", "plan.toml", "--recipe", "fp16"], "--recipe is for a model without a plan"),
        (["export", "plan.toml", "--memory-format", "contiguous"], "--memory-format is for a"),
        (["run", "plan.toml", "--shape", "1x8"], "--shape is for a model without a plan"),
        (["report"], "`phonebench run` makes one"),
        (["report", "."], "is not a sweep folder"),
        (["report", "--format", "pdf", "."], "there is no cases table as pdf"),
        (["report", "--table", "launches", "."], "there is no launches table as html"),
    ],
)
def test_what_is_wrong_from_the_start_exits_with_2_and_starts_nothing(
    arguments: list[str], says: str, desk: Path
) -> None:
    ended = phonebench(*arguments, cwd=desk, code=2)
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (desk / "sweeps").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("my_models:net", ""),
        ("my_modelz:net", "there is no such module"),
        ("parts.deep.down:net", ""),
        ("parts.deep.up:net", "there is no such module"),
        ("os.path:join", ""),
        ("none.pt", "does not exist"),
    ],
)
def test_a_plan_is_checked_for_what_is_missing_without_running_a_models_code(
    source: str, says: str, desk: Path
) -> None:
    (desk / "my_models.py").write_text("raise SystemExit('this ran')")
    (desk / "parts" / "deep").mkdir(parents=True)
    (desk / "parts" / "__init__.py").write_text("raise SystemExit('this ran')")
    (desk / "parts" / "deep" / "down.py").touch()
    write_plan(desk / "plan.toml", source)
    ended = phonebench("plan", "plan.toml", cwd=desk, code=2 if says else 0)
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("output", "says"),
    [(".", "it is a folder"), ("my_models.py/x", "a file stands where its path needs a folder")],
)
def test_an_output_that_cannot_be_written_is_named_with_the_way_out(
    output: str, says: str, desk: Path
) -> None:
    sweep = str(write_sweep(desk / "sweep", Shape(models=("digits",))))
    for arguments in (
        ["trace", sweep, "local:1"],
        ["report", sweep],
        ["report", sweep, "--format", "csv"],
    ):
        errors = phonebench(*arguments, "-o", output, cwd=desk, code=2).stderr
        assert f"error: cannot write {output}: {says}" in errors
        assert "--resume" not in errors


def test_the_newest_sweep_is_the_one_that_was_begun_last(desk: Path) -> None:
    for number, name in enumerate(["newer", "older"]):
        folder = write_sweep(desk / "sweeps" / name, Shape(models=("digits",)))
        content = json.loads((folder / "sweep.json").read_text())
        content["created_unix"] -= number
        (folder / "sweep.json").write_text(json.dumps(content))
    (desk / "sweeps" / "damaged").mkdir()
    (desk / "sweeps" / "damaged" / "sweep.json").write_text("{")
    assert "sweeps/newer" in phonebench("report", cwd=desk).stdout


def test_closing_stdout_early_is_not_taken_for_a_regression(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [*PHONEBENCH, "plan", "--schema"],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.slow
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


@pytest.mark.slow
def test_cases_on_other_cores_are_told_apart_and_a_log_has_a_line_a_launch(desk: Path) -> None:
    phonebench("run", "my_models:net", *QUICK, "--no-report", cwd=desk)
    (first,) = (desk / "sweeps").iterdir()
    plan = (first / "plan.toml").read_text()
    assert "[matrix]" in plan
    plan = plan.replace("[matrix]", '[matrix]\naffinity = ["all", "0"]')
    (desk / "plan.toml").write_text(plan.replace("[measure]", "[measure]\nretries = 0"))
    ended = phonebench("run", "plan.toml", cwd=desk)
    rows = [line for line in ended.stdout.splitlines() if line.startswith("  fp32 · t1")]
    assert ["cores 0" in row for row in rows] == [False, True]
    told = [line for line in ended.stderr.splitlines() if line.startswith("local [")]
    assert len(told) == 2 * 2 * 2
    assert all(" left" in line for line in told)
    (page,) = desk.glob("sweeps/*/report.html")
    assert "lite, 1 thread on cores 0" in page.read_text()


@pytest.mark.slow
def test_json_on_stdout_is_all_that_a_script_needs(desk: Path) -> None:
    ended = phonebench("run", "my_models:net", *QUICK, "--no-report", "--json", cwd=desk)
    content = json.loads(ended.stdout)
    assert content["report"] is None
    (case,) = content["cases"]
    # Which, depends on what else runs here.
    assert case["status"] in ("ok", "no valid latency", "no valid launch")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_of_which_nothing_could_be_launched_says_so(desk: Path) -> None:
    write_plan(desk / "broken.toml", "my_models:broken")
    ended = phonebench("run", "broken.toml", "--no-report", cwd=desk, code=3)
    assert "some cases were never launched" in ended.stderr
    (folder,) = (desk / "sweeps").iterdir()
    ended = phonebench("trace", str(folder), "1", "-o", "x.pftrace", cwd=desk, code=2)
    assert "was never launched" in ended.stderr
    assert "no weights today" in ended.stderr


@pytest.mark.slow
def test_energy_that_cannot_be_measured_is_no_reason_to_resume_for_ever(desk: Path) -> None:
    write_plan(desk / "energy.toml", "my_models:net", passes=["energy"], energy_source="rails")
    told = ("run", "energy.toml", "--no-report", "--accept", "all")
    ended = phonebench(*told, cwd=desk, code=3)
    assert "leave energy out of measure.passes; if what it needs can be had" in ended.stderr
    assert "not done yet" not in ended.stderr


@pytest.mark.slow
def test_cores_that_a_computer_has_not_are_named_with_the_key(desk: Path) -> None:
    model = ("run", "my_models:net", *QUICK, "--rounds", "1", "--passes", "latency")
    ended = phonebench(*model, "--affinity", "1023", "--no-report", cwd=desk, code=3)
    assert 'The plan\'s affinity is "1023"' in ended.stdout + ended.stderr


@pytest.mark.slow
def test_kill_9_of_the_whole_harness_loses_and_repeats_nothing(desk: Path) -> None:
    slower = ["--rounds", "4", "--min-seconds", "0.3", "--no-report"]
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


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(desk: Path) -> None:
    command = [*PHONEBENCH, "run", "my_models:net", *QUICK, "--min-seconds", "1"]
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_resume_refuses_a_plan_that_has_changed(desk: Path) -> None:
    phonebench("run", "my_models:net", *QUICK, "--no-report", cwd=desk)
    (folder,) = (desk / "sweeps").iterdir()
    plan = (folder / "plan.toml").read_text()
    (desk / "plan.toml").write_text(plan.replace("rounds = 2", "rounds = 3"))
    ended = phonebench("run", "--resume", "plan.toml", cwd=desk, code=2)
    assert "the plan has changed" in ended.stderr
    (desk / "plan.toml").write_text(plan)
    phonebench("run", "--resume", "plan.toml", cwd=desk)
