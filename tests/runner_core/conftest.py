"""What tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.runners.local import build_local
from harness.runners.pack import RunnerPack
from harness.schema.engines import FORMAT_READ
from tests.fakes.runner_bench import (
    Bench,
)


@pytest.fixture(scope="module", params=FORMAT_READ)
def pack(request: pytest.FixtureRequest) -> RunnerPack:
    return build_local(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runner")


@pytest.fixture(scope="module")
def bench(pack: RunnerPack, folder: Path) -> Bench:
    return Bench(pack, folder)
