"""The export of one model: what the cache still knows, and what workers make of the rest.

Not here: torch (the room `export_worker/`), starting a worker (`worker_process.py`), what becomes of
its answers about a variant (`artifacts.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from harness.errors import ExportError
from harness.export import worker_process
from harness.export.artifacts import (
    ReadyFile,
    accuracy_of,
    judge,
    make_artifact,
    no_artifact,
    ready_artifact,
)
from harness.export.cache import are_unchanged
from harness.export.outputs import read_outputs, write_reference
from harness.export.setting import Setting
from harness.export.sources import source_kind
from harness.export.worker_process import WorkerRun
from harness.export_worker.formats import FORMATS, format_of
from harness.export_worker.messages import (
    Accepted,
    Answer,
    Checks,
    Delivered,
    Failed,
    Finisher,
    Inspected,
    Reference,
    Refused,
    Request,
    Staged,
    Started,
    TensorFile,
    TensorSpec,
    VariantSpec,
)
from harness.schema.artifact import Accuracy, Artifact, CheckTensor, ExportedModel
from harness.schema.base import Frozen
from harness.schema.plan import Model, Variant


class ModelRecord(Frozen):
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


class VariantRecord(Frozen):
    """What one variant became, and of which build; `dependencies` are its own, if it has any."""

    identity: str
    dependencies: dict[str, str]
    artifact: Artifact


class ModelExport:
    """One model on its way: `record` says what it is, `known` what became of its variants so far."""

    def __init__(self, setting: Setting, model: Model) -> None:
        self.setting = setting
        self.store = setting.store
        self.model = model
        self.key = setting.model_key(model)
        self.variants = {variant.id: variant for variant in setting.plan.variants(model)}
        self.record: ModelRecord | None = None
        self.known: dict[str, VariantRecord] = {}

    def run(self) -> ExportedModel:
        """Export what the cache does not know. Raises ExportError if the model itself is no good."""
        kind = source_kind(self.model, self.setting.root)
        if not self.setting.fresh:
            self._recall()
        missing = [variant for variant in self.variants.values() if variant.id not in self.known]
        if missing:
            names = ", ".join(dict.fromkeys(variant.recipe for variant in missing))
            self.setting.progress(f"{self.model.name}: exporting {names}")
            if kind == "ready file":
                self._take_ready_file()
            else:
                self._export()
        return self._result({variant.id for variant in missing})

    def _result(self, exported: set[str]) -> ExportedModel:
        """Return the model with all its variants, judged; `exported` names those that are new."""
        record = self._model_record()
        return ExportedModel(
            name=self.model.name,
            status="ok",
            checks_path=self.store.object_path(record.checks_sha256, ".bin"),
            checks_sha256=record.checks_sha256,
            checks=record.checks,
            inputs_are_real=record.inputs_are_real,
            reference_path=self._reference_path(),
            reference_is_eager=record.reference_is_eager,
            eager_accuracy=record.eager_accuracy,
            artifacts=tuple(
                judge(self.setting, variant, self.known[id].artifact, cached=id not in exported)
                for id, variant in self.variants.items()
            ),
        )

    # --- what is cached ------------------------------------------------------------------------

    def _recall(self) -> None:
        """Take from the cache what it still knows to be true."""
        record = self.store.read_record(ModelRecord, self.key, "model")
        if record is None or not are_unchanged(record.dependencies):
            return
        if not self.store.holds(record.checks_sha256, ".bin"):
            return
        reference = record.reference_sha256
        if reference is not None and not self.store.holds(reference, ".npz"):
            return
        self.record = record
        for variant in self.variants.values():
            found = self.store.read_record(
                VariantRecord, self.key, self.setting.variant_key(variant)
            )
            if found is not None and found.identity == record.identity and self._is_whole(found):
                self.known[variant.id] = found

    def _is_whole(self, found: VariantRecord) -> bool:
        manifest = found.artifact.manifest
        if manifest and not self.store.holds(manifest.sha256, FORMATS[manifest.format].SUFFIX):
            return False
        return are_unchanged(found.dependencies)

    def _keep(
        self, variant: Variant, artifact: Artifact, dependencies: dict[str, str] | None = None
    ) -> None:
        """Note what became of a variant; failures are not remembered by the cache."""
        found = VariantRecord(
            identity=self._model_record().identity,
            dependencies=dependencies or {},
            artifact=artifact,
        )
        self.known[variant.id] = found
        if artifact.status != "failed":
            self.store.write_record(self.key, self.setting.variant_key(variant), found)

    def _model_record(self) -> ModelRecord:
        assert self.record is not None, "a worker has accepted the model, or the cache knows it"
        return self.record

    def _reference_path(self) -> Path | None:
        sha256 = self._model_record().reference_sha256
        return None if sha256 is None else self.store.object_path(sha256, ".npz")

    # --- exporting -----------------------------------------------------------------------------

    def _export(self) -> None:
        """Have workers export what is missing; a new one goes on where one crashed."""
        crashed: dict[str, Artifact] = {}
        while True:
            with self.store.work_folder() as folder:
                request = self._request("export", folder)
                request.variants = [
                    _describe(variant) for id, variant in self.variants.items() if id not in crashed
                ]
                request.have = {id: found.identity for id, found in self.known.items()}
                run = self._run_worker(self.setting.python, request, folder)
                self._take_model(run, folder)
                self._take_variants(run)
                self._finish(run)
            stuck = _stuck_variant(run)
            if stuck is None:
                break
            crashed[stuck] = _crash(self.variants[stuck], run)
        for id, artifact in crashed.items():
            self._keep(self.variants[id], artifact)

    def _finish(self, traced: WorkerRun) -> None:
        """Have the other interpreter finish what this one traced."""
        staged = {answer.variant: answer for answer in traced.every(Staged)}
        checks = traced.first(Checks)
        while staged and checks is not None:
            with self.store.work_folder() as folder:
                kept = self.store.object_path(self._model_record().checks_sha256, ".bin")
                request = self._request("finish", folder)
                request.variants = [_describe(self.variants[id]) for id in staged]
                request.staged = list(staged.values())
                request.checks = Checks(
                    TensorFile(str(kept), checks.inputs.layout),
                    checks.inputs_are_real,
                    checks.evaluation,
                )
                try:
                    run = self._run_worker(self.setting.mobile_python, request, folder)
                except ExportError as error:
                    for id in staged:
                        failed = no_artifact(self.variants[id], error.message, error.advice)
                        self._keep(self.variants[id], failed)
                    return
                self._take_variants(run)
            stuck = _stuck_variant(run)
            if stuck is not None:
                self._keep(self.variants[stuck], _crash(self.variants[stuck], run))
            done = {answer.variant for answer in _ends(run)}
            staged = {id: a for id, a in staged.items() if id not in done and id != stuck}

    def _request(self, work: str, folder: Path) -> Request:
        model, plan = self.model, self.setting.plan
        return Request(
            work=work,
            root=str(self.setting.root),
            folder=str(folder),
            source=model.source,
            inputs=[TensorSpec(list(i.shape), i.dtype, i.low, i.high) for i in model.inputs],
            calibration=model.calibration,
            evaluation=model.evaluation,
            seed=plan.plan.seed,
            check_samples=plan.measure.check_samples,
            quantized_engine=plan.export.quantized_engine,
            has_mobile_python=bool(self.setting.mobile_python) and work != "ready",
        )

    def _run_worker(self, python: str, request: Request, folder: Path) -> WorkerRun:
        """Run a worker. Raises ExportError if the model itself failed, or killed the worker."""
        run = worker_process.run_worker(
            python,
            request,
            folder,
            timeout_seconds=self.setting.timeout_seconds,
            on_answer=self._show,
            on_print=lambda line: self.setting.progress(f"{self.model.name}: {line}"),
        )
        failed = run.first(Failed)
        if failed is not None and run.first(Inspected) is None:
            raise ExportError(failed.reason, failed.advice)
        if run.ended and run.first(Accepted) is None and run.first(Finisher) is None:
            advice = "The model's own code, or a file that it reads, brings the interpreter down."
            if request.work == "ready":
                advice = "The file is probably damaged: export or copy it again."
            raise ExportError(f"the export worker {run.ended}, while {run.doing}", advice)
        return run

    def _show(self, answer: Answer) -> None:
        if isinstance(answer, Refused):
            self.setting.progress(f"{answer.variant}: {answer.status}: {answer.reason}")
        elif isinstance(answer, Started):
            self.setting.progress(f"{answer.variant}: exporting")

    # --- what workers answered -----------------------------------------------------------------

    def _take_model(self, run: WorkerRun, folder: Path) -> None:
        """Keep the check inputs and the reference outputs, and note what the model depended on."""
        checks, accepted, reference = run.first(Checks), run.first(Accepted), run.first(Reference)
        assert checks is not None
        assert accepted is not None
        checks_sha256, _ = self.store.keep_file(Path(checks.inputs.path), ".bin")
        reference_sha256 = None
        if reference is not None:
            path = folder / "reference.npz"
            write_reference(path, read_outputs(reference.outputs))
            reference_sha256, _ = self.store.keep_file(path, ".npz")
        self.record = ModelRecord(
            identity=accepted.identity,
            dependencies=accepted.dependencies,
            checks_sha256=checks_sha256,
            checks=tuple(
                tuple(CheckTensor.model_validate(asdict(place)) for place in sample)
                for sample in checks.inputs.layout
            ),
            inputs_are_real=checks.inputs_are_real,
            reference_sha256=reference_sha256,
            reference_is_eager=run.first(Inspected) is None,
            eager_accuracy=accuracy_of(reference.accuracy) if reference else None,
        )
        self.store.write_record(self.key, "model", self.record)

    def _take_variants(self, run: WorkerRun) -> None:
        """Keep what a worker made of the variants."""
        reference, finisher = self._reference_path(), run.first(Finisher)
        assert reference is not None
        for answer in _ends(run):
            variant = self.variants[answer.variant]
            if isinstance(answer, Delivered):
                artifact = make_artifact(self.setting, variant, answer, reference)
            else:
                artifact = no_artifact(variant, answer.reason, answer.advice, answer.status)
            self._keep(variant, artifact, finisher.dependencies if finisher else None)

    def _take_ready_file(self) -> None:
        """Take a ready file as it is; its own output on this computer is the reference."""
        source = self.setting.root / self.model.source
        suffix = FORMATS[format_of(self.model.source)].SUFFIX
        with self.store.work_folder() as folder:
            run = self._run_worker(self.setting.python, self._request("ready", folder), folder)
            self._take_model(run, folder)
            copy = folder / f"ready{suffix}"
            shutil.copyfile(source, copy)
            sha256, path = self.store.keep_file(copy, suffix)
        inspected, failed = run.first(Inspected), run.first(Failed)
        assert inspected is not None
        reference = run.first(Reference)
        file = ReadyFile(
            source=self.model.source,
            sha256=sha256,
            path=path,
            created_unix=source.stat().st_mtime,
            inspected=inspected,
            accuracy=reference.accuracy if reference else None,
            trouble=failed.reason if failed else run.ended,
        )
        for variant in self.variants.values():
            self._keep(variant, ready_artifact(self.setting, variant, file))


def _describe(variant: Variant) -> VariantSpec:
    return VariantSpec(
        id=variant.id,
        recipe=variant.recipe,
        format=variant.format,
        options=dict(variant.options),
        memory_format=variant.memory_format,
    )


def _ends(run: WorkerRun) -> Iterable[Delivered | Refused]:
    """Return what a worker said of the variants that it is done with."""
    return (answer for answer in run.answers if isinstance(answer, Delivered | Refused))


def _stuck_variant(run: WorkerRun) -> str | None:
    """Return the variant during which the worker died, if it died."""
    if not run.ended:
        return None
    done = {a.variant for a in run.answers if isinstance(a, Delivered | Refused | Staged)}
    started = [answer.variant for answer in run.every(Started)]
    return next((id for id in started if id not in done), None)


def _crash(variant: Variant, run: WorkerRun) -> Artifact:
    """Return what stands for a variant whose worker died over it."""
    return no_artifact(
        variant,
        f"the export worker {run.ended}",
        "The other variants were exported by a new worker.",
    )
