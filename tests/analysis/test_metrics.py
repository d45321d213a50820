"""The table of numbers: what each needs, and that a new row is shown everywhere without more ado."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from harness.analysis import metrics
from harness.analysis.cases import SweepSummary
from harness.analysis.frames import Frames
from harness.analysis.metrics import METRICS, Metric, Recorded
from harness.analysis.summary import summarise
from harness.analysis.words import ratio_words, significant
from harness.cli.terminal import summary_table
from harness.report.definitions import definitions
from harness.report.html import render_html
from harness.report.tables import write_table
from harness.results.folder import read_sweep
from harness.schema.record import LaunchRecord, Samples, read_record
from tests.fakes.sweeps import Shape, write_sweep

SMALL = Shape(
    models=("digits",), recipes=("fp32", "int8-static"), threads=(1,), device_names=("desk",),
    troubles=False, rounds=6, passes=("latency", "memory", "energy"),
)  # fmt: skip

# What a name has to end with, by unit: whoever reads a column knows what it is in.
ENDINGS = {
    "ms": "_ms", "bytes": "_bytes", "bytes/inference": "_bytes_per_inference", "J": "_joules",
    "W": "_watts", "kHz": "_khz", "1/s": "_per_second",
}  # fmt: skip

WARM_UP = Metric(
    "warmup_total_ms", "ms", "latency",
    lambda seen: float(seen.record.durations_ns("warmup").sum()) / 1e6, "Warm-up, in all",
    "The time of all iterations of the warm-up.",
    better="lower", place="cases", shows_interval=True, short="warm-up", compared=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("metrics") / "sweep", SMALL)


@pytest.fixture
def summary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SweepSummary:
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, WARM_UP))
    return summarise(read_sweep(folder))


def shown(summary: SweepSummary) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    console.print(summary_table(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_number_is_said_once_in_words_and_ends_with_its_unit() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.endswith(ENDINGS.get(metric.unit, "")), metric.name
        assert metric.definition.endswith("."), metric.name
        assert metric.label
        assert metrics.find(metric.name) is metric
        assert not metric.under or metric.note
        assert metric.under in {"", *names}
        assert not metric.compared or metric.better


def test_a_name_that_no_number_has_is_an_error() -> None:
    with pytest.raises(KeyError):
        metrics.find("latency")


def test_a_row_is_all_it_takes_to_be_measured_and_combined(
    folder: Path, summary: SweepSummary
) -> None:
    for case in summary.devices[0].cases:
        totals = []
        for launch in case.of_pass("latency"):
            assert launch.entry.file is not None
            record = read_record(folder / launch.entry.file)
            assert isinstance(record, LaunchRecord)
            totals.append(record.durations_ns("warmup").sum() / 1e6)
            assert launch.values["warmup_total_ms"] == pytest.approx(totals[-1])
        assert case.estimates["warmup_total_ms"].median == pytest.approx(np.median(totals))
        assert case.estimates["warmup_total_ms"].launches == len(totals) == 6
        assert all("warmup_total_ms" not in one.values for one in case.of_pass("memory"))


def test_a_row_is_all_it_takes_to_be_in_every_frame_and_export(
    folder: Path, summary: SweepSummary
) -> None:
    frames = Frames([summary])
    timed = frames.launches["pass"] == "latency"
    assert frames.launches.warmup_total_ms[timed].notna().all()
    assert frames.launches.warmup_total_ms[~timed].isna().all()
    for ending in ("", "_low", "_high", "_basis", "_launches", "_ratio", "_ratio_low"):
        assert f"warmup_total_ms{ending}" in frames.cases
    rows = json.loads(write_table(folder, "cases", "json"))
    assert rows[0]["warmup_total_ms"] == frames.cases.warmup_total_ms[0]


def test_a_row_is_all_it_takes_to_be_in_the_report(summary: SweepSummary) -> None:
    page = render_html(summary)
    case = summary.devices[0].cases[1]
    value = case.estimates["warmup_total_ms"].median
    assert '<button type="button">Warm-up, in all</button>' in page
    assert f'<td data-v="{value}">{significant(value)} ms<small>[' in page
    assert "<dt>Warm-up, in all</dt><dd>The time of all iterations of the warm-up.</dd>" in page
    ratio = case.comparisons["warmup_total_ms"].ratio
    assert ratio is not None
    assert " ".join(ratio_words(ratio)) in page


def test_a_row_is_all_it_takes_to_be_defined(summary: SweepSummary) -> None:
    assert ("Warm-up, in all", WARM_UP.definition) in definitions()


def test_a_row_is_all_it_takes_to_be_in_the_terminal(summary: SweepSummary) -> None:
    text = shown(summary)
    assert "warm-up [95%]" in text
    value = summary.devices[0].cases[0].estimates["warmup_total_ms"].median
    assert f"{significant(value)} ms [" in text


def test_a_row_of_the_folded_table_stands_there_and_not_among_the_cases(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, replace(WARM_UP, place="more", short="")))
    summary = summarise(read_sweep(folder))
    first, _, second = render_html(summary).partition("Process, processor and memory")
    assert "Warm-up, in all" not in first
    assert "Warm-up, in all</button>" in second
    assert "warm-up" not in shown(summary)


def test_a_row_under_another_is_small_print_of_its_cell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(WARM_UP, place="", under="first_inference_ms", note="warm-up in all", short="")
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, row))
    page = render_html(summarise(read_sweep(folder)))
    assert "<small>warm-up in all " in page
    assert "Warm-up, in all</button>" not in page


@pytest.mark.parametrize(
    ("name", "share", "least"),
    [
        ("latency_p50_ms", 0.5, 1), ("latency_p90_ms", 0.9, 10), ("latency_p95_ms", 0.95, 130),
        ("latency_p99_ms", 0.99, 662),
    ],
)  # fmt: skip
def test_a_quantile_of_too_few_iterations_is_absent(
    folder: Path, name: str, share: float, least: int
) -> None:
    metric = metrics.find(name)
    entry = next(one for one in read_sweep(folder).entries if one.measured_pass == "latency")
    assert entry.file is not None
    record = read_record(folder / entry.file)
    assert isinstance(record, LaunchRecord)

    def value(count: int) -> float | None:
        durations = np.random.default_rng(count).integers(1_000_000, 2_000_000, count)
        samples = Samples(
            type="samples", phase="steady", start_ns=[0] * count, duration_ns=durations.tolist(),
            counters=None,
        )  # fmt: skip
        timed = replace(record, samples={"steady": samples})
        found = metric.value(Recorded(entry, timed))
        if count:
            assert found is None or found == pytest.approx(np.quantile(durations, share) / 1e6)
        return found

    assert value(least - 1) is None
    assert value(least) is not None


def test_tail_latencies_stand_in_a_report_of_launches_that_are_long_enough(
    tmp_path: Path,
) -> None:
    shape = replace(SMALL, samples=700, passes=("latency",))
    summary = summarise(read_sweep(write_sweep(tmp_path / "sweep", shape)))
    page = render_html(summary)
    assert '<button type="button">p95</button>' in page
    assert '<button type="button">p99</button>' in page
    for case in summary.devices[0].cases:
        tails = [case.estimates[f"latency_p{share}_ms"].median for share in (50, 90, 95, 99)]
        assert tails == sorted(tails)


def test_tail_latencies_take_no_column_where_no_launch_is_long_enough(folder: Path) -> None:
    page = render_html(summarise(read_sweep(folder)))
    assert '<button type="button">p90</button>' in page
    assert '<button type="button">p95</button>' not in page


def test_the_parts_of_rss_stand_beside_it(folder: Path) -> None:
    summary = summarise(read_sweep(folder))
    page = render_html(summary)
    assert '<button type="button">RSS, anonymous</button>' in page
    assert '<button type="button">RSS, of files</button>' in page
    for case in summary.devices[0].cases:
        rss, anonymous, of_files = (
            case.estimates[f"{name}_bytes"].median for name in ("rss", "rss_anon", "rss_file")
        )
        assert rss == anonymous + of_files > 0


def test_numbers_of_one_pass_are_not_taken_from_launches_of_another(folder: Path) -> None:
    for launch in summarise(read_sweep(folder)).devices[0].launches:
        foreign = [
            metric.name
            for metric in METRICS
            if metric.measured_pass not in (None, launch.measured_pass)
        ]
        assert not set(foreign) & set(launch.values)
        assert launch.values["iterations"] > 0
