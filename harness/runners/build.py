"""What every build of a runner needs: sources, packages, compilers, CMake, and a lock.

Not here: which flags and which libraries (`local.py`, `android.py`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from harness.errors import RunnerPackError
from harness.schema.engines import ENGINES
from harness.storage.locks import lock_file
from harness.storage.shipped import shipped_folder

Progress = Callable[[str], None]


def check_engine(engine: str) -> None:
    """Raise RunnerPackError unless there is a runner for this engine."""
    if engine not in ENGINES:
        raise RunnerPackError(
            f"there is no runner for the engine {engine!r}",
            f"Engines with a runner: {', '.join(ENGINES)}.",
        )


def find_sources() -> Path:
    """Return the runner's sources."""
    return shipped_folder("runner_core")


def package_folder(name: str) -> Path:
    """Return where a Python package is installed, without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise RunnerPackError(
            f"the Python package {name} is not installed, and the native runner is built on it",
            "Install phonebench with its requirements, in its checkout: `.venv/bin/pip install -e .`",
        )
    return Path(spec.origin).parent


def installed_version(package: str) -> str:
    """Return the version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise RunnerPackError(
            f"the Python package {package} is not installed",
            "Install phonebench with its requirements, in its checkout: `.venv/bin/pip install -e .`",
        ) from error


def find_compiler() -> Path:
    """Return this computer's C++ compiler: the one that CXX names, else the first there is."""
    chosen = os.environ.get("CXX")
    for name in (chosen,) if chosen else ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return Path(found)
    raise RunnerPackError(
        f"CXX names {chosen}, which is not there" if chosen else "there is no C++ compiler",
        "Install one (Debian: `apt-get install g++`), or set CXX to its path.",
    )


def compiler_version(compiler: Path) -> str:
    """Return how a compiler calls itself."""
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [compiler.name])[0]


def file_state(path: Path) -> str:
    """Return a cheap stand-in for a file's content: which file it is, its size and its time."""
    real = path.resolve()
    facts = real.stat()
    return f"{real} {facts.st_size} {facts.st_mtime_ns}"


def input_key(sources: Path, *facts: object) -> str:
    """Return a hash of all that shapes a pack: the sources, and facts such as versions."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(f"{fact}\0".encode())
    for path in sorted(sources.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(sources)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def run_cmake(
    sources: Path, build: Path, log: Path, options: Mapping[str, str], targets: Sequence[str]
) -> None:
    """Configure and build the targets. Raises RunnerPackError with the first error; the log stays."""
    import cmake
    import ninja

    program = str(Path(cmake.CMAKE_BIN_DIR, "cmake"))
    configure = [
        program, "-S", str(sources), "-B", str(build), "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR, 'ninja')}",
        *(f"-D{name}={value}" for name, value in options.items()),
    ]  # fmt: skip
    jobs = str(os.cpu_count() or 1)
    compile_ = [program, "--build", str(build), "--parallel", jobs, "--target", *targets]
    with log.open("wb") as output:
        for command in (configure, compile_):
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
            if done.returncode != 0:
                raise RunnerPackError(
                    f"the native runner does not build: {_first_error(log)}",
                    f"The whole log is {log}. g++ 11 or newer is needed; set CXX to choose another.",
                )


def _first_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.strip() for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return errors[0] if errors else (lines[-1] if lines else "cmake said nothing")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock beside `folder`: two builds of one thing at the same time are one.

    What goes wrong with files meanwhile is a RunnerPackError that names the cache.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock").open("w")
    except OSError as error:
        raise RunnerPackError(
            f"cannot write to the cache {folder.parent}: {error.strerror}",
            "Set PHONEBENCH_CACHE to a folder that can be written.",
        ) from error
    with lock:
        lock_file(lock, wait=True)  # freed when the file closes, whatever happens
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise no_space(folder.parent) from error


def no_space(folder: Path, needed_bytes: int = 0) -> RunnerPackError:
    """Make the error of a disk that is full."""
    wanted = f" ({needed_bytes >> 20} MB are needed)" if needed_bytes else ""
    return RunnerPackError(
        f"the disk is full: no space left in {folder}{wanted}",
        "Free some space, or set PHONEBENCH_CACHE to a folder on another disk. "
        "`phonebench runners list` shows the packs and their sizes, `runners remove` deletes one.",
    )
