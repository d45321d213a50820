"""Artifacts as data: an exported model file, its manifest, and how true its outputs are.

Not here: how models become artifacts (`export/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.schema.base import Frozen
from harness.schema.job import MemoryFormat
from harness.schema.plan import unusual_settings

ARTIFACT_FORMAT_VERSION = 2  # 2: format, its options, its details


class Manifest(Frozen):
    """What is known of one artifact file.

    `options` are those of its format that it was saved with, and `details` what only files of that
    format have, by a label for people. `parameters` counts the model's parameters after pruning and
    before quantization; `nonzero_parameters` leaves out exact zeros. `flops` is torch's own count
    for one inference (multiply and add are two), None where it cannot count. `notes` say what a
    reader should know.
    """

    sha256: str
    size_bytes: int
    operators: tuple[str, ...]
    parameters: int | None
    nonzero_parameters: int | None
    flops: int | None
    torch_version: str
    python_version: str
    recipe: str
    format: str
    options: dict[str, str]
    memory_format: MemoryFormat
    quantized_engine: str | None
    seed: int
    export_seconds: float
    created_unix: float
    details: dict[str, int | str]
    notes: tuple[str, ...] = ()


class Fidelity(Frozen):
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


class Accuracy(Frozen):
    """Top-1 accuracy over the evaluation set, on the host."""

    top1: float
    samples: int


class Artifact(Frozen):
    """What became of one variant. `path` and `manifest` are set if and only if status is ok."""

    variant: str
    model: str
    recipe: str
    format: str
    options: dict[str, str]
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

    @property
    def label(self) -> str:
        """The recipe, with what is not as usual in the file."""
        unusual = unusual_settings(self.format, self.options, self.memory_format)
        return ", ".join([self.recipe, *unusual])


class CheckTensor(Frozen):
    """Where one input tensor of one check sample lies in the checks file."""

    shape: tuple[int, ...]
    dtype: str
    offset_bytes: int


class ExportedModel(Frozen):
    """One model with its variants, and what its outputs are checked against.

    `checks_path` holds the check inputs as raw little-endian tensors, laid out as `checks` says
    (per sample, per input). `reference_path` is an .npz with the eager outputs of every sample,
    keys "SAMPLE/INDEX", floating types widened to float32; None when there is no eager model (a
    ready file that this computer cannot run).
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
