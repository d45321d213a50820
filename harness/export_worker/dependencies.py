"""What an export depends on: the local files that were read, and the versions of packages.

Not here: deciding what is reused (the host's `model_export.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import time
from typing import Any, Dict, List, Set

from .interpreter import torch_version_file
from .problems import is_users

STARTED_UNIX = time.time()


class OpenedFiles:
    """Notes the local files that this process reads, from now on.

    Files of the interpreter and of installed packages are left out: for these, the metadata of
    their distributions counts, which changes with every version.
    """

    def __init__(self, folder: str) -> None:
        self.ignored = (os.path.realpath(folder) + os.sep, "/proc/", "/sys/", "/dev/")
        self.read: Set[str] = set()
        self.written: Set[str] = set()
        sys.addaudithook(self._audit)
        self._follow_native_readers()

    def add(self, path: Any) -> None:
        """Note one file that was read."""
        with contextlib.suppress(TypeError, ValueError):
            self.read.add(os.path.abspath(os.fsdecode(path)))

    def _audit(self, event: str, arguments: Any) -> None:
        if event != "open" or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.written.add(os.path.abspath(os.fsdecode(arguments[0])))
        else:
            self.add(arguments[0])

    def _follow_native_readers(self) -> None:
        """Note what readers outside Python open: no audit event tells of these."""
        import torch

        load = torch.jit.load

        def noted_load(f: Any, *arguments: Any, **keywords: Any) -> Any:
            self.add(f)
            return load(f, *arguments, **keywords)

        torch.jit.load = noted_load
        if importlib.util.find_spec("safetensors") is None:
            return
        safetensors: Any = importlib.import_module("safetensors")
        safe_open = safetensors.safe_open

        def noted_open(filename: Any, *arguments: Any, **keywords: Any) -> Any:
            self.add(filename)
            return safe_open(filename, *arguments, **keywords)

        safetensors.safe_open = noted_open

    def digests(self) -> Dict[str, str]:
        """Return each file with the sha256 of its content.

        A file that was changed after this process began has no digest (""): nobody can say which
        of its contents was used, so nothing that depends on it is ever taken from the cache.
        """
        modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        local = {os.path.abspath(path) for path in modules if isinstance(path, str)}
        found: Dict[str, str] = {}
        for path in sorted((local | self.read) - self.written):
            path = os.path.realpath(path)
            if path.endswith(".pyc") or path.startswith(self.ignored) or not is_users(path):
                continue
            if not os.path.isfile(path):
                continue
            changed = os.stat(path).st_mtime > STARTED_UNIX
            found[path] = "" if changed else sha256_of(path)
        for path in [torch_version_file(), *_distribution_files()]:
            found[os.path.realpath(path)] = sha256_of(path)
        return found


def _distribution_files() -> List[str]:
    """Return the METADATA file of every distribution that a loaded module belongs to."""
    from importlib import metadata

    owners = metadata.packages_distributions()
    imported = {name.partition(".")[0] for name in list(sys.modules)}
    names = {owner for name in imported for owner in owners.get(name, ())}
    files = [
        os.path.join(str(getattr(metadata.distribution(name), "_path", "")), "METADATA")
        for name in names
    ]
    return [path for path in files if os.path.isfile(path)]


def identity_of(dependencies: Dict[str, str], *paths: str) -> str:
    """Return one hash for what was read and what came of it (also if the model is not seeded)."""
    parts = [json.dumps(dependencies, sort_keys=True), *[sha256_of(path) for path in paths]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def sha256_of(path: str) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
