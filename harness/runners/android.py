"""Runner packs for Android phones: runner, engine, C library and its loader, in one folder.

The runner is an ordinary Linux program, linked to official libraries of its engine and started through
its own loader, so that it needs nothing of Android's C library; or it is static, where its engine has no
library. A pack is stripped and made the same way everywhere: the same inputs give the same bytes.

    runner_ENGINE, supervise  the programs; supervise is static
    lib/                      every library they need, and the loader
    licences/                 texts of the parts' licences
    manifest.json

Not here: what it is made of (`descriptions.py`, `android_runner/packs/`), and starting it
(`harness/devices/android/`).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness.errors import RunnerPackError
from harness.runners import build
from harness.runners.build import Progress
from harness.runners.descriptions import PackDescription, description_file, read_description
from harness.runners.libraries import Library, licences_of
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
from harness.schema.engines import ENGINES

PHONE_ABIS = ("arm64-v8a", "x86_64")
"""The ABIs of Android's that packs are described for, in `android_runner/packs/`."""

# While it is made: the wheel's files, the libraries before and after stripping.
_NEEDED_BYTES = 1 << 30


def build_phone(
    engine: str, abi: str, *, rebuild: bool = False, progress: Progress | None = None
) -> RunnerPack:
    """Return the runner pack for phones of an ABI, building it if the cache has none that fits.

    Two builds at the same time are one. Raises RunnerPackError for an ABI that no pack exists for,
    a missing compiler, a wheel that cannot be had, a full disk, and a build that fails.
    """
    description = find_description(engine, abi)
    compiler, sources = description.find_compiler(), build.find_sources()
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
            _lay_out_library(engine, description, Path(temporary), progress) as library,
        ):
            if progress:
                progress(f"building the {engine} runner pack for {abi} (about a minute, once)")
            work = _Work(engine, abi, description, compiler, sources, library, Path(temporary))
            pack = _make_pack(work, folder)
            if folder.exists():
                folder.rename(Path(temporary, "old"))
            work.ready.rename(folder)
    return pack


def phone_folder(engine: str, abi: str) -> Path:
    """Return where a pack that is built now would lie. Raises RunnerPackError if it cannot be."""
    description = find_description(engine, abi)
    return packs_folder() / f"{engine}-android-{abi}-{_input_key(engine, abi, description)}"


def find_description(engine: str, abi: str) -> PackDescription:
    """Return how packs for an ABI are built. Raises RunnerPackError if they cannot be, here."""
    build.check_engine(engine)
    if abi not in PHONE_ABIS:
        raise RunnerPackError(
            f"there is no runner pack of the engine {engine} for phones with the ABI {abi}",
            f"There are packs for {', '.join(PHONE_ABIS)}; `phonebench runners add` takes one of "
            "your own for these. A 32-bit phone cannot be measured.",
        )
    description = read_description(description_file(abi))
    if description.compiler is None and platform.machine() != description.machine:
        raise RunnerPackError(
            f"the runner pack for {abi} is made of the installed torch, and this computer's is "
            f"for {platform.machine()}",
            f"Build it on an {description.machine} computer, and bring it here: `phonebench runners "
            "add FOLDER`.",
        )
    return description


def _read(folder: Path) -> RunnerPack | None:
    pack = read_pack(folder)
    return pack if pack and is_whole(pack) else None


def _input_key(engine: str, abi: str, description: PackDescription) -> str:
    """Return a hash of all that shapes a pack, the files among it that say how it is made."""
    name, compiler = ENGINES[engine].library, description.find_compiler()
    library = (
        description.libraries[name].state(name) if name else build.installed_version("phonebench")
    )
    recipe = (Path(__file__), description_file(abi), description.toolchain_file)
    return build.input_key(
        build.find_sources(), *(path.read_text(encoding="utf-8") for path in recipe), library,
        build.file_state(compiler), build.file_state(_find_library("libc.so.6", (), compiler)),
        build.installed_version("nlohmann-json"),
    )  # fmt: skip


@contextmanager
def _lay_out_library(
    engine: str, description: PackDescription, folder: Path, progress: Progress | None
) -> Iterator[Library | None]:
    """Lay out what an engine is linked to; None if it needs the C library alone."""
    if name := ENGINES[engine].library:
        with description.libraries[name].lay_out(name, folder / "wheel", progress) as library:
            yield library
    else:
        yield None


