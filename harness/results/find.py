"""Which sweep is meant where none is named. Not here: reading it (`folder.py`)."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import SweepError


def find_newest(parent: Path) -> Path:
    """Return the folder of the sweep under `parent` that was begun last. Raises SweepError."""
    newest = max(parent.glob("*/sweep.json"), key=_begun_unix, default=None)
    if newest is None:
        raise SweepError(
            f"there is no sweep under {parent}/",
            "`phonebench run` makes one; name the folder of one that lies elsewhere.",
        )
    return newest.parent


def _begun_unix(sweep_json: Path) -> float:
    """Return when a sweep was begun; of a file that does not tell, a time before all others."""
    try:
        return float(json.loads(sweep_json.read_bytes())["created_unix"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
