"""Options become a plan: of a model that has none, or in the place of what a plan file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.options import SHORT_FOR, MeasureOptions, PlanOptions, choose_plan
from harness.errors import PlanError
from harness.schema.plan import load_plan
from tests.places import REPOSITORY

SMALL = """
[plan]
name = "small"
rounds = 3
[[model]]
name = "net"
source = "my_models:net"
inputs = [{ shape = [1, 3, 8, 8] }]
[[model]]
name = "other"
source = "my_models:other"
inputs = [{ shape = [1] }]
recipe = ["fp16"]
threads = [4]
[matrix]
recipe = ["fp32", "int8-dynamic"]
threads = [1, 2]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_options_make_the_same_cases_as_a_file(file: Path) -> None:
    made = choose_plan(
        "my_models:net",
        PlanOptions(recipe="fp32,int8-dynamic", shape=["1x3x8x8"]),
        MeasureOptions(threads="1, 2", rounds=3),
    )
    own = [case for case in load_plan(file).cases() if case.variant.model == "net"]
    assert list(made.cases()) == own
    assert made.plan.rounds == 3


def test_a_file_without_options_is_the_plan_that_it_says(file: Path) -> None:
    assert choose_plan(str(file), PlanOptions()).sha256() == load_plan(file).sha256()


def test_options_change_what_a_file_says_of_the_plan(file: Path) -> None:
    changed = choose_plan(
        str(file),
        PlanOptions(mobile_python="/usr/bin/python3"),
        MeasureOptions(device="a, b", rounds=7, seed=0, passes="latency,energy"),
    )
    assert (changed.plan.devices, changed.plan.rounds) == (("a", "b"), 7)
    assert changed.measure.passes == ("latency", "energy")
    assert changed.export.mobile_python == "/usr/bin/python3"


def test_lists_given_by_an_option_hold_for_models_with_lists_of_their_own(file: Path) -> None:
    options, measured = PlanOptions(recipe="int8-dynamic"), MeasureOptions(threads="3")
    cases = choose_plan(str(file), options, measured).cases()
    assert [case.id for case in cases] == [
        "net.int8-dynamic.lite.t3",
        "other.int8-dynamic.lite.t3",
    ]


def test_a_key_that_is_set_is_that_key_and_no_other(file: Path) -> None:
    cases = choose_plan(str(file), PlanOptions(settings=["matrix.threads=3"])).cases()
    assert {(case.variant.model, case.threads) for case in cases} == {("net", 3), ("other", 4)}


@pytest.mark.parametrize("order", [1, -1])
def test_an_option_and_a_setting_of_one_key_are_refused(file: Path, order: int) -> None:
    settings = ["plan.seed=1", "plan.rounds=2"][::order]
    with pytest.raises(PlanError, match=r"--rounds 3 and --set plan.rounds=2 both set plan.rounds"):
        choose_plan(str(file), PlanOptions(settings=settings), MeasureOptions(rounds=3))


def test_the_docs_tell_what_every_option_is_short_for() -> None:
    rows = (REPOSITORY / "docs" / "plan.md").read_text().splitlines()
    for option, key in SHORT_FOR.items():
        name = f"`--{option.replace('_', '-')}`"
        assert any(name in row and f"`{key}`" in row for row in rows if row.startswith("|")), option


def test_what_is_wrong_names_the_plan_and_what_changed_it(file: Path) -> None:
    with pytest.raises(PlanError) as error:
        choose_plan(str(file), PlanOptions(recipe="fp23"), MeasureOptions(rounds=0))
    assert f"{file} with --rounds 0 --recipe fp23 is not a valid plan" in error.value.message
    assert "plan.rounds: " in error.value.message
    assert "matrix.recipe: " in error.value.message


@pytest.mark.parametrize("option", ["calibration", "evaluation"])
def test_data_of_a_model_without_a_plan_is_given_by_options(option: str) -> None:
    options = PlanOptions(shape=["1"], **{option: "data:of_it"})  # type: ignore[arg-type]
    (model,) = choose_plan("m:f", options).model
    assert getattr(model, option) == "data:of_it"


def test_a_shape_may_carry_a_type_and_a_range() -> None:
    plan = choose_plan("m:f", PlanOptions(shape=["1x128:int64:0..30522", "2"]))
    tokens, other = plan.model[0].inputs
    assert (tokens.shape, tokens.dtype, tokens.low, tokens.high) == ((1, 128), "int64", 0, 30522)
    assert (other.shape, other.dtype) == ((2,), "float32")


@pytest.mark.parametrize("shape", ["", "1,3", "1x", "x3", "1x3:float32:5", "1 x 3", "-1"])
def test_a_shape_that_is_none_is_refused_with_an_example(shape: str) -> None:
    with pytest.raises(PlanError) as error:
        choose_plan("m:f", PlanOptions(shape=[shape]))
    assert "1x3x224x224" in error.value.advice


def test_a_model_without_a_shape_is_refused_with_the_option_to_add() -> None:
    with pytest.raises(PlanError) as error:
        choose_plan("model.ptl", PlanOptions())
    assert "--shape" in error.value.advice


@pytest.mark.parametrize(
    ("head", "container"), [(b"PK\3\4....", "zip"), (b"....PTMF", "flatbuffer")]
)
def test_a_ready_file_without_a_plan_is_measured_in_its_own_container(
    head: bytes, container: str, tmp_path: Path
) -> None:
    ready = tmp_path / "model.ptl"
    ready.write_bytes(head)
    plan = choose_plan(str(ready), PlanOptions(shape=["1x8"], recipe="fp32"))
    assert plan.matrix.container == (container,)
