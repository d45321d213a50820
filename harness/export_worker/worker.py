"""The export worker: one process that turns one model into its artifacts, and may crash.

Started by `start.py`, under this interpreter or another one: standard library and torch
only, Python 3.8 syntax. Each answer is one line of JSON on the answers file; stdout and stderr
belong to the user's own code. Answers come in this order:

    {"type": "phase", "doing": ...}       what the process is about to do: a crash is blamed on it
    {"type": "checks", ...}               the check inputs are written
    {"type": "model", ...}                the eager model ran; its outputs are written
    {"type": "start", "variant": ...}     then exactly one of
    {"type": "variant", "variant": ..., "status": "ok" | "skipped" | "failed" | "staged", ...}
    {"type": "failed", "reason", "advice"}   instead of the rest: the model itself is no good
    {"type": "done"}

`staged` means traced here, to be finished under the interpreter that has XNNPACK.
Not here: what a recipe does (`recipes.py`), caching, comparing outputs, starting this process.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import platform
import sys
import time
import warnings
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import recipes
from .dependencies import OpenedFiles, identity_of, sha256_of, torch_version_file
from .formats.ptl import check_bytecode, inspect_flatbuffer, inspect_ptl, load_lite, save_lite
from .samples import Samples, measure_accuracy, prepare_samples, read_evaluation
from .source import Problem, last_line, set_seeds, source_builder
from .tensors import flatten, formatted, read_tensors, tensors_of, write_tensors


def main(request_path: str, answers_path: str) -> None:
    """Read the request, answer it line by line."""
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    os.chdir(request["root"])
    sys.path.insert(0, request["root"])
    with open(answers_path, "a", encoding="utf-8") as answers:

        def answer(kind: str, **content: Any) -> None:
            answers.write(json.dumps({"type": kind, **content}) + "\n")
            answers.flush()

        try:
            _WORK[request["work"]](request, answer)
        except Problem as problem:
            answer("failed", reason=problem.reason, advice=problem.advice)
        else:
            answer("done")


def export(request: Dict[str, Any], answer: Callable[..., None]) -> None:
    """Build the model, write its check inputs and eager outputs, export every variant."""
    answer("phase", doing="importing torch")
    torch = _import_torch()
    if request["quantized_engine"] in torch.backends.quantized.supported_engines:
        # For models that come quantized: their weights are packed while they are built.
        torch.backends.quantized.engine = request["quantized_engine"]
    files = OpenedFiles(request["folder"])
    data = prepare_samples(request, answer)
    build = source_builder(request)
    answer("phase", doing=f"building the model from {request['source']}")
    model = build()
    answer("phase", doing="running the eager model")
    outputs = _eager_outputs(model, data.checks, request)
    reference_path = os.path.join(request["folder"], "reference.bin")
    reference = write_tensors(reference_path, outputs)
    accuracy = measure_accuracy(lambda *x: flatten(model(*x)), data.evaluation, "contiguous")
    dependencies = files.digests()
    identity = identity_of(dependencies, data.checks_path, reference_path)
    answer(
        "model",
        identity=identity,
        dependencies=dependencies,
        reference={"path": reference_path, "layout": reference},
        accuracy=accuracy,
        torch_version=torch.__version__,
    )
    for variant in request["variants"]:
        if request["have"].get(variant["id"]) == identity:
            continue
        answer("start", variant=variant["id"])
        job = _VariantJob(request, variant, data)
        answer("variant", variant=variant["id"], **_guarded(job.from_eager, build, model))


def finish(request: Dict[str, Any], answer: Callable[..., None]) -> None:
    """Finish the variants that another interpreter has traced; the request says where they are."""
    answer("phase", doing="importing torch")
    torch = _import_torch()
    data = Samples(
        checks=read_tensors(request["checks"]["path"], request["checks"]["layout"]),
        calibration=None,
        evaluation=read_evaluation(request["evaluation"]),
        checks_path=request["checks"]["path"],
    )
    dependencies = {os.path.realpath(torch_version_file()): sha256_of(torch_version_file())}
    answer("model", dependencies=dependencies, torch_version=torch.__version__)
    for variant in request["variants"]:
        answer("start", variant=variant["id"])
        job = _VariantJob(request, variant, data)
        answer("variant", variant=variant["id"], **_guarded(job.from_traced))


def ready(request: Dict[str, Any], answer: Callable[..., None]) -> None:
    """Look into a ready .ptl without running it, then try to run it here."""
    path = request["source"]
    answer("phase", doing=f"reading {path}")
    seen = inspect_ptl(path)
    answer("phase", doing="importing torch")
    torch = _import_torch()
    if seen["container"] == "flatbuffer":
        answer("phase", doing=f"reading {path}")
        seen.update(inspect_flatbuffer(path))
    check_bytecode(path, seen["bytecode_version"])
    files = OpenedFiles(request["folder"])
    data = prepare_samples(request, answer)
    files.add(path)
    dependencies = files.digests()
    answer(
        "inspected",
        identity=identity_of(dependencies, data.checks_path, path),
        dependencies=dependencies,
        torch_version=torch.__version__,
        python_version=platform.python_version(),
        **seen,
    )
    answer("phase", doing="running it on this computer")
    if request["quantized_engine"] in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = request["quantized_engine"]
    try:
        lite = load_lite(path)
        outputs = [flatten(lite(*inputs)) for inputs in data.checks]
    except Exception as error:
        raise Problem(last_line(error)) from error
    reference_path = os.path.join(request["folder"], "reference.bin")
    layout = write_tensors(reference_path, outputs)
    accuracy = measure_accuracy(lambda *x: flatten(lite(*x)), data.evaluation, "contiguous")
    answer("model", reference={"path": reference_path, "layout": layout}, accuracy=accuracy)


_WORK = {"export": export, "finish": finish, "ready": ready}


# --- one variant -------------------------------------------------------------------------------


def _eager_outputs(model: Any, checks: List[Tuple[Any, ...]], request: Dict[str, Any]) -> List[Any]:
    import torch

    try:
        with torch.no_grad():
            return [flatten(model(*inputs)) for inputs in checks]
    except Problem:
        raise
    except Exception as error:
        shapes = ", ".join(f"{spec['dtype']} {spec['shape']}" for spec in request["inputs"])
        raise Problem(
            f"the model raised on inputs of {shapes}: {last_line(error)}",
            "Check the shapes and dtypes under `inputs`: they must be what the model takes.",
        ) from error


def _guarded(work: Callable[..., Dict[str, Any]], *arguments: Any) -> Dict[str, Any]:
    """Run one variant; an exception is that variant's answer, and the rest goes on."""
    try:
        return work(*arguments)
    except Problem as problem:
        return {"status": "failed", "reason": problem.reason, "advice": problem.advice}
    except recipes.Skip as skip:
        return {"status": "skipped", "reason": skip.reason, "advice": skip.advice}
    except Exception as error:
        return {"status": "failed", "reason": last_line(error), "advice": ""}


