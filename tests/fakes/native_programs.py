"""Builds the programs of `runner_core/tests/`, once for all tests.

Not here: the runners themselves, which are built as for a user (`harness/runners/`).
"""

from __future__ import annotations

from pathlib import Path

from harness.runners import build
from harness.runners.local import find_toolchain
from harness.storage.cache import cache_folder


def build_program(target: str, *, engine: str = "synthetic", standard: int = 20) -> Path:
    """Return the program of a CMake target, up to date, built as that standard of C++."""
    tools = find_toolchain(engine)
    folder = cache_folder() / "native" / f"{engine}-cpp{standard}"
    options = {
        "CMAKE_CXX_COMPILER": str(tools.compiler),
        "CMAKE_CXX_STANDARD": str(standard),
        "PHONEBENCH_TORCH": str(tools.torch or ""),
        "PHONEBENCH_JSON_INCLUDE": str(tools.json_include),
    }
    with build.locked(folder):
        build.run_cmake(tools.sources, folder, folder.with_suffix(".log"), options, [target])
    return folder / target
