"""Sweeps as pandas data frames: launches, cases, raw samples and traces.

    frames = harness.load("sweeps/20261121-1200-mine")
    frames.launches.query("valid and recipe == 'fp32'").latency_p50_ms.describe()

docs/data-frames.md has every column. Whatever a sweep is exported as goes through here. Not here:
how numbers are worked out (`metrics.py`), files of other formats (`report/tables.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis.cases import SweepSummary
from harness.analysis.columns import (
    CaseRow,
    Column,
    Kind,
    LaunchRow,
    case_columns,
    launch_columns,
)
from harness.analysis.launches import Launch
from harness.analysis.summary import summarise
from harness.errors import BadRecord, SweepError
from harness.results.folder import read_sweep
from harness.results.launches import read_checked, read_sidecar
from harness.schema.record import LaunchRecord, Trace

# Columns of what is read of a launch's file: they are always there.
_LAUNCH_KEY: tuple[tuple[str, Kind, str], ...] = (
    ("sweep", "category", "the sweep's id"),
    ("device", "category", "the device's id"),
    ("case", "category", "the case's id"),
    ("index", "int64", "with device and attempt, it names the launch"),
    ("attempt", "int64", "from 1"),
    ("pass", "category", "what the launch was to measure"),
    ("valid", "bool", "whether the launch counts"),
)
SAMPLE_COLUMNS: tuple[tuple[str, Kind, str], ...] = (
    *_LAUNCH_KEY,
    ("phase", "category", "cold_load, warm_load, first_inference, warmup or steady"),
    ("sample", "int64", "its place in the phase, from 0; long loops are thinned, evenly"),
    ("start_seconds", "float64", "when it began, since the runner's main"),
    ("duration_ms", "float64", "how long it took"),
)
TRACE_COLUMNS: tuple[tuple[str, Kind, str], ...] = (
    *_LAUNCH_KEY,
    ("origin", "category", "runner, or sidecar (recorded by another process meanwhile)"),
    ("trace", "category", "what was followed: rss, cpu4_clock, temperature:skin, ..."),
    ("unit", "category", "the unit of the value"),
    ("time_seconds", "float64", "when it was read, since the runner's main"),
    ("value", "float64", "what was read"),
)


class Frames:
    """One or more sweeps as data frames, a row a launch, a case, a sample or a reading.

    Launches that failed or do not count are rows as well: filter by `valid`. Absent numbers are NA.
    Samples and traces are read from the launches' files when they are first asked for, of launches
    that have a result.
    """

    def __init__(self, summaries: Sequence[SweepSummary]) -> None:
        self._summaries = tuple(summaries)

    def __repr__(self) -> str:
        ids = ", ".join(summary.file.id for summary in self._summaries)
        return f"<Frames of {ids}: {len(self.cases)} cases, {len(self.launches)} launches>"

    @cached_property
    def launches(self) -> pd.DataFrame:
        """A row a launch, in the ledger's order, whatever became of it."""
        rows = []
        for summary in self._summaries:
            cases = {case.id: case for case in summary.file.plan.cases()}
            rows += [
                LaunchRow(summary.file.id, device, cases[launch.entry.case], launch)
                for device in summary.devices
                for launch in device.launches
            ]
        return _frame(launch_columns(), rows)

    @cached_property
    def cases(self) -> pd.DataFrame:
        """A row a case and device, in the plan's order, whatever became of it."""
        return _frame(
            case_columns(),
            [
                CaseRow(summary.file.id, device, case)
                for summary in self._summaries
                for device in summary.devices
                for case in device.cases
            ],
        )

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row a timed call: every load and every inference."""
        return _long_frame(SAMPLE_COLUMNS, self._read(_sample_parts))

    @cached_property
    def traces(self) -> pd.DataFrame:
        """A row a reading of what was followed while a launch ran."""
        return _long_frame(TRACE_COLUMNS, self._read(_trace_parts))

    def _read(self, parts: Callable[[_File], Iterator[_Part]]) -> list[_Part]:
        found: list[_Part] = []
        for summary in self._summaries:
            for device in summary.devices:
                for launch in device.launches:
                    file = _read_file(summary, launch)
                    if file is not None:
                        found += parts(file)
        return found


def load(folders: str | Path | Iterable[str | Path]) -> Frames:
    """Read one sweep folder, or several, as data frames.

    Raises SweepError for a folder that is no sweep, and for two that hold the same.
    """
    named = [folders] if isinstance(folders, str | Path) else list(folders)
    summaries = [summarise(read_sweep(Path(folder))) for folder in named]
    seen: dict[str, Path] = {}
    for summary in summaries:
        other = seen.setdefault(summary.file.id, summary.folder)
        if other is not summary.folder:
            raise SweepError(
                f"{summary.folder} and {other} hold the same sweep, {summary.file.id}",
                "Load it once: its launches would count twice.",
            )
    return Frames(summaries)


def _frame(columns: Sequence[Column], rows: Sequence[Any]) -> pd.DataFrame:
    """Make a frame of rows; an empty one has its columns and their types, too."""
    return pd.DataFrame(
        {
            column.name: pd.array([column.value(row) for row in rows], dtype=column.kind)
            for column in columns
        }
    )


# --- what is read of the launches' files ---------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """A launch's files, and what names it in each row."""

    key: tuple[Any, ...]
    record: LaunchRecord
    sidecar: tuple[Trace, ...]


