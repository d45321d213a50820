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

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
VERSION = (ROOT / "runner_core" / "version.txt").read_text().strip()
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
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder), str(ROOT))
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
    for source, place in (("harness", "harness"), ("runner_core", "harness/_runner_core")):
        for path in (ROOT / source).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = f"{place}/{path.relative_to(ROOT / source)}"
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
