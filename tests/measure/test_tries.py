"""Launches that do not count are made again, after the device has cooled."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

import harness.measure.launch as launch_module
from harness.cancellation import Cancellation
from harness.cli.progress import cooldown_words
from harness.cli.run import what_does_not_count
from harness.devices.base import JobStatus
from harness.errors import (
    DeviceLost,
)
from harness.measure.cooldown import Cooldown
from harness.measure.sweep import (
    create_sweep,
    is_complete,
)
from harness.schema.validity import Validity
from tests.fakes.device import (
    FakeDevice,
    device_info,
)
from tests.fakes.scene import LAUNCHES, OFTEN, Killed, Scene, remade

HOT = {"thermal_status": 2, "temperature_celsius": 45.0}


CALM = {"thermal_status": 0, "temperature_celsius": 30.0}


def test_a_launch_that_was_throttled_is_kept_and_made_again_once_the_device_is_cool(
    scene: Scene,
) -> None:
    """Readings: 1 before, 2 after the first launch; 3 and 4 while it cools; 5 before the retry."""
    scene.device.climate = lambda n: HOT if n in (2, 3, 4) else CALM
    assert scene.run()
    first = [e for e in scene.launched() if e.index == scene.launched()[0].index]
    assert [(e.attempt, e.status) for e in first] == [(1, "ok"), (2, "ok")]
    assert [e.validity.level for e in first if e.validity] == ["invalid", "valid"]
    assert first[0].validity is not None
    assert [reason.key for reason in first[0].validity.reasons] == ["status-rose"]
    assert str(first[1].file).endswith(".retry1.jsonl")
    assert all((scene.folder / str(e.file)).exists() for e in first)
    assert first[0].cooled_seconds == 0
    assert (first[1].cooled_seconds or 0) > 0
    assert first[1].before is not None
    assert first[1].before.thermal_status == 0
    waits = [step.cooldown for step in scene.seen if step.cooldown is not None]
    assert [(w.celsius, w.target_celsius, w.thermal_status) for w in waits] == [(45, 40, 2)] * 2
    assert waits[0].waited_seconds <= waits[1].waited_seconds
    assert scene.seen[-1].again == 1
    assert [step.done for step in scene.seen if step.entry] == [0, *range(1, LAUNCHES + 1)]


def test_tries_end_and_a_resumed_sweep_makes_no_more_of_them(scene: Scene) -> None:
    scene = remade(scene, "retries = 2")
    scene.device.climate = lambda n: HOT if n % 2 == 0 else CALM
    assert scene.run()
    assert len(scene.device.storage.started) == 3 * LAUNCHES
    assert {e.attempt for e in scene.launched()} == {1, 2, 3}
    assert {e.validity.level for e in scene.launched() if e.validity} == {"invalid"}
    assert is_complete(scene.read())
    assert scene.another_host().run()
    assert len(scene.device.storage.started) == 3 * LAUNCHES


def test_how_many_launches_do_not_count_is_said_in_a_line(scene: Scene) -> None:
    scene = remade(scene, "retries = 0")
    scene.device.climate = lambda n: HOT if n == 2 else {**CALM, "battery_percent": 9 + n}
    assert scene.run()
    said = what_does_not_count(scene.read())
    assert said == "4 of 4 launches do not count: low battery 3, throttled 1"
    calm = scene.another_host()
    calm.folder = create_sweep(scene.folder.parent, scene.plan, [device_info()], [])
    assert calm.run()
    assert what_does_not_count(calm.read()) == ""


def test_the_wait_for_a_device_to_cool_reads_as_people_say_it() -> None:
    assert cooldown_words(Cooldown(38.44, 35.0, 0, 40.2)) == "cooling: 38.4 -> 35.0 °C, 40 s"
    assert cooldown_words(Cooldown(None, None, 3, 0.0)) == "cooling: thermal status 3, 0 s"


def test_a_launch_that_is_taken_up_and_does_not_count_is_made_again_too(scene: Scene) -> None:
    def lose(number: int) -> None:
        raise DeviceLost("the cable was pulled")

    scene.device.on_wait = lose
    scene.device.climate = lambda n: CALM
    assert not scene.run()
    later = scene.another_host(climate=lambda n: HOT if n == 1 else CALM)
    assert later.run()
    index = scene.launched()[0].index
    first = [e for e in scene.launched() if e.index == index]
    assert [(e.attempt, e.status) for e in first] == [(1, "ok"), (2, "ok")]
    assert [e.validity.level for e in first if e.validity] == ["invalid", "valid"]
    assert [e.before.thermal_status for e in first if e.before] == [0, 0], "as when it began"
    started = [job.launch for job in scene.device.storage.started]
    assert len(started) == len(set(started)) == LAUNCHES + 1


def test_of_a_launch_that_a_dead_host_began_nobody_knows_what_was_before_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(
        device: FakeDevice, launch: str, seconds: float, cancellation: Cancellation
    ) -> JobStatus:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FakeDevice, "wait", die)
        with pytest.raises(Killed):
            scene.run()
    assert scene.another_host(climate=lambda n: HOT if n == 1 else CALM).run()
    first, second = scene.launched()[:2]
    assert (first.before, first.cooled_seconds) == (None, None)
    assert second.before is not None
    assert second.before.thermal_status == 0


def test_judging_a_launch_for_long_is_no_step_of_the_clock(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = launch_module.compare_outputs
    ahead = 0

    def compare_slowly(*args: Any) -> Any:
        nonlocal ahead
        ahead += 10_000_000_000
        return judged(*args)

    monotonic_ns = time.monotonic_ns
    monkeypatch.setattr(launch_module, "compare_outputs", compare_slowly)
    monkeypatch.setattr("harness.measure.launch.time.monotonic_ns", lambda: monotonic_ns() + ahead)
    assert scene.run()
    assert {e.validity.level for e in scene.launched() if e.validity} == {"valid"}


def test_a_launch_left_on_the_device_after_it_was_judged_is_not_collected_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host dies between the ledger's line and the device's forgetting; the retry comes later."""
    scene.device.climate = lambda n: HOT if n == 2 else CALM

    def die(device: FakeDevice, launch: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FakeDevice, "forget", die)
        with pytest.raises(Killed):
            scene.run()
    ledger = (scene.folder / "ledger.jsonl").read_bytes()
    assert scene.another_host(climate=lambda n: CALM).run()
    assert (scene.folder / "ledger.jsonl").read_bytes().startswith(ledger)
    first = [e for e in scene.launched() if e.index == scene.launched()[0].index]
    assert [e.validity.level for e in first if e.validity] == ["invalid", "valid"]
    assert scene.device.storage.jobs == {}


