"""The table at the end of a run, as a terminal of 80 columns shows it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.analysis.cases import SweepSummary
from harness.analysis.summary import summarise
from harness.cli.terminal import summary_table
from harness.results.folder import read_sweep
from harness.schema.job import Pass
from tests.fakes.sweeps import Shape, write_sweep

SMALL = Shape(
    models=("digits",), recipes=("fp32",), threads=(1,), device_names=("desk",), troubles=False,
    rounds=2,
)  # fmt: skip


def summed(folder: Path, shape: Shape) -> SweepSummary:
    return summarise(read_sweep(write_sweep(folder / "sweep", shape)))


def shown(summary: SweepSummary) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(summary_table(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


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
    engine = replace(case.case, engine="another")  # type: ignore[arg-type]
    other = replace(case, case=engine)
    two = replace(one, devices=(replace(device, cases=(case, other)),))
    assert "lite" not in row(one)
    assert row(two, "  fp32 · lite")
    assert row(two, "  fp32 · another")
