"""The command line: help, what is wrong from the start, and verbs that start nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.desk import PHONEBENCH, phonebench, write_plan
from tests.fakes.sweeps import Shape, write_sweep


@pytest.mark.parametrize(
    "verb",
    [
        "devices", "doctor", "clean", "calibrate", "init", "plan", "export", "run", "report", "trace",
        "plot", "runners list", "runners build", "runners verify", "runners add", "runners remove",
    ],
)  # fmt: skip
def test_every_verb_teaches_with_an_example(verb: str, tmp_path: Path) -> None:
    text = phonebench(*verb.split(), "--help", cwd=tmp_path).stdout
    usage, _, examples = text.partition("Examples:")
    assert f"phonebench {verb}" in usage
    assert f"    phonebench {verb}" in examples
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("group", [[], ["runners"]])
def test_the_list_of_verbs_has_a_line_each_and_cuts_no_sentence(
    group: list[str], tmp_path: Path
) -> None:
    text = phonebench(*group, "--help", cwd=tmp_path).stdout
    assert max(map(len, text.splitlines())) <= 80
    verbs = text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(verbs) >= 5
    assert all(re.match(r"  [a-z]+ +[A-Z].*[^.]\.$", verb) for verb in verbs), verbs


def test_the_help_of_run_says_where_every_key_is_listed(tmp_path: Path) -> None:
    text = " ".join(phonebench("run", "--help", cwd=tmp_path).stdout.split())
    assert "--set KEY=VALUE" in text
    assert "docs/plan.md" in text
    assert "phonebench plan --schema" in text


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
        (["run", "--resume", "--seed", "0"], "--seed cannot change it"),
        (["run", "--resume", "--set", "plan.rounds=3"], "--set cannot change it"),
        (["run", "my_modelz:net", "--shape", "1x8"], 'source "my_modelz:net" of net: there is no'),
        (["run", "my_models:net", "--shape", "1x8", "-o", "my_models.py"], "Name another place"),
        (["export", "my_models:net", "--shape", "1x8", "-o", "my_models.py"], "a file stands"),
        (["export", "my_models:net", "--shape", "1x8", "--calibration", "x.y:z"], '"x.y:z"'),
        (["export", "plan.toml", "--evaluation", "x:y"], "--evaluation is for a model without a"),
        (["export", "plan.toml", "--calibration", "x:y"], "--set model.NAME.calibration="),
        (["run", "plan.toml", "--shape", "1x8"], "--shape is for a model without a plan"),
        (["run", "my_models:net", "--shape", "1x8", "--min-seconds", "2"], "option: --min-seconds"),
        (
            ["run", "my_models:net", "--shape", "1x8", "--set", "warm_loads=1"],
            "measure.warm_loads?",
        ),
        (["export", "my_models:net", "--shape", "1x8", "--set", "matrix.recipe=fp23"], "fp23"),
        (["plan", "plan.toml", "--set", "measure.min_seconds"], "cannot read the plan plan.toml"),
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
