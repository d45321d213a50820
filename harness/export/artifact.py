"""Artifacts: an exported model file, its manifest, and how a plan's models become them.

`export_models` decides what has to be exported, has workers do it, and keeps what they make.
Not here: torch (`worker.py`), starting a worker (`process.py`), the cache's files (`store.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from harness.errors import ExportError, WrongOutput
from harness.export import process, store
from harness.export.recipes import min_sqnr_db, parse_recipe
from harness.job import MemoryFormat
from harness.plan import Container, Model, Plan, Variant, is_callable_name

if TYPE_CHECKING:
    import numpy.typing as npt

ARTIFACT_FORMAT_VERSION = 1  # 1: the first


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Manifest(_Model):
    """What is known of one artifact file.

    `parameters` counts the model's parameters after pruning and before quantization;
    `nonzero_parameters` leaves out exact zeros. `flops` is torch's own count for one inference
    (multiply and add are two), None where it cannot count. `notes` say what a reader should know.
    """

    sha256: str
    size_bytes: int
    bytecode_version: int
    operators: tuple[str, ...]
    parameters: int | None
    nonzero_parameters: int | None
    flops: int | None
    torch_version: str
    python_version: str
    recipe: str
    container: Container
    memory_format: MemoryFormat
    quantized_engine: str | None
    seed: int
    export_seconds: float
    created_unix: float
    notes: tuple[str, ...] = ()


class Fidelity(_Model):
    """How close an artifact's outputs are to the eager model's, over `samples` real inputs.

    With a NaN or an infinity in the outputs nothing can be compared: `exact` is false and every
    number None. `max_abs_error` in the output's own unit; `sqnr_db` = 10 log10(sum ref^2 / sum (ref - out)^2),
    infinite (None with `exact` true) for equal outputs; `cosine` of the flattened outputs;
    `top1_agreement`, the share of samples (of rows, in a batch) with the same argmax over the last
    axis of the first output.
    """

    samples: int
    exact: bool
    max_abs_error: float | None
    sqnr_db: float | None
    cosine: float | None
    top1_agreement: float | None


class Accuracy(_Model):
    """Top-1 accuracy over the evaluation set, on the host."""

    top1: float
    samples: int


class Artifact(_Model):
    """What became of one variant. `path` and `manifest` are set if and only if status is ok."""

    variant: str
    model: str
    recipe: str
    container: Container
    memory_format: MemoryFormat
    status: Literal["ok", "skipped", "failed"]
    reason: str = ""
    advice: str = ""
    path: Path | None = None
    manifest: Manifest | None = None
    fidelity: Fidelity | None = None
    accuracy: Accuracy | None = None
    min_sqnr_db: float | None = None
    cached: bool = False


class CheckTensor(_Model):
    """Where one input tensor of one check sample lies in the checks file."""

    shape: tuple[int, ...]
    dtype: str
    offset_bytes: int


class ExportedModel(_Model):
    """One model with its variants, and what its outputs are checked against.

    `checks_path` holds the check inputs as raw little-endian tensors, laid out as `checks` says
    (per sample, per input). `reference_path` is an .npz with the eager outputs of every sample,
    keys "SAMPLE/INDEX", floating types widened to float32; None when there is no eager model (a
    ready .ptl that this torch cannot run).
    """

    name: str
    status: Literal["ok", "failed"]
    reason: str = ""
    advice: str = ""
    checks_path: Path | None = None
    checks_sha256: str = ""
    checks: tuple[tuple[CheckTensor, ...], ...] = ()
    inputs_are_real: bool = False
    reference_path: Path | None = None
    reference_is_eager: bool = True
    eager_accuracy: Accuracy | None = None
    artifacts: tuple[Artifact, ...] = ()


# --- from a plan to artifacts ------------------------------------------------------------------


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
    setting = _Setting(
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


@dataclass(frozen=True)
class _Setting:
    """What the export of every model has in common."""

    plan: Plan
    root: Path
    store: store.Store
    python: str
    mobile_python: str
    fresh: bool
    progress: Callable[[str], object]
    timeout_seconds: float


class _ModelRecord(_Model):
    """What a model was when it was last built, as the cache keeps it.

    `identity` is one hash over `dependencies` (files with their sha256), check inputs and outputs.
    """

    identity: str
    dependencies: dict[str, str]
    checks_sha256: str
    checks: tuple[tuple[CheckTensor, ...], ...]
    inputs_are_real: bool
    reference_sha256: str | None
    reference_is_eager: bool
    eager_accuracy: Accuracy | None


class _VariantRecord(_Model):
    """What one variant became, and of which build; `dependencies` are its own, if it has any."""

    identity: str
    dependencies: dict[str, str]
    artifact: Artifact


@dataclass
class _Outcome:
    """What is known of one model so far."""

    record: _ModelRecord | None = None
    variants: dict[str, _VariantRecord] = field(default_factory=dict)


def _export_model(setting: _Setting, model: Model) -> ExportedModel:
    variants = setting.plan.variants(model)
    try:
        kind = _source_kind(model, setting.root)
        key = _model_key(setting, model)
        outcome = _Outcome() if setting.fresh else _recall(setting, key, variants)
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
    return _assemble(setting, model, outcome, {variant.id for variant in missing})


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


def _model_key(setting: _Setting, model: Model) -> str:
    """Return the hash of all that is asked of a model, apart from the files that it turns out to read."""
    return _hash(
        ARTIFACT_FORMAT_VERSION,
        [path.read_text() for path in sorted(process.WORKER.parent.glob("*.py"))],
        str(setting.root),
        _interpreter_identity(setting.python),
        model.model_dump(mode="json", include={"source", "inputs", "calibration", "evaluation"}),
        setting.plan.plan.seed,
        setting.plan.measure.check_samples,
        setting.plan.export.quantized_engine,
    )


def _variant_key(setting: _Setting, variant: Variant) -> str:
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


def _recall(setting: _Setting, key: str, variants: Iterable[Variant]) -> _Outcome:
    """Return what the cache still knows to be true."""
    cached = setting.store
    record = cached.read_record(_ModelRecord, key, "model")
    if record is None or not store.are_unchanged(record.dependencies):
        return _Outcome()
    reference = record.reference_sha256
    if not cached.holds(record.checks_sha256, ".bin"):
        return _Outcome()
    if reference is not None and not cached.holds(reference, ".npz"):
        return _Outcome()
    outcome = _Outcome(record)
    for variant in variants:
        found = cached.read_record(_VariantRecord, key, _variant_key(setting, variant))
        if found is None or found.identity != record.identity:
            continue
        manifest = found.artifact.manifest
        intact = manifest is None or cached.holds(manifest.sha256, ".ptl")
        if intact and store.are_unchanged(found.dependencies):
            outcome.variants[variant.id] = found
    return outcome


def _is_current(outcome: _Outcome, variant: Variant) -> bool:
    found = outcome.variants.get(variant.id)
    return (
        found is not None
        and outcome.record is not None
        and found.identity == outcome.record.identity
    )


# --- running workers ---------------------------------------------------------------------------


def _run_export(setting: _Setting, model: Model, key: str, outcome: _Outcome) -> None:
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
        crashed[stuck] = _crash_artifact(variants[stuck], run)
    assert outcome.record is not None
    for id, artifact in crashed.items():
        outcome.variants[id] = _VariantRecord(
            identity=outcome.record.identity, dependencies={}, artifact=artifact
        )


def _request(setting: _Setting, model: Model, folder: Path, work: str) -> dict[str, Any]:
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
    setting: _Setting, model: Model, python: str, request: dict[str, Any], folder: Path
) -> process.WorkerRun:
    """Run a worker. Raises ExportError if the model itself failed, or killed the worker."""

    def on_answer(answer: process.Answer) -> None:
        if answer["type"] == "variant" and answer["status"] in ("failed", "skipped"):
            setting.progress(f"{answer['variant']}: {answer['status']}: {answer['reason']}")
        elif answer["type"] == "start":
            setting.progress(f"{answer['variant']}: exporting")

    run = process.run_worker(
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
    setting: _Setting, key: str, run: process.WorkerRun, outcome: _Outcome, folder: Path
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
        _write_reference(path, _read_outputs(model["reference"]))
        reference_sha256, _ = setting.store.keep_file(path, ".npz")
    outcome.record = _ModelRecord(
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
    setting: _Setting,
    key: str,
    run: process.WorkerRun,
    variants: dict[str, Variant],
    outcome: _Outcome,
) -> None:
    """Keep what a worker made of the variants; failures are not remembered by the cache."""
    assert outcome.record is not None
    model = run.first("model") or {}
    dependencies = model.get("dependencies", {}) if "identity" not in model else {}
    for answer in run.every("variant"):
        if answer["status"] == "staged":
            continue
        variant = variants[answer["variant"]]
        found = _VariantRecord(
            identity=outcome.record.identity,
            dependencies=dependencies,
            artifact=_make_artifact(setting, variant, answer, outcome.record),
        )
        outcome.variants[variant.id] = found
        if found.artifact.status != "failed":
            setting.store.write_record(key, _variant_key(setting, variant), found)


def _finish_staged(
    setting: _Setting,
    model: Model,
    key: str,
    run: process.WorkerRun,
    variants: dict[str, Variant],
    outcome: _Outcome,
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
                    outcome.variants[id] = _VariantRecord(
                        identity=outcome.record.identity,
                        dependencies={},
                        artifact=_no_artifact(variants[id], error.message, error.advice),
                    )
                return
            _take_variants(setting, key, finished, variants, outcome)
        stuck = _stuck_variant(finished)
        if stuck is not None:
            outcome.variants[stuck] = _VariantRecord(
                identity=outcome.record.identity,
                dependencies={},
                artifact=_crash_artifact(variants[stuck], finished),
            )
        done = {answer["variant"] for answer in finished.every("variant")}
        staged = {id: a for id, a in staged.items() if id not in done and id != stuck}


def _stuck_variant(run: process.WorkerRun) -> str | None:
    """Return the variant during which the worker died, if it died."""
    if not run.ended:
        return None
    done = {answer["variant"] for answer in run.every("variant")}
    started = [answer["variant"] for answer in run.every("start")]
    return next((id for id in started if id not in done), None)


# --- ready files -------------------------------------------------------------------------------


def _inspect_ready(setting: _Setting, model: Model, key: str, outcome: _Outcome) -> None:
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
        found = _VariantRecord(identity=outcome.record.identity, dependencies={}, artifact=artifact)
        outcome.variants[variant.id] = found
        setting.store.write_record(key, _variant_key(setting, variant), found)


def _ready_artifact(
    setting: _Setting,
    variant: Variant,
    model: Model,
    sha256: str,
    seen: dict[str, Any],
    run: process.WorkerRun,
    trouble: str,
) -> Artifact:
    if variant.recipe != "fp32" or variant.container != seen["container"]:
        asked = variant.recipe if variant.recipe != "fp32" else f"a {variant.container} container"
        return _no_artifact(
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
    quantized = _is_quantized(seen["operators"])
    result = run.first("model")
    return Artifact(
        **_describe_artifact(variant),
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
        min_sqnr_db=_floor("fp32", quantized),
    )


# --- results -----------------------------------------------------------------------------------


def _describe_artifact(variant: Variant) -> dict[str, Any]:
    return {
        "variant": variant.id,
        "model": variant.model,
        "recipe": variant.recipe,
        "container": variant.container,
        "memory_format": variant.memory_format,
    }


def _no_artifact(
    variant: Variant,
    reason: str,
    advice: str = "",
    status: Literal["skipped", "failed"] = "failed",
) -> Artifact:
    return Artifact(**_describe_artifact(variant), status=status, reason=reason, advice=advice)


def _crash_artifact(variant: Variant, run: process.WorkerRun) -> Artifact:
    return _no_artifact(
        variant,
        f"the export worker {run.ended}",
        "The other variants were exported by a new worker.",
    )


def _is_quantized(operators: Iterable[str]) -> bool:
    return any(operator.startswith("quantized::") for operator in operators)


def _floor(recipe: str, quantized: bool) -> float | None:
    """Return the SQNR to reach. A model that came quantized may round differently elsewhere."""
    floor, int8_floor = min_sqnr_db(recipe), min_sqnr_db("int8-static")
    if floor is None or int8_floor is None or not quantized:
        return floor
    return min(floor, int8_floor)


def _make_artifact(
    setting: _Setting, variant: Variant, answer: process.Answer, record: _ModelRecord
) -> Artifact:
    """Turn a worker's answer about one variant into an artifact, its file kept and compared."""
    from harness.export.fidelity import compare

    if answer["status"] != "ok":
        return _no_artifact(variant, answer["reason"], answer["advice"], answer["status"])
    assert record.reference_sha256 is not None
    reference = _load_reference(setting.store.object_path(record.reference_sha256, ".npz"))
    try:
        fidelity = compare(reference, _read_outputs(answer["outputs"]))
    except WrongOutput as error:
        return _no_artifact(variant, error.message, error.advice)
    quantized = _is_quantized(answer["manifest"]["operators"])
    size_bytes = Path(answer["path"]).stat().st_size
    sha256, path = setting.store.keep_file(Path(answer["path"]), ".ptl")
    return Artifact(
        **_describe_artifact(variant),
        status="ok",
        manifest=Manifest(
            sha256=sha256,
            size_bytes=size_bytes,
            recipe=variant.recipe,
            container=variant.container,
            memory_format=variant.memory_format,
            quantized_engine=setting.plan.export.quantized_engine if quantized else None,
            seed=setting.plan.plan.seed,
            **answer["manifest"],
        ),
        path=path,
        fidelity=fidelity,
        accuracy=answer["accuracy"],
        min_sqnr_db=_floor(variant.recipe, quantized),
    )


