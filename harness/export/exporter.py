"""Models become artifacts: what has to be exported, by which worker, and what is cached.

Not here: torch (`worker.py`), starting a worker (`process.py`), the cache's files (`store.py`),
what becomes of a worker's answers (`results.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import ExportError, PlanError
from harness.export import cache as store
from harness.export import worker_process
from harness.export.results import (
    ModelRecord,
    Outcome,
    Setting,
    VariantRecord,
    assemble,
    crash_artifact,
    describe_artifact,
    floor_db,
    is_quantized,
    make_artifact,
    no_artifact,
    read_outputs,
    write_reference,
)
from harness.export_worker.recipes import parse_recipe
from harness.schema.artifact import ARTIFACT_FORMAT_VERSION, Artifact, ExportedModel, Manifest
from harness.schema.plan import Model, Plan, Variant, is_callable_name


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
        store=store.Store(cache),
        python=_resolve_interpreter(python),
        mobile_python=_resolve_interpreter(mobile_python or plan.export.mobile_python),
        fresh=fresh,
        progress=progress,
        timeout_seconds=timeout_seconds,
    )
    return tuple(_export_model(setting, model) for model in plan.model)


def _export_model(setting: Setting, model: Model) -> ExportedModel:
    variants = setting.plan.variants(model)
    try:
        kind = _source_kind(model, setting.root)
        key = _model_key(setting, model)
        outcome = Outcome() if setting.fresh else _recall(setting, key, variants)
        missing = [v for v in variants if not _is_current(outcome, v)]
        if missing:
            names = ", ".join(dict.fromkeys(variant.recipe for variant in missing))
            setting.progress(f"{model.name}: exporting {names}")
            work = _inspect_ready if kind == ".ptl" else _run_export
            work(setting, model, key, outcome)
    except ExportError as error:
        setting.progress(f"{model.name}: failed: {error.message}")
        return ExportedModel(
            name=model.name, status="failed", reason=error.message, advice=error.advice
        )
    return assemble(setting, model, outcome, {variant.id for variant in missing})


def check_sources(plan: Plan, root: Path) -> None:
    """Raise PlanError for a source that is no file of a known kind, and for a module that is missing.

    None of the user's code runs: whether a module has the callable, a worker finds out.
    """
    for model in plan.model:
        try:
            _source_kind(model, root)
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


def _source_kind(model: Model, root: Path) -> str:
    """Return the suffix of a source's file, or "callable". Raises ExportError if it is neither."""
    if is_callable_name(model.source):
        return "callable"
    path = root / model.source
    if path.suffix not in (".pt2", ".pt", ".ptl"):
        raise ExportError(
            f"the source {model.source!r} of {model.name} is neither a callable nor a known file",
            'Write "module:callable", or the path of a .pt2, .pt or .ptl file.',
        )
    if not path.is_file():
        raise ExportError(
            f"the source {model.source!r} of {model.name} does not exist ({path})",
            "Paths are relative to the folder that phonebench runs in.",
        )
    return path.suffix


# --- what is cached ----------------------------------------------------------------------------


def _model_key(setting: Setting, model: Model) -> str:
    """Return the hash of all that is asked of a model, apart from the files that it turns out to read."""
    return _hash(
        ARTIFACT_FORMAT_VERSION,
        [path.read_text() for path in sorted(worker_process.WORKER.parent.glob("*.py"))],
        str(setting.root),
        _interpreter_identity(setting.python),
        model.model_dump(mode="json", include={"source", "inputs", "calibration", "evaluation"}),
        setting.plan.plan.seed,
        setting.plan.measure.check_samples,
        setting.plan.export.quantized_engine,
    )


def _variant_key(setting: Setting, variant: Variant) -> str:
    uses_mobile = _needs_xnnpack(variant.recipe)
    mobile = _interpreter_identity(setting.mobile_python) if uses_mobile else []
    return _hash(variant.recipe, variant.container, variant.memory_format, mobile)


