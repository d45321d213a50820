"""Half precision. Not here: int8 (`quantization.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .step import Context

if TYPE_CHECKING:
    import torch


def to_fp16(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Compute in half precision; inputs and outputs stay as they were."""
    import torch

    return _in_precision(model, torch.float16)


def to_bf16(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Compute in bfloat16; inputs and outputs stay as they were."""
    import torch

    return _in_precision(model, torch.bfloat16)


def _in_precision(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    import torch

    class InPrecision(torch.nn.Module):
        """Casts floating inputs on the way in, so that callers need not know."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model.to(dtype)

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.model(*[x.to(dtype) if x.is_floating_point() else x for x in inputs])

    return InPrecision().eval()
