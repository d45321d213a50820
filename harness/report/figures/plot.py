"""What a figure is before it is drawn. Not here: which figures there are (`catalogue.py`, `page.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.figures.style import Layout

if TYPE_CHECKING:
    from harness.report.figures.sheet import Sheet


@dataclass(frozen=True)
class Plot:
    """A figure that can be drawn at any size: what it shows in words, and what draws it.

    `spoken` is for those who do not see it. `draw` can be sent to another process.
    """

    kind: str
    title: str
    caption: str
    spoken: str
    draw: Callable[[Layout], Sheet]