@dataclass(frozen=True)
class _Part:
    """Rows that share their first columns, and the arrays of the others."""

    shared: tuple[Any, ...]
    arrays: tuple[npt.NDArray[Any], ...]


def _read_file(summary: SweepSummary, launch: Launch) -> _File | None:
    if launch.measured is None:
        return None
    entry = launch.entry
    try:
        record = read_checked(summary.folder, entry)
    except BadRecord:  # it was whole a moment ago: its launch is a row, and has no samples any more
        return None
    sidecar, _ = read_sidecar(summary.folder, entry)
    key = (summary.file.id, entry.device, entry.case, launch.index, entry.attempt)
    return _File((*key, launch.measured_pass, launch.counts), record, sidecar)


def _sample_parts(file: _File) -> Iterator[_Part]:
    began_ns = file.record.header.main_ns
    for phase, samples in file.record.samples.items():
        durations = np.asarray(samples.duration_ns, dtype=np.float64) / 1e6
        starts = (np.asarray(samples.start_ns, dtype=np.float64) - began_ns) / 1e9
        yield _Part((*file.key, phase), (np.arange(len(durations)), starts, durations))


def _trace_parts(file: _File) -> Iterator[_Part]:
    began_ns = file.record.header.main_ns
    for origin, traces in (("runner", file.record.traces), ("sidecar", file.sidecar)):
        for trace in traces:
            times = (np.asarray(trace.time_ns, dtype=np.float64) - began_ns) / 1e9
            values = np.asarray(trace.values, dtype=np.float64)
            yield _Part((*file.key, origin, trace.name, trace.unit), (times, values))


def _long_frame(columns: Sequence[tuple[str, Kind, str]], parts: Sequence[_Part]) -> pd.DataFrame:
    """Lay parts end to end; shared columns are made of one value a part, so that it stays quick."""
    lengths = [len(part.arrays[0]) for part in parts]
    shared = len(parts[0].shared) if parts else 0
    made: dict[str, Any] = {}
    for place, (name, kind, _) in enumerate(columns):
        if not parts:
            made[name] = pd.Series([], dtype=kind)
        elif place < shared:
            once = pd.Series([part.shared[place] for part in parts], dtype=kind)
            made[name] = once.repeat(lengths).reset_index(drop=True)
        else:
            made[name] = np.concatenate([part.arrays[place - shared] for part in parts])
    return pd.DataFrame(made)
