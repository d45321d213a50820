"""Tables, as a terminal of 80 columns shows them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from harness.analysis.cases import SweepSummary
from harness.analysis.summary import summarise
from harness.cli.terminal import (
    artifacts_table,
    devices_table,
    plan_table,
    runners_table,
    summary_table,
)
from harness.devices.base import Attached
from harness.results.folder import read_sweep
from harness.runners.inventory import InventoryItem
from harness.schema.job import Pass
from harness.schema.plan import make_plan
from tests.fakes.device import device_info
from tests.fakes.sweeps import Shape, write_sweep

SMALL = Shape(
    models=("digits",), recipes=("fp32",), threads=(1,), device_names=("desk",), troubles=False,
    rounds=2,
)  # fmt: skip


def summed(folder: Path, shape: Shape) -> SweepSummary:
    return summarise(read_sweep(write_sweep(folder / "sweep", shape)))


def rendered(content: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(content)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(summary: SweepSummary) -> str:
    return rendered(summary_table(summary))


def row(summary: SweepSummary, name: str = "  fp32") -> str:
    (found,) = (line for line in shown(summary).splitlines() if line.startswith(name))
    return found


def test_a_case_without_a_valid_latency_shows_its_other_numbers_and_why(tmp_path: Path) -> None:
    shape = replace(SMALL, not_valid_every=1, not_valid_passes=("latency",))
    summary = summed(tmp_path, shape)
    assert row(summary).split() == [
        "fp32", "·", "t1", "none", "valid", "0", "of", "2", "0.121", "MB", "60.0", "MB", "98.1%",
    ]  # fmt: skip
    assert "fp32 · t1 no valid latency: " in shown(summary)


def test_energy_is_shown_without_a_valid_latency(tmp_path: Path) -> None:
    shape = replace(
        SMALL, passes=("latency", "energy"), not_valid_every=1, not_valid_passes=("latency",)
    )
    case = row(summed(tmp_path, shape))
    assert "none valid" in case
    assert "mJ" in case


def test_a_case_of_which_nothing_counts_has_its_status_alone(tmp_path: Path) -> None:
    assert row(summed(tmp_path, replace(SMALL, not_valid_every=1))).split() == [
        "fp32", "·", "t1", "no", "valid", "launch",
    ]  # fmt: skip


@pytest.mark.parametrize("measured_pass", ["memory", "energy", "profile"])
def test_launches_are_counted_of_the_pass_that_ran_where_none_times(
    tmp_path: Path, measured_pass: Pass
) -> None:
    case = row(summed(tmp_path, replace(SMALL, passes=(measured_pass,))))
    assert case.split()[3:5] == ["–", "2"]


def test_launches_are_counted_of_the_latency_pass_where_it_ran(tmp_path: Path) -> None:
    shape = replace(SMALL, rounds=4, not_valid_every=2, not_valid_passes=("latency",))
    assert "  2 of 4  " in row(summed(tmp_path, shape))


def test_cases_of_several_engines_are_told_apart(tmp_path: Path) -> None:
    one = summed(tmp_path, SMALL)
    (device,) = one.devices
    (case,) = device.cases
    engine = replace(case.case, engine="another")
    other = replace(case, case=engine)
    two = replace(one, devices=(replace(device, cases=(case, other)),))
    assert "lite" not in row(one)
    assert row(two, "  fp32 · lite")
    assert row(two, "  fp32 · another")


LONG = "prune-channels-10+int8-static"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    shape = Shape(recipes=("fp32", LONG), passes=("latency", "memory", "energy"))
    return summed(tmp_path_factory.mktemp("wide"), shape)


def test_where_a_row_is_too_wide_a_case_has_two_lines_and_no_name_is_broken(
    wide: SweepSummary,
) -> None:
    lines = shown(wide).splitlines()
    assert max(map(len, lines)) <= 80
    named = [line.split("  ")[1:] for line in lines if line.startswith(f"  {LONG} · t1")]
    assert ["".join(words) for words in named] == [
        f"{LONG} · t1no difference shown", f"{LONG} · t1skipped"
    ] * 2  # fmt: skip
    first = lines.index(next(line for line in lines if line.startswith(f"  {LONG} · t1")))
    numbers = lines[first + 1].split()
    assert numbers[1] == "ms"
    assert numbers[-3:] == ["60.0", "MB", "98.1%"]


def test_both_layouts_of_a_case_hold_the_same(wide: SweepSummary) -> None:
    narrow, broad = shown(wide).split(), rendered(summary_table(wide), 160).split()
    assert sorted(narrow) == sorted(broad)


def test_a_plan_shows_its_cases_below_their_models_and_options_where_there_are_any() -> None:
    content = {
        "plan": {"name": "wide"},
        "model": [
            {"name": name, "source": "a:b", "inputs": [{"shape": [1]}]}
            for name in ("mobilenet-v2-of-the-year-2026", "b")
        ],
        "matrix": {"recipe": ["fp32", LONG], "container": ["zip", "flatbuffer"]},
    }
    lines = rendered(plan_table(make_plan(content, "x"), 80, 400.0)).splitlines()
    assert [line.split() for line in lines[:6]] == [
        ["recipe", "engine", "threads", "options"],
        ["mobilenet-v2-of-the-year-2026"],
        ["fp32", "lite", "1"],
        ["fp32", "lite", "1", "flatbuffer"],
        [LONG, "lite", "1"],
        [LONG, "lite", "1", "flatbuffer"],
    ]
    usual = make_plan({**content, "matrix": {}}, "x")
    assert "options" not in rendered(plan_table(usual, 80, 400.0))


def test_devices_keep_their_names_whole_and_those_of_no_use_yet_stand_below() -> None:
    name = "adb-28051FDH3000AB-vWgJpq._adb-tls-connect._tcp"
    advice = "Unlock the phone, and accept this computer's key."
    phone = device_info().model_copy(update={"name": "Pixel 8 Pro"})
    ready = [
        Attached(one, "ready", info=phone.model_copy(update={"id": one})) for one in (name, "b")
    ]
    lines = rendered(devices_table([*ready, Attached("c", "unauthorized", advice)])).splitlines()
    assert any(line.startswith(f"{name}  Pixel 8") for line in lines)
    assert any(line.split()[0] == "b" for line in lines if line.strip())
    assert lines[-1].strip() == f"c is unauthorized. {advice}"


def test_a_name_that_is_wider_than_the_terminal_is_broken_and_not_cut() -> None:
    name = "x" * 100
    ready = Attached(name, "ready", info=device_info(name).model_copy(update={"name": "a phone"}))
    text = rendered(devices_table([ready]))
    assert text.count("x") == len(name)
    assert "phone" in text


def test_runner_packs_have_a_line_each_and_how_to_build_one_stands_below() -> None:
    how = "phonebench runners build --abi arm64-v8a --engine synthetic"
    missing = "there is no C++ compiler. Install one (Debian: g++)"
    rows = [
        InventoryItem("not built", "synthetic", "android", "arm64-v8a", how),
        InventoryItem("not here", "lite", "local", "x86_64", missing),
    ]
    lines = [line.rstrip() for line in rendered(runners_table(rows)).splitlines()]
    assert [line.split() for line in lines[1:3]] == [
        ["synthetic", "arm64-v8a", "not", "built"],
        ["lite", "this", "computer", "not", "here"],
    ]
    assert f"  {how}" in lines
    assert f"lite for x86_64 is not here: {missing}" in " ".join(lines)


def test_variants_are_shown_below_their_model_with_their_options(wide: SweepSummary) -> None:
    models = [
        model.model_copy(update={"name": "mobilenet-v2-of-the-year-2026"}) for model in wide.models
    ]
    lines = rendered(artifacts_table(models)).splitlines()
    assert any(line.startswith(f"  {LONG}  ok ") for line in lines)
    assert max(map(len, lines)) <= 80
