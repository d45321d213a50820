"""What each recipe does, in one table: a recipe is one function here and one line in `STEPS`.

A recipe is one or more steps joined by "+". Pruning comes first and changes the eager model; then
one format step says how the file is made (`fp32` when none is named). A step has up to two
functions: `prepare` changes the eager model before it is traced, `finish` changes the traced one.

Runs under other interpreters too: standard library and torch only, Python 3.8 syntax, and torch is
imported inside functions, because the plan checks recipe names without it.
Not here: building the model, tracing, saving (`worker.py`); the channel pruning (`pruning.py`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple

if TYPE_CHECKING:
    import torch

    Prepare = Callable[[Any, "Context"], Any]


class Skip(Exception):
    """The recipe cannot apply to this model here; says why, and the way out."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass
class Context:
    """What a step may use, and where it notes what a reader of the result should know.

    `inputs` is one real (or seeded) set of input tensors; `calibration` holds many, or is None.
    """

    inputs: Tuple[torch.Tensor, ...]
    calibration: Optional[List[Tuple[torch.Tensor, ...]]]
    quantized_engine: str
    percent: int = 0
    notes: List[str] = field(default_factory=list)


# --- prepare: eager model -> eager model -------------------------------------------------------


def prune_channels(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Remove whole channels, those of the smallest L1 norm, from the layers that allow it."""
    from . import pruning

    _refuse_script(model, "channel pruning")
    graph = _trace_by_fx(
        model,
        "channel pruning",
        "Move the data-dependent part out of the model, or prune in your own code and name the "
        "pruned model as a source of its own (docs/recipes.md).",
    )
    result = pruning.prune_channels(model, graph, context.inputs, context.percent)
    if not result.pruned:
        raise Skip("channel pruning found no channel it may safely remove: " + result.left_alone())
    context.notes.append(result.summary())
    if result.kept:
        context.notes.append("left alone: " + result.left_alone())
    return model


def prune_l1(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Zero the smallest weights of every Conv and Linear layer."""
    import torch
    from torch.nn.utils import prune

    _refuse_script(model, "pruning")
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Linear, _conv_base()))]
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


