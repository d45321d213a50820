"""Structured pruning: find channels that must go together, and remove them from every layer.

Channels that are added, multiplied or normalized together share a group: a residual stage, a
depthwise convolution and its neighbours. The FX graph is walked once, in order; every value gets
the group of its channel dimension (dimension 1). A group is left alone as soon as anything touches
it that is not understood here.

It imports torch, so it is imported by the step that uses it (`pruning.py`). Not here: fine-tuning.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


@dataclass(eq=False)
class Group:
    """Channels that are removed together.

    `produced_by` own the filters whose norm ranks the channels; `followed_by` (depthwise
    convolutions, BatchNorm) have one entry a channel; `consumed_by` have inputs from it, `block`
    of them for each channel (more than one after flattening). `reason`: why it is left alone.
    """

    size: int
    produced_by: List[str] = field(default_factory=list)
    followed_by: List[str] = field(default_factory=list)
    consumed_by: List[Tuple[str, int]] = field(default_factory=list)
    reason: str = ""
    joined_to: Optional[Group] = None

    def root(self) -> Group:
        """Return the group that this one became part of."""
        group = self
        while group.joined_to is not None:
            group = group.joined_to
        return group

    def leave_alone(self, reason: str) -> None:
        """Keep every channel of the group; the first reason counts."""
        root = self.root()
        root.reason = root.reason or reason

    def join(self, other: Group) -> None:
        """Make two groups one."""
        kept, gone = self.root(), other.root()
        if kept is gone:
            return
        if kept.size != gone.size:
            kept.leave_alone("its sizes differ")
            gone.leave_alone("its sizes differ")
            return
        kept.produced_by += gone.produced_by
        kept.followed_by += gone.followed_by
        kept.consumed_by += gone.consumed_by
        kept.reason = kept.reason or gone.reason
        gone.joined_to = kept


@dataclass(frozen=True)
class Value:
    """What a node of the graph returns: a tensor with this shape and channel group."""

    shape: Tuple[int, ...]
    group: Group
    block: int = 1


@dataclass
class Result:
    """What was pruned: groups, channels before and after, parameters before and after."""

    pruned: List[Group]
    kept: List[Group]
    channels: Tuple[int, int] = (0, 0)
    parameters: Tuple[int, int] = (0, 0)

    def summary(self) -> str:
        """Say what became smaller."""
        return (
            f"pruned {len(self.pruned)} of {len(self.pruned) + len(self.kept)} channel groups: "
            f"{self.channels[0]} -> {self.channels[1]} channels, "
            f"{self.parameters[0]} -> {self.parameters[1]} parameters; not fine-tuned"
        )

    def left_alone(self) -> str:
        """Say which groups stayed whole, and why."""
        if not self.kept:
            return "FX shows no Conv or Linear layer"
        texts = [f"{'/'.join(group.produced_by)} ({group.reason})" for group in self.kept]
        more = f" and {len(texts) - 6} more" if len(texts) > 6 else ""
        return ", ".join(texts[:6]) + more


def prune_channels(
    model: nn.Module, graph: torch.fx.GraphModule, inputs: Tuple[torch.Tensor, ...], percent: int
) -> Result:
    """Remove `percent` of the channels of every group that allows it, in place.

    `graph` is `model` traced by FX: it holds the same layers. Raises whatever the model raises.
    """
    walk = _Walk(model, graph)
    with torch.no_grad():
        walk.run(*inputs)
    groups = [group for group in walk.groups if group.joined_to is None and group.produced_by]
    for group in groups:
        if not group.reason and _kept_count(group, percent) == group.size:
            group.leave_alone("it is too small")
    result = Result([g for g in groups if not g.reason], [g for g in groups if g.reason])
    before = sum(p.numel() for p in model.parameters())
    layers = dict(model.named_modules())
    keep = {id(g): _best_channels(g, layers, _kept_count(g, percent)) for g in result.pruned}
    with torch.no_grad():
        for group in result.pruned:
            _shrink(group, layers, keep[id(group)])
    result.channels = (
        sum(group.size for group in result.pruned),
        sum(len(keep[id(group)]) for group in result.pruned),
    )
    result.parameters = (before, sum(p.numel() for p in model.parameters()))
    return result


def _kept_count(group: Group, percent: int) -> int:
    return max(1, math.ceil(group.size * (100 - percent) / 100))


def _best_channels(group: Group, layers: Dict[str, nn.Module], count: int) -> torch.Tensor:
    """Return the indices, ascending, of the channels with the largest L1 norm over all filters."""
    norms = torch.zeros(group.size)
    for name in group.produced_by:
        weight = layers[name].weight
        assert isinstance(weight, torch.Tensor)
        norms += weight.detach().abs().flatten(1).sum(1)
    # A stable sort, so that equal norms cannot make two exports differ.
    order = torch.sort(norms, descending=True, stable=True).indices
    return torch.sort(order[:count]).values


def _shrink(group: Group, layers: Dict[str, nn.Module], keep: torch.Tensor) -> None:
    for name in group.produced_by:
        layer: Any = layers[name]
        _select(layer, "weight", 0, keep)
        _select(layer, "bias", 0, keep)
        if isinstance(layer, nn.Linear):
            layer.out_features = len(keep)
        else:
            layer.out_channels = len(keep)
    for name in group.followed_by:
        layer = layers[name]
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            _select(layer, tensor, 0, keep)
        if isinstance(layer, _ConvNd):
            layer.in_channels = layer.out_channels = layer.groups = len(keep)
        else:
            layer.num_features = len(keep)
    for name, block in group.consumed_by:
        layer = layers[name]
        features = (keep[:, None] * block + torch.arange(block)).flatten()
        _select(layer, "weight", 1, features)
        if isinstance(layer, nn.Linear):
            layer.in_features = len(features)
        else:
            layer.in_channels = len(features)


def _select(layer: nn.Module, name: str, dim: int, keep: torch.Tensor) -> None:
    tensor = getattr(layer, name, None)
    if tensor is None:
        return
    smaller = tensor.detach().index_select(dim, keep).clone()
    if isinstance(tensor, nn.Parameter):
        smaller = nn.Parameter(smaller, requires_grad=tensor.requires_grad)
    setattr(layer, name, smaller)


# --- walking the graph -------------------------------------------------------------------------

# These give each channel from the same channel alone.
_CHANNELWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity,
    nn.Dropout, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
)  # fmt: skip
_CHANNELWISE_FUNCTIONS: Tuple[Callable[..., Any], ...] = (
    functional.relu, functional.relu6, functional.leaky_relu, functional.elu, functional.gelu,
    functional.silu, functional.hardswish, functional.hardsigmoid, functional.hardtanh,
    functional.dropout, functional.adaptive_avg_pool2d, functional.avg_pool2d,
    functional.max_pool2d, functional.interpolate, functional.sigmoid, functional.tanh,
    torch.relu, torch.sigmoid, torch.tanh, torch.clamp,
)  # fmt: skip
_CHANNELWISE_METHODS = ("relu", "sigmoid", "tanh", "clamp", "contiguous", "relu_", "clamp_")
_PAIRWISE = (operator.add, operator.iadd, operator.sub, operator.mul, operator.imul,
             operator.truediv, torch.add, torch.sub, torch.mul)  # fmt: skip
_PAIRWISE_METHODS = ("add", "add_", "mul", "mul_", "sub")


class _Walk(torch.fx.Interpreter):
    """Runs the graph on real inputs and notes the channel group of every value."""

    def __init__(self, model: nn.Module, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.groups: List[Group] = []
        self.values: Dict[torch.fx.Node, Value] = {}
        self.layers = dict(model.named_modules())
        self.calls: Dict[str, int] = {}
        for node in graph.graph.nodes:
            if node.op == "call_module":
                self.calls[node.target] = self.calls.get(node.target, 0) + 1
        self.tied = _tied_parameters(model)

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        sources = [self.values[node] for node in n.all_input_nodes if node in self.values]
        if n.op == "output":
            for value in sources:
                value.group.leave_alone("it is an output")
        elif isinstance(result, torch.Tensor):
            self.values[n] = self._follow(n, sources, tuple(result.shape))
        else:
            self._follow_number(n, sources)
        return result

    def _follow_number(self, node: torch.fx.Node, sources: List[Value]) -> None:
        """Shapes may be read (`x.shape`, `x.size(0)`); anything else that is no tensor may not."""
        reads_shape = node.op == "call_method" and node.target == "size"
        reads_shape |= node.op == "call_function" and node.target is getattr
        if not reads_shape:
            for value in sources:
                value.group.leave_alone(f"{node.name} is not understood")

    def _follow(self, node: torch.fx.Node, sources: List[Value], shape: Tuple[int, ...]) -> Value:
        if node.op == "call_module" and len(sources) == 1:
            known = self._layer(str(node.target), sources[0], shape)
        elif node.op in ("call_function", "call_method"):
            known = self._function(node, sources, shape)
        else:
            known = None
        if known is not None:
            return known
        what = f"{node.target if node.op == 'call_module' else node.name} is not understood"
        if node.op in ("placeholder", "get_attr"):
            what = "it is an input"
        for value in sources:
            value.group.leave_alone(what)
        value = self._new(shape)
        value.group.leave_alone(what)
        return value

    def _new(self, shape: Tuple[int, ...]) -> Value:
        group = Group(shape[1] if len(shape) > 1 else 0)
        self.groups.append(group)
        return Value(shape, group)

    def _layer(self, name: str, source: Value, shape: Tuple[int, ...]) -> Optional[Value]:
        layer = self.layers.get(name)
        if isinstance(layer, _CHANNELWISE_MODULES):
            return self._same_channels(source, shape)
        if isinstance(layer, nn.Flatten):
            return self._flattened(source, shape)
        if isinstance(layer, nn.PReLU):
            return self._same_channels(source, shape) if layer.num_parameters == 1 else None
        if layer is None or self.calls.get(name) != 1 or name in self.tied:
            return None  # two places share it
        if layer._parameters.get("weight") is None:
            return None  # its weight is computed (weight norm), or it has none
        if isinstance(layer, _BatchNorm) and source.block == 1:
            source.group.root().followed_by.append(name)
            return Value(shape, source.group)
        if type(layer) is nn.Linear and len(shape) == 2:
            return self._producer(name, source, shape)
        if type(layer) in (nn.Conv1d, nn.Conv2d):
            return self._convolution(name, layer, source, shape)
        return None

    def _convolution(
        self, name: str, layer: Any, source: Value, shape: Tuple[int, ...]
    ) -> Optional[Value]:
        if source.block != 1 or len(shape) != layer.weight.dim():
            return None
        if layer.groups == 1:
            return self._producer(name, source, shape)
        if layer.groups == layer.in_channels == layer.out_channels:
            source.group.root().followed_by.append(name)
            return Value(shape, source.group)
        return None

    def _producer(self, name: str, source: Value, shape: Tuple[int, ...]) -> Value:
        source.group.root().consumed_by.append((name, source.block))
        value = self._new(shape)
        value.group.produced_by.append(name)
        return value

    def _function(
        self, node: torch.fx.Node, sources: List[Value], shape: Tuple[int, ...]
    ) -> Optional[Value]:
        target = node.target
        if target in _PAIRWISE or target in _PAIRWISE_METHODS:
            return self._pair(sources, shape)
        if not sources:
            return None
        source = sources[0]
        if target in _CHANNELWISE_FUNCTIONS or target in _CHANNELWISE_METHODS:
            return self._same_channels(source, shape) if len(sources) == 1 else None
        if target is torch.mean or target == "mean":
            return self._same_channels(source, shape) if _averages_places(node) else None
        if target is torch.flatten or target == "flatten":
            return self._flattened(source, shape)
        if target in ("view", "reshape") and node.args[-1] == -1:
            return self._flattened(source, shape)
        return None

    def _pair(self, sources: List[Value], shape: Tuple[int, ...]) -> Optional[Value]:
        """Two tensors meet channel by channel, or one of them meets a number."""
        if any(value.block != 1 or value.shape[:2] != shape[:2] for value in sources):
            return None
        if not sources or any(len(value.shape) != len(shape) for value in sources):
            return None
        for value in sources[1:]:
            sources[0].group.join(value.group)
        return Value(shape, sources[0].group)

    def _same_channels(self, source: Value, shape: Tuple[int, ...]) -> Optional[Value]:
        if len(shape) < 2 or shape[:2] != source.shape[:2]:
            return None
        return Value(shape, source.group, source.block)

    def _flattened(self, source: Value, shape: Tuple[int, ...]) -> Optional[Value]:
        """(N, C, H, W) -> (N, C*H*W): each channel becomes a block of neighbours."""
        per_channel = math.prod(source.shape[2:])
        if len(shape) != 2 or shape != (source.shape[0], source.shape[1] * per_channel):
            return None
        return Value(shape, source.group, source.block * per_channel)


def _averages_places(node: torch.fx.Node) -> bool:
    """Tell whether a mean is over dimensions other than batch and channel."""
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if isinstance(dims, int):
        dims = [dims]
    if not isinstance(dims, (list, tuple)):
        return False
    # From the end, (N, C, H, W) only: -1 and -2 are places; the shape check refuses the rest.
    return all(dim in (2, 3) for dim in dims) or list(dims) in ([-1, -2], [-2, -1])


def _tied_parameters(model: nn.Module) -> Dict[str, bool]:
    """Return the names of layers that share a parameter with another layer."""
    owners: Dict[int, List[str]] = {}
    for name, layer in model.named_modules():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return {name: True for names in owners.values() if len(names) > 1 for name in names}
