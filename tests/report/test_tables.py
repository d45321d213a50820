"""Tables for other programs: every format holds the same numbers, and no name breaks one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness.analysis.columns import Column, case_columns, launch_columns
from harness.analysis.frames import SAMPLE_COLUMNS, TRACE_COLUMNS, load
from harness.analysis.summary import summarise
from harness.errors import PlanError
from harness.report.tables import FORMATS, TABLES, Row, cases_table, rows_of, write_table
from harness.results.folder import read_sweep
from tests.fakes.sweeps import Shape, write_sweep

WIDE_TABLES = ("cases", "launches")
LONG_TABLES = ("samples", "traces")
HOSTILE = 'a|b <b>"x"</b>, \\ = \u202e end'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = replace(Shape(), device_names=("desk", HOSTILE))
    return write_sweep(tmp_path_factory.mktemp("tables") / "sweep", shape)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(
        models=("digits",), recipes=("fp32",), threads=(1,), rounds=2, samples=20,
        device_names=("desk", HOSTILE), passes=("latency", "memory"), zone_names=(HOSTILE, "skin"),
        troubles=False,
    )  # fmt: skip
    return write_sweep(tmp_path_factory.mktemp("small") / "sweep", shape)


def columns_of(table: str) -> tuple[Column, ...]:
    return case_columns() if table == "cases" else launch_columns()


@cache
def table_rows(folder: Path, table: str) -> list[Row]:
    return rows_of(getattr(load(folder), table))


def typed(rows: list[dict[str, str]], table: str) -> list[dict[str, Any]]:
    """Give the words of a CSV file the types of their columns."""
    read: dict[str, Callable[[str], Any]] = {
        "Int64": int,
        "Float64": float,
        "boolean": lambda word: word == "True",
        "string": str,
        "int64": int,
        "float64": float,
        "bool": lambda word: word == "True",
        "category": str,
    }
    long = {name: kind for name, kind, _ in (*SAMPLE_COLUMNS, *TRACE_COLUMNS)}
    kinds = long if table in LONG_TABLES else {c.name: c.kind for c in columns_of(table)}
    return [{k: read[kinds[k]](v) if v else None for k, v in row.items()} for row in rows]


@pytest.mark.parametrize("table", WIDE_TABLES)
def test_csv_holds_what_the_sweep_says(folder: Path, table: str) -> None:
    text = write_table(folder, table, "csv").decode()
    rows = typed(list(csv.DictReader(io.StringIO(text))), table)
    assert rows == table_rows(folder, table)


@pytest.mark.parametrize("table", WIDE_TABLES)
def test_json_holds_what_the_sweep_says(folder: Path, table: str) -> None:
    assert json.loads(write_table(folder, table, "json")) == table_rows(folder, table)


@pytest.mark.parametrize("table", WIDE_TABLES)
def test_parquet_holds_what_the_sweep_says_with_the_types_of_its_columns(
    folder: Path, table: str
) -> None:
    content = io.BytesIO(write_table(folder, table, "parquet"))
    frame = pd.read_parquet(content)
    assert rows_of(frame) == table_rows(folder, table)
    kinds = {str(name): str(kind) for name, kind in frame.dtypes.items()}
    assert kinds == {c.name: c.kind for c in columns_of(table)}
    stored = pq.read_schema(content)
    inner = {"string": "large_string", "Int64": "int64", "Float64": "double", "boolean": "bool"}
    assert {n: str(t) for n, t in zip(stored.names, stored.types, strict=True)} == {
        c.name: inner[c.kind] for c in columns_of(table)
    }


@pytest.mark.parametrize("table", WIDE_TABLES)
def test_markdown_has_a_line_a_row_and_as_many_cells_in_each(folder: Path, table: str) -> None:
    lines = write_table(folder, table, "md").decode().splitlines()
    rows = table_rows(folder, table)
    assert len(lines) == len(rows) + 2
    cells = {line.replace("\\|", "").count("|") for line in lines}
    assert cells == {len(rows[0]) + 1}
    assert "<b>" not in "".join(lines)
    absent = {"nan", "None", "<NA>", "NaN"}
    assert not absent & {cell.strip() for line in lines for cell in line.split("|")}


@pytest.mark.parametrize("table", LONG_TABLES)
def test_samples_and_traces_are_written_as_csv_and_parquet(small: Path, table: str) -> None:
    frame = getattr(load(small), table)
    rows = list(csv.DictReader(io.StringIO(write_table(small, table, "csv").decode())))
    assert typed(rows, table) == rows_of(frame)
    stored = pd.read_parquet(io.BytesIO(write_table(small, table, "parquet")))
    pd.testing.assert_frame_equal(stored, frame)


@pytest.mark.parametrize("table", LONG_TABLES)
@pytest.mark.parametrize("form", ["md", "json"])
def test_samples_and_traces_are_too_long_for_people(small: Path, table: str, form: str) -> None:
    with pytest.raises(PlanError, match=f"no {table} table as {form}"):
        write_table(small, table, form)


def test_what_a_run_prints_as_json_are_the_rows_of_the_cases(folder: Path) -> None:
    rows = cases_table(summarise(read_sweep(folder)))
    assert json.loads(json.dumps(rows, allow_nan=False)) == table_rows(folder, "cases")


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_sweep_gives_the_same_bytes(folder: Path, form: str) -> None:
    assert write_table(folder, "cases", form) == write_table(folder, "cases", form)


def test_the_numbers_are_those_of_the_summary(folder: Path) -> None:
    cases = [case for device in summarise(read_sweep(folder)).devices for case in device.cases]
    for row, case in zip(table_rows(folder, "cases"), cases, strict=True):
        assert (row["case"], row["status"]) == (case.id, case.status)
        if case.latency is None:
            assert row["latency_p50_ms"] is None
            assert row["reason"]
        else:
            assert row["latency_p50_ms"] == case.latency.median
            assert row["latency_p50_ms_launches"] == case.latency.launches


def test_every_launch_has_a_row_those_that_do_not_count_too(folder: Path) -> None:
    rows = table_rows(folder, "launches")
    assert len(rows) == len([e for e in read_sweep(folder).entries if e.index is not None])
    lost = [row for row in rows if row["status"] != "ok"]
    assert {row["status"] for row in lost} == {"failed", "interrupted"}
    assert all(row["latency_p50_ms"] is None and row["reason"] for row in lost)


def test_a_sweep_without_launches_still_has_its_columns(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", Shape(models=("digits",), device_names=("desk",)))
    (folder / "ledger.jsonl").unlink()
    text = write_table(folder, "launches", "csv").decode()
    assert text == ",".join(column.name for column in launch_columns()) + "\n"
    assert len(pd.read_parquet(io.BytesIO(write_table(folder, "launches", "parquet")))) == 0


def test_another_format_is_refused_with_those_that_exist(folder: Path) -> None:
    with pytest.raises(PlanError) as refusal:
        write_table(folder, "cases", "xlsx")
    assert "csv, parquet, md, json" in refusal.value.advice
    assert all(table in refusal.value.advice for table in TABLES)


@pytest.fixture(scope="module")
def energetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(
        models=("digits",), device_names=("desk", HOSTILE), passes=("latency", "memory", "energy"),
        gauge_name=HOSTILE, not_valid_every=5, leak_bytes_per_inference=1024.0,
    )  # fmt: skip
    return write_sweep(tmp_path_factory.mktemp("energetic") / "sweep", shape)


@pytest.mark.parametrize("table", WIDE_TABLES)
def test_energies_and_reasons_survive_csv_whatever_their_names(energetic: Path, table: str) -> None:
    text = write_table(energetic, table, "csv").decode()
    assert typed(list(csv.DictReader(io.StringIO(text))), table) == table_rows(energetic, table)


def test_a_case_has_its_energy_with_the_source_it_is_of(energetic: Path) -> None:
    for row in table_rows(energetic, "cases"):
        if row["status"] != "ok":
            continue
        assert row["energy_joules_low"] < row["energy_joules"] < row["energy_joules_high"]
        assert row["energy_trouble"] is None
        assert row["energy_source"] == ("rapl" if row["device"] == "local" else "gauge")
        assert row["device"] == "local" or HOSTILE in row["energy_source_name"]
        assert row["memory_grows"] is True
        assert row["growth_bytes_per_inference"] == pytest.approx(1024, rel=0.05)
        assert row["launches_valid"] + row["launches_not_valid"] + row["launches_lost"] == 16


def test_a_case_without_a_valid_latency_has_the_launches_and_numbers_that_are(
    tmp_path: Path,
) -> None:
    shape = Shape(
        models=("digits",), rounds=2, passes=("latency", "energy"), not_valid_every=1,
        not_valid_passes=("latency",), device_names=("desk",), troubles=False,
    )  # fmt: skip
    for row in table_rows(write_sweep(tmp_path / "sweep", shape), "cases"):
        assert (row["status"], row["launches_valid"]) == ("no valid latency", 2)
        assert row["reason"]
        assert row["latency_p50_ms"] is None
        assert row["latency_p50_ms_ratio"] is None
        assert row["energy_joules"]
        assert row["energy_joules_launches"] == 2


def test_a_launch_that_does_not_count_keeps_its_numbers_and_says_why(energetic: Path) -> None:
    rows = table_rows(energetic, "launches")
    doubtful = [row for row in rows if row["status"] == "ok" and not row["valid"]]
    assert {row["validity"] for row in doubtful} == {"suspect", "invalid"}
    assert {key for row in doubtful for key in row["validity_keys"].split()} == {
        "status-rose",
        "competing-load",
    }
    assert all(row["validity_reasons"] for row in doubtful)
    timed = [row for row in doubtful if row["pass"] == "latency"]
    assert all(row["latency_p50_ms"] for row in timed)
    assert all(row["energy_joules"] for row in doubtful if row["pass"] == "energy")
