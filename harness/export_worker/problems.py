"""What goes wrong, in words: for the person whose model it is, who never wrote this code.

Not here: catching what a variant raises (`variant.py`).
"""

from __future__ import annotations

import os
import site
import sysconfig
import traceback
from typing import Any, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))


class Problem(Exception):
    """The model, its data or its file is no good: what is wrong, and the way out."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


def last_line(error: BaseException) -> str:
    """Return "Type: message (file:line, in function)", the place being the user's own code."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({_short(error.filename)}:{error.lineno})"
    if not own:
        return text
    frame = own[-1]
    return f"{text} ({_short(frame.filename)}:{frame.lineno}, in {frame.name})"


def described(value: Any) -> str:
    """Say what a value is, for an error message."""
    return "None" if value is None else f"a {type(value).__name__}"


def is_users(path: str) -> bool:
    """Tell whether a file is the user's: not the interpreter's, a package's, or one of this folder."""
    if path.startswith("<"):
        return False
    return not os.path.realpath(path).startswith((*_LIBRARIES, os.path.realpath(HERE) + os.sep))


def _short(path: str) -> str:
    root = os.getcwd()
    inside = os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)
    return os.path.relpath(path, root) if inside else path


def _library_folders() -> Tuple[str, ...]:
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages(), "/usr/lib/python3"]
    return tuple(sorted({os.path.realpath(f) + os.sep for f in folders if f}))


_LIBRARIES = _library_folders()
