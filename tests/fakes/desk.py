"""The command as a person uses it, in a folder of theirs: whole processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PHONEBENCH = [sys.executable, "-m", "harness"]

MODELS = """
import torch

def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    ).eval()

def broken() -> torch.nn.Module:
    raise RuntimeError("no weights today")
"""

SHORT_LAUNCHES = ["--set", "measure.min_iterations=5", "--set", "measure.min_seconds=0.01"]
QUICK = ["--shape", "1x1x8x8", "--rounds", "2", *SHORT_LAUNCHES]


def phonebench(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in `cwd`; it must end with `code`."""
    ended = subprocess.run(
        [*PHONEBENCH, *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def write_plan(path: Path, source: str, **measure: object) -> None:
    """Write a small plan of one model."""
    path.write_text(
        f'''
        [plan]
        name = "{path.stem}"
        rounds = 1
        [[model]]
        name = "net"
        source = "{source}"
        inputs = [{{ shape = [1, 1, 8, 8] }}]
        [measure]
        '''
        + "\n".join(f"{key} = {json.dumps(value)}" for key, value in measure.items())
    )
