"""Pruning: channels that really go away, and weights that become zero. Not here: training afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .step import Context, Skip, refuse_script, trace_by_fx

if TYPE_CHECKING:
    import torch


def prune_channels(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Remove whole channels, those of the smallest L1 norm, from the layers that allow it."""
    from . import channel_groups

    refuse_script(model, "channel pruning")
    graph = trace_by_fx(
        model,
        "channel pruning",
        "Move the data-dependent part out of the model, or prune in your own code and name the "
        "pruned model as a source of its own (docs/recipes.md).",
    )
    result = channel_groups.prune_channels(model, graph, context.inputs, context.percent)
    if not result.pruned:
        raise Skip("channel pruning found no channel it may safely remove: " + result.left_alone())
    context.notes.append(result.summary())
    if result.kept:
        context.notes.append("left alone: " + result.left_alone())
    return model


def prune_l1(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Zero the smallest weights of every Conv and Linear layer."""
    import torch
    from torch.nn.modules import conv
    from torch.nn.utils import prune

    refuse_script(model, "pruning")
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Linear, conv._ConvNd))]
    if not layers:
        raise Skip("there is no Conv or Linear layer to prune")
    for layer in layers:
        prune.l1_unstructured(layer, "weight", amount=context.percent / 100)
        prune.remove(layer, "weight")
    context.notes.append(
        f"{context.percent}% of the weights of {len(layers)} layers are zero; they are stored and "
        "multiplied like any others, so neither the file nor the time shrinks"
    )
    return model
