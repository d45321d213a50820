"""The wheel: installed outside of a checkout, it measures, and all it writes has its version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness.runners.android import phone_folder
from tests.conftest import missing
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

VERSION = (REPOSITORY / "runner_core" / "version.txt").read_text().strip()
# Folders of the repository, and where they are in the wheel.
PLACES = {
    "harness": "harness",
    "runner_core": "harness/_runner_core",
    "android_runner": "harness/_android_runner",
}
MODEL = """
import torch

def net() -> torch.nn.Module:
    return torch.nn.Linear(8, 4).eval()
"""
# However busy this computer is: one launch counts for this test as it comes.
PLAN = """
[plan]
name = "one launch"
rounds = 1

[[model]]
name = "net"
source = "my_models:net"
inputs = [{ shape = [1, 8] }]

[matrix]
recipe = ["fp32"]

[measure]
passes = ["latency"]
min_iterations = 5
min_seconds = 0.1
retries = 0
cooldown_seconds = 0
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(
        "wheel",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(REPOSITORY),
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a folder of its own, which is found before the checkout."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def python(site: Path, folder: Path, *arguments: str) -> str:
    """Run Python with the installed package, in a folder that is no checkout.

    The sources are the checkout's to the byte, so a runner that tests built of those serves here.
    """
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def test_all_that_is_not_python_travels_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    for source, place in PLACES.items():
        for path in (REPOSITORY / source).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = f"{place}/{path.relative_to(REPOSITORY / source)}"
                assert packed[name] == path.read_bytes(), name
    assert not any(name.startswith(("tests/", "tools/", "examples/")) for name in packed)


def test_the_wheel_measures_outside_of_a_checkout_and_all_it_writes_has_one_version(
    site: Path, tmp_path: Path
) -> None:
    where = python(site, tmp_path, "-c", "import harness; print(harness.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    assert python(site, tmp_path, "-m", "harness", "--version") == f"phonebench {VERSION}\n"

    (tmp_path / "my_models.py").write_text(MODEL)
    (tmp_path / "plan.toml").write_text(PLAN)
    python(site, tmp_path, "-m", "harness", "run", "plan.toml", "--accept", "all", "-o", "sweeps")
    (sweep,) = (tmp_path / "sweeps").iterdir()
    assert (sweep / "report.html").is_file()
    assert _versions_in(json.loads((sweep / "sweep.json").read_text()), "harness") == {VERSION}
    headers = [first_record(path) for path in sweep.glob("launches/*/*.jsonl")]
    assert {header["runner"]["version"] for header in headers} == {VERSION}


def first_record(path: Path) -> dict[str, Any]:
    with path.open() as file:
        record: dict[str, Any] = json.loads(file.readline())
    return record


def _versions_in(content: Any, key: str) -> set[str]:
    """Return every text that stands under `key`, however deep."""
    if isinstance(content, list):
        return set().union(*(_versions_in(item, key) for item in content))
    if not isinstance(content, dict):
        return set()
    here = {content[key]} if isinstance(content.get(key), str) else set()
    return here.union(*(_versions_in(item, key) for item in content.values()))


def test_the_wheel_brings_all_that_lies_beside_the_package(site: Path, tmp_path: Path) -> None:
    code = (
        "import json, harness\n"
        "from harness.devices.android.scripts import load\n"
        "from harness.runners.android import PHONE_ABIS\n"
        "from harness.runners.build import find_sources\n"
        "from harness.runners.descriptions import description_file, read_description\n"
        "from harness.storage.shipped import shipped_folder\n"
        "found = [read_description(description_file(abi)) for abi in PHONE_ABIS]\n"
        "folder = shipped_folder('android_runner') / 'scripts'\n"
        "names = [p.relative_to(folder).with_suffix('').as_posix() for p in folder.rglob('*.sh')]\n"
        "places = [harness.__file__, str(find_sources()), *(str(d.toolchain_file) for d in found)]\n"
        "print(json.dumps([places, {name: load(name) for name in names}]))\n"
    )
    places, scripts = json.loads(python(site, tmp_path, "-c", code))
    for place in places:
        assert Path(place).is_relative_to(site)
        assert Path(place).exists()
    here = REPOSITORY / "android_runner" / "scripts"
    assert len(scripts) == len(list(here.rglob("*.sh")))
    assert all(scripts.values())


def test_a_pack_that_is_built_from_the_wheel_is_the_checkouts(site: Path, tmp_path: Path) -> None:
    if os.uname().machine != "x86_64":
        missing("this computer is no x86-64")
    build = ["-m", "harness", "runners", "build", "--engine", "synthetic", "--abi", "x86_64"]
    built = Path(python(site, tmp_path, *build).splitlines()[-1])
    assert built == phone_folder("synthetic", "x86_64"), "it is made of the same files"
    assert (built / "runner_synthetic").is_file()
