"""Sweeps as data frames: every launch is a row, every sample is the record's, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
from harness.analysis.columns import case_columns, launch_columns
from harness.analysis.frames import SAMPLE_COLUMNS, TRACE_COLUMNS, Frames
from harness.errors import SweepError
from harness.results.folder import read_sweep
from harness.schema.record import LaunchRecord, read_record
from tests.fakes.sweeps import Shape, write_sweep
from tests.places import REPOSITORY

SHAPE = Shape(
    models=("digits",), threads=(1,), rounds=3, samples=30, passes=("latency", "memory", "energy"),
    not_valid_every=3, gauge_trouble="other source",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("frames") / "sweep", SHAPE)


@pytest.fixture(scope="module")
def frames(folder: Path) -> Frames:
    return harness.load(folder)


def copy_of(folder: Path, to: Path, sweep_id: str) -> Path:
    """Return the sweep again, under another id."""
    again = write_sweep(to, SHAPE)
    content = (again / "sweep.json").read_text()
    was = read_sweep(folder).file.id
    (again / "sweep.json").write_text(content.replace(f'"{was}"', f'"{sweep_id}"'))
    return again


def test_every_launch_is_a_row_with_its_status_whatever_became_of_it(
    folder: Path, frames: Frames
) -> None:
    entries = [entry for entry in read_sweep(folder).entries if entry.index is not None]
    assert len(frames.launches) == len(entries)
    assert frames.launches.status.notna().all()
    assert set(frames.launches.status) == {"ok", "failed", "interrupted"}
    lost = frames.launches[frames.launches.status != "ok"]
    assert lost.latency_p50_ms.isna().all()
    assert lost.reason.notna().all()
    assert not lost.valid.any()


def test_every_case_is_a_row_with_its_status(folder: Path, frames: Frames) -> None:
    assert len(frames.cases) == 2 * len(read_sweep(folder).cases())
    assert frames.cases.status.notna().all()
    assert "skipped" in set(frames.cases.status)


def test_samples_are_those_of_the_records(folder: Path, frames: Frames) -> None:
    ok = frames.launches[frames.launches.status == "ok"]
    assert len(frames.samples.groupby(["device", "index", "attempt"], observed=True)) == len(ok)
    for launch in ok.itertuples():
        record = read_record(folder / str(launch.file))
        assert isinstance(record, LaunchRecord)
        here = (frames.samples.device == launch.device) & (frames.samples["index"] == launch.index)
        own = frames.samples[here]
        assert (own.valid == launch.valid).all()
        for phase, samples in record.samples.items():
            timed = own[own.phase == phase]
            assert np.array_equal(timed.duration_ms, np.array(samples.duration_ns) / 1e6)
            began = (np.array(samples.start_ns) - record.header.main_ns) / 1e9
            assert np.allclose(timed.start_seconds, began)
            assert list(timed["sample"]) == list(range(len(timed)))


def test_the_median_of_the_samples_is_the_launchs_number(frames: Frames) -> None:
    steady = frames.samples.query("phase == 'steady' and `pass` == 'latency'")
    key = ["device", "index", "attempt"]
    medians = steady.groupby(key, observed=True).duration_ms.median().reset_index()
    timed = frames.launches.dropna(subset=["latency_p50_ms"])
    assert len(timed) == len(medians)
    joined = timed.merge(medians.astype({"device": "string"}), on=key)
    assert len(joined) == len(timed)
    assert np.allclose(joined.duration_ms, joined.latency_p50_ms)


def test_traces_hold_what_the_runner_and_what_others_recorded(frames: Frames) -> None:
    assert set(frames.traces.origin) == {"runner", "sidecar"}
    beside = frames.traces[frames.traces.origin == "sidecar"]
    assert set(beside.trace) == {"meter_power"}
    assert set(beside.unit) == {"W"}
    rss = frames.traces[frames.traces.trace == "rss"]
    assert (rss.value > 1e6).all()
    assert (rss.time_seconds >= 0).all()


def test_frames_have_the_columns_and_types_that_are_promised(frames: Frames) -> None:
    for frame, columns in ((frames.cases, case_columns()), (frames.launches, launch_columns())):
        assert {str(n): str(k) for n, k in frame.dtypes.items()} == {
            c.name: c.kind for c in columns
        }
    for frame, told in ((frames.samples, SAMPLE_COLUMNS), (frames.traces, TRACE_COLUMNS)):
        assert {str(n): str(k) for n, k in frame.dtypes.items()} == {n: k for n, k, _ in told}


def test_a_sweep_that_has_not_begun_has_frames_with_their_columns(tmp_path: Path) -> None:
    begun = write_sweep(tmp_path / "sweep", SHAPE)
    (begun / "ledger.jsonl").unlink()
    empty = harness.load(begun)
    assert (len(empty.launches), len(empty.samples), len(empty.traces)) == (0, 0, 0)
    assert list(empty.launches) == [column.name for column in launch_columns()]
    assert {str(n): str(k) for n, k in empty.samples.dtypes.items()} == {
        n: k for n, k, _ in SAMPLE_COLUMNS
    }
    assert set(empty.cases.status) == {"not run", "skipped"}


def test_several_sweeps_stand_below_one_another(
    folder: Path, frames: Frames, tmp_path: Path
) -> None:
    other = copy_of(folder, tmp_path / "other", "another")
    both = harness.load([folder, str(other)])
    for name in ("cases", "launches", "samples", "traces"):
        one, two = getattr(frames, name), getattr(both, name)
        assert len(two) == 2 * len(one)
        assert set(two.sweep) == {*one.sweep, "another"}
        assert {str(k) for k in two.dtypes} == {str(k) for k in one.dtypes}


def test_one_sweep_twice_would_count_its_launches_twice_and_is_refused(folder: Path) -> None:
    with pytest.raises(SweepError, match="hold the same sweep"):
        harness.load([folder, folder])


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="not a sweep folder"):
        harness.load(tmp_path)


def test_a_launch_whose_file_is_gone_is_a_row_without_samples(tmp_path: Path) -> None:
    begun = write_sweep(tmp_path / "sweep", replace(SHAPE, passes=("latency",)))
    gone = min((begun / "launches").rglob("*.jsonl"))
    gone.unlink()
    frames = harness.load(begun)
    row = frames.launches[frames.launches.file == str(gone.relative_to(begun))]
    assert list(row.status) == ["interrupted"]
    assert "cannot read" in row.reason.iloc[0]
    here = (frames.samples.device == row.device.iloc[0]) & (
        frames.samples["index"] == row["index"].iloc[0]
    )
    assert not here.any()


def test_a_file_that_goes_between_two_looks_costs_its_samples_alone(tmp_path: Path) -> None:
    begun = write_sweep(tmp_path / "sweep", replace(SHAPE, passes=("latency",)))
    frames = harness.load(begun)
    launches = frames.launches
    min((begun / "launches").rglob("*.jsonl")).unlink()
    seen = frames.samples.groupby(["device", "index"], observed=True).ngroups
    assert seen == (launches.status == "ok").sum() - 1


def test_frames_say_what_they_are_of(frames: Frames) -> None:
    assert repr(frames) == (
        f"<Frames of 20251009-0853-synthetic: 8 cases, {len(frames.launches)} launches>"
    )


def test_only_who_loads_a_sweep_waits_for_pandas() -> None:
    script = (
        "import sys, harness, harness.cli; print('pandas' in sys.modules, callable(harness.load))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert ended.stdout.split() == ["False", "True"]


def test_absent_numbers_are_na_and_statuses_never(frames: Frames) -> None:
    timed = frames.launches["pass"] == "latency"
    assert frames.launches.peak_bytes[timed].isna().all()
    assert frames.launches.peak_bytes[~timed].notna().any()
    assert frames.launches.peak_bytes[timed].iloc[0] is pd.NA
    for name in ("status", "valid", "pass", "device", "case"):
        assert frames.launches[name].notna().all()
