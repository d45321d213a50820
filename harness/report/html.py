"""Renders a summed-up sweep as one HTML file that needs nothing else and asks for nothing.

Every name that comes from a plan or a device is escaped, and so are characters that would hide,
reverse or break text. The page holds no script but its own, has a content security policy that
forbids it, and it reads the same without its script. The same sweep gives the same bytes. Not here:
what the page says (`pages.py`, `cells.py`).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.analysis import words
from harness.analysis.cases import SweepSummary
from harness.report.figures.page import draw_page
from harness.report.pages import make_page
from harness.report.readable import readable, shorten

PAGE = Path(__file__).parent / "page"


def render_html(summary: SweepSummary, processes: int = 1) -> str:
    """Return the whole report as HTML; its figures are drawn in up to so many processes."""
    script = (PAGE / "report.js").read_text(encoding="utf-8")
    page = make_page(summary, draw_page(summary, processes))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            style=Markup((PAGE / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    environment.filters.update(
        shorten=shorten, plural=words.plural, percent=words.percent, seconds=words.seconds
    )
    return environment


def _readable(value: Any) -> Any:
    return readable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
