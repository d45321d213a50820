"""A sweep: every launch ends with a status, whatever its device does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices.base import JobStatus
from harness.errors import (
    CommandTimeout,
    DeviceLost,
    NotSupported,
    RunnerPackError,
)
from harness.measure.sweep import (
    create_sweep,
)
from harness.schema.device import DeviceInfo
from harness.schema.job import Job
from harness.schema.plan import parse_plan
from tests.fakes.device import (
    FakeDevice,
    Storage,
    device_info,
    failed_record,
    good_record,
    wrong_record,
)
from tests.fakes.scene import LAUNCHES, PLAN, Scene, make_scene


def test_every_launch_ends_with_a_status_a_file_and_a_clean_device(scene: Scene) -> None:
    assert scene.run()
    sweep = scene.read()
    launched = [entry for entry in sweep.entries if entry.index is not None]
    assert [entry.status for entry in launched] == ["ok"] * LAUNCHES
    assert all((scene.folder / str(entry.file)).exists() for entry in launched)
    assert all(entry.fidelity is not None and entry.fidelity.exact for entry in launched)
    assert scene.device.storage.jobs == {}
    assert (scene.device.restored, scene.device.closed) == (1, 1)


def test_a_variant_that_was_not_exported_is_a_skipped_row_with_its_reason(scene: Scene) -> None:
    scene.run()
    skipped = [entry for entry in scene.read().entries if entry.status == "skipped"]
    assert [entry.case for entry in skipped] == [
        "net.int8-static.lite.t1",
        "net.int8-static.lite.t2",
    ]
    assert all(entry.error and entry.error.message == "needs calibration" for entry in skipped)


def test_running_a_finished_sweep_again_changes_nothing(scene: Scene) -> None:
    scene.run()
    ledger = (scene.folder / "ledger.jsonl").read_bytes()
    assert scene.run()
    assert (scene.folder / "ledger.jsonl").read_bytes() == ledger
    assert len(scene.device.storage.started) == LAUNCHES


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (failed_record, "RunnerFailed"),
        (wrong_record, "WrongOutput"),
        (lambda job: None, "RunnerCrashed"),
        (lambda job: good_record(job)[:-1], "RunnerCrashed"),
        (
            lambda job: good_record(job).replace(b'"duration_ns":[5', b'"duration_ns":[4'),
            "BadRecord",
        ),
        (
            lambda job: good_record(job).replace(b'"record_version":3', b'"record_version":1'),
            "BadRecord",
        ),
    ],
)
def test_a_launch_without_a_good_result_fails_alone(
    scene: Scene, answer: Callable[..., bytes | None], kind: str
) -> None:
    seen: list[str] = []

    def first_is_bad(job: Job) -> bytes | None:
        seen.append(job.launch)
        return answer(job) if len(seen) == 1 else good_record(job)

    scene.device.answer = first_is_bad
    assert not scene.run()
    launched = scene.launched()
    assert [entry.status for entry in launched] == ["failed"] + ["ok"] * (LAUNCHES - 1)
    assert launched[0].error is not None
    assert launched[0].error.kind == kind


def test_a_launch_past_its_deadline_is_killed_and_fails(scene: Scene) -> None:
    scene.device.state = JobStatus("running")
    assert not scene.run()
    launched = scene.launched()
    assert {entry.error.kind for entry in launched if entry.error} == {"RunnerTimeout"}
    assert len(scene.device.killed) == LAUNCHES


def test_a_job_that_vanishes_is_interrupted_and_tried_again(scene: Scene) -> None:
    def vanish(number: int) -> None:
        if number == 1:
            scene.device.kill(scene.device.storage.started[-1].launch)

    scene.device.on_wait = vanish
    assert scene.run()
    launched = scene.launched()
    first = [entry for entry in launched if entry.index == launched[0].index]
    assert [(entry.attempt, entry.status) for entry in first] == [(1, "interrupted"), (2, "ok")]
    assert str(first[1].file).endswith(".retry1.jsonl")


def test_a_result_that_is_whole_counts_though_its_supervisor_is_gone(scene: Scene) -> None:
    scene.device.state = JobStatus("vanished")
    assert scene.run()
    assert [(e.attempt, e.status) for e in scene.launched()] == [(1, "ok")] * LAUNCHES


def test_trouble_with_the_device_interrupts_a_launch_and_its_job_is_taken_up(scene: Scene) -> None:
    def trouble(number: int) -> None:
        if number == 2:
            raise CommandTimeout("the link stalls")

    scene.device.on_wait = trouble
    assert scene.run()
    assert [(e.attempt, e.status) for e in scene.launched()] == [(1, "ok")] * LAUNCHES
    assert len(scene.device.storage.started) == LAUNCHES


def test_a_device_that_does_not_forget_at_once_repeats_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget, calls = FakeDevice.forget, 0

    def stall_at_first(device: FakeDevice, launch: str) -> None:
        nonlocal calls
        calls += 1
        forget(device, launch)
        if calls % 2:
            raise CommandTimeout("the link stalls")

    monkeypatch.setattr(FakeDevice, "forget", stall_at_first)
    assert scene.run()
    assert [(e.attempt, e.status) for e in scene.launched()] == [(1, "ok")] * LAUNCHES
    assert scene.device.storage.jobs == {}


def test_a_device_in_trouble_twice_is_given_up_and_its_job_is_collected_later(
    scene: Scene,
) -> None:
    def trouble(number: int) -> None:
        if number in (2, 3):
            raise CommandTimeout("the link stalls")

    scene.device.on_wait = trouble
    assert not scene.run()
    assert [e.status for e in scene.launched()] == ["ok", "interrupted"]
    assert scene.another_host().run()
    assert [(e.attempt, e.status) for e in scene.launched()] == [(1, "ok")] * LAUNCHES
    assert len(scene.device.storage.started) == LAUNCHES


def test_a_case_that_the_device_cannot_run_fails_and_is_not_tried_again(scene: Scene) -> None:
    def refuse(affinity: str) -> tuple[int, ...]:
        raise NotSupported("all cores are alike", "use all")

    scene.device.resolve_cores = refuse  # type: ignore[method-assign]
    scene.folder = create_sweep(
        scene.folder.parent,
        parse_plan(PLAN.replace("threads = [1, 2]", 'affinity = ["big"]'), "fake.toml"),
        [device_info()],
        [],
    )
    assert not scene.run()
    launched = scene.launched()
    assert {(e.status, e.attempt) for e in launched} == {("failed", 1)}
    assert all(e.error and e.error.advice == "use all" for e in launched)


def test_nothing_is_measured_beside_a_job_of_another_sweep(scene: Scene) -> None:
    scene.device.storage.jobs["another-sweep-0001-1"] = JobStatus("running")
    assert not scene.run()
    assert scene.launched() == []
    assert "still runs another-sweep-0001-1" in scene.warnings[0]


def test_a_lost_device_ends_its_launches_and_a_resumed_sweep_collects_what_went_on(
    scene: Scene,
) -> None:
    def lose(number: int) -> None:
        if number == 2:
            raise DeviceLost("the cable was pulled")

    scene.device.on_wait = lose
    assert not scene.run()
    assert [e.status for e in scene.launched()] == ["ok", "interrupted"]
    later = scene.another_host()
    assert later.run()
    started = [job.launch for job in scene.device.storage.started]
    assert len(started) == len(set(started)) == LAUNCHES, "the second launch was not repeated"
    assert [e.status for e in scene.launched()] == ["ok"] * LAUNCHES


def test_one_lost_device_does_not_stop_another(tmp_path: Path) -> None:
    infos = [device_info("fake"), device_info("other")]
    scene = make_scene(tmp_path, infos)
    storages = {info.id: Storage() for info in infos}

    def open_device(info: DeviceInfo, purpose: str) -> FakeDevice:
        device = FakeDevice(info=info, storage=storages[info.id])
        if info.id == "fake":

            def lose(number: int) -> None:
                raise DeviceLost("gone")

            device.on_wait = lose
        return device

    assert not scene.run(replace(scene.services(), open_device=open_device))
    ok = [entry.device for entry in scene.read().entries if entry.status == "ok"]
    assert ok == ["other"] * LAUNCHES


def test_a_device_that_cannot_be_opened_does_not_stop_another(tmp_path: Path) -> None:
    infos = [device_info("fake"), device_info("other")]
    scene = make_scene(tmp_path, infos)

    def open_device(info: DeviceInfo, purpose: str) -> FakeDevice:
        if info.id == "fake":
            raise DeviceLost("it is not there")
        return FakeDevice(info=info)

    assert not scene.run(replace(scene.services(), open_device=open_device))
    assert [e.device for e in scene.read().entries if e.status == "ok"] == ["other"] * LAUNCHES
    assert scene.warnings == ["it is not there"]


def test_a_device_without_a_runtime_pack_does_not_stop_another(tmp_path: Path) -> None:
    infos = [device_info("fake"), device_info("other")]
    scene = make_scene(tmp_path, infos)

    def find_pack(engine: str, info: DeviceInfo) -> None:
        if info.id == "fake":
            raise RunnerPackError("there is none for it")

    services = replace(
        scene.services(),
        open_device=lambda info, purpose: FakeDevice(info=info),
        runner_pack=find_pack,  # type: ignore[arg-type]
    )
    assert not scene.run(services)
    assert [e.device for e in scene.read().entries if e.status == "ok"] == ["other"] * LAUNCHES
    assert scene.warnings == ["there is none for it"]
