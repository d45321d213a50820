"""The runner pack for this computer: built on first use, against the installed torch if need be.

Its runner finds torch where it is installed; nothing is copied but the programs themselves.
Not here: packs that travel (`android.py`).
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.runners import build
from harness.runners.build import Progress
from harness.runners.pack import (
    PACK_FORMAT_VERSION,
    SUPERVISE,
    RunnerPack,
    hash_files,
    is_whole,
    packs_folder,
    read_pack,
    write_manifest,
)
from harness.schema.engines import ENGINES


@dataclass(frozen=True)
class Toolchain:
    """What a build needs, and where it was found. `torch` None: the engine does without."""

    sources: Path
    torch: Path | None
    engine_version: str
    json_include: Path
    compiler: Path

    @cached_property
    def key(self) -> str:
        """A hash of everything that shapes the pack.

        The compiler stands by its file's size and time: asking for its version costs 5 ms.
        """
        return build.input_key(
            self.sources, PACK_FORMAT_VERSION, self.torch, self.engine_version, self.json_include,
            build.installed_version("nlohmann-json"), build.file_state(self.compiler),
            os.environ.get("CXXFLAGS", ""),
        )  # fmt: skip


def find_toolchain(engine: str = "lite") -> Toolchain:
    """Find what a build needs. Raises RunnerPackError, naming what is missing."""
    library = ENGINES[engine].library
    return Toolchain(
        sources=build.find_sources(),
        torch=build.package_folder(library) if library else None,
        engine_version=build.installed_version(library or "phonebench"),
        json_include=build.package_folder("nlohmann_json") / "include",
        compiler=build.find_compiler(),
    )


def build_local(
    engine: str = "lite", *, rebuild: bool = False, progress: Progress | None = None
) -> RunnerPack:
    """Return the runner pack for this computer, building it if the cache has none that fits.

    Two builds at the same time are one: the second caller waits for the first. `progress` is
    called with one line at a time. Raises RunnerPackError when there is no compiler or the build
    fails, naming the log that it leaves.
    """
    build.check_engine(engine)
    tools = find_toolchain(engine)
    folder = local_folder(engine, tools)
    if not rebuild and (pack := _read(folder)):
        return pack
    with build.locked(folder):
        if not rebuild and (pack := _read(folder)):
            return pack
        if progress:
            progress(f"building the {engine} runner with {tools.compiler.name} (about 30 s, once)")
        return _build(engine, tools, folder)


def local_folder(engine: str, tools: Toolchain) -> Path:
    """Return where a pack that is built now would lie."""
    return packs_folder() / f"{engine}-{platform.machine()}-{tools.key}"


def _read(folder: Path) -> RunnerPack | None:
    pack = read_pack(folder)
    return pack if pack and is_whole(pack) else None


def _build(engine: str, tools: Toolchain, folder: Path) -> RunnerPack:
    """Build in a folder beside the pack's own, and rename what came out."""
    names = (ENGINES[engine].runner, SUPERVISE)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as temporary:
        work, ready = Path(temporary, "build"), Path(temporary, "ready")
        log = folder.with_suffix(".log")
        options = {
            "CMAKE_CXX_COMPILER": str(tools.compiler),
            "PHONEBENCH_TORCH": str(tools.torch or ""),
            "PHONEBENCH_JSON_INCLUDE": str(tools.json_include),
        }
        build.run_cmake(tools.sources, work, log, options, names)
        ready.mkdir()
        for name in names:
            shutil.copy2(work / name, ready / name)
        sha256, size_bytes = hash_files(ready, names)
        pack = RunnerPack(
            key=tools.key,
            engine=engine,
            abi=platform.machine(),
            folder=folder,
            engine_version=tools.engine_version,
            compiler=build.compiler_version(tools.compiler),
            sha256=sha256,
            size_bytes=size_bytes,
        )
        write_manifest(pack, ready)
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        ready.rename(folder)
        log.unlink()
    return pack
