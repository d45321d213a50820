"""From an eager model to TorchScript, for the formats that are made of it. Not here: saving it."""

from __future__ import annotations

import os
import warnings
from typing import Any, List, Tuple

from .interpreter import torch_version_file
from .tensors import tensors_of


def trace(model: Any, inputs: Tuple[Any, ...], memory_format: str, notes: List[str]) -> Any:
    """Return the model as TorchScript, which puts out a tensor or a flat tuple of tensors.

    What the tracer doubts is noted. A model that is TorchScript is returned as it is.
    """
    import torch

    channels_last = memory_format == "channels_last"
    if isinstance(model, torch.jit.ScriptModule) and not channels_last:
        return model
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if not _is_plain(model(*inputs)):
        model = _flattening(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        script = torch.jit.trace(model, inputs, check_trace=False, strict=False)
    _note_doubts(caught, notes)
    return script


def _note_doubts(caught: List[warnings.WarningMessage], notes: List[str]) -> None:
    import torch

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
        notes.append(
            f"tracer warnings: {len(doubts)}, the trace may hold for these input shapes only; "
            f"first at {place}: {first}"
        )


def _is_plain(output: Any) -> bool:
    import torch

    if isinstance(output, torch.Tensor):
        return True
    return type(output) is tuple and all(isinstance(item, torch.Tensor) for item in output)


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
