from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import runners
from harness.errors import RunnerPackError
from harness.runners import build, pack_for
from harness.runners.local import build_local
from harness.runners.pack import RunnerPack, verify
from harness.schema.device import DeviceInfo
from tests.conftest import require_tool
from tests.places import REPOSITORY

# A project with the runner's targets that builds in a second.
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(small LANGUAGES CXX)
add_executable(runner_lite main.cpp)
add_executable(supervise main.cpp)
"""


@pytest.fixture
def sources(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "main.cpp").write_text("int main() { return 0; }\n")
    monkeypatch.setattr(build, "find_sources", lambda: folder)
    return folder


@pytest.fixture
def compiler() -> str:
    return os.environ.get("CXX") or require_tool("c++")


def build_here(engine: str = "lite", *, rebuild: bool = False) -> tuple[RunnerPack, list[str]]:
    said: list[str] = []
    return build_local(engine, rebuild=rebuild, progress=said.append), said


def device(kind: str, abi: str) -> DeviceInfo:
    return DeviceInfo(
        id="a device", name="a device", kind=kind, fingerprint="f", system="s", abi=abi, cpu="c",
        cores=1, memory_total_bytes=1,
    )  # fmt: skip


@pytest.mark.slow
def test_a_pack_is_built_once_and_again_when_the_sources_change(
    sources: Path, compiler: str
) -> None:
    first, said = build_here()
    assert len(said) == 1
    assert "building the lite runner" in said[0]
    subprocess.run([first.runner], check=True)
    verify(first)
    assert build_here() == (first, [])
    (sources / "main.cpp").write_text("int main() { return 7; }\n")
    second, said = build_here()
    assert len(said) == 1
    assert second.key != first.key
    assert subprocess.run([second.runner], check=False).returncode == 7
    verify(first)


@pytest.mark.slow
def test_a_rebuild_replaces_the_pack_and_a_damaged_one_is_found_out(
    sources: Path, compiler: str
) -> None:
    pack, _ = build_here()
    pack.runner.write_bytes(b"changed")
    with pytest.raises(RunnerPackError, match="was changed after it was built"):
        verify(pack)
    pack.supervise.unlink()
    again, said = build_here()
    assert (again.key, len(said)) == (pack.key, 1)
    verify(again)
    forced, said = build_here(rebuild=True)
    assert (forced.key, len(said)) == (pack.key, 1)
    verify(forced)
    left = sorted(path.name for path in pack.folder.parent.iterdir())
    assert left == [pack.folder.name, f"{pack.folder.name}.lock"]


@pytest.mark.slow
def test_two_builds_at_the_same_time_are_one(sources: Path, compiler: str) -> None:
    results: list[tuple[RunnerPack, list[str]]] = []
    threads = [threading.Thread(target=lambda: results.append(build_here())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0][0] == results[1][0]
    assert sorted(len(said) for _, said in results) == [0, 1]
    verify(results[0][0])


@pytest.mark.slow
def test_a_failed_build_shows_the_first_error_and_keeps_the_log(
    sources: Path, compiler: str, own_cache: Path
) -> None:
    (sources / "main.cpp").write_text("int main() { return nothing; }\n")
    with pytest.raises(RunnerPackError, match="does not build") as caught:
        build_here()
    assert "nothing" in caught.value.message
    (log,) = (own_cache / "packs").glob("*.log")
    assert str(log) in caught.value.advice
    assert "nothing" in log.read_text()
    assert list(log.parent.glob("building-*")) == []
    (sources / "main.cpp").write_text("int main() { return 0; }\n")
    verify(build_here()[0])


def test_without_a_compiler_the_error_says_how_to_get_one(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(sources))
    with pytest.raises(RunnerPackError, match=r"no C\+\+ compiler") as caught:
        build_here()
    assert "apt-get install g++" in caught.value.advice


def test_a_compiler_that_is_named_and_not_there_is_named_in_the_error(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/no/such/c++")
    with pytest.raises(RunnerPackError, match=r"CXX names /no/such/c\+\+, which is not there"):
        build_here()


def test_a_cache_that_cannot_be_written_is_named(
    sources: Path, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONEBENCH_CACHE", "/proc/cache")
    with pytest.raises(RunnerPackError, match="cannot write to the cache") as caught:
        build_here()
    assert "PHONEBENCH_CACHE" in caught.value.advice


def test_engines_and_abis_without_a_runner_are_refused() -> None:
    with pytest.raises(RunnerPackError, match="no runner for the engine 'abacus'"):
        build_local("abacus")
    with pytest.raises(RunnerPackError, match="phones with the ABI armeabi-v7a") as caught:
        pack_for("lite", device("android", "armeabi-v7a"))
    assert "arm64-v8a, x86_64" in caught.value.advice


def test_a_phone_gets_no_pack_of_this_computer_though_their_abi_may_have_the_same_name(
    sources: Path, compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    abi = platform.machine()
    here = pack_for("lite", device("local", abi))
    assert (here.kind, here.abi) == ("local", abi)
    assert here.command_in("somewhere") == ("somewhere/runner_lite",)
    phones = here.model_copy(update={"kind": "android"})
    monkeypatch.setattr(runners, "build_phone", lambda engine, abi, progress: phones)
    for kind in ("android", "a-new-kind"):
        assert pack_for("lite", device(kind, abi)) is phones


def test_the_module_does_not_import_torch() -> None:
    code = (
        "import sys, harness.runners.local as host; host.find_toolchain().key;"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
