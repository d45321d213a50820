"""The examples run as they are, on a sweep that anybody could have made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.sweeps import Shape, write_sweep
from tests.places import REPOSITORY

SHAPE = Shape(
    recipes=("fp32", "int8-static"), rounds=4, samples=40, passes=("latency", "memory", "energy"),
    not_valid_every=4,
)  # fmt: skip


@pytest.mark.parametrize("named", [True, False], ids=["named", "the newest"])
def test_a_sweep_is_looked_at_from_loading_to_a_picture(tmp_path: Path, named: bool) -> None:
    folder = write_sweep(tmp_path / "sweeps" / "mine", SHAPE)
    script = REPOSITORY / "examples" / "look_at_a_sweep.py"
    ended = subprocess.run(
        [sys.executable, "-W", "error", script, *([folder] if named else [])],
        cwd=tmp_path, text=True, capture_output=True, check=False,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "launches do not count" in ended.stdout
    assert "digits on local: int8-static is faster than fp32 by a factor of" in ended.stdout
    assert "followed rss, swap" in ended.stdout
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
