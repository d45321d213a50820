"""The folder of a sweep: damaged, changed, held, full."""

from __future__ import annotations

import fcntl
import os
import resource
from pathlib import Path

import pytest

from harness.errors import (
    StorageError,
    SweepError,
)
from harness.measure.sweep import (
    check_same_plan,
    is_complete,
)
from harness.results.folder import read_sweep
from harness.schema.plan import parse_plan
from tests.fakes.device import (
    device_info,
)
from tests.fakes.scene import LAUNCHES, PLAN, Scene


def test_a_line_torn_by_a_crash_is_not_trusted_and_swallows_no_other(scene: Scene) -> None:
    scene.run()
    ledger = scene.folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-30])
    assert scene.read().torn_lines == 1
    assert not is_complete(scene.read())
    assert scene.another_host().run()
    assert scene.read().torn_lines == 1


def test_a_changed_plan_cannot_be_resumed(scene: Scene) -> None:
    changed = parse_plan(PLAN.replace("rounds = 2", "rounds = 3"), "fake.toml")
    with pytest.raises(SweepError, match="plan differ"):
        check_same_plan(scene.read(), changed)
    check_same_plan(scene.read(), scene.plan)


def test_a_sweep_is_not_resumed_with_other_artifacts(scene: Scene) -> None:
    scene.run()
    model = scene.models[0]
    assert model.artifacts[0].manifest is not None
    other = model.artifacts[0].manifest.model_copy(update={"sha256": "cc"})
    artifact = model.artifacts[0].model_copy(update={"manifest": other})
    scene.models = (model.model_copy(update={"artifacts": (artifact, model.artifacts[1])}),)
    with pytest.raises(SweepError, match=r"other artifacts: net\.fp32"):
        scene.run()


def test_a_sweep_is_not_resumed_on_another_device(scene: Scene) -> None:
    scene.device.info = device_info(fingerprint="beef")
    assert not scene.run()
    assert scene.device.storage.started == []
    assert scene.device.closed == 1


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"sweep_version": 99}', b"\xff"])
def test_a_folder_that_is_no_sweep_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(SweepError) as error:
        read_sweep(tmp_path)
    assert str(tmp_path) in error.value.message
    assert error.value.advice


def test_a_damaged_file_of_a_sweep_is_named_in_one_line(scene: Scene) -> None:
    scene.run()
    (scene.folder / "artifacts.json").write_text("{")
    with pytest.raises(SweepError, match=r"artifacts.json is damaged: Invalid JSON") as error:
        read_sweep(scene.folder)
    assert "http" not in str(error.value)
    (scene.folder / "artifacts.json").unlink()
    assert scene.run()


def test_two_harnesses_cannot_run_one_folder(scene: Scene) -> None:
    held = os.open(scene.folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(SweepError, match="being run by another"):
        scene.run()
    os.close(held)


def test_a_full_disk_is_named_and_loses_nothing(scene: Scene) -> None:
    started = scene.device.storage.started
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(number: int) -> None:
        if number == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))

    scene.device.on_wait = fill
    try:
        with pytest.raises(StorageError) as error:
            scene.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"phonebench run --resume {scene.folder}" in error.value.advice
    assert (scene.device.restored, scene.device.closed) == (1, 1)
    assert scene.another_host().run()
    assert len({job.launch for job in started}) == len(started) == LAUNCHES
    assert len(scene.good_files()) == LAUNCHES


def test_progress_counts_up_and_ends_with_no_time_left(scene: Scene) -> None:
    scene.run()
    assert [step.done for step in scene.seen if step.entry] == list(range(1, LAUNCHES + 1))
    assert scene.seen[-1].seconds_left == 0
