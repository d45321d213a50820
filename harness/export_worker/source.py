"""The user's own code: importing it, calling it, and saying where it failed.


Standard library and torch only, Python 3.8 syntax. Not here: what is done with the model.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import site
import sys
import sysconfig
import traceback
from typing import Any, Callable, Dict, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))


class Problem(Exception):
    """The model, its data or its file is no good: what is wrong, and the way out."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


def source_builder(request: Dict[str, Any]) -> Callable[[], Any]:
    """Return the function that builds the model, the same each time."""
    import torch

    source = request["source"]

    def build() -> Any:
        set_seeds(request["seed"])
        if source.endswith(".pt2"):
            model = _open_saved(source, lambda: torch.export.load(source).module())
        elif source.endswith(".pt"):
            model = _open_saved(source, lambda: torch.jit.load(source, map_location="cpu"))
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


def _open_saved(path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        kind = "ExportedProgram (.pt2)" if path.endswith(".pt2") else "TorchScript (.pt)"
        raise Problem(
            f"{path} cannot be loaded as {kind}: {last_line(error)}",
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


def last_line(error: BaseException) -> str:
    """Return "Type: message (file:line, in function)", the place being the user's own code."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_library(frame.filename) and os.path.dirname(frame.filename) != HERE
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({_short(error.filename)}:{error.lineno})"
    if not own:
        return text
    frame = own[-1]
    return f"{text} ({_short(frame.filename)}:{frame.lineno}, in {frame.name})"


def _short(path: str) -> str:
    root = os.getcwd()
    inside = os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)
    return os.path.relpath(path, root) if inside else path


def described(value: Any) -> str:
    """Say what a value is, for an error message."""
    return "None" if value is None else f"a {type(value).__name__}"


def set_seeds(seed: int) -> None:
    """Seed every generator that a user's code may draw from."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    if importlib.util.find_spec("numpy") is not None:
        numpy: Any = importlib.import_module("numpy")
        numpy.random.seed(seed)


def _library_folders() -> Tuple[str, ...]:
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages(), "/usr/lib/python3"]
    return tuple(sorted({os.path.realpath(f) + os.sep for f in folders if f}))


_LIBRARIES = _library_folders()


def is_library(path: str) -> bool:
    """Tell whether a file belongs to the interpreter or to an installed package."""
    return path.startswith("<") or os.path.realpath(path).startswith(_LIBRARIES)
