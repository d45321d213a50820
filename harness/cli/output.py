"""How a verb speaks and ends: stdout for what was asked for, stderr for the person, exit codes.

Exit codes: 0 done; 1 the gate found a regression; 2 the plan or the command line is wrong, nothing
was started; 3 the run is incomplete; 130 Ctrl-C, 141 stdout was closed early, as shells say it.
Not here: tables and progress (`terminal.py`).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import PlanError, StorageError

DONE, REGRESSION, WRONG, INCOMPLETE = 0, 1, 2, 3
CLOSED = 128 + signal.SIGPIPE


def say(text: str) -> None:
    """Print for the person; stdout stays free for what a script reads."""
    print(text, file=sys.stderr, flush=True)


def print_json(content: Any) -> None:
    """Print for a script."""
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


@contextmanager
def named_output() -> Iterator[None]:
    """Take it for a wrong command line if the file or folder to write to cannot be written."""
    try:
        yield
    except StorageError as error:
        raise PlanError(error.message, error.advice) from error
