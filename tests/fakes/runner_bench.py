"""A runner to try: models exported for it, jobs made for it, and what it wrote."""

from __future__ import annotations

import json
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.runners.pack import RunnerPack
from harness.schema.job import Job, Loop, TensorSource
from harness.schema.record import LaunchRecord, read_record

FEW = Loop(min_iterations=5, min_seconds=0, max_iterations=5, max_seconds=60)


ENDLESS = Loop(min_iterations=1_000_000, min_seconds=60, max_iterations=1_000_000, max_seconds=60)


IMAGE = TensorSource(shape=(1, 3, 16, 16), seed=1)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.linear = torch.nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(torch.relu(self.convolution(x)).mean((2, 3)))
        return y


@contextmanager
def deprecated_torchscript() -> Iterator[None]:
    """The lite interpreter and its exporter are deprecated upstream; we know."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(`torch\.jit|Lite Interpreter)", DeprecationWarning)
        yield


def export(module: torch.nn.Module, path: Path, *inputs: torch.Tensor) -> str:
    """Trace (or script, without inputs) a module into a .ptl; returns its path."""
    with deprecated_torchscript():
        model = torch.jit.trace(module.eval(), inputs) if inputs else torch.jit.script(module)
        model._save_for_lite_interpreter(str(path))
    return str(path)


@dataclass
class Bench:
    """A runner, a folder, and models made once."""

    pack: RunnerPack
    folder: Path
    models: dict[str, str] = field(default_factory=dict)

    def model(self, name: str, make: Callable[[Path], str]) -> str:
        if name not in self.models:
            self.models[name] = make(self.folder / f"{name}.ptl")
        return self.models[name]

    def net(self) -> str:
        return self.model("net", lambda path: export(Net(), path, torch.rand(1, 3, 16, 16)))

    def job(self, **changes: Any) -> Job:
        usual: dict[str, Any] = {
            "launch": "0001-test",
            "engine": self.pack.engine,
            "measured_pass": "latency",
            "model_file": changes.get("model_file") or self.net(),
            "threads": 1,
            "inputs": (IMAGE,),
            "warmup": FEW,
            "steady": FEW,
        }
        return Job(**{**usual, **changes})

    def paths(self, content: str) -> tuple[Path, Path]:
        job, result = self.folder / "job.json", self.folder / "result.jsonl"
        job.write_text(content)
        result.unlink(missing_ok=True)
        result.with_name("result.jsonl.partial").unlink(missing_ok=True)
        return job, result

    def run(self, content: str) -> tuple[int, LaunchRecord]:
        """Run a job to its end; returns the exit code and the whole result."""
        job, result = self.paths(content)
        done = subprocess.run([self.pack.runner, job, result], capture_output=True, check=False)
        record = read_record(result)
        assert isinstance(record, LaunchRecord), done
        return done.returncode, record

    def measure(self, **changes: Any) -> LaunchRecord:
        """Run a job that must go well."""
        code, record = self.run(self.job(**changes).model_dump_json())
        assert (code, record.end.status, record.error) == (0, "ok", None)
        return record

    def fail(self, content: str | None = None, **changes: Any) -> tuple[str, str, str]:
        """Run a job that must fail; returns kind, phase and message."""
        code, record = self.run(
            self.job(**changes).model_dump_json() if content is None else content
        )
        assert (code, record.end.status) == (1, "failed")
        assert record.error is not None
        return record.error.kind, record.error.phase, record.error.message

    def end_by(self, number: signal.Signals) -> Path:
        """Start a job that does not end by itself, and signal it while it measures."""
        job, result = self.paths(self.job(steady=ENDLESS).model_dump_json())
        with subprocess.Popen([self.pack.runner, job, result], stdout=-1, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines == ["warming up\n", "measuring\n"]
            process.send_signal(number)
            assert process.wait(20) == -number
        return result


def values(record: LaunchRecord, sample: int = 0) -> list[np.ndarray[Any, Any]]:
    return [output.values() for output in record.outputs if output.sample == sample]


def without(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda job: json.dumps({name: job[name] for name in job if name != key})
