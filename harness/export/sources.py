"""What the source of a model is: checked before any of the user's code runs.

Not here: loading it (the worker's `source.py`).
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from harness.errors import ExportError, PlanError
from harness.export_worker.formats import FORMATS, format_of
from harness.export_worker.source import SAVED_PROGRAMS
from harness.schema.plan import Model, Plan, is_callable_name

SourceKind = Literal["callable", "saved program", "ready file"]


def source_kind(model: Model, root: Path) -> SourceKind:
    """Tell what a source is. Raises ExportError if it is nothing that is known."""
    if is_callable_name(model.source):
        return "callable"
    path = root / model.source
    ready = format_of(model.source) != ""
    if not ready and path.suffix not in SAVED_PROGRAMS:
        *first, last = (*SAVED_PROGRAMS, *(format.SUFFIX for format in FORMATS.values()))
        raise ExportError(
            f"the source {model.source!r} of {model.name} is neither a callable nor a known file",
            f'Write "module:callable", or the path of a {", ".join(first)} or {last} file.',
        )
    if not path.is_file():
        raise ExportError(
            f"the source {model.source!r} of {model.name} does not exist ({path})",
            "Paths are relative to the folder that phonebench runs in.",
        )
    return "ready file" if ready else "saved program"


def check_sources(plan: Plan, root: Path) -> None:
    """Raise PlanError for a source that is no file of a known kind, and for a module that is missing.

    None of the user's code runs: whether a module has the callable, a worker finds out.
    """
    for model in plan.model:
        try:
            source_kind(model, root)
        except ExportError as error:
            raise PlanError(error.message, error.advice) from error
        for key in ("source", "calibration", "evaluation"):
            name = getattr(model, key)
            if name and is_callable_name(name) and not _has_module(name.partition(":")[0], root):
                raise PlanError(
                    f'{key} "{name}" of {model.name}: there is no such module in {root} or installed',
                    "Modules are imported from the folder that phonebench runs in.",
                )


def _has_module(name: str, root: Path) -> bool:
    """Tell whether an import would find a module, without running any of it."""
    first, *rest = name.split(".")
    spec = PathFinder.find_spec(first, [str(root), *sys.path])
    if spec is None:  # built in, or found by a finder that an installed package brought
        return first in sys.modules or find_spec(first) is not None
    if not (root / first).is_dir():  # installed packages may make up modules once they are imported
        return True
    for part in rest:
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations or ()))
        if spec is None:
            return False
    return True
