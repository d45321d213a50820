"""A matplotlib figure measured in points from its top left corner, with the marks that figures here use.

The only module that knows how matplotlib is driven: no pyplot, none of the user's own settings, one
thread at a time. It is imported when something is drawn, and not before. Every mark is one path,
however many points it has, and none is clipped: whoever draws keeps within the axes. A mark's `name`
becomes its class on the page. Not here: what is drawn, and what becomes of matplotlib's SVG (`svg.py`).
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from io import BytesIO
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import text_to_path

from harness.errors import PlanError
from harness.report.figures.style import GRID, Layout, Pen, Type

Point = tuple[float, float]
Points = Sequence[Point] | npt.NDArray[np.float64]

POINTS_PER_INCH = 72
_FONT = "DejaVu Sans"  # matplotlib brings it
# Monochrome families with what that one lacks; those that are installed are asked in this order.
_FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "Hiragino Sans",
    "Microsoft YaHei", "Noto Sans Hebrew", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Emoji",
    "Symbola",
)  # fmt: skip
_USERS_OWN = ("backend", "backend_fallback", "interactive", "toolbar", "timezone")
_LOCK = threading.RLock()  # matplotlib's settings are the process's


@contextmanager
def drawing() -> Iterator[None]:
    """Draw under settings that do not depend on the user's, and that hostile names cannot steer."""
    with _LOCK, warnings.catch_warnings(), matplotlib.rc_context(_settings()):
        # A glyph that no font here has: a browser has others, and a file shows a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@cache
def _settings() -> Any:
    defaults = {
        key: value for key, value in matplotlib.rcParamsDefault.items() if key not in _USERS_OWN
    }
    return {
        **defaults,
        "font.family": [_FONT, *_installed(_FALLBACKS)],
        "text.parse_math": False,
        "path.simplify": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "phonebench",
        "pdf.fonttype": 42,
    }


def _installed(families: Sequence[str]) -> list[str]:
    known = {font.name for font in fontManager.ttflist}
    return [family for family in families if family in known]


@lru_cache(maxsize=4096)
def width_of(text: str, look: Type, em: float) -> float:
    """Return how wide a text will be, in points, while `drawing`; no usual font of a page is wider."""
    font = FontProperties(size=look.size * em, weight="bold" if look.bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0])


@dataclass(frozen=True)
class Box:
    """Where axes lie on a sheet, in its points."""

    left: float
    top: float
    right: float
    bottom: float


