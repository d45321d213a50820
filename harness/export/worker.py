"""The export worker: one process that turns one model into its artifacts, and may crash.

Run by path, `python worker.py REQUEST.json ANSWERS.jsonl`, under this interpreter or another one:
standard library and torch only, Python 3.8 syntax. Each answer is one line of JSON on the answers
file; stdout and stderr belong to the user's own code. Answers come in this order:

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
import ctypes
import dataclasses
import hashlib
import importlib
import importlib.util
import io
import json
import linecache
import os
import pickle
import platform
import random
import site
import sys
import sysconfig
import time
import traceback
import warnings
import zipfile
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

Layout = List[List[Dict[str, Any]]]
OLDEST_BYTECODE, NEWEST_BYTECODE = 3, 9
STARTED_UNIX = time.time()
HERE = os.path.dirname(os.path.abspath(__file__))


class Problem(Exception):
    """The model, its data or its file is no good: what is wrong, and the way out."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


def main() -> None:
    """Read the request, answer it line by line."""
    request_path, answers_path = sys.argv[1:]
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    sys.path[0] = request["root"]  # was this folder: the user's modules come first, ours by path
    os.chdir(request["root"])
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
    files = OpenedFiles(request["folder"])
    recipes = _load_beside("recipes")
    data = _prepare_data(request, answer)
    build = _source_builder(request)
    answer("phase", doing=f"building the model from {request['source']}")
    model = build()
    answer("phase", doing="running the eager model")
    outputs = _eager_outputs(model, data.checks, request)
    reference_path = os.path.join(request["folder"], "reference.bin")
    reference = write_tensors(reference_path, outputs)
    accuracy = _accuracy(lambda *x: _flatten(model(*x)), data.evaluation, "contiguous")
    dependencies = files.digests()
    identity = _identity(dependencies, data.checks_path, reference_path)
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
        job = _VariantJob(request, variant, data, recipes)
        answer("variant", variant=variant["id"], **_guarded(job.from_eager, build, model))


def finish(request: Dict[str, Any], answer: Callable[..., None]) -> None:
    """Finish the variants that another interpreter has traced; the request says where they are."""
    answer("phase", doing="importing torch")
    torch = _import_torch()
    recipes = _load_beside("recipes")
    data = _Data(
        checks=read_tensors(request["checks"]["path"], request["checks"]["layout"]),
        calibration=None,
        evaluation=_read_evaluation(request["evaluation"]),
        checks_path=request["checks"]["path"],
    )
    dependencies = {os.path.realpath(_torch_version_file()): _sha256(_torch_version_file())}
    answer("model", dependencies=dependencies, torch_version=torch.__version__)
    for variant in request["variants"]:
        answer("start", variant=variant["id"])
        job = _VariantJob(request, variant, data, recipes)
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
        seen.update(_inspect_flatbuffer(path))
    _check_bytecode(path, seen["bytecode_version"])
    files = OpenedFiles(request["folder"])
    data = _prepare_data(request, answer)
    files.add(path)
    dependencies = files.digests()
    answer(
        "inspected",
        identity=_identity(dependencies, data.checks_path, path),
        dependencies=dependencies,
        torch_version=torch.__version__,
        python_version=platform.python_version(),
        **seen,
    )
    answer("phase", doing="running it on this computer")
    torch.backends.quantized.engine = request["quantized_engine"]
    try:
        lite = _load_lite(path)
        outputs = [_flatten(lite(*inputs)) for inputs in data.checks]
    except Exception as error:
        raise Problem(_last_line(error)) from error
    reference_path = os.path.join(request["folder"], "reference.bin")
    layout = write_tensors(reference_path, outputs)
    accuracy = _accuracy(lambda *x: _flatten(lite(*x)), data.evaluation, "contiguous")
    answer("model", reference={"path": reference_path, "layout": layout}, accuracy=accuracy)


_WORK = {"export": export, "finish": finish, "ready": ready}


# --- one variant -------------------------------------------------------------------------------


