"""Runner packs for Android phones: runner, engine, C library and its loader, in one folder.

The runner is an ordinary Linux program, linked to official libtorch libraries and started through
its own loader, so that it needs nothing of Android's C library; or it is static, where its engine
has no library. A pack is stripped and made the
same way everywhere: the same inputs give the same bytes.

    runner_lite, supervise    the programs; supervise is static
    lib/                      every library they need, and the loader
    licences/                 texts of the parts' licences
    manifest.json

Not here: fetching wheels (`wheels.py`), starting anything (`devices/android.py`).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import files as package_files
from importlib.metadata import version
from pathlib import Path

from harness.errors import RunnerPackError
from harness.runners import build
from harness.runners.build import Progress
from harness.runners.pack import (
    SUPERVISE,
    Part,
    RunnerPack,
    content_key,
    hash_files,
    is_whole,
    packs_folder,
    read_pack,
    write_manifest,
)
from harness.runners.wheels import Wheel, fetch_wheel
from harness.schema.engines import ENGINES

# The version of the last libtorch that was released for phones.
TORCH_ARM64 = Wheel(
    project="torch",
    version="2.1.2",
    python="3.11",
    platform="manylinux2014_aarch64",
    filename="torch-2.1.2-cp311-cp311-manylinux2014_aarch64.whl",
    sha256="8f32ce591616a30304f37a7d5ea80b69ca9e1b94bba7f308184bf616fdaea155",
    megabytes=84,
)

# While it is made: the wheel's files, the libraries before and after stripping.
_NEEDED_BYTES = 1 << 30


@dataclass(frozen=True)
class _Library:
    """Where the engine's library lies, with the options that its headers want. None: it has none."""

    torch: Path | None
    folders: tuple[Path, ...]
    version: str
    licences: tuple[Path, ...]
    cxx_standard: int = 20
    cxx_flags: str = ""


@dataclass(frozen=True)
class _Target:
    """How packs for one of Android's ABIs are built. `wheel`: of torch; None: the installed one."""

    machine: str
    loader: str
    wheel: Wheel | None
    find_compiler: Callable[[], Path]


def _find_arm64_compiler() -> Path:
    name = "aarch64-linux-gnu-g++"
    if found := shutil.which(name):
        return Path(found)
    raise RunnerPackError(
        f"there is no cross compiler for arm64: {name} is not installed",
        "Install it (Debian: `apt-get install g++-aarch64-linux-gnu`), or add a pack that was "
        "built elsewhere: `phonebench runners add FOLDER`.",
    )


_TARGETS = {
    "arm64-v8a": _Target("aarch64", "ld-linux-aarch64.so.1", TORCH_ARM64, _find_arm64_compiler),
    "x86_64": _Target("x86_64", "ld-linux-x86-64.so.2", None, build.find_compiler),
}
PHONE_ABIS = tuple(_TARGETS)


def build_phone(
    engine: str, abi: str, *, rebuild: bool = False, progress: Progress | None = None
) -> RunnerPack:
    """Return the runner pack for phones of an ABI, building it if the cache has none that fits.

    Two builds at the same time are one. Raises RunnerPackError for an ABI that no pack exists for,
    a missing compiler, a wheel that cannot be had, a full disk, and a build that fails.
    """
    target = find_target(engine, abi)
    compiler, sources = target.find_compiler(), build.find_sources()
    folder = phone_folder(engine, abi)
    if not rebuild and (pack := _read(folder)):
        return pack
    with build.locked(folder):
        if not rebuild and (pack := _read(folder)):
            return pack
        free = shutil.disk_usage(folder.parent).free
        if ENGINES[engine].library and free < _NEEDED_BYTES:
            raise build.no_space(folder.parent, _NEEDED_BYTES)
        with (
            tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as temporary,
            _unpacked_library(engine, target, Path(temporary, "wheel"), progress) as library,
        ):
            if progress:
                progress(f"building the {engine} runner pack for {abi} (about a minute, once)")
            work = _Work(engine, abi, target, compiler, sources, library, Path(temporary))
            pack = _make_pack(work, folder)
            if folder.exists():
                folder.rename(Path(temporary, "old"))
            Path(temporary, "ready").rename(folder)
    return pack


