"""Data frames of a sweep as files for other programs: CSV, Parquet, Markdown and JSON.

What is missing is null (in CSV nothing, in Markdown a dash), and a column has the same type in every
sweep. Not here: the frames and their columns (`analysis/frames.py`).
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.cases import SweepSummary
from harness.analysis.words import DASH
from harness.errors import PlanError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "parquet", "md", "json")
TABLES = ("cases", "launches", "samples", "traces")
_LONG_TABLES = ("samples", "traces")
_LONG_FORMATS = ("csv", "parquet")

Row = dict[str, Any]


def check_table(table: str, form: str) -> None:
    """Raise PlanError if there is no such table in this format."""
    known = FORMATS if table not in _LONG_TABLES else _LONG_FORMATS
    if table in TABLES and form in known:
        return
    raise PlanError(
        f"there is no {table} table as {form}",
        f"Formats: html, {', '.join(FORMATS)}; tables: {', '.join(TABLES)} "
        f"({' and '.join(_LONG_TABLES)}: {' or '.join(_LONG_FORMATS)}).",
    )


def write_table(folder: Path, table: str, form: str) -> bytes:
    """Return a table of a sweep folder as the bytes of a file; the same sweep, the same bytes.

    `table` is one of TABLES and `form` one of FORMATS. Raises SweepError for a folder that is no
    sweep, PlanError for another table or format.
    """
    check_table(table, form)
    from harness.analysis.frames import load

    frame: pd.DataFrame = getattr(load(folder), table)
    writers: dict[str, Callable[[pd.DataFrame], bytes]] = {
        "csv": _csv, "json": _json, "md": _markdown, "parquet": _parquet
    }  # fmt: skip
    return writers[form](frame)


def cases_table(summary: SweepSummary) -> list[Row]:
    """Return a row a case as mappings, ready for JSON."""
    from harness.analysis.frames import Frames

    return rows_of(Frames([summary]).cases)


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return a frame as mappings, ready for JSON: None is what is missing."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _json(frame: pd.DataFrame) -> bytes:
    # Not to_json, which rounds: it counts decimals, and an energy has its digits beyond them.
    rows = rows_of(frame)
    return (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    return bytes(frame.to_parquet(index=False))


def _markdown(frame: pd.DataFrame) -> bytes:
    words = frame.astype(object).map(_cell)
    return (words.to_markdown(index=False, disable_numparse=True) + "\n").encode()


def _cell(value: Any) -> str:
    """Write a value for Markdown, escaped so that no name becomes markup or another column."""
    import pandas as pd

    if value is pd.NA:
        return DASH
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return html.escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|")