def _needs_xnnpack(recipe: str) -> bool:
    return any(chosen.step.needs_xnnpack for chosen in parse_recipe(recipe))


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _resolve_interpreter(python: str | None) -> str:
    if not python:
        return ""
    return shutil.which(python) or python


def _interpreter_identity(python: str) -> list[Any]:
    """Tell one interpreter from another without starting it."""
    try:
        status = Path(python).stat()
    except OSError:
        return [python]
    return [python, os.path.realpath(python), status.st_size, status.st_mtime_ns]


def _recall(setting: Setting, key: str, variants: Iterable[Variant]) -> Outcome:
    """Return what the cache still knows to be true."""
    cached = setting.store
    record = cached.read_record(ModelRecord, key, "model")
    if record is None or not store.are_unchanged(record.dependencies):
        return Outcome()
    reference = record.reference_sha256
    if not cached.holds(record.checks_sha256, ".bin"):
        return Outcome()
    if reference is not None and not cached.holds(reference, ".npz"):
        return Outcome()
    outcome = Outcome(record)
    for variant in variants:
        found = cached.read_record(VariantRecord, key, _variant_key(setting, variant))
        if found is None or found.identity != record.identity:
            continue
        manifest = found.artifact.manifest
        intact = manifest is None or cached.holds(manifest.sha256, ".ptl")
        if intact and store.are_unchanged(found.dependencies):
            outcome.variants[variant.id] = found
    return outcome


def _is_current(outcome: Outcome, variant: Variant) -> bool:
    found = outcome.variants.get(variant.id)
    return (
        found is not None
        and outcome.record is not None
        and found.identity == outcome.record.identity
    )


# --- running workers ---------------------------------------------------------------------------


def _run_export(setting: Setting, model: Model, key: str, outcome: Outcome) -> None:
    """Have workers export what is missing; a new one goes on where one crashed."""
    variants = {variant.id: variant for variant in setting.plan.variants(model)}
    crashed: dict[str, Artifact] = {}
    while True:
        with setting.store.work_folder() as folder:
            wanted = [variant for id, variant in variants.items() if id not in crashed]
            have = {id: found.identity for id, found in outcome.variants.items()}
            request = {
                **_request(setting, model, folder, "export"),
                "variants": [_describe_variant(variant) for variant in wanted],
                "have": have,
            }
            run = _run(setting, model, setting.python, request, folder)
            _take_model(setting, key, run, outcome, folder)
            _take_variants(setting, key, run, variants, outcome)
            _finish_staged(setting, model, key, run, variants, outcome)
        stuck = _stuck_variant(run)
        if stuck is None:
            break
        crashed[stuck] = crash_artifact(variants[stuck], run)
    assert outcome.record is not None
    for id, artifact in crashed.items():
        outcome.variants[id] = VariantRecord(
            identity=outcome.record.identity, dependencies={}, artifact=artifact
        )


def _request(setting: Setting, model: Model, folder: Path, work: str) -> dict[str, Any]:
    return {
        "work": work,
        "root": str(setting.root),
        "folder": str(folder),
        "source": model.source,
        "inputs": [spec.model_dump(mode="json") for spec in model.inputs],
        "calibration": model.calibration,
        "evaluation": model.evaluation,
        "seed": setting.plan.plan.seed,
        "check_samples": setting.plan.measure.check_samples,
        "quantized_engine": setting.plan.export.quantized_engine,
        "has_mobile_python": bool(setting.mobile_python),
    }


def _describe_variant(variant: Variant) -> dict[str, Any]:
    return {
        "id": variant.id,
        "recipe": variant.recipe,
        "container": variant.container,
        "memory_format": variant.memory_format,
    }


