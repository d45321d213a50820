"""What tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.desk import MODELS


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as a user has it: some models, and nothing else."""
    (tmp_path / "my_models.py").write_text(MODELS)
    return tmp_path
