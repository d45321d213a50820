"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
GOLDEN = REPOSITORY / "tests" / "golden"
VIRTUAL_ANDROID = REPOSITORY / "tests" / "virtual_android"