def _assemble(
    setting: _Setting, model: Model, outcome: _Outcome, exported: set[str]
) -> ExportedModel:
    record = outcome.record
    assert record is not None
    reference_path = None
    if record.reference_sha256 is not None:
        reference_path = setting.store.object_path(record.reference_sha256, ".npz")
    return ExportedModel(
        name=model.name,
        status="ok",
        checks_path=setting.store.object_path(record.checks_sha256, ".bin"),
        checks_sha256=record.checks_sha256,
        checks=record.checks,
        inputs_are_real=record.inputs_are_real,
        reference_path=reference_path,
        reference_is_eager=record.reference_is_eager,
        eager_accuracy=record.eager_accuracy,
        artifacts=tuple(
            _judge(setting, variant, outcome.variants[variant.id], variant.id not in exported)
            for variant in setting.plan.variants(model)
        ),
    )


def _judge(setting: _Setting, variant: Variant, found: _VariantRecord, cached: bool) -> Artifact:
    """Return the artifact under this plan's names; one whose outputs are wrong is a failure."""
    from harness.export.fidelity import is_good_enough

    artifact, floor = found.artifact, setting.plan.measure.min_sqnr_db
    changes: dict[str, Any] = {"variant": variant.id, "model": variant.model, "cached": cached}
    if artifact.manifest is not None:
        changes["path"] = setting.store.object_path(artifact.manifest.sha256, ".ptl")
        changes["min_sqnr_db"] = artifact.min_sqnr_db if floor is None else floor
    artifact = artifact.model_copy(update=changes)
    fidelity = artifact.fidelity
    if fidelity is None or is_good_enough(fidelity, artifact.min_sqnr_db):
        return artifact
    seen = "hold NaN or infinity" if fidelity.max_abs_error is None else "are too far away"
    if fidelity.sqnr_db is not None:
        seen += f" (SQNR {fidelity.sqnr_db:.1f} dB; at least {artifact.min_sqnr_db:g} dB is asked)"
    return _no_artifact(
        variant,
        f"its outputs on this computer are not the eager model's: they {seen}",
        "If the loss is expected, lower [measure] min_sqnr_db in the plan.",
    )


# --- files of outputs --------------------------------------------------------------------------


def _read_outputs(written: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Read a worker's file of output tensors. Keys "SAMPLE/INDEX"."""
    import numpy as np

    raw = Path(written["path"]).read_bytes()
    outputs = {}
    for sample, places in enumerate(written["layout"]):
        for index, place in enumerate(places):
            shape = place["shape"]
            values = np.frombuffer(
                raw, np.dtype(place["dtype"]), int(np.prod(shape, dtype=int)), place["offset_bytes"]
            )
            outputs[f"{sample}/{index}"] = values.reshape(shape)
    return outputs


def _write_reference(path: Path, outputs: dict[str, npt.NDArray[Any]]) -> None:
    import numpy as np

    np.savez(path, allow_pickle=False, **outputs)


def _load_reference(path: Path) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}
