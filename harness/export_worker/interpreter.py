"""This interpreter's torch: importing it quietly, its seeds, and the kernels that int8 is packed for.

Not here: what a model depends on (`dependencies.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
import warnings
from typing import Any

from .problems import Problem


def import_torch() -> Any:
    """Import torch, and keep its own deprecations off the user's screen (not the user's).

    Raises Problem where there is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torch
            from torch.jit import mobile  # noqa: F401
        except ImportError as error:
            raise Problem(
                f"{sys.executable} cannot import torch: {error}",
                "Install torch for that interpreter, or name another one.",
            ) from error
    for category in (DeprecationWarning, FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"torch(\.|$)")
        warnings.filterwarnings("ignore", category=category, module=r"phonebench_export\.")
    return torch


def torch_version_file() -> str:
    """Return the file that changes with every build of torch."""
    import torch

    return os.path.join(os.path.dirname(os.path.abspath(torch.__file__)), "version.py")


def prefer_quantized_engine(engine: str) -> None:
    """Have int8 weights packed for this engine, if torch has it: some models come quantized."""
    import torch

    if engine in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = engine


def set_seeds(seed: int) -> None:
    """Seed every generator that a user's code may draw from."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    if importlib.util.find_spec("numpy") is not None:
        numpy: Any = importlib.import_module("numpy")
        numpy.random.seed(seed)
