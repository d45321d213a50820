"""What a model is run on: check inputs, calibration and evaluation, from the user or from a seed.

Not here: building the model.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

from .interpreter import set_seeds
from .messages import Accuracy, Answer, Checks, Phase, Request, StagedEvaluation, TensorSpec
from .problems import Problem, described, last_line
from .source import call_user
from .tensors import formatted, read_tensors, write_tensors

Inputs = Tuple[Any, ...]
Evaluation = List[Tuple[Inputs, List[int]]]


@dataclasses.dataclass
class Samples:
    """The tensors that a model is run on."""

    checks: List[Inputs]
    calibration: Optional[List[Inputs]]
    evaluation: Optional[Evaluation]
    checks_path: str


def prepare_samples(request: Request, answer: Callable[[Answer], None]) -> Samples:
    """Load the user's data, choose the check inputs and write them down."""
    calibration = evaluation = None
    if request.calibration:
        answer(Phase(f"loading {request.calibration}"))
        calibration = _load_calibration(request.calibration, request)
    if request.evaluation:
        answer(Phase(f"loading {request.evaluation}"))
        evaluation = _load_evaluation(request.evaluation, request)
    if evaluation is not None:
        checks = [inputs for inputs, _ in evaluation[: request.check_samples]]
    elif calibration is not None:
        checks = calibration[: request.check_samples]
    else:
        checks = _random_inputs(request.inputs, request.check_samples, request.seed)
    written = write_tensors(os.path.join(request.folder, "checks.bin"), checks)
    staged = None
    if evaluation is not None and request.has_mobile_python:
        path = os.path.join(request.folder, "evaluation.bin")
        staged = StagedEvaluation(
            write_tensors(path, [inputs for inputs, _ in evaluation]),
            [labels for _, labels in evaluation],
        )
    answer(Checks(written, evaluation is not None or calibration is not None, staged))
    return Samples(checks, calibration, evaluation, written.path)


def read_samples(checks: Checks) -> Samples:
    """Read what `prepare_samples` wrote down for another interpreter."""
    evaluation = None
    if checks.evaluation is not None:
        inputs = read_tensors(checks.evaluation.inputs)
        evaluation = list(zip(inputs, checks.evaluation.labels))
    return Samples(read_tensors(checks.inputs), None, evaluation, checks.inputs.path)


def _load_calibration(name: str, request: Request) -> List[Inputs]:
    items = [
        _checked_inputs(item, f'calibration "{name}", item {number}', request.inputs)
        for number, item in enumerate(_items(name, "calibration", request), 1)
    ]
    if not items:
        raise Problem(f'calibration "{name}" gives no input at all')
    return items


def _load_evaluation(name: str, request: Request) -> Evaluation:
    pairs = []
    for number, item in enumerate(_items(name, "evaluation", request), 1):
        where = f'evaluation "{name}", item {number}'
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise Problem(
                f"{where} is {described(item)}, not a pair of an input and its label",
                "Return pairs (input, label): a tensor or a tuple of tensors, and an int.",
            )
        inputs = _checked_inputs(item[0], where, request.inputs)
        pairs.append((inputs, _checked_labels(item[1], where)))
    if not pairs:
        raise Problem(f'evaluation "{name}" gives no pair at all')
    return pairs


def _items(name: str, key: str, request: Request) -> Iterator[Any]:
    set_seeds(request.seed)
    result = call_user(name, key)
    try:
        yield from result
    except Problem:
        raise
    except Exception as error:
        raise Problem(
            f'{key} "{name}" failed while its items were read: {last_line(error)}',
            "It must return something that can be iterated: a list, a generator, a DataLoader.",
        ) from error


def _checked_inputs(item: Any, where: str, specs: Sequence[TensorSpec]) -> Inputs:
    import torch

    inputs = (item,) if isinstance(item, torch.Tensor) else item
    if not isinstance(inputs, (tuple, list)) or len(inputs) != len(specs):
        given = f"{len(inputs)} inputs" if isinstance(inputs, (tuple, list)) else described(inputs)
        raise Problem(
            f"{where} gives {given}; the plan lists {len(specs)}",
            "One input is a tensor; several are a tuple of tensors, in the plan's order.",
        )
    for tensor, spec in zip(inputs, specs):
        wanted = f"{spec.dtype} {list(spec.shape)}"
        if isinstance(tensor, torch.Tensor):
            given = f"{str(tensor.dtype)[len('torch.') :]} {list(tensor.shape)}"
        else:
            given = described(tensor)
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


def _random_inputs(specs: Sequence[TensorSpec], count: int, seed: int) -> List[Inputs]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(count):
        inputs = []
        for spec in specs:
            dtype = getattr(torch, spec.dtype)
            shape, low, high = spec.shape, spec.low, spec.high
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


def measure_accuracy(
    run: Callable[..., List[Any]],
    evaluation: Optional[Evaluation],
    memory_format: str,
) -> Optional[Accuracy]:
    """Return the share of rows whose largest first output is at the label."""
    import torch

    if evaluation is None:
        return None
    right = total = 0
    with torch.no_grad():
        for inputs, labels in evaluation:
            first = run(*formatted(inputs, memory_format))[0]
            answers = first.argmax(-1).flatten().tolist() if first.dim() else []
            if len(answers) != len(labels):
                raise Problem(
                    f"the first output has the shape {list(first.shape)}, which gives "
                    f"{len(answers)} answers for {len(labels)} labels",
                    "Top-1 accuracy needs scores [rows, classes]; else leave out `evaluation`.",
                )
            # A row of NaN has no largest value: it is never right.
            usable = (~torch.isnan(first)).all(-1).flatten().tolist()
            right += sum(ok and a == b for ok, a, b in zip(usable, answers, labels))
            total += len(labels)
    return Accuracy(right / total, total)
