"""Start one export worker, watch it, and say how it ended, whatever it does.

The worker answers on a file of its own, so the user's code may print, crash, call `os._exit` or
loop for ever. Not here: what is asked of it (`model_export.py`) and what it does (the room
`export_worker/`).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.errors import ExportError
from harness.export_worker.messages import (
    Answer,
    Done,
    Failed,
    Phase,
    Request,
    read_answer,
    write_request,
)

ROOM = Path(__file__).parents[1] / "export_worker"
_POLL_SECONDS = 0.02
# What torch's C++ side says about itself: "[W1121 18:03:57.740 qlinear.cpp:251] Warning: ...".
_TORCH_WARNING = re.compile(r"\[W\S* \S+ \S+\.cpp:\d+\]")

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class WorkerRun:
    """What a worker answered. `ended` says how it died; empty if it finished its work."""

    answers: tuple[Answer, ...]
    ended: str

    def every(self, kind: type[Kind]) -> list[Kind]:
        """Return the answers of one type, in order."""
        return [answer for answer in self.answers if isinstance(answer, kind)]

    def first(self, kind: type[Kind]) -> Kind | None:
        """Return the first answer of one type."""
        return next(iter(self.every(kind)), None)

    @property
    def doing(self) -> str:
        """What the worker was about to do when it last said so."""
        phases = self.every(Phase)
        return phases[-1].doing if phases else "starting"


def run_worker(
    python: str,
    request: Request,
    folder: Path,
    *,
    timeout_seconds: float,
    on_answer: Callable[[Answer], object],
    on_print: Callable[[str], object],
) -> WorkerRun:
    """Run one worker to its end. `timeout_seconds` is the longest time without an answer.

    `on_print` gets each line that the worker's code printed (stdout and stderr alike). Raises
    ExportError if the interpreter cannot be started.
    """
    request_path, answers_path = folder / "request.json", folder / "answers.jsonl"
    request_path.write_text(write_request(request), encoding="utf-8")
    answers_path.write_bytes(b"")
    answers = _Lines(answers_path)
    printed = _Lines(folder / "printed.txt")
    collected: list[Answer] = []
    ended = ""
    with _worker(python, request_path, answers_path, printed.path) as process:
        deadline = time.monotonic() + timeout_seconds
        running, finished = True, False
        while running:
            # A worker may have finished and still be there, for threads that the model's code left.
            running = process.poll() is None and not finished
            for line in printed.new():
                text = line.decode(errors="replace")
                if not _TORCH_WARNING.match(text):
                    on_print(text)
            for line in answers.new():
                collected.append(read_answer(line))
                on_answer(collected[-1])
                finished = isinstance(collected[-1], (Done, Failed))
                deadline = time.monotonic() + timeout_seconds
            if running and time.monotonic() > deadline:
                ended = f"was stopped after {timeout_seconds:g} s without an answer"
                break
            if running:
                time.sleep(_POLL_SECONDS)
    if not ended and not finished:
        ended = _describe_end(process.returncode) + _last_words(printed.path)
    return WorkerRun(tuple(collected), ended)


@contextlib.contextmanager
def _worker(
    python: str, request: Path, answers: Path, printed: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the worker in a process group of its own, and leave nothing of it behind."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    # These belong to the harness's interpreter, and the worker's may be another one.
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS"):
        environment.pop(name, None)
    with printed.open("wb") as output:
        try:
            process = subprocess.Popen(
                [python, str(ROOM / "start.py"), str(request), str(answers)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ExportError(
                f"cannot start the interpreter {python}: {error.strerror or error}",
                "Name a Python interpreter that has torch.",
            ) from error
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Lines:
    """Whole lines as they are appended to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> list[bytes]:
        """Return the lines completed since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.splitlines()


def _describe_end(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with exit code {returncode} before it answered"
    name = signal.Signals(-returncode).name
    memory = " (the system may be short of memory)" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


def _last_words(path: Path) -> str:
    """Return the last line that was printed: often the reason."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line and not _TORCH_WARNING.match(line)]
    return f"; it last printed: {lines[-1][:300]}" if lines else ""
