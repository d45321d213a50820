"""One variant on its way from the eager model to a file that was run.

Not here: building the model, and what a recipe or a format does (`recipes/`, `formats/`).
"""

from __future__ import annotations

import contextlib
import copy
import os
import platform
import time
from typing import Any, Callable, List, Optional, Tuple, Union

from . import recipes
from .formats import FORMATS
from .interpreter import set_seeds
from .messages import Counts, Delivered, Refused, Request, Staged, VariantSpec
from .problems import Problem, last_line
from .recipes.step import PRECISION, Context, Skip, require_script
from .samples import Samples, measure_accuracy
from .tensors import flatten, formatted, write_tensors

Outcome = Union[Delivered, Staged, Refused]


def guarded(name: str, work: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """Work on one variant; an exception is that variant's answer, and the rest goes on."""
    try:
        return work(*arguments)
    except Problem as problem:
        return Refused(name, "failed", problem.reason, problem.advice)
    except Skip as skip:
        return Refused(name, "skipped", skip.reason, skip.advice)
    except Exception as error:
        return Refused(name, "failed", last_line(error), "")


class VariantWork:
    """What is done for one variant: prepare, capture, finish, save, load, run."""

    def __init__(self, request: Request, variant: VariantSpec, data: Samples) -> None:
        self.request = request
        self.variant = variant
        self.data = data
        self.format = FORMATS[variant.format]
        self.chosen = recipes.parse_recipe(variant.recipe)
        self.started = time.monotonic()
        self.context = Context(
            inputs=self._formatted(data.checks[0]),
            calibration=data.calibration,
            quantized_engine=request.quantized_engine,
        )

    def from_eager(self, build: Callable[[], Any], model: Any) -> Outcome:
        """Make it of the eager model; of what another interpreter must finish, only the first half."""
        import torch

        set_seeds(self.request.seed)
        prepared, counts = _own_copy(model, build), Counts()
        with torch.no_grad():
            for chosen in self.chosen:
                if chosen.step.order == PRECISION:
                    counts = _count(prepared, self.data.checks[0])
                if chosen.step.prepare is not None:
                    self.context.percent = chosen.percent
                    prepared = chosen.step.prepare(prepared, self.context)
            captured = self.format.capture(
                prepared, self.context.inputs, self.variant.memory_format, self.context.notes
            )
            if self.request.has_mobile_python and self.chosen[-1].step.needs_xnnpack:
                return self._stage(captured, counts)
            return self._deliver(captured, counts)

    def from_traced(self, staged: Staged) -> Outcome:
        """Make it of what another interpreter traced."""
        import torch

        set_seeds(self.request.seed)
        self.started -= staged.seconds
        self.context.notes += staged.notes
        with torch.no_grad():
            return self._deliver(torch.jit.load(staged.traced), staged.counts)

    def _stage(self, script: Any, counts: Counts) -> Staged:
        import torch

        require_script(script, self.variant.recipe)
        path = os.path.join(self.request.folder, self.variant.id + ".pt")
        torch.jit.save(script, path)
        seconds = time.monotonic() - self.started
        return Staged(self.variant.id, path, counts, seconds, self.context.notes)

    def _deliver(self, captured: Any, counts: Counts) -> Delivered:
        """Finish and save the captured model, load it back and run it on the check inputs."""
        import torch

        for chosen in self.chosen:
            if chosen.step.finish is not None:
                captured = chosen.step.finish(captured, self.context)
        path = os.path.join(self.request.folder, self.variant.id + self.format.SUFFIX)
        self.format.save(captured, path, self.variant.options)
        export_seconds = time.monotonic() - self.started
        seen = self.format.inspect(path)
        program = self.format.load(path)

        def run(*inputs: Any) -> List[Any]:
            return flatten(self.format.run(program, inputs))

        outputs = [run(*self._formatted(inputs)) for inputs in self.data.checks]
        return Delivered(
            variant=self.variant.id,
            path=path,
            seen=seen,
            outputs=write_tensors(path + ".outputs", outputs),
            accuracy=measure_accuracy(run, self.data.evaluation, self.variant.memory_format),
            counts=counts,
            torch_version=torch.__version__,
            python_version=platform.python_version(),
            export_seconds=export_seconds,
            created_unix=time.time(),
            notes=self.context.notes,
        )

    def _formatted(self, inputs: Tuple[Any, ...]) -> Tuple[Any, ...]:
        return formatted(inputs, self.variant.memory_format)


def _own_copy(model: Any, build: Callable[[], Any]) -> Any:
    """Return a model that a recipe may change; built again where it cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:
        return build()


def _count(model: Any, inputs: Tuple[Any, ...]) -> Counts:
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
    return Counts(
        parameters=sum(p.numel() for p in parameters) or None,
        nonzero_parameters=sum(int((p != 0).sum()) for p in parameters) if parameters else None,
        flops=flops,
    )
