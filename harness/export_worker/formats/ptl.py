"""Files of PyTorch's lite interpreter. Not here: what the model in one does."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import Any, Dict, List, Set, Tuple

from ..interpreter import import_torch
from ..messages import Inspection
from ..problems import Problem
from ..tracing import trace

SUFFIX = ".ptl"
OPTIONS: Dict[str, Tuple[str, ...]] = {"container": ("zip", "flatbuffer")}

OLDEST_BYTECODE, NEWEST_BYTECODE = 3, 9
_VERSION = "bytecode version"
_EXPORT_AGAIN = "Export or copy it again."


def capture(model: Any, inputs: Tuple[Any, ...], memory_format: str, notes: List[str]) -> Any:
    """Trace the model."""
    return trace(model, inputs, memory_format, notes)


def save(captured: Any, path: str, options: Dict[str, str]) -> None:
    """Save a traced module for the lite interpreter."""
    # The name of the file becomes the name of the archive inside it: always the same one, so that
    # equal exports are equal files.
    plain = os.path.join(os.path.dirname(path), "model.ptl")
    captured._save_for_lite_interpreter(plain, _use_flatbuffer=options["container"] == "flatbuffer")
    os.replace(plain, path)


def load(path: str) -> Any:
    """Load a file as the lite interpreter of this torch does."""
    from torch.jit import mobile

    return mobile._load_for_lite_interpreter(path)


def run(program: Any, inputs: Tuple[Any, ...]) -> Any:
    """Run a loaded file."""
    return program(*inputs)


def read_options(path: str) -> Dict[str, str]:
    """Return the container that a file's first bytes tell of."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[4:8] == b"PTMF":
        return {"container": "flatbuffer"}
    return {"container": "zip"} if head[:4] == b"PK\x03\x04" else {}


def inspect(path: str) -> Inspection:
    """Read the container, the bytecode's version and the operators. Raises Problem."""
    size_bytes, options = os.path.getsize(path), read_options(path)
    if not size_bytes:
        raise Problem(f"{path} is empty", _EXPORT_AGAIN)
    if not options:
        raise Problem(
            f"{path} is no {SUFFIX} file: it is neither a zip archive nor a flatbuffer",
            "Save a scripted or traced module with _save_for_lite_interpreter(path).",
        )
    read = _read_archive if options["container"] == "zip" else _read_flatbuffer
    version, operators = read(path)
    return Inspection(
        size_bytes=size_bytes,
        options=options,
        operators=operators,
        is_quantized=any(operator.startswith("quantized::") for operator in operators),
        details={_VERSION: version},
    )


def check(path: str, seen: Inspection) -> None:
    """Raise Problem for a bytecode version that no known runtime reads."""
    version = seen.details[_VERSION]
    if version in range(OLDEST_BYTECODE, NEWEST_BYTECODE + 1):
        return
    raise Problem(
        f"{path} has bytecode version {version}; known are {OLDEST_BYTECODE} to {NEWEST_BYTECODE}",
        "Export it with a torch that writes one of these (2.13 writes 8), or convert it with "
        "torch.jit.mobile._backport_for_mobile.",
    )


def _read_archive(path: str) -> Tuple[int, List[str]]:
    """Return the bytecode's version and the operators that a zip archive names; needs no torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            names = [n for n in archive.namelist() if n.endswith("/bytecode.pkl")]
            if damaged:
                raise Problem(
                    f"{path} is damaged: {damaged} in it has a wrong checksum", _EXPORT_AGAIN
                )
            if not names:
                raise Problem(
                    f"{path} is TorchScript, but not for the lite interpreter: no bytecode in it",
                    "Name it .pt to have it exported, or save it with _save_for_lite_interpreter.",
                )
            bytecode = archive.read(names[0])
    except zipfile.BadZipFile as error:
        raise Problem(f"{path} is truncated or damaged: {error}", _EXPORT_AGAIN) from error
    try:
        content = _Inert(io.BytesIO(bytecode)).load()
        version = int(content[0])
        operators: Set[str] = set()
        # (version, (function, (("instructions", ...), ("operators", ((name, overload)...)...)...)...)
        for function in content[1:] if version <= NEWEST_BYTECODE else ():
            for operator in dict(function[1])["operators"]:
                operators.add(".".join(part for part in operator[:2] if part))
    except (TypeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
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


def _read_flatbuffer(path: str) -> Tuple[int, List[str]]:
    """Return the bytecode's version and the operators of a flatbuffer, which only torch can read."""
    import_torch()
    from torch.jit import _serialization

    try:
        load(path)
    except RuntimeError as error:
        # Newer torches verify a file when they load it. Only then is it safe to look into: a
        # truncated one makes `get_flatbuffer_module_info` read beyond its end.
        if "Malformed" in str(error):
            raise Problem(f"{path} is truncated or damaged: {error}", _EXPORT_AGAIN) from error
    information = _serialization.get_flatbuffer_module_info(path)
    return int(information["bytecode_version"]), sorted(information["opname_to_num_args"])
