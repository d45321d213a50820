"""What a step of a recipe is, what it is given, and what several of them ask of a model.

Not here: the steps themselves (a module a subject) and how a recipe names them (`__init__.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple

if TYPE_CHECKING:
    import torch


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


CHANNELS, WEIGHTS, PRECISION = 1, 2, 3  # the order in which steps can follow each other


@dataclass(frozen=True)
class Step:
    """One step. `min_sqnr_db` is how close to the eager outputs it must stay; None: not judged.

    A name that ends in "-N" takes a percentage. `does` and `needs` are a row of docs/recipes.md.
    `needs_xnnpack`: may need another interpreter.
    """

    name: str
    order: int
    min_sqnr_db: Optional[float]
    does: str
    needs: str = ""
    prepare: Optional[Callable[[Any, Context], Any]] = None
    finish: Optional[Callable[[Any, Context], Any]] = None
    needs_xnnpack: bool = False


def refuse_script(model: Any, what: str) -> None:
    """Raise Skip if the model is already TorchScript, whose layers cannot be exchanged."""
    import torch

    if isinstance(model, torch.jit.ScriptModule):
        raise Skip(
            f"the source is TorchScript already, and {what} works on the eager model",
            'Name the eager model ("module:callable") as the source.',
        )


def require_script(captured: Any, what: str) -> None:
    """Raise Skip if the format of the file is not made of TorchScript, which the step changes."""
    import torch

    if not isinstance(captured, torch.jit.ScriptModule):
        raise Skip(
            f"{what} works on TorchScript, and files of this format are not made of it",
            "Leave this recipe out for engines that read such files.",
        )


def trace_by_fx(model: torch.nn.Module, what: str, advice: str) -> torch.fx.GraphModule:
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