class _VariantJob:
    """One variant on its way from the eager model to a checked file."""

    def __init__(self, request: Dict[str, Any], variant: Dict[str, Any], data: Samples) -> None:
        self.request = request
        self.variant = variant
        self.data = data
        self.chosen = recipes.parse_recipe(variant["recipe"])
        self.started = time.monotonic()
        self.channels_last = variant["memory_format"] == "channels_last"
        self.context = recipes.Context(
            inputs=self._format(data.checks[0]),
            calibration=data.calibration,
            quantized_engine=request["quantized_engine"],
        )

    def from_eager(self, build: Callable[[], Any], model: Any) -> Dict[str, Any]:
        """Prepare, trace, finish, save and run it."""
        import torch

        set_seeds(self.request["seed"])
        model = _own_copy(model, build)
        counts: Dict[str, Any] = {}
        with torch.no_grad():
            prepared = model
            for chosen in self.chosen:
                if chosen.step.order == recipes.FORMAT:
                    counts = _count(prepared, self.data.checks[0])
                if chosen.step.prepare is not None:
                    self.context.percent = chosen.percent
                    prepared = chosen.step.prepare(prepared, self.context)
            script = self._trace(prepared)
            if self.request["has_mobile_python"] and self.chosen[-1].step.needs_xnnpack:
                path = os.path.join(self.request["folder"], self.variant["id"] + ".pt")
                torch.jit.save(script, path)
                seconds = time.monotonic() - self.started
                return {"status": "staged", "traced": path, "counts": counts, "seconds": seconds,
                        "notes": self.context.notes}  # fmt: skip
            return self._deliver(script, counts)

    def from_traced(self) -> Dict[str, Any]:
        """Finish what another interpreter traced: load, finish, save and run it."""
        import torch

        set_seeds(self.request["seed"])
        self.started -= self.variant["seconds"]
        self.context.notes += self.variant["notes"]
        with torch.no_grad():
            script = torch.jit.load(self.variant["traced"])
            return self._deliver(script, self.variant["counts"])

    def _trace(self, model: Any) -> Any:
        import torch

        if isinstance(model, torch.jit.ScriptModule) and not self.channels_last:
            return model
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        example = model(*self.context.inputs)
        if not _is_plain(example):
            model = _flattening(model)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", torch.jit.TracerWarning)
            script = torch.jit.trace(model, self.context.inputs, check_trace=False, strict=False)
        torch_folder = os.path.dirname(torch_version_file())
        doubts = [
            warning
            for warning in caught
            if issubclass(warning.category, torch.jit.TracerWarning)
            and not warning.filename.startswith(torch_folder)
        ]
        if doubts:
            first = str(doubts[0].message).splitlines()[0].partition(". ")[0]
            place = f"{os.path.basename(doubts[0].filename)}:{doubts[0].lineno}"
            self.context.notes.append(
                f"tracer warnings: {len(doubts)}, the trace may hold for these input shapes only; "
                f"first at {place}: {first}"
            )
        return script

    def _deliver(self, script: Any, counts: Dict[str, Any]) -> Dict[str, Any]:
        """Finish and save the traced module, load it back and run it on the check inputs."""
        import torch

        for chosen in self.chosen:
            if chosen.step.finish is not None:
                script = chosen.step.finish(script, self.context)
        path = os.path.join(self.request["folder"], self.variant["id"] + ".ptl")
        save_lite(script, path, self.variant["container"] == "flatbuffer")
        seconds = time.monotonic() - self.started
        seen = inspect_ptl(path)
        if seen["container"] == "flatbuffer":
            seen.update(inspect_flatbuffer(path))
        lite = load_lite(path)
        outputs = [flatten(lite(*self._format(inputs))) for inputs in self.data.checks]
        outputs_path = path + ".outputs"
        memory_format = self.variant["memory_format"]
        return {
            "status": "ok",
            "path": path,
            "outputs": {"path": outputs_path, "layout": write_tensors(outputs_path, outputs)},
            "accuracy": measure_accuracy(
                lambda *x: flatten(lite(*x)), self.data.evaluation, memory_format
            ),
            "manifest": {
                "bytecode_version": seen["bytecode_version"],
                "operators": seen["operators"],
                "torch_version": torch.__version__,
                "python_version": platform.python_version(),
                "export_seconds": seconds,
                "created_unix": time.time(),
                "notes": self.context.notes,
                **counts,
            },
        }

    def _format(self, inputs: Tuple[Any, ...]) -> Tuple[Any, ...]:
        return formatted(inputs, self.variant["memory_format"])


