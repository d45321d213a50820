"""matplotlib's SVG -> a small one, that stands in a page or alone.

What matplotlib writes is read as XML and written anew: groups, clip paths, ids and styles that say nothing
go; names of marks become classes; coordinates are rounded to a tenth and told as steps from the last one.
On the page colours become its variables, so that light, dark and print follow, and text takes its
font. What is not understood is an error, never left out. Not here: drawing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from harness.report.figures.style import LIGHT

_NAMES = {colour: name for name, colour in LIGHT.items()}
_GIVEN_BY_MATPLOTLIB = re.compile(r"[\w.]+_\d+")
_SAYS_NOTHING = {"metadata", "defs", "title"}
# What an SVG does anyway, or what the root says for all.
_USUAL = {
    "fill": "none",
    "stroke-linecap": "butt",
    "stroke-linejoin": "round",
    "stroke-dashoffset": "0",
}
_STYLES = {
    "fill", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-dasharray",
    "stroke-dashoffset", "opacity", "stroke-opacity", "fill-opacity",
}  # fmt: skip
_STEPS = re.compile(r"[MLCQz]|-?[\d.]+(?:e-?\d+)?")
_POINTS = {"M": 1, "L": 1, "Q": 2, "C": 3}
_PARTS = 10  # of a unit, that coordinates are rounded to


def inline_svg(drawn: bytes, *, key: str, role: str, title: str, spoken: str) -> str:
    """Return an SVG for a page. `key` is its own among all of the page, `role` is its class.

    It has to be drawn in the page's light colours. Raises ValueError for what it does not understand.
    """
    source = fromstring(drawn)
    about = f"{key}-about"
    root = Element(
        "svg",
        {"class": role, "role": "img", "aria-label": title, "aria-describedby": about, **_sheet(source)},
    )  # fmt: skip
    SubElement(root, "desc", {"id": about}).text = spoken
    _add_marks(root, source, _variable, _ink_class)
    return tostring(root, encoding="unicode")


def alone_svg(drawn: bytes, *, title: str, spoken: str) -> bytes:
    """Return an SVG that is a file of its own: its colours and its font are in it, its text is text."""
    source = fromstring(drawn)
    size = {"width": source.get("width", ""), "height": source.get("height", "")}
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg", **size, **_sheet(source),
            "font-family": "'DejaVu Sans', Verdana, sans-serif",
        },
    )  # fmt: skip
    SubElement(root, "title").text = title
    SubElement(root, "desc").text = spoken
    _add_marks(root, source, lambda colour: colour, lambda colour: {"fill": colour})
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}'.encode()


def _sheet(source: Element) -> dict[str, str]:
    """Return what the root of an SVG says for all marks on it."""
    sizes = Counter(mark.style["font-size"] for mark in _marks(source, "") if mark.kind == "text")
    commonest = sizes.most_common(1)[0][0] if sizes else "12px"
    return {
        "viewBox": source.get("viewBox", ""),
        "fill": "none",
        "stroke-linejoin": "round",
        "font-size": _shorter(commonest.removesuffix("px")),
    }


def _ink_class(colour: str) -> dict[str, str]:
    """Return what makes the page write in a colour; without it, text is quiet."""
    return {} if _NAMES[colour] == "quiet" else {"class": _NAMES[colour]}


def _variable(colour: str) -> str:
    return f"var(--{_NAMES[colour]})"


# --- reading what matplotlib wrote ---------------------------------------------------------------


@dataclass(frozen=True)
class _Mark:
    """A path or a text, and the name that whoever drew it gave it."""

    element: Element
    kind: str
    name: str
    style: dict[str, str]


def _marks(element: Element, name: str) -> Iterator[_Mark]:
    """Yield all marks below an element, in the order of painting."""
    for child in element:
        kind = child.tag.rpartition("}")[2]
        if kind in _SAYS_NOTHING:
            continue
        style = _read_style(child)
        if kind == "g" and not style and set(child.attrib) <= {"id"}:
            given = child.get("id", "")
            yield from _marks(child, name if _GIVEN_BY_MATPLOTLIB.fullmatch(given) else given)
        elif kind in ("path", "text") and "clip-path" not in child.attrib:
            yield _Mark(child, kind, name, style)
        else:
            raise ValueError(f"cannot make a small SVG of <{kind} {' '.join(child.attrib)}>")


def _read_style(element: Element) -> dict[str, str]:
    pairs = (part.split(":", 1) for part in element.get("style", "").split(";") if part.strip())
    return {key.strip(): value.strip() for key, value in pairs}


# --- writing it anew -----------------------------------------------------------------------------


def _add_marks(
    root: Element,
    source: Element,
    write_colour: Callable[[str], str],
    write_ink: Callable[[str], dict[str, str]],
) -> None:
    for mark in _marks(source, ""):
        if mark.kind == "text":
            _add_text(root, mark, write_ink)
        elif _is_seen(mark.style):
            _add_path(root, mark, write_colour)


def _is_seen(style: dict[str, str]) -> bool:
    return style.get("fill") != "none" or style.get("stroke", "none") != "none"


def _add_path(root: Element, mark: _Mark, write_colour: Callable[[str], str]) -> None:
    attributes = {"class": mark.name} if mark.name else {}
    for key, value in mark.style.items():
        if key not in _STYLES:
            raise ValueError(f"cannot make a small SVG of a path with {key}: {value}")
        if value == _USUAL.get(key):
            continue
        is_colour = key in ("fill", "stroke") and value != "none"
        attributes[key] = write_colour(value) if is_colour else _shorter(value)
    SubElement(root, "path", {**attributes, "d": small_path(mark.element.get("d", ""))})


def _add_text(root: Element, mark: _Mark, write_ink: Callable[[str], dict[str, str]]) -> None:
    style = mark.style
    told = {
        "x": _coordinate(mark.element, "x"),
        "y": _coordinate(mark.element, "y"),
        "font-size": _shorter(style["font-size"].removesuffix("px")),
        "text-anchor": style.get("text-anchor", "start"),
        "font-weight": style.get("font-weight", "normal"),
        **write_ink(style["fill"]),
    }
    told["class"] = f"{mark.name} {told.get('class', '')}".strip()
    usual = {"font-size": root.get("font-size"), "text-anchor": "start", "font-weight": "normal"}
    attributes = {key: value for key, value in told.items() if value and value != usual.get(key)}
    SubElement(root, "text", attributes).text = mark.element.text


def _coordinate(element: Element, axis: str) -> str:
    return _number(round(float(element.get(axis, "nan")) * _PARTS))


def _shorter(value: str) -> str:
    """Return a list of numbers, each with three significant digits; other words as they are."""
    try:
        numbers = [float(part) for part in value.replace(",", " ").split()]
    except ValueError:
        return value
    return " ".join(f"{number:.3g}" for number in numbers)


def small_path(steps: str) -> str:
    """Write a path of absolute steps in as few letters: rounded, each step relative to the last one.

    A step that leads nowhere is kept, for a round cap makes a dot of it.
    """
    out: list[str] = []
    x = y = 0  # where the last step led, in parts of a unit
    words = _STEPS.findall(steps)
    place = 0
    while place < len(words):
        letter = words[place]
        place += 1
        if letter == "z":
            out.append("z")
            continue
        count = 2 * _POINTS[letter]
        points = [round(float(word) * _PARTS) for word in words[place : place + count]]
        place += count
        if letter == "M" and (not out or out[-1] == "z"):
            out.append("M" + _pair(points[0], points[1]))
        elif letter == "L":
            out.append(_line(points[0] - x, points[1] - y))
        else:
            ahead = [value - (y if odd % 2 else x) for odd, value in enumerate(points)]
            pairs = [_pair(*ahead[at : at + 2]) for at in range(0, count, 2)]
            out.append(letter.lower() + " ".join(pairs))
        x, y = points[-2], points[-1]
    return "".join(out)


def _line(across: int, down: int) -> str:
    if not down:
        return f"h{_number(across)}"
    return f"l{_pair(across, down)}" if across else f"v{_number(down)}"


def _pair(x: int, y: int) -> str:
    second = _number(y)
    return f"{_number(x)}{second}" if second.startswith("-") else f"{_number(x)} {second}"


def _number(parts: int) -> str:
    """Write a coordinate: 12, .5, -3.1."""
    whole, rest = divmod(abs(parts), _PARTS)
    digits = f"{whole or ''}.{rest}" if rest else f"{whole}"
    return f"-{digits}" if parts < 0 else digits
