"""What tests of this room share."""

from __future__ import annotations

import pytest

from harness.runners.pack import RunnerPack
from tests.fakes.packs import fake_runner_pack


@pytest.fixture(scope="module")
def pack() -> RunnerPack:
    return fake_runner_pack()
