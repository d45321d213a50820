"""Engine and ABI -> runtime pack: the native runner and what it needs, built, cached, verified.

A pack is a folder in the cache, named by a hash of everything that shaped it. It appears whole
(built elsewhere, then renamed) and is never changed, so it can be shared by any number of runs.
torch is located, never imported: importing it costs a second. Not here: starting a runner.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.cache import cache_folder
from harness.errors import RuntimePackError

PACK_FORMAT_VERSION = 1

Progress = Callable[[str], None]

_REMOVE = "Remove that folder; the next run builds it again."
_RUNNERS = {"lite": "runner_lite"}
_SUPERVISE = "supervise"


class RuntimePack(BaseModel):
    """One engine's runner for one ABI. `sha256` is per file name in `folder`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    key: str
    engine: str
    abi: str
    folder: Path
    engine_version: str
    compiler: str
    sha256: dict[str, str]

    @property
    def runner(self) -> Path:
        """The runner: one job file in, one result file out."""
        return self.folder / _RUNNERS[self.engine]

    @property
    def supervise(self) -> Path:
        """The program that starts the runner detached and notes how it ended."""
        return self.folder / _SUPERVISE


@dataclass(frozen=True)
class _Tools:
    """What a build needs, and where it was found."""

    sources: Path
    torch: Path
    torch_version: str
    json_include: Path
    compiler: Path

    @cached_property
    def key(self) -> str:
        """A hash of everything that shapes the pack.

        The compiler stands by its file's size and time: asking for its version costs 5 ms.
        """
        compiler = self.compiler.resolve()
        facts = compiler.stat()
        digest = hashlib.sha256()
        for part in (
            PACK_FORMAT_VERSION, self.torch, self.torch_version, self.json_include,
            _installed_version("nlohmann-json"), compiler, facts.st_size, facts.st_mtime_ns,
            os.environ.get("CXXFLAGS", ""),
        ):  # fmt: skip
            digest.update(f"{part}\0".encode())
        for path in sorted(self.sources.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(self.sources)}\0".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:24]


def pack_for(engine: str, abi: str, *, progress: Progress | None = None) -> RuntimePack:
    """Return the runtime pack of an engine for a device's ABI. Raises RuntimePackError."""
    if abi != platform.machine():
        raise RuntimePackError(
            f"there is no runtime pack of the engine {engine} for {abi}",
            f"This computer builds for {platform.machine()} only.",
        )
    return build_local(engine, progress=progress)


def build_local(
    engine: str = "lite", *, rebuild: bool = False, progress: Progress | None = None
) -> RuntimePack:
    """Return the runtime pack for this computer, building it if the cache has none that fits.

    Two builds at the same time are one: the second caller waits for the first. `progress` is
    called with one line at a time. Raises RuntimePackError when there is no compiler or the build
    fails, naming the log that it leaves.
    """
    if engine not in _RUNNERS:
        raise RuntimePackError(
            f"there is no runner for the engine {engine!r}",
            f"Engines with a runner: {', '.join(_RUNNERS)}.",
        )
    tools = _find_tools()
    folder = cache_folder() / "runtimes" / f"{engine}-{platform.machine()}-{tools.key}"
    if not rebuild and (pack := _read_manifest(folder)):
        return pack
    with _locked(folder):
        if not rebuild and (pack := _read_manifest(folder)):
            return pack
        if progress:
            progress(f"building the {engine} runner with {tools.compiler.name} (about 30 s, once)")
        return _build(engine, tools, folder)


def verify(pack: RuntimePack) -> None:
    """Check that every file of a pack is what was built. Raises RuntimePackError."""
    for name, expected in pack.sha256.items():
        path = pack.folder / name
        try:
            actual = _sha256(path)
        except OSError as error:
            raise RuntimePackError(
                f"the runtime pack {pack.folder} lacks {name}: {error.strerror}", _REMOVE
            ) from error
        if actual != expected:
            raise RuntimePackError(f"{path} was changed after it was built", _REMOVE)


def _build(engine: str, tools: _Tools, folder: Path) -> RuntimePack:
    """Build in a folder beside the pack's own, and rename what came out."""
    names = (_RUNNERS[engine], _SUPERVISE)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as temporary:
        build, ready = Path(temporary, "build"), Path(temporary, "ready")
        log = folder.with_suffix(".log")
        _run_cmake(tools, build, log)
        ready.mkdir()
        for name in names:
            shutil.copy2(build / name, ready / name)
        pack = RuntimePack(
            key=tools.key,
            engine=engine,
            abi=platform.machine(),
            folder=folder,
            engine_version=tools.torch_version,
            compiler=_compiler_version(tools.compiler),
            sha256={name: _sha256(ready / name) for name in names},
        )
        (ready / "manifest.json").write_text(pack.model_dump_json(indent=2) + "\n")
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        ready.rename(folder)
        log.unlink()
    return pack


def _run_cmake(tools: _Tools, build: Path, log: Path) -> None:
    import cmake
    import ninja

    cmake_program = str(Path(cmake.CMAKE_BIN_DIR, "cmake"))
    configure = [
        cmake_program, "-S", str(tools.sources), "-B", str(build), "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR, 'ninja')}",
        f"-DCMAKE_CXX_COMPILER={tools.compiler}",
        f"-DPHONEBENCH_TORCH={tools.torch}",
        f"-DPHONEBENCH_JSON_INCLUDE={tools.json_include}",
    ]  # fmt: skip
    compile_ = [cmake_program, "--build", str(build), "--parallel", str(os.cpu_count() or 1)]
    with log.open("wb") as output:
        for command in (configure, compile_):
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                raise RuntimePackError(
                    f"the native runner does not build: {_first_error(log)}",
                    f"The whole log is {log}. g++ 11 or newer is needed; set CXX to choose another.",
                )


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.strip() for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return errors[0] if errors else (lines[-1] if lines else "cmake said nothing")


def _find_tools() -> _Tools:
    return _Tools(
        sources=_find_sources(),
        torch=_package_folder("torch"),
        torch_version=_installed_version("torch"),
        json_include=_package_folder("nlohmann_json") / "include",
        compiler=_find_compiler(),
    )


def _find_sources() -> Path:
    """Return the runner's sources: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "runner_core", here / "_runner_core"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise RuntimePackError(
        "the native runner's sources are missing from this installation",
        "Install phonebench again, from a wheel or a checkout.",
    )


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimePackError(
            f"the Python package {name} is not installed, and the native runner is built on it",
            "Install phonebench with its requirements: `pip install phonebench`.",
        )
    return Path(spec.origin).parent


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise RuntimePackError(
            f"the Python package {package} is not installed",
            "Install phonebench with its requirements: `pip install phonebench`.",
        ) from error


def _find_compiler() -> Path:
    chosen = os.environ.get("CXX")
    for name in (chosen,) if chosen else ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return Path(found)
    raise RuntimePackError(
        f"CXX names {chosen}, which is not there" if chosen else "there is no C++ compiler",
        "Install one (Debian: `apt-get install g++`), or set CXX to its path.",
    )


def _compiler_version(compiler: Path) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [compiler.name])[0]


def _read_manifest(folder: Path) -> RuntimePack | None:
    """Return the pack in `folder`, or None if there is none that is whole and in its place."""
    try:
        pack = RuntimePack.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValidationError):
        return None
    in_place = pack.folder == folder and pack.runner.is_file() and pack.supervise.is_file()
    return pack if in_place else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise RuntimePackError(
            f"cannot write to the cache {folder.parent}: {error.strerror}",
            "Set PHONEBENCH_CACHE to a folder that can be written.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed when the file closes, whatever happens
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