def _own_copy(model: Any, build: Callable[[], Any]) -> Any:
    """Return a model that a recipe may change; built again where it cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:
        return build()


def _count(model: Any, inputs: Tuple[Any, ...]) -> Dict[str, Any]:
    """Count parameters, and FLOPs as torch counts them.

    None where nothing is found: a model that comes quantized hides both from torch.
    """
    parameters = list(model.parameters())
    flops: Optional[int] = None
    with contextlib.suppress(Exception):
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            model(*inputs)
        flops = int(counter.get_total_flops()) or None
    return {
        "parameters": sum(p.numel() for p in parameters) or None,
        "nonzero_parameters": sum(int((p != 0).sum()) for p in parameters) if parameters else None,
        "flops": flops,
    }


def _flattening(model: Any) -> Any:
    """Wrap a model that returns a dict or a nested structure: it returns a flat tuple then."""
    import torch

    class Flattening(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> Any:
            outputs = tuple(tensors_of(self.model(*inputs)))
            return outputs if len(outputs) > 1 else outputs[0]

    return Flattening().eval()


def _is_plain(output: Any) -> bool:
    import torch

    if isinstance(output, torch.Tensor):
        return True
    return type(output) is tuple and all(isinstance(item, torch.Tensor) for item in output)


def _import_torch() -> Any:
    """Import torch, and keep its own deprecations off the user's screen (not the user's)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torch
            from torch.jit import mobile  # noqa: F401
        except ImportError as error:
            raise Problem(
                f"{sys.executable} cannot import torch: {error}",
                "Install torch for that interpreter, or name another one.",
            ) from error
    for category in (DeprecationWarning, FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"torch(\.|$)")
        warnings.filterwarnings("ignore", category=category, module=r"phonebench_export\.")
    return torch