# --- building ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """One build: what goes in, and the folder that it happens in."""

    engine: str
    abi: str
    description: PackDescription
    compiler: Path
    sources: Path
    library: Library | None
    folder: Path

    @property
    def ready(self) -> Path:
        """The folder that becomes the pack."""
        return self.folder / "ready"

    @property
    def programs(self) -> tuple[str, str]:
        """The names of the pack's programs, the runner first."""
        return ENGINES[self.engine].runner, SUPERVISE

    @property
    def library_folders(self) -> tuple[Path, ...]:
        """Where the engine's library and what comes with it lie."""
        return self.library.folders if self.library else ()

    @property
    def engine_version(self) -> str:
        """The version of the engine's library; an engine without one is this project's own."""
        return self.library.version if self.library else build.installed_version("phonebench")

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
    launcher = (f"lib/{work.description.loader}", "--library-path", "@/lib") if libraries else ()
    pack = RunnerPack(
        key=content_key(launcher, sha256),
        engine=work.engine,
        kind="android",
        abi=work.abi,
        folder=folder,
        engine_version=work.engine_version,
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
    options = {
        "CMAKE_TOOLCHAIN_FILE": str(work.description.toolchain_file),
        "CMAKE_CXX_COMPILER": str(work.compiler),
        "PHONEBENCH_JSON_INCLUDE": str(json_include),
    }
    flags = ""
    if work.library:
        name = work.library.name
        places[work.library.package] = name
        options[f"PHONEBENCH_{name.upper()}"] = str(work.library.package)
        options["CMAKE_CXX_STANDARD"] = str(work.library.cxx_standard)
        flags = work.library.cxx_flags
    maps = " ".join(f"-ffile-prefix-map={path}={name}" for path, name in places.items())
    search = " ".join(f"-Wl,-rpath-link,{path}" for path in work.library_folders)
    options["CMAKE_CXX_FLAGS"] = f"{flags} {maps}"
    options["CMAKE_EXE_LINKER_FLAGS"] = f"-Wl,--build-id=none {search}"
    build.run_cmake(work.sources, output, log, options, work.programs)
    log.unlink()
    runner, supervise = work.programs
    return output / runner, output / supervise


def _needed_libraries(work: _Work, program: Path) -> dict[str, Path]:
    """Return every shared library that a program needs, with what those need, and the loader.

    A static program needs none.
    """
    found: dict[str, Path] = {}
    waiting = _read_needed(work, program)
    if waiting:
        waiting.append(work.description.loader)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _find_library(name, work.library_folders, work.compiler)
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


def _describe_parts(work: _Work, libraries: dict[str, Path]) -> tuple[Part, ...]:
    """Say what each file comes from, and copy the texts of licences that are at hand."""
    texts = {
        "nlohmann-json": _keep_licences(work, "nlohmann-json", licences_of("nlohmann-json")),
    }
    if work.library:
        name = work.library.name
        texts[name] = _keep_licences(work, name, work.library.licences)
    files: dict[tuple[str, str, str], list[str]] = {}
    for library, source in sorted(libraries.items()):
        origin = work.description.origin_of(library)
        part = (origin.name, _part_version(work, origin.name, source), origin.licence)
        files.setdefault(part, []).append(f"lib/{library}")
    if not libraries:  # the program is static: these are inside
        for name in ("glibc", "gcc"):
            licence = work.description.licence_of(name)
            files[(name, _part_version(work, name, work.compiler), licence)] = [work.programs[0]]
    json_version = build.installed_version("nlohmann-json")
    return (
        Part(name="phonebench", version=version("phonebench"), licence="Apache-2.0",
             files=work.programs),
        Part(name="nlohmann-json", version=json_version, licence="MIT", files=work.programs[:1],
             text=texts["nlohmann-json"]),
        *(Part(name=name, version=found, licence=licence, files=tuple(names), text=texts.get(name))
          for (name, found, licence), names in sorted(files.items())),
    )  # fmt: skip


def _part_version(work: _Work, name: str, source: Path) -> str:
    if work.library and name == work.library.name:
        return work.library.version
    if work.library and source.parent in work.library.folders:
        return f"as shipped with {work.library.name} {work.library.version}"
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
