"""A host that ends at any moment loses nothing and repeats nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import harness.results.launches as launch_files
from harness.measure.sweep import (
    is_complete,
)
from harness.results.folder import append_entry
from harness.storage.files import write_whole
from tests.fakes.device import (
    FakeDevice,
    device_info,
)
from tests.fakes.scene import LAUNCHES, Killed, Scene, make_scene


def test_ctrl_c_kills_the_job_restores_the_device_and_can_be_resumed(scene: Scene) -> None:
    def press(number: int) -> None:
        if number == 3:
            scene.device.hangs = True
            os.kill(os.getpid(), signal.SIGINT)

    scene.device.on_wait = press
    with pytest.raises(KeyboardInterrupt):
        scene.run()
    assert [e.status for e in scene.launched()] == ["ok", "ok", "interrupted"]
    assert len(scene.device.killed) == 1
    assert (scene.device.restored, scene.device.closed) == (1, 1)
    assert scene.device.storage.jobs == {}
    assert scene.another_host().run()
    launched = scene.launched()
    third = [entry for entry in launched if entry.index == launched[2].index]
    assert [(entry.attempt, entry.status) for entry in third] == [(1, "interrupted"), (2, "ok")]


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, step: int, *, after: bool) -> Iterator[None]:
    """Kill the host at the n-th of all its writes and device calls, before or after it."""
    calls = 0

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step and not after:
                raise Killed
            result = function(*args, **kwargs)
            if calls == step and after:
                raise Killed
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(launch_files, "append_entry", mortal(append_entry))
        patch.setattr(launch_files, "write_whole", mortal(write_whole))
        for name in ("start", "wait", "fetch", "forget"):
            patch.setattr(FakeDevice, name, mortal(getattr(FakeDevice, name)))
        yield


@pytest.mark.parametrize("after", [False, True])
def test_kill_9_at_any_moment_neither_loses_nor_repeats_a_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for step in range(1, 200):
        place = tmp_path / str(step)
        place.mkdir()
        scene = make_scene(place, [device_info()])
        try:
            with killed_at(monkeypatch, step, after=after):
                scene.run()
        except Killed:
            pass
        else:
            assert step > 20, "the kills must have reached every step"
            return
        all_was_done = is_complete(scene.read())
        assert scene.another_host().run()
        started = [job.launch for job in scene.device.storage.started]
        assert len(started) == len(set(started)) == LAUNCHES
        launched = scene.launched()
        assert len({entry.index for entry in launched}) == len(launched) == LAUNCHES
        assert {entry.status for entry in launched} == {"ok"}
        assert len(scene.good_files()) == LAUNCHES
        assert all_was_done or scene.device.storage.jobs == {}
    pytest.fail("the sweep takes more steps than this test kills at")
