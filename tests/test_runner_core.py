"""The rooms of `runner_core/`: what is an operating system's own stays beneath `platform/`."""

from __future__ import annotations

import re
from pathlib import Path

RUNNER_CORE = Path(__file__).parent.parent / "runner_core"
POSIX = {"dlfcn.h", "fcntl.h", "signal.h", "sys/types.h", "unistd.h"}
LIBRARIES = ("torch/", "ATen/", "c10/", "nlohmann/")


def test_beside_the_platforms_there_is_cpp_and_posix_only() -> None:
    sources = {
        path
        for pattern in ("*.cpp", "*.h", "platform/*.h", "engines/*")
        for path in RUNNER_CORE.glob(pattern)
        if path.name != "supervise.cpp"  # a program of its own, for systems that start programs
    }
    assert RUNNER_CORE / "sampler.cpp" in sources
    for path in sources:
        headers = re.findall(r"^#include <([\w/]+\.h)>", path.read_text(), re.MULTILINE)
        assert {one for one in headers if not one.startswith(LIBRARIES)} <= POSIX, path


def test_every_platform_keeps_each_promise() -> None:
    promised = {path.stem for path in RUNNER_CORE.glob("platform/*.h")}
    platforms = [path for path in RUNNER_CORE.glob("platform/*") if path.is_dir()]
    assert platforms
    for platform in platforms:
        assert {path.stem for path in platform.glob("*.cpp")} >= promised, platform
