"""Keys: what the colours and lines of a figure stand for, in rows that fill its width.

Not here: which keys a figure has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.report.figures.style import Pen, Type

if TYPE_CHECKING:
    from harness.report.figures.sheet import Sheet

Sign = Literal["dot", "ring", "rule", "dashes", "words", "title"]
ROW = 1.55  # ems from one row's baseline to the next
_SIGN, _GAP = 1.6, 1.4
_LOOKS = {
    "title": Type("title", "ink", size=0.95, bold=True),
    "words": Type("words", size=0.95),
}
_KEY = Type("key", size=0.95)


@dataclass(frozen=True)
class Key:
    """A sign and what it stands for; "words" and "title" have no sign."""

    sign: Sign
    text: str
    colour: str = "quiet"

    @property
    def look(self) -> Type:
        """How its text looks."""
        return _LOOKS.get(self.sign, _KEY)

    def width(self, em: float) -> float:
        """Return how much room it takes, in points, while drawing."""
        from harness.report.figures.sheet import width_of

        sign = 0.0 if self.sign in _LOOKS else _SIGN
        return width_of(self.text, self.look, em) + (sign + _GAP) * em


def in_rows(keys: Sequence[Key], width: float, em: float) -> list[list[Key]]:
    """Return keys in as few rows as a width in points allows, in their order."""
    rows: list[list[Key]] = []
    used = 0.0
    for key in keys:
        own = key.width(em)
        if not rows or used + own - _GAP * em > width:
            rows.append([])
            used = 0.0
        rows[-1].append(key)
        used += own
    return rows


def in_lines(text: str, width: float, em: float) -> list[Key]:
    """Return a long text as keys of words, each as wide as a row at most."""
    lines: list[Key] = []
    for word in text.split():
        longer = Key("words", f"{lines[-1].text} {word}") if lines else None
        if longer is not None and longer.width(em) - _GAP * em <= width:
            lines[-1] = longer
        else:
            lines.append(Key("words", word))
    return lines


def draw_keys(sheet: Sheet, rows: Sequence[Sequence[Key]], left: float, baseline: float) -> None:
    """Draw rows of keys, the first one on a baseline."""
    for place, row in enumerate(rows):
        x, y = left, baseline + place * ROW * sheet.em
        for key in row:
            _draw_key(sheet, key, x, y)
            x += key.width(sheet.em)


def _draw_key(sheet: Sheet, key: Key, x: float, y: float) -> None:
    em = sheet.em
    middle = y - 0.34 * em
    if key.sign in _LOOKS:
        sheet.words(x, y, key.text, key.look)
        return
    if key.sign in ("dot", "ring"):
        sheet.spot(x + 0.6 * em, middle, Pen("spot", key.colour, 0.7))
        if key.sign == "ring":
            sheet.spot(x + 0.6 * em, middle, Pen("spot", "paper", 0.42))
    else:
        dashes = (2.0, 1.2) if key.sign == "dashes" else None
        pen = Pen("sign", key.colour, 0.16, dashes=dashes)
        sheet.stroke((x, middle), (x + 1.2 * em, middle), pen)
    sheet.words(x + _SIGN * em, y, key.text, key.look)
