"""What workers answer, turned into artifacts that are kept, compared and judged.

Not here: running workers and deciding what is cached (`exporter.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from harness.errors import WrongOutput
from harness.export import cache as store
from harness.export import worker_process
from harness.export_worker.recipes import min_sqnr_db
from harness.schema.artifact import Accuracy, Artifact, CheckTensor, ExportedModel, Manifest
from harness.schema.plan import Model, Plan, Variant

if TYPE_CHECKING:
    import numpy.typing as npt


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Setting:
    """What the export of every model has in common."""

    plan: Plan
    root: Path
    store: store.Store
    python: str
    mobile_python: str
    fresh: bool
    progress: Callable[[str], object]
    timeout_seconds: float


class ModelRecord(_Model):
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


class VariantRecord(_Model):
    """What one variant became, and of which build; `dependencies` are its own, if it has any."""

    identity: str
    dependencies: dict[str, str]
    artifact: Artifact


@dataclass
class Outcome:
    """What is known of one model so far."""

    record: ModelRecord | None = None
    variants: dict[str, VariantRecord] = field(default_factory=dict)


def describe_artifact(variant: Variant) -> dict[str, Any]:
    """Return the fields that an artifact shares with its variant."""
    return {
        "variant": variant.id,
        "model": variant.model,
        "recipe": variant.recipe,
        "container": variant.container,
        "memory_format": variant.memory_format,
    }


def no_artifact(
    variant: Variant,
    reason: str,
    advice: str = "",
    status: Literal["skipped", "failed"] = "failed",
) -> Artifact:
    """Return what stands for a variant that has no file, with the reason."""
    return Artifact(**describe_artifact(variant), status=status, reason=reason, advice=advice)


def crash_artifact(variant: Variant, run: worker_process.WorkerRun) -> Artifact:
    """Return what stands for a variant whose worker died over it."""
    return no_artifact(
        variant,
        f"the export worker {run.ended}",
        "The other variants were exported by a new worker.",
    )


def is_quantized(operators: Iterable[str]) -> bool:
    """Tell whether a file computes with quantized operators."""
    return any(operator.startswith("quantized::") for operator in operators)


def floor_db(recipe: str, quantized: bool) -> float | None:
    """Return the SQNR to reach. A model that came quantized may round differently elsewhere."""
    floor, int8_floor = min_sqnr_db(recipe), min_sqnr_db("int8-static")
    if floor is None or int8_floor is None or not quantized:
        return floor
    return min(floor, int8_floor)


def make_artifact(
    setting: Setting, variant: Variant, answer: worker_process.Answer, record: ModelRecord
) -> Artifact:
    """Turn a worker's answer about one variant into an artifact, its file kept and compared."""
    from harness.analysis.fidelity import compare

    if answer["status"] != "ok":
        return no_artifact(variant, answer["reason"], answer["advice"], answer["status"])
    assert record.reference_sha256 is not None
    reference = _load_reference(setting.store.object_path(record.reference_sha256, ".npz"))
    try:
        fidelity = compare(reference, read_outputs(answer["outputs"]))
    except WrongOutput as error:
        return no_artifact(variant, error.message, error.advice)
    quantized = is_quantized(answer["manifest"]["operators"])
    size_bytes = Path(answer["path"]).stat().st_size
    sha256, path = setting.store.keep_file(Path(answer["path"]), ".ptl")
    return Artifact(
        **describe_artifact(variant),
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
        min_sqnr_db=floor_db(variant.recipe, quantized),
    )


def assemble(setting: Setting, model: Model, outcome: Outcome, exported: set[str]) -> ExportedModel:
    """Return a model with all its variants, judged; `exported` names those that are new."""
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


def _judge(setting: Setting, variant: Variant, found: VariantRecord, cached: bool) -> Artifact:
    """Return the artifact under this plan's names; one whose outputs are wrong is a failure."""
    from harness.analysis.fidelity import is_good_enough

    artifact, floor = found.artifact, setting.plan.measure.min_sqnr_db
    changes: dict[str, Any] = {"variant": variant.id, "model": variant.model, "cached": cached}
    if artifact.manifest is not None:
        changes["path"] = setting.store.object_path(artifact.manifest.sha256, ".ptl")
        changes["min_sqnr_db"] = artifact.min_sqnr_db if floor is None else floor
    artifact = artifact.model_copy(update=changes)
    fidelity = artifact.fidelity
    if fidelity is None or is_good_enough(fidelity, artifact.min_sqnr_db):
        return artifact
    if fidelity.max_abs_error is None:
        return no_artifact(
            variant,
            "its outputs on this computer, or the eager model's, hold NaN or infinity",
            "Such outputs cannot be compared: look at the model, and at the range of its inputs.",
        )
    seen = ""
    if fidelity.sqnr_db is not None:
        seen = f" (SQNR {fidelity.sqnr_db:.1f} dB; at least {artifact.min_sqnr_db:g} dB is asked)"
    return no_artifact(
        variant,
        f"its outputs on this computer are not the eager model's: they are too far away{seen}",
        "If the loss is expected, lower [measure] min_sqnr_db in the plan.",
    )


# --- files of outputs --------------------------------------------------------------------------


def read_outputs(written: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
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


def write_reference(path: Path, outputs: dict[str, npt.NDArray[Any]]) -> None:
    """Write reference outputs as .npz."""
    import numpy as np

    np.savez(path, allow_pickle=False, **outputs)


def _load_reference(path: Path) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}
