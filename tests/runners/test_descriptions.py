"""What packs for phones are made of, as android_runner/ says it: descriptions, and CMake's toolchain files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cmake
import pytest

from harness.errors import RunnerPackError
from harness.runners.android import PHONE_ABIS
from harness.runners.descriptions import description_file, read_description
from harness.schema.engines import ENGINES
from tests.places import REPOSITORY

FOLDER = REPOSITORY / "android_runner"
GOOD = description_file("arm64-v8a").read_text()


def test_every_abi_is_described_and_every_description_is_of_one() -> None:
    assert {path.stem for path in (FOLDER / "packs").iterdir()} == set(PHONE_ABIS)


@pytest.mark.parametrize("abi", PHONE_ABIS)
def test_a_description_names_what_is_there(abi: str) -> None:
    description = read_description(description_file(abi))
    assert description.toolchain_file.is_file()
    wanted = {engine.library for engine in ENGINES.values() if engine.library}
    assert set(description.libraries) == wanted
    for file, part in {
        description.loader: "glibc",
        "libc.so.6": "glibc",
        "libstdc++.so.6": "gcc",
        "libc10.so": "torch",
    }.items():
        assert description.origin_of(file).name == part


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ('machine = "aarch64"', "", "machine: Field required"),
        ('machine = "aarch64"', "machine = aarch64", "Invalid value"),
        ('loader = "', 'looder = "', "loader: Field required"),
        ('python = "3.11"', 'python = "3.11"\npyton = "3"', "libraries.torch.wheel.pyton: Extra"),
        ('sha256 = "8f', 'sha256 = "xx', "libraries.torch.wheel.sha256: String should match"),
        ("'libopenblas'", "'libopenblas('", "parts.2.libraries: Input should be a valid regular"),
        ("libraries = ''", "libraries = 'libtorch'", "the last of the parts must be of all other"),
    ],
)
def test_a_description_that_is_wrong_is_refused_with_its_name_and_the_key(
    tmp_path: Path, right: str, wrong: str, said: str
) -> None:
    assert right in GOOD
    path = tmp_path / "arm64-v8a.toml"
    path.write_text(GOOD.replace(right, wrong))
    with pytest.raises(RunnerPackError, match=f"{path} does not describe a runner pack") as refused:
        read_description(path)
    assert said in refused.value.message


def test_a_description_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunnerPackError, match="No such file") as refused:
        read_description(tmp_path / "mips.toml")
    assert "mips.toml" in refused.value.message


# --- the NDK, as far as that goes without one ----------------------------------------------------


def configure(folder: Path, environment: dict[str, str]) -> str:
    """Configure the runner's build with the NDK's toolchain file; return what CMake says on failing."""
    command: list[str | Path] = [Path(cmake.CMAKE_BIN_DIR, "cmake"), "-S"]
    command += [REPOSITORY / "runner_core", "-B", folder / "build"]
    command += ["--toolchain", FOLDER / "cmake" / "ndk.cmake", "-DANDROID_ABI=x86_64"]
    ended = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    return " ".join(ended.stderr.split())


def test_without_an_ndk_its_toolchain_file_says_what_to_set(tmp_path: Path) -> None:
    assert "Set ANDROID_NDK in the environment" in configure(tmp_path, {})


def test_the_ndks_own_toolchain_file_is_told_what_the_programs_are_for(tmp_path: Path) -> None:
    own = tmp_path / "ndk/build/cmake/android.toolchain.cmake"
    own.parent.mkdir(parents=True)
    told = "${ANDROID_ABI} ${ANDROID_PLATFORM} ${ANDROID_STL}"
    own.write_text(f'message(FATAL_ERROR "told {told}")\n')
    said = configure(tmp_path, {"ANDROID_NDK": str(tmp_path / "ndk")})
    assert "told x86_64 android-29 c++_static" in said
