"""The user's own code and saved programs: how a source becomes a model, and where it failed.

Not here: what is done with the model.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Callable

from .interpreter import set_seeds
from .problems import Problem, described, last_line

# What torch itself saves, by suffix. Files that are measured as they are belong to formats/.
SAVED_PROGRAMS = {".pt2": "ExportedProgram (.pt2)", ".pt": "TorchScript (.pt)"}


def source_builder(source: str, seed: int) -> Callable[[], Any]:
    """Return the function that builds the model, the same each time."""
    import torch

    def build() -> Any:
        set_seeds(seed)
        if source.endswith(".pt2"):
            model = _open_saved(source, ".pt2", lambda: torch.export.load(source).module())
        elif source.endswith(".pt"):
            model = _open_saved(source, ".pt", lambda: torch.jit.load(source, map_location="cpu"))
        else:
            model = call_user(source, "source")
        if not isinstance(model, torch.nn.Module):
            raise Problem(
                f"{source} returned {described(model)}, which is no torch.nn.Module",
                "The callable that a source names must return the model itself.",
            )
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        if not source.endswith(".pt2"):  # an exported program has no training mode to leave
            model.eval()
        return model

    return build


def _open_saved(path: str, suffix: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise Problem(
            f"{path} cannot be loaded as {SAVED_PROGRAMS[suffix]}: {last_line(error)}",
            "Save it with torch.export.save or torch.jit.save. A pickled module or a state dict is "
            'not enough: write a "module:callable" that builds the model and loads it.',
        ) from error


def call_user(name: str, key: str) -> Any:
    """Import "module:callable" and call it. Raises Problem with the user's own frame."""
    module_name, _, attributes = name.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(missing + "."):
            raise Problem(
                f'{key} "{name}": there is no module {missing} in {sys.path[0]} or installed',
                "Modules are imported from the folder that phonebench runs in.",
            ) from error
        raise Problem(
            f'{key} "{name}": importing {module_name} failed: {last_line(error)}',
            f"Install {missing} beside phonebench.",
        ) from error
    except BaseException as error:
        _never_hide(error)
        raise Problem(
            f'{key} "{name}": importing {module_name} failed: {last_line(error)}'
        ) from error
    try:
        for attribute in attributes.split("."):
            target = getattr(target, attribute)
    except AttributeError as error:
        public = [n for n in vars(target) if not n.startswith("_") and callable(vars(target)[n])]
        raise Problem(
            f'{key} "{name}": {error}', f"Its callables: {', '.join(public[:12]) or 'none'}."
        ) from error
    if not callable(target):
        raise Problem(f'{key} "{name}" is {described(target)}, which cannot be called')
    try:
        return target()
    except BaseException as error:
        _never_hide(error)
        raise Problem(
            f'{key} "{name}" raised {last_line(error)}',
            "It is called without arguments, in the folder that phonebench runs in.",
        ) from error


def _never_hide(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error