def phone_folder(engine: str, abi: str) -> Path:
    """Return where a pack that is built now would lie. Raises RunnerPackError if it cannot be."""
    target = find_target(engine, abi)
    key = _input_key(engine, target, target.find_compiler(), build.find_sources())
    return packs_folder() / f"{engine}-android-{abi}-{key}"


def find_target(engine: str, abi: str) -> _Target:
    """Return how packs for an ABI are built. Raises RunnerPackError if they cannot be, here."""
    build.check_engine(engine)
    if abi not in _TARGETS:
        raise RunnerPackError(
            f"there is no runner pack of the engine {engine} for phones with the ABI {abi}",
            f"There are packs for {', '.join(_TARGETS)}; `phonebench runners add` takes one of "
            "your own for these. A 32-bit phone cannot be measured.",
        )
    target = _TARGETS[abi]
    if target.wheel is None and platform.machine() != target.machine:
        raise RunnerPackError(
            f"the runner pack for {abi} is made of the installed torch, and this computer's is "
            f"for {platform.machine()}",
            f"Build it on an {target.machine} computer, and bring it here: `phonebench runners add "
            "FOLDER`.",
        )
    return target


def _read(folder: Path) -> RunnerPack | None:
    pack = read_pack(folder)
    return pack if pack and is_whole(pack) else None


def _input_key(engine: str, target: _Target, compiler: Path, sources: Path) -> str:
    """Return a hash of all that shapes a pack, this file among it."""
    if ENGINES[engine].library is None:
        library = build.installed_version("phonebench")
    elif target.wheel:
        library = target.wheel.sha256
    else:
        library = build.file_state(build.package_folder("torch") / "lib" / "libtorch_cpu.so")
    c_library = _find_library("libc.so.6", (), compiler)
    return build.input_key(
        sources, Path(__file__).read_text(encoding="utf-8"), library, build.file_state(compiler),
        build.file_state(c_library), build.installed_version("nlohmann-json"),
    )  # fmt: skip


# --- the engine's files --------------------------------------------------------------------------


@contextmanager
def _unpacked_library(
    engine: str, target: _Target, folder: Path, progress: Progress | None
) -> Iterator[_Library]:
    """Lay out what an engine is built on; the files of a wheel go away afterwards."""
    if ENGINES[engine].library is None:
        yield _Library(None, (), build.installed_version("phonebench"), ())
        return
    if target.wheel is None:
        yield _installed_torch()
        return
    wheel = target.wheel
    with zipfile.ZipFile(fetch_wheel(wheel, progress)) as archive:
        wanted = re.compile(
            r"torch/include/|torch/lib/lib(c10|torch_cpu)\.so$|torch\.libs/.|.*/(LICENSE|NOTICE)$"
        )
        archive.extractall(folder, [name for name in archive.namelist() if wanted.match(name)])
    try:
        yield _Library(
            torch=folder / "torch",
            folders=(folder / "torch/lib", folder / "torch.libs"),
            version=wheel.version,
            licences=tuple(sorted(folder.glob("*.dist-info/*"))),
            cxx_standard=17,
            cxx_flags="-D_GLIBCXX_USE_CXX11_ABI=0",  # the manylinux2014 toolchain's
        )
    finally:
        shutil.rmtree(folder)


def _installed_torch() -> _Library:
    folder = build.package_folder("torch")
    return _Library(
        torch=folder,
        folders=(folder / "lib",),
        version=build.installed_version("torch"),
        licences=_licences_of("torch"),
    )


