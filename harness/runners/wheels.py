"""Pinned wheels: fetched by pip, checked by their hash, kept in the cache.

A wheel is a zip file; one for another machine is read, never installed. With a warm cache
nothing is asked of the network. Not here: what is taken out of a wheel (`libraries.py`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from pydantic import Field

from harness.errors import RunnerPackError
from harness.runners.build import Progress, locked, no_space
from harness.schema.base import Frozen
from harness.storage.cache import cache_folder
from harness.storage.files import sha256_of


class Wheel(Frozen):
    """One file of a package index, named so that nothing else can be meant."""

    project: str
    version: str
    python: str
    platform: str
    filename: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    megabytes: int


def wheel_path(wheel: Wheel) -> Path:
    """Return where the cache keeps a wheel; it may not be there."""
    return cache_folder() / "wheels" / f"{wheel.sha256}.whl"


def fetch_wheel(wheel: Wheel, progress: Progress | None = None) -> Path:
    """Return the wheel from the cache, fetching it first if need be. Raises RunnerPackError."""
    path = wheel_path(wheel)
    with locked(path):
        if path.is_file() and sha256_of(path) == wheel.sha256:
            return path
        if progress:
            progress(f"fetching {wheel.filename} ({wheel.megabytes} MB, once)")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetching-") as temporary:
            fetched = _download(wheel, Path(temporary))
            if (actual := sha256_of(fetched)) != wheel.sha256:
                raise RunnerPackError(
                    f"{wheel.filename} is not the file that is pinned: its sha256 is {actual}, "
                    f"not {wheel.sha256}",
                    "Do not use it: find out what stands between you and the package index.",
                )
            fetched.rename(path)
    return path


def _download(wheel: Wheel, folder: Path) -> Path:
    if find_spec("pip") is None:
        raise RunnerPackError(
            f"pip is needed to fetch {wheel.filename}, and {sys.executable} has none",
            f"Run `{sys.executable} -m ensurepip`, or copy the wheel to {wheel_path(wheel)}.",
        )
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-input", "--no-deps", "--only-binary=:all:", "--implementation", "cp",
            "--platform", wheel.platform, "--python-version", wheel.python,
            "--dest", str(folder), f"{wheel.project}=={wheel.version}",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0 and (folder / wheel.filename).is_file():
        return folder / wheel.filename
    if "No space left" in done.stderr:
        raise no_space(folder.parent, wheel.megabytes << 20)
    words = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["it is not offered"]
    raise RunnerPackError(
        f"cannot download {wheel.filename}: {words[-1].removeprefix('ERROR: ')}",
        f"It is needed once. Without a network, copy the wheel to {wheel_path(wheel)}.",
    )