def quantize_dynamic(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Store the weights of Linear and recurrent layers as int8, activations at run time."""
    import torch
    from torch.ao import quantization

    _refuse_script(model, "quantization")
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

    _refuse_script(model, "quantization")
    if not context.calibration:
        raise Skip(
            "int8-static needs calibration data, and the plan names none",
            'Give the model calibration = "module:callable" (without a plan: --calibration '
            "module:callable), which returns typical inputs.",
        )
    _use_quantized_engine(context.quantized_engine)
    graph = _trace_by_fx(
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


def to_fp16(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Compute in half precision; inputs and outputs stay as they were."""
    import torch

    return _in_precision(model, torch.float16)


def to_bf16(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Compute in bfloat16; inputs and outputs stay as they were."""
    import torch

    return _in_precision(model, torch.bfloat16)


# --- finish: traced model -> traced model ------------------------------------------------------


def freeze(script: torch.jit.ScriptModule, context: Context) -> torch.jit.ScriptModule:
    """Fold BatchNorm and constants into the weights."""
    import torch

    frozen: torch.jit.ScriptModule = torch.jit.freeze(script.eval())
    return frozen


def optimize_for_mobile(script: torch.jit.ScriptModule, context: Context) -> torch.jit.ScriptModule:
    """Fold, fuse, and prepack the weights for XNNPACK."""
    import torch
    from torch.utils import mobile_optimizer

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


# --- the table ---------------------------------------------------------------------------------

CHANNELS, WEIGHTS, FORMAT = 1, 2, 3  # the order in which steps can follow each other


@dataclass(frozen=True)
class Step:
    """One step. `min_sqnr_db` is how close to the eager outputs it must stay; None: not judged.

    A name that ends in "-N" takes a percentage. `needs_xnnpack`: may need another interpreter.
    """

    name: str
    order: int
    min_sqnr_db: Optional[float]
    does: str
    needs: str = ""
    prepare: Optional[Callable[[Any, Context], Any]] = None
    finish: Optional[Callable[[Any, Context], Any]] = None
    needs_xnnpack: bool = False


# Why 40 dB for fp32: kernels and thread counts sum in other orders. A MobileViT with random weights
# keeps 52 dB between 1 thread and 2; a wrong kernel leaves less than 10.
STEPS = (
    Step("fp32", FORMAT, 40, "traces the model, and changes nothing"),
    Step("fp32-frozen", FORMAT, 40, "folds BatchNorm and constants", finish=freeze),
    Step("fp32-mobile", FORMAT, 40, "folds, fuses and prepacks weights for XNNPACK",
         "torch <= 2.12 (its own or mobile_python's)", finish=optimize_for_mobile,
         needs_xnnpack=True),
    Step("int8-dynamic", FORMAT, 8, "int8 weights in Linear and recurrent layers",
         "such a layer", prepare=quantize_dynamic),
    Step("int8-static", FORMAT, 8, "int8 weights and activations",
         "calibration data, an FX-traceable model", prepare=quantize_static),
    Step("fp16", FORMAT, 30, "computes in float16", "float16 kernels", prepare=to_fp16),
    Step("bf16", FORMAT, 20, "computes in bfloat16", "bfloat16 kernels", prepare=to_bf16),
    Step("prune-channels-N", CHANNELS, None, "removes N% of the channels; layers really shrink",
         "an FX-traceable model", prepare=prune_channels),
    Step("prune-l1-N", WEIGHTS, None, "zeroes N% of the weights; nothing shrinks",
         "a Conv or Linear layer", prepare=prune_l1),
)  # fmt: skip


@dataclass(frozen=True)
class ChosenStep:
    """A step as a recipe names it, with its percentage (0 where it has none)."""

    step: Step
    percent: int = 0


def parse_recipe(recipe: str) -> List[ChosenStep]:
    """Split a recipe into its steps, `fp32` added where it names no format.

    Raises ValueError for an unknown step, a step twice, or an order that makes no sense.
    """
    chosen = [_parse_step(name) for name in recipe.split("+")]
    for before, after in zip(chosen, chosen[1:]):  # noqa: B905, RUF007 (Python 3.8)
        _check_order(recipe, before.step, after.step)
    if chosen[-1].step.order != FORMAT:
        chosen.append(ChosenStep(STEPS[0]))
    return chosen


def min_sqnr_db(recipe: str) -> Optional[float]:
    """Return the least SQNR that the recipe's outputs must reach; None where it is not judged."""
    floors = [chosen.step.min_sqnr_db for chosen in parse_recipe(recipe)]
    known = [floor for floor in floors if floor is not None]
    return min(known) if len(known) == len(floors) else None


def _parse_step(name: str) -> ChosenStep:
    for step in STEPS:
        if not step.name.endswith("-N"):
            if step.name == name:
                return ChosenStep(step)
            continue
        match = re.match(re.escape(step.name[:-1]) + r"([0-9]+)\Z", name)
        if match:
            percent = int(match.group(1))
            if not 1 <= percent <= 99:
                raise ValueError(f"{name!r}: the percentage must be from 1 to 99")
            return ChosenStep(step, percent)
    names = [step.name for step in STEPS]
    generic = re.sub(r"[0-9]+\Z", "N", name) if "prun" in name else name
    near = difflib.get_close_matches(generic, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    raise ValueError(f"there is no recipe {name!r}; {hint}")


def _check_order(recipe: str, before: Step, after: Step) -> None:
    if before.name == after.name:
        raise ValueError(f"{recipe!r} names {before.name} twice")
    if before.order == after.order:
        raise ValueError(
            f"{recipe!r} joins {before.name} and {after.name}: a file has one of these formats"
        )
    if before.order > after.order:
        raise ValueError(f"{recipe!r}: {after.name} must come before {before.name}")


# --- shared by the steps -----------------------------------------------------------------------


def _refuse_script(model: Any, what: str) -> None:
    """Raise Skip if the model is already TorchScript, whose layers cannot be exchanged."""
    import torch

    if isinstance(model, torch.jit.ScriptModule):
        raise Skip(
            f"the source is TorchScript already, and {what} works on the eager model",
            'Name the eager model ("module:callable") as the source.',
        )


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


def _trace_by_fx(model: torch.nn.Module, what: str, advice: str) -> torch.fx.GraphModule:
    """Return the model's FX graph; raises Skip that names the module where FX gave up."""
    import torch

    try:
        return torch.fx.symbolic_trace(model)
    except Exception as error:
        where = "the model"
        traceback = error.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            first_argument = (frame.f_code.co_varnames or ("",))[0]
            owner = frame.f_locals.get(first_argument)
            if isinstance(owner, torch.nn.Module) and frame.f_code.co_name == "forward":
                place = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno}"
                where = f"{type(owner).__name__} ({place})"
            traceback = traceback.tb_next
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Skip(
            f"{what} needs the model's FX graph, and FX cannot trace {where}: {first_line}", advice
        ) from error


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


def _layers_with_weights(model: torch.nn.Module) -> List[torch.nn.Module]:
    """Return the modules that own a matrix of weights (Linear, Conv, LSTM, Embedding, ...)."""
    return [
        module
        for module in model.modules()
        if any(p.dim() >= 2 for p in module.parameters(recurse=False))
    ]


def _conv_base() -> Any:
    from torch.nn.modules import conv

    return conv._ConvNd