def _guarded(work: Callable[..., Dict[str, Any]], *arguments: Any) -> Dict[str, Any]:
    """Run one variant; an exception is that variant's answer, and the rest goes on."""
    try:
        return work(*arguments)
    except Problem as problem:
        return {"status": "failed", "reason": problem.reason, "advice": problem.advice}
    except Exception as error:
        if type(error).__name__ == "Skip":
            skip: Any = error
            return {"status": "skipped", "reason": skip.reason, "advice": skip.advice}
        return {"status": "failed", "reason": _last_line(error), "advice": ""}


class _VariantJob:
    """One variant on its way from the eager model to a checked file."""

    def __init__(
        self, request: Dict[str, Any], variant: Dict[str, Any], data: _Data, recipes: Any
    ) -> None:
        self.request = request
        self.variant = variant
        self.data = data
        self.recipes = recipes
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

        _seed(self.request["seed"])
        model = _own_copy(model, build)
        counts: Dict[str, Any] = {}
        with torch.no_grad():
            prepared = model
            for chosen in self.chosen:
                if chosen.step.order == self.recipes.FORMAT:
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

        _seed(self.request["seed"])
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
        torch_folder = os.path.dirname(_torch_version_file())
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
                f"the tracer warned {len(doubts)} times that the trace may hold for these input "
                f"shapes only; first at {place}: {first}"
            )
        return script

    def _deliver(self, script: Any, counts: Dict[str, Any]) -> Dict[str, Any]:
        """Finish and save the traced module, load it back and run it on the check inputs."""
        import torch

        for chosen in self.chosen:
            if chosen.step.finish is not None:
                script = chosen.step.finish(script, self.context)
        path = os.path.join(self.request["folder"], self.variant["id"] + ".ptl")
        _save_lite(script, path, self.variant["container"] == "flatbuffer")
        seconds = time.monotonic() - self.started
        seen = inspect_ptl(path)
        if seen["container"] == "flatbuffer":
            seen.update(_inspect_flatbuffer(path))
        lite = _load_lite(path)
        outputs = [_flatten(lite(*self._format(inputs))) for inputs in self.data.checks]
        outputs_path = path + ".outputs"
        memory_format = self.variant["memory_format"]
        return {
            "status": "ok",
            "path": path,
            "outputs": {"path": outputs_path, "layout": write_tensors(outputs_path, outputs)},
            "accuracy": _accuracy(
                lambda *x: _flatten(lite(*x)), self.data.evaluation, memory_format
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
        return _formatted(inputs, self.variant["memory_format"])


def _own_copy(model: Any, build: Callable[[], Any]) -> Any:
    """Return a model that a recipe may change; built again where it cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:
        return build()


def _count(model: Any, inputs: Tuple[Any, ...]) -> Dict[str, Any]:
    """Count parameters, and FLOPs as torch counts them (None where it cannot)."""
    parameters = list(model.parameters())
    flops: Optional[int] = None
    with contextlib.suppress(Exception):
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            model(*inputs)
        flops = int(counter.get_total_flops())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero_parameters": sum(int((p != 0).sum()) for p in parameters),
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
            outputs = tuple(_tensors_of(self.model(*inputs)))
            return outputs if len(outputs) > 1 else outputs[0]

    return Flattening().eval()


def _is_plain(output: Any) -> bool:
    import torch

    if isinstance(output, torch.Tensor):
        return True
    return type(output) is tuple and all(isinstance(item, torch.Tensor) for item in output)


def _tensors_of(output: Any) -> Iterator[Any]:
    """Yield the tensors of an output: lists in order, mappings in insertion order, None left out."""
    import torch

    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors_of(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors_of(value)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from _tensors_of(getattr(output, field.name))
    elif output is not None:
        raise Problem(
            f"the model returns a {type(output).__name__} among its outputs, which is no tensor",
            "Return tensors, or tuples, lists and dicts of tensors.",
        )


def _flatten(output: Any) -> List[Any]:
    """Return the outputs as plain tensors: quantized ones dequantized, floats as float32."""
    import torch

    flat = []
    for tensor in _tensors_of(output):
        tensor = tensor.detach()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        flat.append(tensor.to(torch.float32) if tensor.is_floating_point() else tensor)
    if not flat:
        raise Problem("the model returns no tensor", "Return at least one.")
    return flat


def _formatted(inputs: Tuple[Any, ...], memory_format: str) -> Tuple[Any, ...]:
    import torch

    if memory_format != "channels_last":
        return inputs
    return tuple(
        x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
    )


# --- the source --------------------------------------------------------------------------------


def _source_builder(request: Dict[str, Any]) -> Callable[[], Any]:
    """Return the function that builds the model, the same each time."""
    import torch

    source = request["source"]

    def build() -> Any:
        _seed(request["seed"])
        if source.endswith(".pt2"):
            model = _open_saved(source, lambda: torch.export.load(source).module())
        elif source.endswith(".pt"):
            model = _open_saved(source, lambda: torch.jit.load(source, map_location="cpu"))
        else:
            model = _call_user(source, "source")
        if not isinstance(model, torch.nn.Module):
            raise Problem(
                f"{source} returned {_described(model)}, which is no torch.nn.Module",
                "The callable that a source names must return the model itself.",
            )
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        if not source.endswith(".pt2"):  # an exported program has no training mode to leave
            model.eval()
        return model

    return build


def _open_saved(path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        kind = "ExportedProgram (.pt2)" if path.endswith(".pt2") else "TorchScript (.pt)"
        raise Problem(
            f"{path} cannot be loaded as {kind}: {_last_line(error)}",
            "Save it with torch.export.save or torch.jit.save. A pickled module or a state dict is "
            'not enough: write a "module:callable" that builds the model and loads it.',
        ) from error


def _call_user(name: str, key: str) -> Any:
    """Import "module:callable" and call it. Raises Problem with the user's own frame."""
    module_name, _, attributes = name.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise Problem(
                f'{key} "{name}": there is no module {missing} in {sys.path[0]} or installed',
                "Modules are imported from the folder that phonebench runs in (or --root).",
            ) from error
        raise Problem(
            f'{key} "{name}": importing {module_name} failed: {_last_line(error)}',
            f"Install {missing} beside phonebench.",
        ) from error
    except BaseException as error:
        _never_hide(error)
        raise Problem(
            f'{key} "{name}": importing {module_name} failed: {_last_line(error)}'
        ) from error
    try:
        for attribute in attributes.split("."):
            target = getattr(target, attribute)
    except AttributeError as error:
        public = [n for n in vars(target) if not n.startswith("_") and callable(vars(target)[n])]
        raise Problem(
            f'{key} "{name}": {error}', f"Its callables: {', '.join(public[:12]) or 'none'}."
        ) from error
    if not callable(target):
        raise Problem(f'{key} "{name}" is {_described(target)}, which cannot be called')
    try:
        return target()
    except BaseException as error:
        _never_hide(error)
        raise Problem(
            f'{key} "{name}" raised {_last_line(error)}',
            "It is called without arguments, in the folder that phonebench runs in.",
        ) from error


def _never_hide(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error


def _last_line(error: BaseException) -> str:
    """Return "Type: message (file:line, in function)", the place being the user's own code."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not _is_library(frame.filename) and os.path.dirname(frame.filename) != HERE
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({_short(error.filename)}:{error.lineno})"
    if not own:
        return text
    frame = own[-1]
    linecache.checkcache(frame.filename)
    return f"{text} ({_short(frame.filename)}:{frame.lineno}, in {frame.name})"


def _short(path: str) -> str:
    root = os.getcwd()
    inside = os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)
    return os.path.relpath(path, root) if inside else path


def _described(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _eager_outputs(model: Any, checks: List[Tuple[Any, ...]], request: Dict[str, Any]) -> List[Any]:
    import torch

    try:
        with torch.no_grad():
            return [_flatten(model(*inputs)) for inputs in checks]
    except Problem:
        raise
    except Exception as error:
        shapes = ", ".join(f"{spec['dtype']} {spec['shape']}" for spec in request["inputs"])
        raise Problem(
            f"the model raised on inputs of {shapes}: {_last_line(error)}",
            "Check the shapes and dtypes under `inputs`: they must be what the model takes.",
        ) from error


# --- inputs, calibration and evaluation --------------------------------------------------------


@dataclasses.dataclass
class _Data:
    """The tensors that a model is run on."""

    checks: List[Tuple[Any, ...]]
    calibration: Optional[List[Tuple[Any, ...]]]
    evaluation: Optional[List[Tuple[Tuple[Any, ...], List[int]]]]
    checks_path: str


def _prepare_data(request: Dict[str, Any], answer: Callable[..., None]) -> _Data:
    """Load the user's data, choose the check inputs and write them down."""
    calibration = evaluation = None
    if request["calibration"]:
        answer("phase", doing=f"loading {request['calibration']}")
        calibration = _load_calibration(request["calibration"], request)
    if request["evaluation"]:
        answer("phase", doing=f"loading {request['evaluation']}")
        evaluation = _load_evaluation(request["evaluation"], request)
    count = request["check_samples"]
    if evaluation is not None:
        checks = [inputs for inputs, _ in evaluation[:count]]
    elif calibration is not None:
        checks = calibration[:count]
    else:
        checks = _random_inputs(request["inputs"], count, request["seed"])
    path = os.path.join(request["folder"], "checks.bin")
    layout = write_tensors(path, checks)
    staged = None
    if evaluation is not None and request["has_mobile_python"]:
        staged_path = os.path.join(request["folder"], "evaluation.bin")
        staged = {
            "path": staged_path,
            "layout": write_tensors(staged_path, [inputs for inputs, _ in evaluation]),
            "labels": [labels for _, labels in evaluation],
        }
    real = evaluation is not None or calibration is not None
    answer("checks", path=path, layout=layout, inputs_are_real=real, evaluation=staged)
    return _Data(checks, calibration, evaluation, path)


def _load_calibration(name: str, request: Dict[str, Any]) -> List[Tuple[Any, ...]]:
    items = [
        _checked_inputs(item, f'calibration "{name}", item {number}', request["inputs"])
        for number, item in enumerate(_items(name, "calibration", request), 1)
    ]
    if not items:
        raise Problem(f'calibration "{name}" gives no input at all')
    return items


def _load_evaluation(name: str, request: Dict[str, Any]) -> List[Tuple[Tuple[Any, ...], List[int]]]:
    pairs = []
    for number, item in enumerate(_items(name, "evaluation", request), 1):
        where = f'evaluation "{name}", item {number}'
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise Problem(
                f"{where} is {_described(item)}, not a pair of an input and its label",
                "Return pairs (input, label): a tensor or a tuple of tensors, and an int.",
            )
        inputs = _checked_inputs(item[0], where, request["inputs"])
        pairs.append((inputs, _checked_labels(item[1], where)))
    if not pairs:
        raise Problem(f'evaluation "{name}" gives no pair at all')
    return pairs


def _items(name: str, key: str, request: Dict[str, Any]) -> Iterator[Any]:
    _seed(request["seed"])
    result = _call_user(name, key)
    try:
        yield from result
    except Problem:
        raise
    except Exception as error:
        raise Problem(
            f'{key} "{name}" failed while its items were read: {_last_line(error)}',
            "It must return something that can be iterated: a list, a generator, a DataLoader.",
        ) from error


def _checked_inputs(item: Any, where: str, specs: Sequence[Dict[str, Any]]) -> Tuple[Any, ...]:
    import torch

    inputs = (item,) if isinstance(item, torch.Tensor) else item
    if not isinstance(inputs, (tuple, list)) or len(inputs) != len(specs):
        given = f"{len(inputs)} inputs" if isinstance(inputs, (tuple, list)) else _described(inputs)
        raise Problem(
            f"{where} gives {given}; the plan lists {len(specs)}",
            "One input is a tensor; several are a tuple of tensors, in the plan's order.",
        )
    for tensor, spec in zip(inputs, specs):  # noqa: B905 (Python 3.8)
        wanted = f"{spec['dtype']} {list(spec['shape'])}"
        if isinstance(tensor, torch.Tensor):
            given = f"{str(tensor.dtype)[len('torch.') :]} {list(tensor.shape)}"
        else:
            given = _described(tensor)
        if given != wanted:
            raise Problem(
                f"{where} gives {given}; the plan says {wanted}",
                "Make the data and the plan's `inputs` agree (the batch dimension too).",
            )
    return tuple(tensor.detach().contiguous() for tensor in inputs)


def _checked_labels(label: Any, where: str) -> List[int]:
    import torch

    if isinstance(label, torch.Tensor):
        labels = label.flatten().tolist()
    else:
        labels = list(label) if isinstance(label, (tuple, list)) else [label]
    try:
        whole = [int(value) for value in labels]
    except (TypeError, ValueError):
        whole = []
    if not whole or whole != labels:
        raise Problem(
            f"{where} has the label {label!r}, which is no class number",
            "A label is an int, or a tensor of one int for each row of the batch.",
        )
    return whole


def _random_inputs(specs: Sequence[Dict[str, Any]], count: int, seed: int) -> List[Tuple[Any, ...]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(count):
        inputs = []
        for spec in specs:
            dtype = getattr(torch, spec["dtype"])
            shape, low, high = spec["shape"], spec["low"], spec["high"]
            if dtype.is_floating_point:
                values = torch.rand(shape, generator=generator) * (high - low) + low
                inputs.append(values.to(dtype))
            else:
                top = max(int(high), int(low) + 1)
                if dtype == torch.bool:
                    top = 2
                values = torch.randint(int(low), top, shape, generator=generator)
                inputs.append(values.to(dtype))
        samples.append(tuple(inputs))
    return samples


def _accuracy(
    run: Callable[..., List[Any]],
    evaluation: Optional[List[Tuple[Tuple[Any, ...], List[int]]]],
    memory_format: str,
) -> Optional[Dict[str, Any]]:
    """Return the share of rows whose largest first output is at the label."""
    import torch

    if evaluation is None:
        return None
    right = total = 0
    with torch.no_grad():
        for inputs, labels in evaluation:
            first = run(*_formatted(inputs, memory_format))[0]
            answers = first.argmax(-1).flatten().tolist() if first.dim() else []
            if len(answers) != len(labels):
                raise Problem(
                    f"the first output has the shape {list(first.shape)}, which gives "
                    f"{len(answers)} answers for {len(labels)} labels",
                    "Top-1 accuracy needs scores [rows, classes]; else leave out `evaluation`.",
                )
            # A row of NaN has no largest value: it is never right.
            usable = (~torch.isnan(first)).all(-1).flatten().tolist()
            right += sum(
                ok and a == b
                for ok, a, b in zip(usable, answers, labels)  # noqa: B905 (Python 3.8)
            )
            total += len(labels)
    return {"top1": right / total, "samples": total}


def _read_evaluation(
    staged: Optional[Dict[str, Any]],
) -> Optional[List[Tuple[Tuple[Any, ...], List[int]]]]:
    if staged is None:
        return None
    inputs = read_tensors(staged["path"], staged["layout"])
    return list(zip(inputs, staged["labels"]))  # noqa: B905 (Python 3.8)


# --- files of tensors --------------------------------------------------------------------------


def write_tensors(path: str, samples: Sequence[Sequence[Any]]) -> Layout:
    """Write tensors as raw little-endian values, row-major; return where each one lies."""
    layout: Layout = []
    with open(path, "wb") as file:
        for tensors in samples:
            places = []
            for tensor in tensors:
                tensor = tensor.detach().contiguous()
                file.write(b"\0" * (-file.tell() % 64))
                places.append(
                    {
                        "shape": list(tensor.shape),
                        "dtype": str(tensor.dtype)[len("torch.") :],
                        "offset_bytes": file.tell(),
                    }
                )
                if tensor.numel():
                    size = tensor.numel() * tensor.element_size()
                    file.write(ctypes.string_at(tensor.data_ptr(), size))
            layout.append(places)
    return layout


def read_tensors(path: str, layout: Layout) -> List[Tuple[Any, ...]]:
    """Read what `write_tensors` wrote."""
    import torch

    with open(path, "rb") as file:
        raw = bytearray(file.read())
    samples = []
    for places in layout:
        tensors = []
        for place in places:
            dtype = getattr(torch, place["dtype"])
            count = 1
            for length in place["shape"]:
                count *= length
            values = (
                torch.frombuffer(raw, dtype=dtype, count=count, offset=place["offset_bytes"])
                if count
                else torch.empty(0, dtype=dtype)
            )
            tensors.append(values.reshape(place["shape"]).clone())
        samples.append(tuple(tensors))
    return samples


# --- files of the lite interpreter -------------------------------------------------------------


def _save_lite(script: Any, path: str, as_flatbuffer: bool) -> None:
    # The name of the file becomes the name of the archive inside it: always the same one, so that
    # equal exports are equal files.
    plain = os.path.join(os.path.dirname(path), "model.ptl")
    script._save_for_lite_interpreter(plain, _use_flatbuffer=as_flatbuffer)
    os.replace(plain, path)


def _load_lite(path: str) -> Any:
    from torch.jit import mobile

    return mobile._load_for_lite_interpreter(path)


def inspect_ptl(path: str) -> Dict[str, Any]:
    """Look into a .ptl without loading it: container, size, bytecode version and operators.

    The last two are None for a flatbuffer, which only torch can read. Raises Problem.
    """
    with open(path, "rb") as file:
        head = file.read(8)
        size = file.seek(0, io.SEEK_END)
    seen: Dict[str, Any] = {"size_bytes": size, "bytecode_version": None, "operators": None}
    if not head:
        raise Problem(f"{path} is empty", _EXPORT_AGAIN)
    if head[4:8] == b"PTMF":
        return {"container": "flatbuffer", **seen}
    if head[:4] != b"PK\x03\x04":
        raise Problem(
            f"{path} is no .ptl file: it is neither a zip archive nor a flatbuffer",
            "Save a scripted or traced module with _save_for_lite_interpreter(path).",
        )
    seen["bytecode_version"], seen["operators"] = _read_bytecode(path)
    return {"container": "zip", **seen}


_EXPORT_AGAIN = "Export or copy it again."


def _read_bytecode(path: str) -> Tuple[int, List[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            names = [n for n in archive.namelist() if n.endswith("/bytecode.pkl")]
            if damaged:
                raise Problem(f"{path} is damaged: {damaged} in it has a wrong checksum")
            if not names:
                raise Problem(
                    f"{path} is TorchScript, but not for the lite interpreter: no bytecode in it",
                    "Name it .pt to have it exported, or save it with _save_for_lite_interpreter.",
                )
            content = _Inert(io.BytesIO(archive.read(names[0]))).load()
    except zipfile.BadZipFile as error:
        raise Problem(f"{path} is truncated or damaged: {error}", _EXPORT_AGAIN) from error
    try:
        version = int(content[0])
        operators: Set[str] = set()
        # (version, (function, (("instructions", ...), ("operators", ((name, overload)...)...)...)...)
        for function in content[1:] if version <= NEWEST_BYTECODE else ():
            for operator in dict(function[1])["operators"]:
                operators.add(".".join(part for part in operator[:2] if part))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise Problem(f"{path} has bytecode that cannot be read: {error}", _EXPORT_AGAIN) from error
    return version, sorted(operators)


class _Inert(pickle.Unpickler):
    """Reads a bytecode table; whatever code it names is not run."""

    class Anything:
        """Stands for an object of any class."""

        def __new__(cls, *_: Any) -> Any:
            return super().__new__(cls)

        def __setstate__(self, _state: Any) -> None: ...

    def find_class(self, _module: str, _name: str) -> Any:
        return self.Anything

    def persistent_load(self, _pid: Any) -> Any:
        return None


def _inspect_flatbuffer(path: str) -> Dict[str, Any]:
    from torch.jit import _serialization

    information = _serialization.get_flatbuffer_module_info(path)
    return {
        "bytecode_version": int(information["bytecode_version"]),
        "operators": sorted(information["opname_to_num_args"]),
    }


def _check_bytecode(path: str, version: int) -> None:
    if OLDEST_BYTECODE <= version <= NEWEST_BYTECODE:
        return
    raise Problem(
        f"{path} has bytecode version {version}; known are {OLDEST_BYTECODE} to {NEWEST_BYTECODE}",
        "Export it with a torch that writes one of these (2.13 writes 8), or convert it with "
        "torch.jit.mobile._backport_for_mobile.",
    )


# --- what the result depends on ----------------------------------------------------------------


class OpenedFiles:
    """Notes the local files that this process reads, from now on.

    Files of the interpreter and of installed packages are left out: for these, the metadata of
    their distributions counts, which changes with every version.
    """

    def __init__(self, folder: str) -> None:
        self.ignored = (os.path.realpath(folder) + os.sep, "/proc/", "/sys/", "/dev/")
        self.read: Set[str] = set()
        self.written: Set[str] = set()
        sys.addaudithook(self._audit)
        self._follow_native_readers()

    def add(self, path: Any) -> None:
        """Note one file that was read."""
        with contextlib.suppress(TypeError, ValueError):
            self.read.add(os.path.abspath(os.fsdecode(path)))

    def _audit(self, event: str, arguments: Any) -> None:
        if event != "open" or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.written.add(os.path.abspath(os.fsdecode(arguments[0])))
        else:
            self.add(arguments[0])

    def _follow_native_readers(self) -> None:
        """Note what readers outside Python open: no audit event tells of these."""
        import torch

        load = torch.jit.load

        def noted_load(f: Any, *arguments: Any, **keywords: Any) -> Any:
            self.add(f)
            return load(f, *arguments, **keywords)

        torch.jit.load = noted_load
        if importlib.util.find_spec("safetensors") is None:
            return
        safetensors: Any = importlib.import_module("safetensors")
        safe_open = safetensors.safe_open

        def noted_open(filename: Any, *arguments: Any, **keywords: Any) -> Any:
            self.add(filename)
            return safe_open(filename, *arguments, **keywords)

        safetensors.safe_open = noted_open

    def digests(self) -> Dict[str, str]:
        """Return each file with the sha256 of its content.

        A file that was changed after this process began has no digest (""): nobody can say which
        of its contents was used, so nothing that depends on it is ever taken from the cache.
        """
        modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        local = {os.path.abspath(path) for path in modules if isinstance(path, str)}
        found: Dict[str, str] = {}
        for path in sorted((local | self.read) - self.written):
            path = os.path.realpath(path)
            if path.endswith(".pyc") or path.startswith(self.ignored) or _is_library(path):
                continue
            if os.path.dirname(path) == HERE or not os.path.isfile(path):
                continue
            changed = os.stat(path).st_mtime > STARTED_UNIX
            found[path] = "" if changed else _sha256(path)
        for path in [_torch_version_file(), *_distribution_files()]:
            found[os.path.realpath(path)] = _sha256(path)
        return found


def _distribution_files() -> List[str]:
    """Return the METADATA file of every distribution that a loaded module belongs to."""
    from importlib import metadata

    owners = metadata.packages_distributions()
    imported = {name.partition(".")[0] for name in list(sys.modules)}
    names = {owner for name in imported for owner in owners.get(name, ())}
    files = [
        os.path.join(str(getattr(metadata.distribution(name), "_path", "")), "METADATA")
        for name in names
    ]
    return [path for path in files if os.path.isfile(path)]


def _torch_version_file() -> str:
    import torch

    return os.path.join(os.path.dirname(os.path.abspath(torch.__file__)), "version.py")


def _identity(dependencies: Dict[str, str], *paths: str) -> str:
    """Return one hash for what was read and what came of it (also if the model is not seeded)."""
    parts = [json.dumps(dependencies, sort_keys=True), *[_sha256(path) for path in paths]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _library_folders() -> Tuple[str, ...]:
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages(), "/usr/lib/python3"]
    return tuple(sorted({os.path.realpath(f) + os.sep for f in folders if f}))


_LIBRARIES = _library_folders()


def _is_library(path: str) -> bool:
    return path.startswith("<") or os.path.realpath(path).startswith(_LIBRARIES)


# --- set-up ------------------------------------------------------------------------------------


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
        warnings.filterwarnings("ignore", category=category, module=r"__main__$")
        warnings.filterwarnings("ignore", category=category, module=r"harness\.export\.")
    return torch


def _seed(seed: int) -> None:
    """Seed every generator that a user's code may draw from."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    if importlib.util.find_spec("numpy") is not None:
        numpy: Any = importlib.import_module("numpy")
        numpy.random.seed(seed)


def _load_beside(name: str) -> Any:
    """Import a module that lies beside this file, by its path."""
    own_name = "harness.export." + name
    spec = importlib.util.spec_from_file_location(own_name, os.path.join(HERE, name + ".py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own_name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
