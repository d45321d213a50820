"""What each recipe does, in one table: a recipe is one function in a module here and one line in `STEPS`.

A recipe is one or more steps joined by "+". Pruning comes first and changes the eager model; then
one step says in which precision it computes (`fp32` when none is named). A step has up to two
functions: `prepare` changes the eager model before it is traced, `finish` changes the traced one.

torch is imported inside functions, because the plan checks recipe names without it.
Not here: building the model, tracing, saving (`variant.py`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import List, Optional

from . import precision, pruning, quantization, torchscript
from .step import CHANNELS, PRECISION, WEIGHTS, Step

# Why 40 dB for fp32: kernels and thread counts sum in other orders. A MobileViT with random weights
# keeps 52 dB between 1 thread and 2; a wrong kernel leaves less than 10.
STEPS = (
    Step("fp32", PRECISION, 40, "traces the model, and changes nothing"),
    Step("fp32-frozen", PRECISION, 40,
         "folds BatchNorm and constants into the weights (`torch.jit.freeze`)",
         finish=torchscript.freeze),
    Step("fp32-mobile", PRECISION, 40,
         "`optimize_for_mobile`: folds, fuses, and prepacks the weights for XNNPACK",
         needs="a torch with XNNPACK: 2.12 or older",
         finish=torchscript.optimize_for_mobile, needs_xnnpack=True),
    Step("int8-dynamic", PRECISION, 8,
         "int8 weights in Linear and recurrent layers; activations are quantized as they come",
         needs="such a layer", prepare=quantization.quantize_dynamic),
    Step("int8-static", PRECISION, 8,
         "int8 weights and activations, with ranges taken from calibration data",
         needs="`calibration`, an FX-traceable model", prepare=quantization.quantize_static),
    Step("fp16", PRECISION, 30, "computes in float16; inputs and outputs stay as they are",
         needs="float16 kernels on the device", prepare=precision.to_fp16),
    Step("bf16", PRECISION, 20, "the same in bfloat16",
         needs="bfloat16 kernels on the device", prepare=precision.to_bf16),
    Step("prune-channels-N", CHANNELS, None,
         "removes N% of the channels, those with the smallest L1 norm: layers really shrink",
         needs="an FX-traceable model", prepare=pruning.prune_channels),
    Step("prune-l1-N", WEIGHTS, None,
         "zeroes the N% smallest weights of every Conv and Linear: "
         "**neither the file nor the time shrinks**",
         needs="a Conv or Linear layer", prepare=pruning.prune_l1),
)  # fmt: skip


@dataclass(frozen=True)
class ChosenStep:
    """A step as a recipe names it, with its percentage (0 where it has none)."""

    step: Step
    percent: int = 0


def parse_recipe(recipe: str) -> List[ChosenStep]:
    """Split a recipe into its steps, `fp32` added where it names no precision.

    Raises ValueError for an unknown step, a step twice, or an order that makes no sense.
    """
    chosen = [_parse_step(name) for name in recipe.split("+")]
    for before, after in zip(chosen, chosen[1:]):
        _check_order(recipe, before.step, after.step)
    if chosen[-1].step.order != PRECISION:
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
            f"{recipe!r} joins {before.name} and {after.name}: a file has one of these precisions"
        )
    if before.order > after.order:
        raise ValueError(f"{recipe!r}: {after.name} must come before {before.name}")