class Sheet:
    """A figure being drawn. Lengths are points; x grows to the right and y downwards.

    `free` is the height that is left for planes, beside what is written above and below them.
    """

    def __init__(self, layout: Layout, words: float, planes: float, least: float = 0.0) -> None:
        """Make room: `words` ems of height for what is written, and `planes` for what is drawn.

        A height of the layout's own changes that of the planes. Raises PlanError if they would
        get less than `least`.
        """
        self.layout = layout
        self.width = layout.width
        self.height = layout.height or (words + planes) * layout.em
        self.free = self.height - words * layout.em
        if self.free < (least - 1e-6) * layout.em:
            points = (words + least) * layout.em + 2 * layout.margin
            needed = math.ceil(10 * points / POINTS_PER_INCH) / 10
            raise PlanError(
                f"this figure needs a height of {needed:.1f} inches for what is written in it",
                "Leave the height out, or make it wider.",
            )
        self._whole = (self.width + 2 * layout.margin, self.height + 2 * layout.margin)
        self.figure = Figure(
            figsize=(self._whole[0] / POINTS_PER_INCH, self._whole[1] / POINTS_PER_INCH),
            dpi=POINTS_PER_INCH,
            facecolor=layout.palette["paper"],
        )
        self._marks = 1

    @property
    def em(self) -> float:
        """The size of text."""
        return self.layout.em

    def colour(self, name: str) -> str:
        """Return a colour of the palette."""
        return self.layout.palette[name]

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add empty axes with limits from 0 to 1: no frame, and none of matplotlib's slow ticks."""
        x, y = self._share(left, top + height)
        axes = self.figure.add_axes((x, y, width / self._whole[0], height / self._whole[1]))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        return axes

    def words(self, x: float, y: float, text: str, look: Type) -> None:
        """Write on a baseline at `y`."""
        self.figure.text(
            *self._share(x, y),
            text,
            color=self.colour(look.colour),
            fontsize=look.size * self.em,
            fontweight="bold" if look.bold else "normal",
            horizontalalignment=look.align,
            verticalalignment="baseline",
            gid=look.name,
        )

    def width_of(self, text: str, look: Type) -> float:
        """Return how wide a text will be, in points; no usual font of a page is wider."""
        return width_of(text, look, self.em)

    def fit(self, text: str, width: float, look: Type) -> str:
        """Return a text, or as much of it as has room in so many points, with an ellipsis."""
        kept = len(text)
        fitting = text
        while kept and self.width_of(fitting, look) > width:
            kept -= 1
            fitting = text[:kept].rstrip() + "…"
        return fitting

    def place(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the axes lies on the sheet."""
        across, up = axes.transData.transform((x, y))
        margin = self.layout.margin
        return float(across) - margin, self._whole[1] - float(up) - margin

    def box(self, axes: Axes) -> Box:
        """Return where axes lie on the sheet."""
        box, margin = axes.bbox, self.layout.margin
        return Box(
            float(box.x0) - margin,
            self._whole[1] - float(box.y1) - margin,
            float(box.x1) - margin,
            self._whole[1] - float(box.y0) - margin,
        )

    def _share(self, x: float, y: float) -> tuple[float, float]:
        """Return a point of the sheet as matplotlib counts: shares of the figure, from bottom left."""
        margin = self.layout.margin
        return (x + margin) / self._whole[0], 1 - (y + margin) / self._whole[1]

    # --- marks in an axes' own numbers ---------------------------------------------------------

    def dots(self, axes: Axes, points: Points, pen: Pen) -> None:
        """Draw round dots: strokes of hardly any length, with round caps."""
        starts = np.asarray(points, float)
        ends = starts.copy()
        # Agg leaves out what has no length at all: a hundredth of a point will do.
        low, high = axes.get_xlim()
        ends[:, 0] += 1e-5 * (ends[:, 0] if axes.get_xscale() == "log" else high - low)
        self._add_strokes(axes, starts, ends, pen, capstyle="round")

    def rings(self, axes: Axes, points: Points, pen: Pen) -> None:
        """Draw hollow dots."""
        self.dots(axes, points, replace(pen, name=f"{pen.name} rim"))
        self.dots(axes, points, replace(pen, colour="paper", size=pen.size - 0.22))

    def segments(self, axes: Axes, ends: Sequence[tuple[Point, Point]], pen: Pen) -> None:
        """Draw lines that do not touch."""
        if ends:
            both = np.asarray(ends, float)
            self._add_strokes(axes, both[:, 0], both[:, 1], pen)

    def grid(self, axes: Axes, which: Literal["x", "y"], ticks: Sequence[float]) -> None:
        """Draw the faint lines of an axis's ticks from one side of the axes to the other."""
        if not ticks:
            return
        near = np.array([(tick, 0.0) for tick in ticks])
        far = np.array([(tick, 1.0) for tick in ticks])
        if which == "x":
            self._add_strokes(axes, near, far, GRID, transform=axes.get_xaxis_transform())
        else:
            flip = axes.get_yaxis_transform()
            self._add_strokes(axes, near[:, ::-1], far[:, ::-1], GRID, transform=flip)

    def line(self, axes: Axes, points: Points, pen: Pen) -> None:
        """Draw a line through points, broken where one is NaN."""
        x, y = np.asarray(points, float).T
        axes.add_artist(Line2D(x, y, **self._of_line(pen)))

    def band(self, axes: Axes, corner: Point, opposite: Point, pen: Pen) -> None:
        """Fill a rectangle."""
        (left, bottom), (right, top) = corner, opposite
        axes.add_artist(
            Rectangle(
                corner,
                right - left,
                top - bottom,
                facecolor=self.colour(pen.colour),
                linewidth=0,
                **self._of_all(pen),
            )
        )

    def bubble(self, axes: Axes, centre: Point, radius: float, pen: Pen) -> None:
        """Draw a circle of a radius in points, whatever the scales of the axes are."""
        inches = axes.transData.transform(centre) / POINTS_PER_INCH
        axes.add_artist(
            Circle(
                tuple(inches),
                radius / POINTS_PER_INCH,
                transform=self.figure.dpi_scale_trans,
                facecolor=to_rgba(self.colour(pen.colour), 0.25),
                edgecolor=self.colour(pen.colour),
                linewidth=pen.size * self.em,
                **self._of_all(pen),
            )
        )

    # --- marks on the sheet itself -------------------------------------------------------------

    def stroke(self, start: Point, end: Point, pen: Pen) -> None:
        """Draw a line."""
        self._add_line(start, end, pen)

    def spot(self, x: float, y: float, pen: Pen) -> None:
        """Draw a dot."""
        self._add_line((x, y), (x + 1e-2, y), pen, solid_capstyle="round", snap=False)

    def _add_line(self, start: Point, end: Point, pen: Pen, **more: Any) -> None:
        x, y = zip(self._share(*start), self._share(*end), strict=True)
        look = self._of_line(pen) | more
        self.figure.add_artist(Line2D(x, y, transform=self.figure.transFigure, **look))

    # --- how marks look, in matplotlib's words -------------------------------------------------

    def _add_strokes(self, axes: Axes, starts: Points, ends: Points, pen: Pen, **more: Any) -> None:
        vertices = np.stack([starts, ends], axis=1).reshape(-1, 2)
        codes = np.tile([Path.MOVETO, Path.LINETO], len(vertices) // 2)
        axes.add_artist(
            PathPatch(
                Path(vertices, codes),
                facecolor="none",
                edgecolor=self.colour(pen.colour),
                linewidth=pen.size * self.em,
                linestyle=_dashes(pen),
                joinstyle="round",
                snap=False,
                **self._of_all(pen),
                **({"capstyle": "butt", "transform": axes.transData} | more),
            )
        )

    def _of_line(self, pen: Pen) -> dict[str, Any]:
        return {
            "color": self.colour(pen.colour),
            "linewidth": pen.size * self.em,
            "linestyle": _dashes(pen),
            "solid_capstyle": "butt",
            "dash_capstyle": "butt",
            "solid_joinstyle": "round",
            **self._of_all(pen),
        }

    def _of_all(self, pen: Pen) -> dict[str, Any]:
        """Return what all marks have; what is drawn later lies on top."""
        self._marks += 1
        return {
            "gid": pen.name,
            "alpha": None if pen.opacity == 1 else pen.opacity,
            "clip_on": False,
            "zorder": float(self._marks),
        }

    def write(
        self, form: str, *, title: str = "", dots_per_inch: float = POINTS_PER_INCH,
        on_paper: bool = True,
    ) -> bytes:  # fmt: skip
        """Return the figure as svg, png or pdf: without a date, so the same figure is the same bytes.

        Not `on_paper`, whatever is behind it shines through.
        """
        content = BytesIO()
        self.figure.savefig(
            content, format=form, dpi=dots_per_inch, metadata=_METADATA[form] | {"Title": title},
            facecolor=self.colour("paper") if on_paper else "none",
        )  # fmt: skip
        return content.getvalue()


def _dashes(pen: Pen) -> str | tuple[float, tuple[float, float]]:
    return "solid" if pen.dashes is None else (0.0, pen.dashes)


_METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
