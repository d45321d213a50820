"""What is done to a model once it is TorchScript. Not here: tracing and saving it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .step import Context, Skip, require_script

if TYPE_CHECKING:
    import torch


def freeze(script: torch.jit.ScriptModule, context: Context) -> torch.jit.ScriptModule:
    """Fold BatchNorm and constants into the weights."""
    import torch

    require_script(script, "freezing")
    frozen: torch.jit.ScriptModule = torch.jit.freeze(script.eval())
    return frozen


def optimize_for_mobile(script: torch.jit.ScriptModule, context: Context) -> torch.jit.ScriptModule:
    """Fold, fuse, and prepack the weights for XNNPACK."""
    import torch
    from torch.utils import mobile_optimizer

    require_script(script, "optimize_for_mobile")
    # Frozen first: torch 1.13's own folding of BatchNorm forgets the shift of a traced convolution
    # that has no bias, and the answers are wrong.
    frozen = torch.jit.freeze(script.eval())
    try:
        optimized: torch.jit.ScriptModule = mobile_optimizer.optimize_for_mobile(frozen)
    except RuntimeError as error:
        if "XNNPACK" not in str(error):
            raise
        raise Skip(
            f"optimize_for_mobile needs a torch with XNNPACK; this one ({torch.__version__}) has "
            "none: torch 2.12 and older have it, 2.13 and newer do not",
            'Name an interpreter that has one: [export] mobile_python = "/path/to/python3" in the '
            "plan, or --mobile-python.",
        ) from error
    context.notes.append("holds prepacked operators: it runs only where the runtime has XNNPACK")
    return optimized
