"""What a worker answered about a variant, as an artifact: kept, described, compared and judged.

Not here: running workers, and deciding what is taken from the cache (`model_export.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import WrongOutput
from harness.export.outputs import load_reference, read_outputs
from harness.export.setting import Setting
from harness.export_worker.formats import FORMATS, format_of
from harness.export_worker.messages import Accuracy, Delivered, Inspected, Inspection
from harness.export_worker.recipes import min_sqnr_db
from harness.schema import artifact as schema
from harness.schema.artifact import Artifact, Manifest
from harness.schema.plan import Variant


def no_artifact(
    variant: Variant,
    reason: str,
    advice: str = "",
    status: Literal["skipped", "failed"] = "failed",
) -> Artifact:
    """Return what stands for a variant that has no file, with the reason."""
    return Artifact(**_describe(variant), status=status, reason=reason, advice=advice)


def make_artifact(
    setting: Setting, variant: Variant, answer: Delivered, reference: Path
) -> Artifact:
    """Keep the file that a worker delivered, and compare its outputs with the reference."""
    from harness.analysis.fidelity import compare

    try:
        fidelity = compare(load_reference(reference), read_outputs(answer.outputs))
    except WrongOutput as error:
        return no_artifact(variant, error.message, error.advice)
    sha256, path = setting.store.keep_file(Path(answer.path), FORMATS[variant.format].SUFFIX)
    return Artifact(
        **_describe(variant),
        status="ok",
        manifest=Manifest(
            **_describe_file(setting, variant, answer.seen),
            sha256=sha256,
            parameters=answer.counts.parameters,
            nonzero_parameters=answer.counts.nonzero_parameters,
            flops=answer.counts.flops,
            torch_version=answer.torch_version,
            python_version=answer.python_version,
            export_seconds=answer.export_seconds,
            created_unix=answer.created_unix,
            notes=tuple(answer.notes),
        ),
        path=path,
        fidelity=fidelity,
        accuracy=accuracy_of(answer.accuracy),
        min_sqnr_db=_floor_db(variant.recipe, answer.seen.is_quantized),
    )


@dataclass(frozen=True)
class ReadyFile:
    """A ready file that was inspected and kept. `trouble` says why it could not be run here."""

    source: str
    sha256: str
    path: Path
    created_unix: float
    inspected: Inspected
    accuracy: Accuracy | None
    trouble: str


def ready_artifact(setting: Setting, variant: Variant, file: ReadyFile) -> Artifact:
    """Return a ready file as an artifact; a variant that would have to change it is skipped."""
    seen, recipe = file.inspected.seen, variant.recipe
    refused = _what_cannot_apply(variant, file)
    if refused:
        here = "".join(f' and {name} = ["{value}"]' for name, value in seen.options.items())
        return no_artifact(
            variant,
            f"{file.source} is a ready {' '.join(seen.options.values())} file, measured as it is: "
            f"{refused} cannot be applied",
            f'Give this model recipe = ["fp32"] (which changes nothing){here}, or name its source '
            'as "module:callable".',
            "skipped",
        )
    note = "a ready file, measured as it is; it is compared with its own output on the host"
    if file.trouble:
        note = (
            "a ready file, measured as it is; there is nothing to compare its outputs with, "
            f"because this computer's torch {file.inspected.torch_version} cannot run it: "
            f"{file.trouble}"
        )
    return Artifact(
        **_describe(variant),
        status="ok",
        manifest=Manifest(
            **_describe_file(setting, variant, seen),
            sha256=file.sha256,
            parameters=None,
            nonzero_parameters=None,
            flops=None,
            torch_version=file.inspected.torch_version,
            python_version=file.inspected.python_version,
            export_seconds=0.0,
            created_unix=file.created_unix,
            notes=(note,),
        ),
        path=file.path,
        accuracy=accuracy_of(file.accuracy),
        min_sqnr_db=_floor_db(recipe, seen.is_quantized),
    )


def judge(setting: Setting, variant: Variant, artifact: Artifact, cached: bool) -> Artifact:
    """Return an artifact under this plan's names; one whose outputs are wrong is a failure."""
    from harness.analysis.fidelity import is_good_enough

    floor = setting.plan.measure.min_sqnr_db
    changes: dict[str, Any] = {"variant": variant.id, "model": variant.model, "cached": cached}
    if artifact.manifest is not None:
        suffix = FORMATS[artifact.format].SUFFIX
        changes["path"] = setting.store.object_path(artifact.manifest.sha256, suffix)
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


def accuracy_of(accuracy: Accuracy | None) -> schema.Accuracy | None:
    """Return an accuracy that a worker measured as sweeps keep it."""
    return schema.Accuracy(top1=accuracy.top1, samples=accuracy.samples) if accuracy else None


def _describe(variant: Variant) -> dict[str, Any]:
    """Return the fields that an artifact shares with its variant."""
    return {
        "variant": variant.id,
        "model": variant.model,
        "recipe": variant.recipe,
        "format": variant.format,
        "options": dict(variant.options),
        "memory_format": variant.memory_format,
    }


def _describe_file(setting: Setting, variant: Variant, seen: Inspection) -> dict[str, Any]:
    """Return the fields of a manifest that the file itself, the variant and the plan give."""
    return {
        "size_bytes": seen.size_bytes,
        "operators": tuple(seen.operators),
        "recipe": variant.recipe,
        "format": variant.format,
        "options": dict(variant.options),
        "memory_format": variant.memory_format,
        "quantized_engine": setting.plan.export.quantized_engine if seen.is_quantized else None,
        "seed": setting.plan.plan.seed,
        "details": seen.details,
    }


def _what_cannot_apply(variant: Variant, file: ReadyFile) -> str:
    """Say what a variant asks of a ready file that is not so; "" if it can be taken as it is."""
    if variant.recipe != "fp32":
        return variant.recipe
    if variant.format != format_of(file.source):
        return f"the format {variant.format}"
    seen = file.inspected.seen.options
    other = [(name, value) for name, value in variant.options if seen[name] != value]
    return f"a {other[0][1]} {other[0][0]}" if other else ""


def _floor_db(recipe: str, quantized: bool) -> float | None:
    """Return the SQNR to reach. A model that came quantized may round differently elsewhere."""
    floor, int8_floor = min_sqnr_db(recipe), min_sqnr_db("int8-static")
    if floor is None or int8_floor is None or not quantized:
        return floor
    return min(floor, int8_floor)
