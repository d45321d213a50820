"""What tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.device import (
    device_info,
)
from tests.fakes.scene import Scene, make_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, [device_info()])