def test_a_reason_that_will_not_pass_is_not_tried_again(scene: Scene) -> None:
    scene.device.climate = lambda n: {"battery_percent": 10.0}
    assert scene.run()
    assert {e.attempt for e in scene.launched()} == {1}
    assert {e.validity.level for e in scene.launched() if e.validity} == {"suspect"}


def test_a_device_that_does_not_cool_is_measured_all_the_same_and_that_is_said(
    scene: Scene,
) -> None:
    scene = remade(scene, "cooldown_seconds = 0.01\nretries = 0")
    scene.device.climate = lambda n: CALM if n <= 2 else {"temperature_celsius": 45.0}
    assert scene.run()
    keys = [[r.key for r in e.validity.reasons] for e in scene.launched() if e.validity]
    assert keys == [[], *[["not-cooled"]] * (LAUNCHES - 1)]


def test_a_room_that_became_warmer_holds_nothing_up(scene: Scene) -> None:
    scene.patience = replace(OFTEN, settled_seconds=0.01)
    scene.device.climate = lambda n: CALM if n <= 2 else {"temperature_celsius": 45.0}
    assert scene.run()
    assert {e.validity.level for e in scene.launched() if e.validity} == {"valid"}


def test_ctrl_c_while_a_device_cools_stops_at_once_and_a_resumed_sweep_waits_for_the_same(
    scene: Scene,
) -> None:
    def heat(number: int) -> dict[str, Any]:
        if number == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return CALM if number == 1 else HOT

    scene.device.climate = heat
    with pytest.raises(KeyboardInterrupt):
        scene.run()
    assert len(scene.device.storage.started) == 1
    assert not is_complete(scene.read())
    later = scene.another_host(climate=lambda n: HOT if n <= 5 else CALM)
    assert later.run()
    entries = {(e.index, e.attempt): e for e in scene.launched()}
    index = scene.launched()[0].index
    first = entries[index, 1].validity
    assert first is not None
    assert first.level == "invalid"
    last = max(attempt for i, attempt in entries if i == index)
    assert (entries[index, last].cooled_seconds or 0) > 0, "the baseline is the first host's"
    assert entries[index, last].validity == Validity(level="valid")