def _licences_of(package: str) -> tuple[Path, ...]:
    """Return the licence texts at the top of a distribution's own metadata."""
    listed = [file for file in package_files(package) or () if file.parent.name == "licenses"]
    top = [file for file in listed if file.name in ("LICENSE", "NOTICE", "LICENSE.MIT")]
    return tuple(sorted(Path(str(file.locate())) for file in top))


# --- building ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """One build: what goes in, and the folder that it happens in."""

    engine: str
    abi: str
    target: _Target
    compiler: Path
    sources: Path
    library: _Library
    folder: Path

    @property
    def ready(self) -> Path:
        return self.folder / "ready"

    def tool(self, name: str) -> str:
        """Return the compiler's own strip, readelf, ..."""
        return _ask(self.compiler, f"-print-prog-name={name}")


def _make_pack(work: _Work, folder: Path) -> RunnerPack:
    """Build the programs, gather what they need, strip all, describe it. In `work.ready`."""
    programs = _compile(work, folder.with_suffix(".log"))
    (work.ready / "lib").mkdir(parents=True)
    for program in programs:
        shutil.copy(program, work.ready / program.name)
    libraries = _needed_libraries(work, programs[0])
    for name, path in libraries.items():
        shutil.copy(path, work.ready / "lib" / name)
    built = [path for path in work.ready.rglob("*") if path.is_file()]
    for path in built:
        path.chmod(0o755)
        _run([work.tool("strip"), "--strip-unneeded", str(path)])
    parts = _describe_parts(work, libraries)
    names = [p.relative_to(work.ready).as_posix() for p in work.ready.rglob("*") if p.is_file()]
    sha256, size_bytes = hash_files(work.ready, names)
    launcher = (f"lib/{work.target.loader}", "--library-path", "@/lib") if libraries else ()
    pack = RunnerPack(
        key=content_key(launcher, sha256),
        engine=work.engine,
        kind="android",
        abi=work.abi,
        folder=folder,
        engine_version=work.library.version,
        compiler=build.compiler_version(work.compiler),
        launcher=launcher,
        sha256=sha256,
        size_bytes=size_bytes,
        parts=parts,
    )
    write_manifest(pack, work.ready)
    return pack


def _compile(work: _Work, log: Path) -> tuple[Path, ...]:
    """Build the programs, without a trace of where they were built."""
    json_include = build.package_folder("nlohmann_json") / "include"
    output = work.folder / "build"
    places = {json_include: "json", work.sources: "runner_core", output: "build"}
    if work.library.torch:
        places[work.library.torch] = "torch"
    maps = " ".join(f"-ffile-prefix-map={path}={name}" for path, name in places.items())
    search = " ".join(f"-Wl,-rpath-link,{path}" for path in work.library.folders)
    options = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": work.target.machine,
        "CMAKE_CXX_COMPILER": str(work.compiler),
        "CMAKE_CXX_STANDARD": str(work.library.cxx_standard),
        "CMAKE_CXX_FLAGS": f"{work.library.cxx_flags} {maps}",
        "CMAKE_EXE_LINKER_FLAGS": f"-Wl,--build-id=none {search}",
        "CMAKE_SKIP_RPATH": "ON",
        "PHONEBENCH_TORCH": str(work.library.torch or ""),
        "PHONEBENCH_JSON_INCLUDE": str(json_include),
    }
    names = (ENGINES[work.engine].runner, SUPERVISE)
    build.run_cmake(work.sources, output, log, options, names)
    log.unlink()
    return output / names[0], output / names[1]


def _needed_libraries(work: _Work, program: Path) -> dict[str, Path]:
    """Return every shared library that a program needs, with what those need, and the loader.

    A static program needs none.
    """
    found: dict[str, Path] = {}
    waiting = _read_needed(work, program)
    if waiting:
        waiting.append(work.target.loader)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _find_library(name, work.library.folders, work.compiler)
            waiting += _read_needed(work, found[name])
    return found


def _read_needed(work: _Work, path: Path) -> list[str]:
    dynamic = _run([work.tool("readelf"), "--dynamic", "--wide", str(path)])
    return re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)


