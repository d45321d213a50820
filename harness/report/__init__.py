"""Sweeps -> one self-contained HTML file. Not here: measuring, and tables (`harness.report.tables`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.cases import SweepSummary
from harness.errors import SweepError
from harness.results.folder import read_sweep
from harness.storage.files import write_whole


@dataclass(frozen=True)
class ReportSummary:
    """What was rendered, and where to."""

    path: Path
    size_bytes: int
    sweep: SweepSummary


def render(folders: Sequence[Path], output: Path, processes: int = 1) -> ReportSummary:
    """Render a sweep folder to one HTML file; one sweep for now, any number of devices in it.

    With more than one, that many `processes` may draw figures; they import the caller's main module.

    Raises SweepError for a folder that is no sweep, StorageError if `output` cannot be written.
    """
    if len(folders) != 1:
        raise SweepError(
            f"a report is of one sweep; {len(folders)} were given", "Render one folder at a time."
        )
    from harness.analysis.summary import summarise

    return render_summary(summarise(read_sweep(folders[0])), output, processes)


def render_summary(summary: SweepSummary, output: Path, processes: int = 1) -> ReportSummary:
    """Render a sweep that is summed up already. Raises StorageError."""
    # Here, so that a command which only needs words for numbers does not wait for Jinja and matplotlib.
    from harness.report.html import render_html

    content = render_html(summary, processes).encode()
    write_whole(output, content)
    return ReportSummary(output, len(content), summary)
