"""How figures look: colours, sizes, lines and type. Not here: drawing (`sheet.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from harness.analysis.cases import SweepSummary
from harness.analysis.words import scale_of
from harness.report.readable import readable, shorten

Palette = Mapping[str, str]

# The page's own variables (report.css has the same values, and a test holds them together): a figure
# is drawn in these, and on the page each becomes `var(--NAME)`, so no two may be alike. c0 to c7 are
# told apart with every kind of colour blindness (a test simulates three), and stand out 3:1 from paper.
LIGHT: Palette = MappingProxyType(
    {
        "paper": "#ffffff", "ink": "#1c2024", "quiet": "#5b646d", "line": "#dfe3e8",
        "shade": "#f5f7f9", "bad": "#b3261e",
        "c0": "#353d47", "c1": "#3d5dd0", "c2": "#ad5200", "c3": "#339489",
        "c4": "#601592", "c5": "#ac8e1f", "c6": "#864c6d", "c7": "#1c9dd1",
    }
)  # fmt: skip
DARK: Palette = MappingProxyType(
    {
        "paper": "#14171a", "ink": "#e6e9ec", "quiet": "#a0aab4", "line": "#31373d",
        "shade": "#1c2024", "bad": "#ff8a80",
        "c0": "#737b86", "c1": "#7fadf7", "c2": "#ec8313", "c3": "#a0e2ad",
        "c4": "#a361dc", "c5": "#f3c500", "c6": "#da91a2", "c7": "#4fe3fe",
    }
)  # fmt: skip
SERIES = 8  # c0 to c7

_NARROW_EMS = 52
_POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Layout:
    """How large a figure is drawn, in points (units of its SVG), and in which colours.

    `em` is the size of its text; every other length follows from it. Without a `height` a figure
    is as tall as what it shows needs. `margin` is left free on all sides, beyond width and height.
    """

    width: float
    em: float
    palette: Palette = field(default_factory=lambda: LIGHT)
    height: float | None = None
    margin: float = 0.0

    @property
    def is_narrow(self) -> bool:
        """Whether names and values stand above what they belong to, instead of beside it."""
        return self.width / self.em < _NARROW_EMS


# On the page: one for desktops and paper, one for phones. report.css shows the one that fits.
WIDE = Layout(width=1100, em=13)
NARROW = Layout(width=360, em=12)


def layout_of_file(
    width_inches: float, height_inches: float | None = None, *, dark: bool = False
) -> Layout:
    """Return the layout of a figure for a paper or a slide, of this size with its margins."""
    em, margin = 9.0, 6.0
    width = width_inches * _POINTS_PER_INCH - 2 * margin
    height = None if height_inches is None else height_inches * _POINTS_PER_INCH - 2 * margin
    return Layout(width, em, DARK if dark else LIGHT, height, margin)


@dataclass(frozen=True)
class Pen:
    """How a mark looks: `name` becomes its class on the page, `size` is its width or diameter in ems.

    Dashes and the gaps between them are told in widths of the line.
    """

    name: str
    colour: str
    size: float = 0.0
    opacity: float = 1.0
    dashes: tuple[float, float] | None = None


@dataclass(frozen=True)
class Type:
    """How words look: `name` becomes their class on the page, `size` is in ems."""

    name: str
    colour: str = "quiet"
    size: float = 1.0
    align: Literal["left", "center", "right"] = "left"
    bold: bool = False


GRID = Pen("grid", "line", 0.08)
TICK = Type("tick", size=0.92, align="center")
AXIS = Type("axis", align="center")


MS = scale_of("ms", ())
"""Latencies are written in milliseconds wherever they are drawn."""


def colours_of(summary: SweepSummary) -> dict[str, str]:
    """Give every recipe one colour, the same in every figure and table."""
    recipes = dict.fromkeys(
        case.case.variant.recipe for device in summary.devices for case in device.cases
    )
    return {recipe: f"c{place % SERIES}" for place, recipe in enumerate(recipes)}


def label(text: str, length: int = 32) -> str:
    """Return a name as a figure shows it: on one line, harmless, not too long."""
    return shorten(readable(" ".join(text.split())), length)
