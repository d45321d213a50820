"""`--set KEY=VALUE`: every kind of key and value, and every way to get one wrong."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.settings import change_plan, read_setting
from harness.errors import PlanError
from harness.schema.plan import Plan, parse_plan

SMALL = """
[plan]
name = "small"
rounds = 3
[[model]]
name = "net 1.5"
source = "my_models:net"
inputs = [{ shape = [1, 3, 8, 8] }]
[[model]]
name = "other"
source = "my_models:other"
inputs = [{ shape = [1] }]
threads = [4]
"""


def changed(*settings: str) -> Plan:
    plan = parse_plan(SMALL, "small.toml")
    return change_plan(plan, [read_setting(text) for text in settings], "small.toml")


def value_of(plan: Plan, key: str) -> Any:
    """Return what a plan holds under a dotted key; a model is named by its number."""
    found: Any = plan
    for part in key.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("measure.warm_loads=5", 5),
        ("measure.warm_loads = 5", 5),
        ("measure.min_iterations=1_000", 1000),
        ("measure.min_seconds=2", 2.0),
        ("measure.min_seconds=0.01", 0.01),
        ("measure.min_sqnr_db=-3.5", -3.5),
        ("measure.energy_source=rails", "rails"),
        ('measure.energy_source="rails"', "rails"),
        ("measure.passes=energy", ("energy",)),
        ("measure.passes=latency, energy", ("latency", "energy")),
        ("matrix.threads=4", (4,)),
        ("matrix.threads=1,2,4", (1, 2, 4)),
        ("matrix.threads=[1, 2, 4]", (1, 2, 4)),
        ("matrix.recipe=fp32,prune-channels-10+int8-static", ("fp32", "prune-channels-10+int8-static")),
        ('matrix.recipe=["fp32", "fp16"]', ("fp32", "fp16")),
        ("matrix.recipe=[fp32, fp16]", ("fp32", "fp16")),  # what a shell makes of the line above
        ("matrix.affinity=[0,1]", ("0", "1")),  # likewise
        ("matrix.affinity=[all, 0-3]", ("all", "0-3")),
        ("matrix.container=zip,flatbuffer", ("zip", "flatbuffer")),
        ("matrix.affinity=0,2-3", ("0,2-3",)),
        ('matrix.affinity=["all", "0,2-3"]', ("all", "0,2-3")),
        ("export.mobile_python=/usr/bin/python3", "/usr/bin/python3"),
        ("device.stay_awake=true", True),
        ("device.governor=performance", "performance"),
        ("plan.name=a = b, and c", "a = b, and c"),
        ("plan.name=2026", "2026"),
        ("plan.name=2026-01-01", "2026-01-01"),
        ("plan.name=true", "true"),
        ("plan.seed=0x10", 16),
        ("plan.devices=all", ("all",)),
        ("plan.devices=192.168.1.20:5555,local", ("192.168.1.20:5555", "local")),
    ],
)  # fmt: skip
def test_a_value_is_read_as_what_its_key_holds(setting: str, value: object) -> None:
    assert value_of(changed(setting), setting.partition("=")[0].strip()) == value


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("model.net 1.5.threads=2,3", "model.0.threads", (2, 3)),
        ("model.other.threads=2", "model.1.threads", (2,)),
        ("model.other.calibration=data:of_it", "model.1.calibration", "data:of_it"),
        ("model.other.inputs=[{ shape = [2, 5] }]", "model.1.inputs.0.shape", (2, 5)),
        ("model.other.inputs={ shape = [2, 5] }", "model.1.inputs.0.shape", (2, 5)),
    ],
)
def test_a_key_of_one_model_is_reached_by_its_name(setting: str, key: str, value: object) -> None:
    assert value_of(changed(setting), key) == value


def test_of_one_key_the_last_setting_holds_and_nothing_else_changes() -> None:
    plan = changed("measure.warm_loads=5", "plan.rounds=9", "measure.warm_loads=7")
    before = parse_plan(SMALL, "small.toml")
    assert (plan.measure.warm_loads, plan.plan.rounds) == (7, 9)
    assert (plan.model, plan.matrix, plan.device) == (before.model, before.matrix, before.device)


def test_a_plan_that_is_changed_holds_no_defaults_of_its_own() -> None:
    assert changed("plan.rounds=9").measure.model_dump(exclude_unset=True) == {}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("measure.warm_loads", "there is no = and no value"),
        ("measure.warm_loads=", "there is no value"),
        ("=5", "there is no key"),
        ("", "there is no key"),
        ("measure.warm_load=5", "no key measure.warm_load; did you mean measure.warm_loads?"),
        ("measures.warm_loads=5", "did you mean measure.warm_loads?"),
        ("warm_loads=5", "did you mean measure.warm_loads?"),
        ("min-seconds=5", "did you mean measure.min_seconds?"),
        ("rounds=5", "did you mean plan.rounds?"),
        ("threads=5", "did you mean matrix.threads?"),
        ("source=m:f", "did you mean model.net 1.5.source?"),
        ("model.net.threads=5", "did you mean model.net 1.5.threads?"),
        ("model.other.thread=5", "did you mean model.other.threads?"),
        ("model[1].threads=5", "no key model[1].threads; did you mean model"),
        ("export.xyz=5", "known: export.mobile_python, export.quantized_engine"),
        ("nonsense=5", "known: plan, matrix, measure, export, device"),
        ("measure=5", "measure is a table; its keys: measure.passes, "),
        ("model=5", "model is a table; its keys: model.net 1.5.name, "),
        ("model.other=5", "model.other is a table; its keys: model.other.name, "),
        ("measure.warm_loads.x=5", "did you mean measure.warm_loads?"),
    ],
)
def test_a_key_that_is_none_is_named_with_the_nearest_right_one(setting: str, says: str) -> None:
    with pytest.raises(PlanError) as error:
        changed(setting)
    assert error.value.message.startswith(f"--set {setting}: ")
    assert says in error.value.message
    assert error.value.advice


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("measure.warm_loads=five", "measure.warm_loads: Input should be a valid integer"),
        ("measure.warm_loads=1.5", "measure.warm_loads: Input should be a valid integer"),
        ("measure.warm_loads=5,6", "measure.warm_loads: Input should be a valid integer"),
        ("measure.warm_loads=-1", "measure.warm_loads: Input should be greater than or equal to 0"),
        ("measure.min_seconds=soon", "measure.min_seconds: Input should be a valid number"),
        ("measure.min_seconds=2026-01-01", "measure.min_seconds: Input should be a valid number"),
        ("device.stay_awake=yes", "device.stay_awake: must be true or false (given: 'yes')"),
        ("device.stay_awake=1", "device.stay_awake: must be true or false (given: 1)"),
        ("measure.energy_source=rail", "measure.energy_source: Input should be 'best', 'rails'"),
        ("measure.passes=energy,joules", "measure.passes[1]: Input should be 'latency'"),
        ("measure.passes=energy,energy", "passes lists a value twice"),
        ("matrix.threads=1,two", "matrix.threads[1]: Input should be a valid integer"),
        ("matrix.threads=[1", "matrix.threads[0]: Input should be"),
        ("matrix.threads=[]", "matrix.threads: must not be empty"),
        ("matrix.threads=,", "matrix.threads: must not be empty"),
        ("matrix.recipe=fp23", "fp23"),
        ("model.other.inputs=1x3x8", "model[1].inputs[0]: must be a table"),
        ("model.other.calibration=data", 'must read "module:callable"'),
        ("measure.max_seconds=0.5", "max_seconds must not be below min_seconds"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_would_be_right(
    setting: str, says: str
) -> None:
    with pytest.raises(PlanError) as error:
        changed(setting)
    assert f"small.toml with --set {setting} is not a valid plan" in error.value.message
    assert says in error.value.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PlanError) as error:
        changed("measure.warm_loads=five", "plan.rounds=0")
    assert "--set measure.warm_loads=five --set plan.rounds=0" in error.value.message
    assert "measure.warm_loads: " in error.value.message
    assert "plan.rounds: " in error.value.message


def test_a_value_cannot_bring_other_keys_with_it() -> None:
    with pytest.raises(PlanError, match=r"measure.warm_loads: Input should be a valid integer"):
        changed("measure.warm_loads=5\nretries=9")
