"""The export worker: one process that turns one model into its artifacts, and may crash.

Started by `start.py`, under this interpreter or another one. All files of this folder are of the
standard library and torch only, in what Python 3.8 knows, and import nothing else of phonebench.
Its answers (`messages.py`) go to a file; stdout and stderr belong to the user's own code.
Not here: caching, comparing outputs, starting this process (the host's room `export/`).
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any, Callable, List

from .dependencies import OpenedFiles, identity_of, sha256_of
from .formats import FORMATS, format_of
from .interpreter import import_torch, prefer_quantized_engine, torch_version_file
from .messages import (
    Accepted,
    Answer,
    Done,
    Failed,
    Finisher,
    Inspected,
    Phase,
    Reference,
    Request,
    Started,
    read_request,
    write_answer,
)
from .problems import Problem, last_line
from .samples import Samples, measure_accuracy, prepare_samples, read_samples
from .source import source_builder
from .tensors import flatten, write_tensors
from .variant import VariantWork, guarded

Say = Callable[[Answer], None]


def main(request_path: str, answers_path: str) -> None:
    """Read the request, answer it line by line."""
    with open(request_path, encoding="utf-8") as file:
        request = read_request(file.read())
    os.chdir(request.root)
    sys.path.insert(0, request.root)
    with open(answers_path, "a", encoding="utf-8") as answers:

        def say(answer: Answer) -> None:
            answers.write(write_answer(answer))
            answers.flush()

        try:
            _WORK[request.work](request, say)
        except Problem as problem:
            say(Failed(problem.reason, problem.advice))
        else:
            say(Done())


def export(request: Request, say: Say) -> None:
    """Build the model, write its check inputs and eager outputs, export every variant."""
    say(Phase("importing torch"))
    import_torch()
    prefer_quantized_engine(request.quantized_engine)
    files = OpenedFiles(request.folder)
    data = prepare_samples(request, say)
    build = source_builder(request.source, request.seed)
    say(Phase(f"building the model from {request.source}"))
    model = build()
    say(Phase("running the eager model"))
    outputs = _eager_outputs(model, data, request)
    reference = _reference(lambda *x: flatten(model(*x)), outputs, data, request)
    dependencies = files.digests()
    identity = identity_of(dependencies, data.checks_path, reference.outputs.path)
    say(Accepted(identity, dependencies))
    say(reference)
    for variant in request.variants:
        if request.have.get(variant.id) == identity:
            continue
        say(Started(variant.id))
        work = VariantWork(request, variant, data)
        say(guarded(variant.id, work.from_eager, build, model))


def finish(request: Request, say: Say) -> None:
    """Finish the variants that another interpreter has traced; the request says where they are."""
    say(Phase("importing torch"))
    import_torch()
    assert request.checks is not None
    data = read_samples(request.checks)
    say(Finisher({os.path.realpath(torch_version_file()): sha256_of(torch_version_file())}))
    staged = {each.variant: each for each in request.staged}
    for variant in request.variants:
        say(Started(variant.id))
        work = VariantWork(request, variant, data)
        say(guarded(variant.id, work.from_traced, staged[variant.id]))


def ready(request: Request, say: Say) -> None:
    """Look into a ready file without running it, then try to run it here."""
    path, format = request.source, FORMATS[format_of(request.source)]
    say(Phase(f"reading {path}"))
    seen = format.inspect(path)
    format.check(path, seen)
    say(Phase("importing torch"))
    torch = import_torch()
    files = OpenedFiles(request.folder)
    data = prepare_samples(request, say)
    files.add(path)
    dependencies = files.digests()
    say(Inspected(seen, torch.__version__, platform.python_version()))
    say(Accepted(identity_of(dependencies, data.checks_path, path), dependencies))
    say(Phase("running it on this computer"))
    prefer_quantized_engine(request.quantized_engine)

    def run(*inputs: Any) -> List[Any]:
        return flatten(format.run(program, inputs))

    try:
        program = format.load(path)
        outputs = [run(*inputs) for inputs in data.checks]
    except Exception as error:
        raise Problem(last_line(error)) from error
    say(_reference(run, outputs, data, request))


_WORK = {"export": export, "finish": finish, "ready": ready}


def _reference(
    run: Callable[..., List[Any]], outputs: List[Any], data: Samples, request: Request
) -> Reference:
    """Write down what the model put out for the check inputs, and measure its accuracy."""
    written = write_tensors(os.path.join(request.folder, "reference.bin"), outputs)
    return Reference(written, measure_accuracy(run, data.evaluation, "contiguous"))


def _eager_outputs(model: Any, data: Samples, request: Request) -> List[Any]:
    import torch

    try:
        with torch.no_grad():
            return [flatten(model(*inputs)) for inputs in data.checks]
    except Problem:
        raise
    except Exception as error:
        shapes = ", ".join(f"{spec.dtype} {spec.shape}" for spec in request.inputs)
        raise Problem(
            f"the model raised on inputs of {shapes}: {last_line(error)}",
            "Check the shapes and dtypes under `inputs`: they must be what the model takes.",
        ) from error
