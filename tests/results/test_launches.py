"""A launch's own files: kept whole, read back and checked, and found by the name that a person gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BadRecord, SweepError
from harness.results.folder import Sweep, append_entry, read_sweep
from harness.results.launches import (
    find_launch,
    keep_launch,
    name_files,
    read_checked,
    read_sidecar,
)
from harness.schema.record import Trace, write_sidecar
from harness.schema.sweep import LaunchError, LedgerEntry
from tests.fakes.device import failed_record, good_record
from tests.fakes.sweeps import Shape, write_sweep

SHAPE = Shape(
    models=("digits",), recipes=("fp32",), threads=(1,), rounds=2, evaluated=(), troubles=False
)
RAIL = Trace(type="trace", name="rail:CPU", unit="uJ", time_ns=[5, 9], values=[1.0, 2.0])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return read_sweep(write_sweep(tmp_path_factory.mktemp("sweeps") / "one", SHAPE))


# --- which launch ---------------------------------------------------------------------------------


def test_a_launch_is_named_by_its_index_device_attempt_or_file(sweep: Sweep) -> None:
    entry = find_launch(sweep, "phone-1:2")
    assert (entry.device, entry.index) == ("phone-1", 2)
    assert entry.file
    assert find_launch(sweep, "phone-1:2.1") == entry
    assert find_launch(sweep, entry.file) == entry
    assert find_launch(sweep, str(sweep.folder / entry.file)) == entry


def test_the_last_attempt_counts_unless_another_is_named(sweep: Sweep) -> None:
    first = find_launch(sweep, "local:2")
    again = first.model_copy(update={"attempt": 2, "file": None, "status": "failed"})
    more = replace(sweep, entries=(*sweep.entries, again))
    assert find_launch(more, "local:2") == again
    assert find_launch(more, "local:2.1") == first
    with pytest.raises(BadRecord, match=r"launch 2\.2 of local left no record; it is failed"):
        read_checked(more.folder, again)
    with pytest.raises(SweepError) as refused:
        find_launch(more, "local:2.3")
    assert "(tried again: 2.2)" in refused.value.advice


@pytest.mark.parametrize("name", ["99", "local:99", "nowhere:1", "x", "", "1.9", "-1", "1e9", "٣"])
def test_a_launch_that_is_not_there_is_answered_with_what_is(sweep: Sweep, name: str) -> None:
    with pytest.raises(SweepError, match="has no launch") as refused:
        find_launch(sweep, name)
    assert "local: 1 to" in refused.value.advice


def test_an_index_that_several_devices_have_needs_one_of_them(sweep: Sweep) -> None:
    with pytest.raises(SweepError, match="2 devices") as refused:
        find_launch(sweep, "1")
    assert "local:1, phone-1:1" in refused.value.advice
    with pytest.raises(SweepError) as refused:
        find_launch(replace(sweep, entries=()), "1")
    assert refused.value.advice == "No launch of it has ended."
    failed = sweep.entries[0].model_copy(
        update={"index": None, "error": LaunchError(kind="ExportError", message="no weights")}
    )
    with pytest.raises(SweepError) as refused:
        find_launch(replace(sweep, entries=(failed,)), "1")
    assert f"{failed.case} was never launched: no weights" in refused.value.advice


def test_entries_of_a_real_ledger_are_found_too(sweep: Sweep, tmp_path: Path) -> None:
    """The ledger's lines, not objects: an attempt is told apart after it was written and read."""
    for name in ("sweep.json", "artifacts.json", "ledger.jsonl"):
        (tmp_path / name).write_bytes((sweep.folder / name).read_bytes())
    entry = find_launch(sweep, "local:1").model_copy(update={"attempt": 3})
    append_entry(tmp_path, entry)
    assert find_launch(read_sweep(tmp_path), "local:1").attempt == 3
    assert json.loads((tmp_path / "ledger.jsonl").read_text().splitlines()[-1])["attempt"] == 3


# --- its files ------------------------------------------------------------------------------------


