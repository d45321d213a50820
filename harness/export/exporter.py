"""Every model of a plan becomes its artifacts. Not here: how one does (`model_export.py`)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from harness.errors import ExportError
from harness.export.cache import Store
from harness.export.model_export import ModelExport
from harness.export.setting import Setting, find_interpreter
from harness.schema.artifact import ExportedModel
from harness.schema.plan import Model, Plan


def export_models(
    plan: Plan,
    *,
    root: Path,
    cache: Path,
    python: str = sys.executable,
    mobile_python: str | None = None,
    fresh: bool = False,
    progress: Callable[[str], object] = str,
    timeout_seconds: float = 1800.0,
) -> tuple[ExportedModel, ...]:
    """Export every variant of every model of a plan, or take it from the cache.

    Modules and relative paths are looked up in `root`. `python` runs the workers and
    `mobile_python` (else the plan's) finishes `fp32-mobile`. `fresh` uses nothing cached.
    `timeout_seconds` is how long a worker may take over one step. What goes wrong with a model or a
    recipe is in the result, with its reason; only StorageError is raised.
    """
    setting = Setting(
        plan=plan,
        root=root.resolve(),
        store=Store(cache),
        python=find_interpreter(python),
        mobile_python=find_interpreter(mobile_python or plan.export.mobile_python),
        fresh=fresh,
        progress=progress,
        timeout_seconds=timeout_seconds,
    )
    return tuple(_export_model(setting, model) for model in plan.model)


def _export_model(setting: Setting, model: Model) -> ExportedModel:
    try:
        return ModelExport(setting, model).run()
    except ExportError as error:
        setting.progress(f"{model.name}: failed: {error.message}")
        return ExportedModel(
            name=model.name, status="failed", reason=error.message, advice=error.advice
        )