def _find_library(name: str, folders: Sequence[Path], compiler: Path) -> Path:
    """Find a library in the engine's folders, else among the compiler's own."""
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    path = Path(_ask(compiler, f"-print-file-name={name}"))
    if path.is_absolute() and path.is_file():
        return path
    raise RunnerPackError(
        f"the runner pack needs the library {name}, and it is neither beside torch nor beside "
        f"{compiler.name}",
        "A torch for CUDA needs libraries that no phone has: install the CPU build of torch.",
    )


def _ask(compiler: Path, question: str) -> str:
    return _run([str(compiler), question]).strip()


def _run(command: Sequence[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        if "No space left" in done.stderr:
            raise build.no_space(Path(command[-1]).parent)
        raise RunnerPackError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


# --- where the parts come from -------------------------------------------------------------------

_GPL_RUNTIME = "GPL-3.0-or-later WITH GCC-exception-3.1"

# The first that matches a library's name says what it is part of. What else lies beside torch's
# libraries belongs to torch.
_PARTS = (
    (r"ld-linux|lib(c|m|dl|rt|pthread)\.so", "glibc", "LGPL-2.1-or-later"),
    (r"lib(stdc\+\+|gcc_s|gomp|gfortran)[-.]", "gcc", _GPL_RUNTIME),
    (r"libopenblas", "openblas", "BSD-3-Clause"),
    (r"libarm_compute", "arm-compute-library", "MIT"),
    (r"", "torch", "BSD-3-Clause"),
)


def _describe_parts(work: _Work, libraries: dict[str, Path]) -> tuple[Part, ...]:
    """Say what each file comes from, and copy the texts of licences that are at hand."""
    texts = {
        "torch": _keep_licences(work, "torch", work.library.licences),
        "nlohmann-json": _keep_licences(work, "nlohmann-json", _licences_of("nlohmann-json")),
    }
    files: dict[tuple[str, str, str], list[str]] = {}
    for library, source in sorted(libraries.items()):
        name, licence = next((n, li) for pattern, n, li in _PARTS if re.match(pattern, library))
        part = (name, _part_version(work, name, source), licence)
        files.setdefault(part, []).append(f"lib/{library}")
    programs = (ENGINES[work.engine].runner, SUPERVISE)
    if not libraries:  # the program is static: these are inside
        licences = {name: licence for _, name, licence in _PARTS}
        for name in ("glibc", "gcc"):
            part = (name, _part_version(work, name, work.compiler), licences[name])
            files[part] = [programs[0]]
    json_version = build.installed_version("nlohmann-json")
    return (
        Part(name="phonebench", version=version("phonebench"), licence="Apache-2.0",
             files=programs),
        Part(name="nlohmann-json", version=json_version, licence="MIT", files=programs[:1],
             text=texts["nlohmann-json"]),
        *(Part(name=name, version=found, licence=licence, files=tuple(names), text=texts.get(name))
          for (name, found, licence), names in sorted(files.items())),
    )  # fmt: skip


def _part_version(work: _Work, name: str, source: Path) -> str:
    if name == "torch":
        return work.library.version
    if source.parent in work.library.folders:
        return f"as shipped with torch {work.library.version}"
    if name == "glibc":
        return _c_library_version(_find_library("libc.so.6", (), work.compiler))
    return _ask(work.compiler, "-dumpfullversion")


def _keep_licences(work: _Work, name: str, texts: Sequence[Path]) -> str | None:
    """Put a part's licence texts into one file of the pack; return its name there."""
    if not texts:
        return None
    target = work.ready / "licences" / f"{name}.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"\n".join(text.read_bytes() for text in texts))
    return target.relative_to(work.ready).as_posix()


def _c_library_version(path: Path) -> str:
    found = re.search(rb"GNU C Library \(([^)]+)\)", path.read_bytes())
    return found[1].decode() if found else "not known"
