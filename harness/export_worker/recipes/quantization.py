"""int8: weights alone, or activations too. Not here: quantization-aware training, which is the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

from .step import Context, Skip, refuse_script, trace_by_fx

if TYPE_CHECKING:
    import torch


def quantize_dynamic(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Store the weights of Linear and recurrent layers as int8, activations at run time."""
    import torch
    from torch.ao import quantization

    refuse_script(model, "quantization")
    nn = torch.nn
    kinds = (nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    layers = _layers_with_weights(model)
    chosen = [layer for layer in layers if type(layer) in kinds]
    if not chosen:
        names = sorted({type(layer).__name__ for layer in layers})
        raise Skip(
            f"there is nothing to quantize: none of the {len(layers)} layers with weights "
            f"({', '.join(names) or 'none'}) is a Linear or recurrent one",
            "int8-static quantizes convolutions too; it needs calibration data.",
        )
    _use_quantized_engine(context.quantized_engine)
    quantized: torch.nn.Module = quantization.quantize_dynamic(model, set(kinds), dtype=torch.qint8)
    context.notes.append(
        f"quantized {len(chosen)} of {len(layers)} layers with weights; the others stay float"
    )
    return quantized


def quantize_static(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Quantize weights and activations to int8, with ranges observed on calibration data."""
    import torch
    from torch.ao.quantization import quantize_fx

    refuse_script(model, "quantization")
    if not context.calibration:
        raise Skip(
            "int8-static needs calibration data, and the plan names none",
            'Give the model calibration = "module:callable" (without a plan: --calibration '
            "module:callable), which returns typical inputs.",
        )
    _use_quantized_engine(context.quantized_engine)
    graph = trace_by_fx(
        model,
        "int8-static",
        "Move the data-dependent part out of the model, or quantize in your own code and name the "
        "result as a source of its own (docs/recipes.md); int8-dynamic needs no graph.",
    )
    mapping = _qconfig_mapping(context.quantized_engine)
    if context.quantized_engine == "qnnpack":
        _fuse_relu6(model, graph, mapping)
    observed = quantize_fx.prepare_fx(model, mapping, context.inputs)
    with torch.no_grad():
        for inputs in context.calibration:
            observed(*inputs)
    quantized: torch.nn.Module = quantize_fx.convert_fx(observed)
    if not _computes_quantized(quantized):
        raise Skip(
            "there is nothing to quantize: FX shows no layer or function that int8-static knows",
            "A saved program (.pt2) shows torch's inner operators only: name the eager model "
            '("module:callable") as the source.',
        )
    context.notes.append(
        f"calibrated on {len(context.calibration)} inputs for the engine {context.quantized_engine}"
    )
    return quantized


def _use_quantized_engine(engine: str) -> None:
    """Choose the kernels that int8 weights are packed for; raises Skip if torch lacks them."""
    import torch

    supported = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if engine not in supported:
        raise Skip(
            f"this torch has no quantized engine {engine}",
            f'It has {", ".join(supported)}: set [export] quantized_engine = "..." in the plan.',
        )
    torch.backends.quantized.engine = engine


def _computes_quantized(graph: Any) -> bool:
    """Tell whether a converted FX graph has a quantized layer or function, not only casts."""
    layers = {type(layer) for layer in graph.modules()}
    functions = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    return any(".quantized." in f"{kind.__module__}." for kind in layers) or any(
        name.startswith("quantized.") for name in functions
    )


def _qconfig_mapping(engine: str) -> Any:
    from torch.ao import quantization

    mapping = quantization.get_default_qconfig_mapping(engine)
    if engine == "qnnpack":
        # Upstream's default has one scale a layer, which ruins depthwise convolutions; QNNPACK
        # itself has taken a scale a channel since torch 1.6.
        mapping.set_global(_qnnpack_qconfig(_histogram()))
    return mapping


def _qnnpack_qconfig(activation: Any) -> Any:
    from torch.ao.quantization import observer, qconfig

    return qconfig.QConfig(
        activation=activation.with_args(reduce_range=False),
        weight=observer.default_per_channel_weight_observer,
    )


def _histogram() -> Any:
    from torch.ao.quantization import observer

    return observer.HistogramObserver


def _fuse_relu6(model: torch.nn.Module, graph: torch.fx.GraphModule, mapping: Any) -> None:
    """Let a convolution's own int8 range, ending at 6, do the work of the ReLU6 that follows it.

    FX fuses a ReLU into a convolution, and no ReLU6; and QNNPACK's clamp mixes up the places of
    the channels_last tensors that its convolutions return (seen with torch 1.13 and 2.13).
    """
    import torch

    class UpToSix(_histogram()):  # type: ignore[misc]
        """Observes as if clamped at 6, and clamps what later layers see in calibration."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            observed: torch.Tensor = super().forward(x.clamp(max=6))
            return observed

    nodes = graph.graph.nodes
    layers = dict(model.named_modules())
    calls = [node.target for node in nodes if node.op == "call_module"]
    for node in nodes:
        if node.op != "call_module" or type(layers[node.target]) is not torch.nn.ReLU6:
            continue
        before = node.args[0]
        if isinstance(layers.get(str(before.target)), torch.nn.BatchNorm2d):
            before = before.args[0]
        alone = calls.count(node.target) == 1 and len(before.users) == 1
        if alone and isinstance(layers.get(str(before.target)), torch.nn.Conv2d):
            parent, _, name = str(node.target).rpartition(".")
            setattr(layers[parent], name, torch.nn.ReLU().eval())
            mapping.set_module_name(str(before.target), _qnnpack_qconfig(UpToSix))


def _layers_with_weights(model: torch.nn.Module) -> List[torch.nn.Module]:
    """Return the modules that own a matrix of weights (Linear, Conv, LSTM, Embedding, ...)."""
    return [
        module
        for module in model.modules()
        if any(p.dim() >= 2 for p in module.parameters(recurse=False))
    ]