def test_what_is_kept_is_read_back_and_named_by_its_attempt(sweep: Sweep, tmp_path: Path) -> None:
    own = find_launch(sweep, "local:1")
    planned = sweep.file.schedule["local"][0]
    assert name_files("local", planned, 1) == str(own.file).removesuffix(".jsonl")
    name = name_files("local", planned, 2)
    assert name.endswith(f"0001-{own.case}.retry1")
    content = (sweep.folder / str(own.file)).read_bytes()
    entry = own.model_copy(
        update={"attempt": 2, "file": f"{name}.jsonl", "sidecar_file": f"{name}.sidecar.jsonl"}
    )
    keep_launch(tmp_path, entry, content, (RAIL,))
    assert read_checked(tmp_path, entry) == read_checked(sweep.folder, own)
    assert read_sidecar(tmp_path, entry) == ((RAIL,), "")
    assert LedgerEntry.model_validate_json((tmp_path / "ledger.jsonl").read_text()) == entry


def with_file(sweep: Sweep, content: bytes | None, tmp_path: Path) -> tuple[Path, LedgerEntry]:
    """Return a sweep's folder with another file for one launch; None: it is gone."""
    entry = find_launch(sweep, "local:1").model_copy(update={"file": "x.jsonl", "sha256": None})
    if content is not None:
        (tmp_path / "x.jsonl").write_bytes(content)
    return tmp_path, entry


def test_a_record_that_is_cut_changed_or_gone_is_refused_with_its_reason(
    sweep: Sweep, tmp_path: Path
) -> None:
    own = find_launch(sweep, "local:1")
    assert own.file
    content = (sweep.folder / own.file).read_bytes()
    with pytest.raises(BadRecord, match="cut short"):
        read_checked(*with_file(sweep, content[:-20], tmp_path))
    with pytest.raises(BadRecord, match="its checksum does not match"):
        read_checked(*with_file(sweep, content.replace(b"mark", b"Mark", 1), tmp_path))
    changed, entry = with_file(sweep, content, tmp_path)
    with pytest.raises(BadRecord, match="sha256"):
        read_checked(changed, entry.model_copy(update={"sha256": "0" * 64}))
    (tmp_path / "x.jsonl").unlink()
    with pytest.raises(BadRecord, match="No such file"):
        read_checked(*with_file(sweep, None, tmp_path))


def test_a_record_of_a_failure_is_none_of_a_launch_that_the_ledger_calls_ok(
    sweep: Sweep, tmp_path: Path
) -> None:
    job = read_checked(sweep.folder, find_launch(sweep, "local:1")).header.job
    assert job is not None
    folder, entry = with_file(sweep, failed_record(job), tmp_path)
    with pytest.raises(BadRecord, match="missing_operator: no aten::nope"):
        read_checked(folder, entry)
    failed = entry.model_copy(update={"status": "failed"})
    assert read_checked(folder, failed).error is not None
    _, cut = with_file(sweep, good_record(job)[:-9], tmp_path)
    error = LaunchError(kind="RunnerCrashed", message="signal 9")
    with pytest.raises(
        BadRecord, match=r"launch 1\.1 of local is failed: signal 9; x\.jsonl: .*cut"
    ):
        read_checked(folder, cut.model_copy(update={"status": "failed", "error": error}))


def test_why_what_was_recorded_beside_the_runner_is_missing_is_said(
    sweep: Sweep, tmp_path: Path
) -> None:
    own = find_launch(sweep, "local:1")
    assert read_sidecar(sweep.folder, own) == ((), "")
    error = LaunchError(kind="MeterError", message="the meter is gone")
    failed = own.model_copy(update={"sidecar_error": error})
    assert read_sidecar(sweep.folder, failed) == ((), "the meter is gone")
    entry = own.model_copy(update={"sidecar_file": "x.sidecar.jsonl"})
    content = write_sidecar([RAIL])
    (tmp_path / "x.sidecar.jsonl").write_bytes(content)
    assert read_sidecar(tmp_path, entry) == ((RAIL,), "")
    (tmp_path / "x.sidecar.jsonl").write_bytes(content[:-9])
    assert "cut short" in read_sidecar(tmp_path, entry)[1]
    (tmp_path / "x.sidecar.jsonl").unlink()
    assert "cannot read" in read_sidecar(tmp_path, entry)[1]
