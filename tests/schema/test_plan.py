"""The plan: what is accepted, what it multiplies to, and how errors read."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from harness.errors import PlanError
from harness.export_worker.formats import FORMATS
from harness.measure.schedule import estimate_seconds, schedule
from harness.measure.sweep import plan_as_toml
from harness.schema.engines import FORMAT_READ
from harness.schema.plan import Plan, load_plan, parse_plan, slug
from tests.places import REPOSITORY

SMALL = """
[plan]
name = "small"
rounds = 3
[[model]]
name = "net"
source = "my_models:net"
inputs = [{ shape = [1, 3, 8, 8] }]
[matrix]
recipe = ["fp32", "int8-dynamic"]
threads = [1, 2]
"""


def test_lists_multiply_into_cases_in_the_plans_order() -> None:
    plan = parse_plan(SMALL, "small.toml")
    assert [case.id for case in plan.cases()] == [
        "net.fp32.lite.t1",
        "net.fp32.lite.t2",
        "net.int8-dynamic.lite.t1",
        "net.int8-dynamic.lite.t2",
    ]


def test_each_engine_runs_files_of_the_format_that_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FORMATS, "twin", SimpleNamespace(SUFFIX=".twin", OPTIONS={}))
    monkeypatch.setitem(FORMAT_READ, "other", "twin")
    plan = parse_plan(SMALL, "small.toml")
    both = {"engine": ("lite", "other"), "container": ("zip", "flatbuffer"), "threads": (1,)}
    plan = plan.model_copy(update={"matrix": plan.matrix.model_copy(update=both)})
    ids = [case.id for case in plan.cases() if case.variant.recipe == "fp32"]
    assert ids == ["net.fp32.lite.t1", "net.fp32.flatbuffer.lite.t1", "net.fp32.twin.other.t1"]


def test_a_models_own_list_replaces_the_matrixs() -> None:
    plan = parse_plan(SMALL.replace("[matrix]", 'recipe = ["fp16"]\n[matrix]'), "small.toml")
    assert {case.variant.recipe for case in plan.cases()} == {"fp16"}
    assert {case.threads for case in plan.cases()} == {1, 2}


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("rounds = 3", "round = 3", "plan.round: unknown key; did you mean 'rounds'?"),
        ("rounds = 3", "rounds = 'x'", "plan.rounds: "),
        ("rounds = 3", "rounds = 0", "plan.rounds: "),
        ("rounds = 3", "rounds = '3'", "plan.rounds: Input should be a valid integer"),
        ("rounds = 3", "rounds = true", "plan.rounds: "),
        ("[matrix]", "[measure]\nmin_seconds = '1'\n[matrix]", "measure.min_seconds: "),
        (
            "[matrix]",
            "[device]\nstay_awake = 'yes'\n[matrix]",
            "device.stay_awake: must be true or",
        ),
        ('name = "small"', "name = 2026-01-01", "plan.name: Input should be a valid string"),
        ("rounds = 3", 'devices = "local"', 'plan.devices: must be a list: ["local"]'),
        ("threads = [1, 2]", "threads = 1", "matrix.threads: must be a list: [1]"),
        ("[{ shape = [1, 3, 8, 8] }]", "{ shape = [1] }", "inputs: must be a list: [{ ... }]"),
        ("[[model]]", "[model]", "model: write [[model]], once a model"),
        ("[plan]", "[[plan]]", "plan: must be a table"),
        ("threads = [1, 2]", "threads = []", "matrix.threads: must not be empty"),
        ("threads = [1, 2]", "threads = [1, 1]", "threads lists a value twice: 1, 1"),
        ('"fp32", ', '"fp23", ', "fp23"),
        ('recipe = ["fp32", "int8-dynamic"]', "recipe = []", "matrix.recipe: must not be empty"),
        ('source = "my_models:net"', "", "model[0].source: this key is missing"),
        ("[1, 3, 8, 8]", "[1, 0, 8, 8]", "model[0].inputs[0].shape[1]: "),
        ("[matrix]", "[matrics]", "matrics: unknown key; did you mean 'matrix'?"),
        ('name = "net"', 'name = "a\\nb"', "model[0].name: must be printable"),
        ("[matrix]", '[matrix]\naffinity = ["fast"]', "'fast' is none of"),
        ("[matrix]", '[matrix]\nengine = ["tflite"]', "matrix.engine[0]: "),
        ("[matrix]", "[measure]\nmax_iterations = 3\n[matrix]", "max_iterations must not be below"),
        ("[matrix]", '[measure]\ncalibration = "x"\n[matrix]', "measure.calibration: unknown key"),
        (
            "[matrix]",
            '[measure]\npasses = ["energy", "energy"]\n[matrix]',
            "passes lists a value twice",
        ),
        ("[matrix]", '[measure]\npasses = ["joules"]\n[matrix]', "measure.passes[0]: "),
        ("[matrix]", 'calibration = "no callable"\n[matrix]', 'must read "module:callable"'),
    ],
)
def test_a_wrong_plan_names_the_key_and_what_would_be_right(
    before: str, after: str, says: str
) -> None:
    with pytest.raises(PlanError) as error:
        parse_plan(SMALL.replace(before, after, 1), "small.toml")
    assert says in error.value.message
    assert error.value.advice


def test_a_number_may_be_written_without_a_point() -> None:
    plan = parse_plan(SMALL + "[measure]\nmin_seconds = 2\n", "small.toml")
    assert plan.measure.min_seconds == 2.0


def test_an_empty_list_is_reported_once_and_wrong_items_without_an_echo() -> None:
    with pytest.raises(PlanError) as error:
        parse_plan(SMALL.replace("[1, 2]", '["x"]'), "small.toml")
    assert error.value.message.count("matrix.threads") == 1


def test_two_models_of_one_name_are_refused() -> None:
    twice = SMALL + '[[model]]\nname = "net"\nsource = "a:b"\ninputs = [{ shape = [1] }]\n'
    with pytest.raises(PlanError, match="two models are called 'net'"):
        parse_plan(twice, "small.toml")


def test_toml_that_does_not_parse_names_its_place() -> None:
    with pytest.raises(PlanError, match=r"small.toml is not valid TOML: .*line 2"):
        parse_plan("[plan]\nname = ,\n", "small.toml")


def test_a_plan_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        load_plan(tmp_path / "none.toml")
    assert "phonebench init" in error.value.advice


@pytest.mark.parametrize("name", ["../../etc", "a/b", "<script>", "ü" * 60, "a b", "-", "x" * 80])
def test_hostile_names_become_safe_distinct_file_names(name: str) -> None:
    assert slug(name).replace("-", "").replace("_", "").isalnum()
    assert slug(name) != slug(name + "!")


def test_the_plan_written_into_a_sweep_is_the_same_plan() -> None:
    plan = parse_plan(SMALL, "small.toml")
    assert parse_plan(plan_as_toml(plan), "copy").sha256() == plan.sha256()


def test_every_round_runs_every_case_once_in_a_seeded_order() -> None:
    plan = parse_plan(SMALL, "small.toml")
    launches = schedule(plan, "local")
    cases = {case.id for case in plan.cases()}
    for number in (1, 2, 3):
        own = [x for x in launches if x.round == number and x.measured_pass == "latency"]
        assert len(own) == len(cases)
        assert {x.case for x in own} == cases
    assert [x.index for x in launches] == list(range(1, len(launches) + 1))
    assert launches == schedule(plan, "local")
    assert launches != schedule(plan, "another-phone")


def test_energy_comes_after_all_else_in_five_rounds_of_its_own() -> None:
    measured = SMALL.replace("rounds = 3", "rounds = 7") + (
        '[measure]\npasses = ["energy", "latency", "memory"]\nenergy_seconds = 600\n'
    )
    plan = parse_plan(measured, "small.toml")
    launches = schedule(plan, "local")
    passes = [launch.measured_pass for launch in launches]
    assert passes.count("energy") == 5 * len(plan.cases())
    assert set(passes[passes.index("energy") :]) == {"energy"}
    assert [x.index for x in launches] == list(range(1, len(launches) + 1))
    without = parse_plan(measured.replace('"energy", ', ""), "small.toml")
    assert schedule(without, "local") == launches[: passes.index("energy")]
    assert estimate_seconds(plan) - estimate_seconds(without) > 5 * 4 * 600


def test_the_schema_in_docs_is_the_plans() -> None:
    assert (
        json.loads((REPOSITORY / "docs/plan.schema.json").read_text()) == Plan.model_json_schema()
    )


@pytest.mark.parametrize("plan", ["examples/quickstart.toml", "harness/cli/starter_plan.toml"])
def test_plans_that_ship_satisfy_the_schema_and_the_harness(plan: str) -> None:
    content = tomllib.loads((REPOSITORY / plan).read_text())
    jsonschema.validate(content, Plan.model_json_schema())
    load_plan(REPOSITORY / plan)