def _run(
    setting: Setting, model: Model, python: str, request: dict[str, Any], folder: Path
) -> worker_process.WorkerRun:
    """Run a worker. Raises ExportError if the model itself failed, or killed the worker."""

    def on_answer(answer: worker_process.Answer) -> None:
        if answer["type"] == "variant" and answer["status"] in ("failed", "skipped"):
            setting.progress(f"{answer['variant']}: {answer['status']}: {answer['reason']}")
        elif answer["type"] == "start":
            setting.progress(f"{answer['variant']}: exporting")

    run = worker_process.run_worker(
        python,
        request,
        folder,
        timeout_seconds=setting.timeout_seconds,
        on_answer=on_answer,
        on_print=lambda line: setting.progress(f"{model.name}: {line}"),
    )
    failed = run.first("failed")
    if failed is not None and run.first("inspected") is None:
        raise ExportError(failed["reason"], failed["advice"])
    if run.ended and run.first("model") is None and run.first("inspected") is None:
        advice = "The model's own code, or a file that it reads, brings the interpreter down."
        if request["work"] == "ready":
            advice = "The file is probably damaged: export or copy it again."
        raise ExportError(f"the export worker {run.ended}, while {run.doing}", advice)
    return run


def _take_model(
    setting: Setting, key: str, run: worker_process.WorkerRun, outcome: Outcome, folder: Path
) -> None:
    """Keep the check inputs and the reference outputs, and note what the model depended on."""
    checks, model = run.first("checks"), run.first("model")
    about = run.first("inspected") or model
    assert checks is not None
    assert about is not None
    checks_sha256, _ = setting.store.keep_file(Path(checks["path"]), ".bin")
    reference_sha256 = None
    if model is not None:
        path = folder / "reference.npz"
        write_reference(path, read_outputs(model["reference"]))
        reference_sha256, _ = setting.store.keep_file(path, ".npz")
    outcome.record = ModelRecord(
        identity=about["identity"],
        dependencies=about["dependencies"],
        checks_sha256=checks_sha256,
        checks=checks["layout"],
        inputs_are_real=checks["inputs_are_real"],
        reference_sha256=reference_sha256,
        reference_is_eager=run.first("inspected") is None,
        eager_accuracy=model["accuracy"] if model else None,
    )
    setting.store.write_record(key, "model", outcome.record)


def _take_variants(
    setting: Setting,
    key: str,
    run: worker_process.WorkerRun,
    variants: dict[str, Variant],
    outcome: Outcome,
) -> None:
    """Keep what a worker made of the variants; failures are not remembered by the cache."""
    assert outcome.record is not None
    model = run.first("model") or {}
    dependencies = model.get("dependencies", {}) if "identity" not in model else {}
    for answer in run.every("variant"):
        if answer["status"] == "staged":
            continue
        variant = variants[answer["variant"]]
        found = VariantRecord(
            identity=outcome.record.identity,
            dependencies=dependencies,
            artifact=make_artifact(setting, variant, answer, outcome.record),
        )
        outcome.variants[variant.id] = found
        if found.artifact.status != "failed":
            setting.store.write_record(key, _variant_key(setting, variant), found)


def _finish_staged(
    setting: Setting,
    model: Model,
    key: str,
    run: worker_process.WorkerRun,
    variants: dict[str, Variant],
    outcome: Outcome,
) -> None:
    """Have the other interpreter finish what this one traced."""
    staged = {a["variant"]: a for a in run.every("variant") if a["status"] == "staged"}
    checks = run.first("checks")
    while staged and checks is not None and outcome.record is not None:
        with setting.store.work_folder() as folder:
            request = {
                **_request(setting, model, folder, "finish"),
                "variants": [{**answer, **_describe_variant(variants[id])}
                             for id, answer in staged.items()],
                "checks": {
                    "path": str(setting.store.object_path(outcome.record.checks_sha256, ".bin")),
                    "layout": checks["layout"],
                },
                "evaluation": checks["evaluation"],
            }  # fmt: skip
            try:
                finished = _run(setting, model, setting.mobile_python, request, folder)
            except ExportError as error:
                for id in staged:
                    outcome.variants[id] = VariantRecord(
                        identity=outcome.record.identity,
                        dependencies={},
                        artifact=no_artifact(variants[id], error.message, error.advice),
                    )
                return
            _take_variants(setting, key, finished, variants, outcome)
        stuck = _stuck_variant(finished)
        if stuck is not None:
            outcome.variants[stuck] = VariantRecord(
                identity=outcome.record.identity,
                dependencies={},
                artifact=crash_artifact(variants[stuck], finished),
            )
        done = {answer["variant"] for answer in finished.every("variant")}
        staged = {id: a for id, a in staged.items() if id not in done and id != stuck}


