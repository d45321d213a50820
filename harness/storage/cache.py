"""Where the harness keeps what it can make again: artifacts, runner packs, jobs of this computer."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $PHONEBENCH_CACHE, else phonebench/ in the user's cache folder; it may not exist."""
    own = os.environ.get("PHONEBENCH_CACHE")
    if own:
        return Path(own).absolute()  # a resumed sweep exports in another folder
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phonebench"
