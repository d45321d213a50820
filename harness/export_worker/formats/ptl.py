"""Files of the lite interpreter: saving, loading, and looking into one without running it.


Standard library and torch only, Python 3.8 syntax. Not here: what the model in it does.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import Any, Dict, List, Set, Tuple

from ..source import Problem  # noqa: TID252 - the package's name is not known here

OLDEST_BYTECODE, NEWEST_BYTECODE = 3, 9


def save_lite(script: Any, path: str, as_flatbuffer: bool) -> None:
    """Save a traced module for the lite interpreter."""
    # The name of the file becomes the name of the archive inside it: always the same one, so that
    # equal exports are equal files.
    plain = os.path.join(os.path.dirname(path), "model.ptl")
    script._save_for_lite_interpreter(plain, _use_flatbuffer=as_flatbuffer)
    os.replace(plain, path)


def load_lite(path: str) -> Any:
    """Load a file as the lite interpreter of this torch does."""
    from torch.jit import mobile

    return mobile._load_for_lite_interpreter(path)


def inspect_ptl(path: str) -> Dict[str, Any]:
    """Look into a .ptl without loading it: container, size, bytecode version and operators.

    The last two are None for a flatbuffer, which only torch can read. Raises Problem.
    """
    with open(path, "rb") as file:
        head = file.read(8)
        size = file.seek(0, io.SEEK_END)
    seen: Dict[str, Any] = {"size_bytes": size, "bytecode_version": None, "operators": None}
    if not head:
        raise Problem(f"{path} is empty", _EXPORT_AGAIN)
    if head[4:8] == b"PTMF":
        return {"container": "flatbuffer", **seen}
    if head[:4] != b"PK\x03\x04":
        raise Problem(
            f"{path} is no .ptl file: it is neither a zip archive nor a flatbuffer",
            "Save a scripted or traced module with _save_for_lite_interpreter(path).",
        )
    seen["bytecode_version"], seen["operators"] = _read_bytecode(path)
    return {"container": "zip", **seen}


_EXPORT_AGAIN = "Export or copy it again."


def _read_bytecode(path: str) -> Tuple[int, List[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            names = [n for n in archive.namelist() if n.endswith("/bytecode.pkl")]
            if damaged:
                raise Problem(f"{path} is damaged: {damaged} in it has a wrong checksum")
            if not names:
                raise Problem(
                    f"{path} is TorchScript, but not for the lite interpreter: no bytecode in it",
                    "Name it .pt to have it exported, or save it with _save_for_lite_interpreter.",
                )
            content = _Inert(io.BytesIO(archive.read(names[0]))).load()
    except zipfile.BadZipFile as error:
        raise Problem(f"{path} is truncated or damaged: {error}", _EXPORT_AGAIN) from error
    try:
        version = int(content[0])
        operators: Set[str] = set()
        # (version, (function, (("instructions", ...), ("operators", ((name, overload)...)...)...)...)
        for function in content[1:] if version <= NEWEST_BYTECODE else ():
            for operator in dict(function[1])["operators"]:
                operators.add(".".join(part for part in operator[:2] if part))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise Problem(f"{path} has bytecode that cannot be read: {error}", _EXPORT_AGAIN) from error
    return version, sorted(operators)


class _Inert(pickle.Unpickler):
    """Reads a bytecode table; whatever code it names is not run."""

    class Anything:
        """Stands for an object of any class."""

        def __new__(cls, *_: Any) -> Any:
            return super().__new__(cls)

        def __setstate__(self, _state: Any) -> None: ...

    def find_class(self, _module: str, _name: str) -> Any:
        return self.Anything

    def persistent_load(self, _pid: Any) -> Any:
        return None


def inspect_flatbuffer(path: str) -> Dict[str, Any]:
    """Return bytecode version and operators of a flatbuffer; a damaged one may crash torch."""
    from torch.jit import _serialization

    information = _serialization.get_flatbuffer_module_info(path)
    return {
        "bytecode_version": int(information["bytecode_version"]),
        "operators": sorted(information["opname_to_num_args"]),
    }


def check_bytecode(path: str, version: int) -> None:
    """Raise Problem for a bytecode version that no known runtime reads."""
    if OLDEST_BYTECODE <= version <= NEWEST_BYTECODE:
        return
    raise Problem(
        f"{path} has bytecode version {version}; known are {OLDEST_BYTECODE} to {NEWEST_BYTECODE}",
        "Export it with a torch that writes one of these (2.13 writes 8), or convert it with "
        "torch.jit.mobile._backport_for_mobile.",
    )
