"""What the export of every model of a plan has in common, and what the cache knows an export by.

Not here: the cache's files (`cache.py`), and exporting anything (`model_export.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.export.cache import Store
from harness.export.worker_process import ROOM
from harness.export_worker.recipes import parse_recipe
from harness.schema.artifact import ARTIFACT_FORMAT_VERSION
from harness.schema.plan import Model, Plan, Variant


@dataclass(frozen=True)
class Setting:
    """The plan, where it is exported, and by which interpreters ("": there is none)."""

    plan: Plan
    root: Path
    store: Store
    python: str
    mobile_python: str
    fresh: bool
    progress: Callable[[str], object]
    timeout_seconds: float

    def model_key(self, model: Model) -> str:
        """Return the hash of all that is asked of a model, apart from the files that it turns out to read.

        The worker's own code is part of it: that is what shapes a file.
        """
        return _hash(
            ARTIFACT_FORMAT_VERSION,
            [path.read_text(encoding="utf-8") for path in sorted(ROOM.rglob("*.py"))],
            str(self.root),
            _interpreter_identity(self.python),
            model.model_dump(
                mode="json", include={"source", "inputs", "calibration", "evaluation"}
            ),
            self.plan.plan.seed,
            self.plan.measure.check_samples,
            self.plan.export.quantized_engine,
        )

    def variant_key(self, variant: Variant) -> str:
        """Return the hash of what is asked of a variant, beside what is asked of its model."""
        chosen = parse_recipe(variant.recipe)
        uses_mobile = any(each.step.needs_xnnpack for each in chosen)
        mobile = _interpreter_identity(self.mobile_python) if uses_mobile else []
        return _hash(variant.recipe, variant.format, variant.options, variant.memory_format, mobile)


def find_interpreter(python: str | None) -> str:
    """Return the path of an interpreter; as it is if it is not found, "" if none is named."""
    if not python:
        return ""
    return shutil.which(python) or python


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _interpreter_identity(python: str) -> list[Any]:
    """Tell one interpreter from another without starting it."""
    try:
        status = Path(python).stat()
    except OSError:
        return [python]
    return [python, os.path.realpath(python), status.st_size, status.st_mtime_ns]
