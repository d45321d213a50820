"""Kinds of model files that a runner reads: a format is one module here and one line in `FORMATS`.

Nothing outside of a format's module knows what its files look like, or what only they have.
torch is imported inside functions: plans are checked, and results shown, without it.
Not here: which engine reads which format (`harness/schema/engines.py`).
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Protocol, Tuple

from ..messages import Inspection
from . import ptl


class Format(Protocol):
    """What a format's module has. `Problem` is raised with words for the person whose file it is.

    `SUFFIX` ends the names of its files, and no other format's. `OPTIONS` are the ways in which a
    plan may have one saved: their names, which are keys of the plan's [matrix], each with its
    values, the usual one first.
    """

    SUFFIX: str
    OPTIONS: Dict[str, Tuple[str, ...]]

    def capture(
        self, model: Any, inputs: Tuple[Any, ...], memory_format: str, notes: List[str]
    ) -> Any:
        """Return the prepared eager model as what `save` takes; the recipe finishes that.

        Recipes that finish something know TorchScript, which `tracing.trace` makes.
        """

    def save(self, captured: Any, path: str, options: Dict[str, str]) -> None:
        """Write the file. Equal models must give equal files."""

    def load(self, path: str) -> Any:
        """Load a file into the host's own runtime of this format; `run` takes what it returns."""

    def run(self, program: Any, inputs: Tuple[Any, ...]) -> Any:
        """Return what the loaded model puts out: a tensor, or any nesting of tensors."""

    def read_options(self, path: str) -> Dict[str, str]:
        """Return the options that a file was saved with, by its first bytes; {} if it is no such file."""

    def inspect(self, path: str) -> Inspection:
        """Look into a file without running it. Raises Problem for an empty, damaged or other file."""

    def check(self, path: str, seen: Inspection) -> None:
        """Raise Problem for a file that is sound, and that no known runtime reads."""


FORMATS: Dict[str, Format] = {"ptl": ptl}


def format_of(path: str) -> str:
    """Return the name of the format whose files end as this one does; "" if there is none."""
    suffix = os.path.splitext(path)[1]
    return next((name for name, format in FORMATS.items() if suffix == format.SUFFIX), "")


def usual_options(name: str) -> Dict[str, str]:
    """Return the options of a file for which the plan asks nothing else."""
    return {option: values[0] for option, values in FORMATS[name].OPTIONS.items()}
