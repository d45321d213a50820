"""Run by path, under any interpreter that has torch: starts one export worker.

    python start.py REQUEST.json ANSWERS.jsonl

The folder is imported as a package of its own, so that nothing of phonebench has to be installed
there, and no module of the user's is hidden by one of these. Not here: the work (`worker.py`).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import signal
import sys
from typing import Any

PACKAGE = "phonebench_export"


def import_worker() -> Any:
    """Import worker.py as a part of the package that this folder is."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "__init__.py")
    spec = importlib.util.spec_from_file_location(PACKAGE, path, submodule_search_locations=[here])
    assert spec is not None
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    return importlib.import_module(PACKAGE + ".worker")


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it dies (Linux's prctl)."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    del sys.path[0]  # this folder
    import_worker().main(*sys.argv[1:])