def _stuck_variant(run: worker_process.WorkerRun) -> str | None:
    """Return the variant during which the worker died, if it died."""
    if not run.ended:
        return None
    done = {answer["variant"] for answer in run.every("variant")}
    started = [answer["variant"] for answer in run.every("start")]
    return next((id for id in started if id not in done), None)


# --- ready files -------------------------------------------------------------------------------


def _inspect_ready(setting: Setting, model: Model, key: str, outcome: Outcome) -> None:
    """Take a ready .ptl as it is; its own output on this computer is the reference."""
    with setting.store.work_folder() as folder:
        request = {**_request(setting, model, folder, "ready"), "has_mobile_python": False}
        run = _run(setting, model, setting.python, request, folder)
        _take_model(setting, key, run, outcome, folder)
        seen = run.first("inspected")
        assert outcome.record is not None
        assert seen is not None
        failed = run.first("failed")
        trouble = failed["reason"] if failed else run.ended
        copy = folder / "ready.ptl"
        shutil.copyfile(setting.root / model.source, copy)
        sha256, _ = setting.store.keep_file(copy, ".ptl")
    for variant in setting.plan.variants(model):
        artifact = _ready_artifact(setting, variant, model, sha256, seen, run, trouble)
        found = VariantRecord(identity=outcome.record.identity, dependencies={}, artifact=artifact)
        outcome.variants[variant.id] = found
        setting.store.write_record(key, _variant_key(setting, variant), found)


def _ready_artifact(
    setting: Setting,
    variant: Variant,
    model: Model,
    sha256: str,
    seen: dict[str, Any],
    run: worker_process.WorkerRun,
    trouble: str,
) -> Artifact:
    if variant.recipe != "fp32" or variant.container != seen["container"]:
        asked = variant.recipe if variant.recipe != "fp32" else f"a {variant.container} container"
        return no_artifact(
            variant,
            f"{model.source} is a ready {seen['container']} file, measured as it is: "
            f"{asked} cannot be applied",
            'Give this model recipe = ["fp32"] (which changes nothing) and container = '
            f'["{seen["container"]}"], or name its source as "module:callable".',
            "skipped",
        )
    notes = ["a ready file, measured as it is; it is compared with its own output on the host"]
    if trouble:
        notes = [f"a ready file, measured as it is; there is nothing to compare its outputs with, "
                 f"because this computer's torch {seen['torch_version']} cannot run it: {trouble}"]  # fmt: skip
    quantized = is_quantized(seen["operators"])
    result = run.first("model")
    return Artifact(
        **describe_artifact(variant),
        status="ok",
        manifest=Manifest(
            sha256=sha256,
            size_bytes=seen["size_bytes"],
            bytecode_version=seen["bytecode_version"],
            operators=seen["operators"],
            parameters=None,
            nonzero_parameters=None,
            flops=None,
            torch_version=seen["torch_version"],
            python_version=seen["python_version"],
            recipe=variant.recipe,
            container=variant.container,
            memory_format=variant.memory_format,
            quantized_engine=setting.plan.export.quantized_engine if quantized else None,
            seed=setting.plan.plan.seed,
            export_seconds=0.0,
            created_unix=(setting.root / model.source).stat().st_mtime,
            notes=tuple(notes),
        ),
        path=setting.store.object_path(sha256, ".ptl"),
        accuracy=result["accuracy"] if result else None,
        min_sqnr_db=floor_db("fp32", quantized),
    )
