"""A plan made from command-line options, for runs without a plan file.

Not here: validation. What the options say goes through the same checks as a plan file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import PlanError
from harness.schema.plan import Plan, make_plan

_NUMBERS = {"threads"}


def plan_from_options(
    source: str,
    shapes: Sequence[str],
    matrix: Mapping[str, str | None],
    model: Mapping[str, str | None],
    measure: Mapping[str, Any] | None = None,
) -> Plan:
    """Make a plan of one model. Lists come as text with commas, as on the command line.

    Raises PlanError, in the same words as for a plan file.
    """
    if not shapes:
        raise PlanError(
            f"the shape of {source}'s input is not known",
            "Add --shape 1x3x224x224 (once an input, in the order that the model takes them); "
            "a plan file ends in .toml.",
        )
    name = source.rpartition(":")[2] if ":" in source else Path(source).stem
    content: dict[str, Any] = {
        "plan": {"name": name},
        "model": [
            {
                "name": name,
                "source": source,
                "inputs": [parse_shape(text) for text in shapes],
                **_given(model),
            }
        ],
        "matrix": {
            key: [_value(key, item) for item in _split(key, text)]
            for key, text in {**_own_container(source), **_given(matrix)}.items()
        },
    }
    options = _given(measure or {})
    if "passes" in options:
        options["passes"] = _split("passes", options["passes"])
    content["measure"] = options
    return make_plan(content, "the command line")


def parse_shape(text: str) -> dict[str, Any]:
    """Return the input that "1x3x224x224", "1x128:int64" or "1x128:int64:0..30522" describes."""
    form = r"(\d+(?:x\d+)*)(?::([a-z]\w*))?(?::(-?[\d.]+?)\.\.(-?[\d.]+))?"
    match = re.fullmatch(form, text)
    if match is None:
        raise PlanError(
            f"--shape {text} is not a shape",
            "Write 1x3x224x224; with a type and a range of values: 1x128:int64:0..30522.",
        )
    shape, dtype, low, high = match.groups()
    given: dict[str, Any] = {"shape": [int(size) for size in shape.split("x")]}
    if dtype is not None:
        given["dtype"] = dtype
    if low is not None:
        given.update(low=float(low), high=float(high))
    return given


def _own_container(source: str) -> dict[str, str]:
    """Return the container of a ready flatbuffer, which is measured as it is."""
    path = Path(source)
    if path.suffix != ".ptl" or not path.is_file():
        return {}
    with path.open("rb") as file:
        return {"container": "flatbuffer"} if file.read(8)[4:] == b"PTMF" else {}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _split(key: str, text: str) -> list[str]:
    # Cores are themselves listed with commas: an affinity is always a single one.
    return [text] if key == "affinity" else [item.strip() for item in text.split(",")]


def _value(key: str, text: str) -> str | int:
    if key not in _NUMBERS:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise PlanError(f"--{key} {text} is not a number", f"Write --{key} 1,2,4.") from error
