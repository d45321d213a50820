"""The sweep, driven through every fault that it promises to survive, on a device in memory."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.measure.device_run as device_run
import harness.measure.launch as launch_module
import harness.results.launches as launch_files
from harness.analysis.energy import measure_energy
from harness.cancellation import Cancellation
from harness.cli.progress import cooldown_words
from harness.cli.run import what_does_not_count
from harness.devices.base import JobStatus
from harness.errors import (
    BadRecord,
    CommandTimeout,
    DeviceLost,
    EnergyRefused,
    MeterError,
    NotSupported,
    RunnerPackError,
    StorageError,
    SweepError,
)
from harness.measure.charging import EnergyPass
from harness.measure.cooldown import Cooldown
from harness.measure.device_run import Services
from harness.measure.patience import Patience
from harness.measure.progress import Progress
from harness.measure.sweep import (
    Unfinished,
    check_same_plan,
    count_unfinished,
    create_sweep,
    hold,
    is_complete,
    run_sweep,
)
from harness.results.folder import Sweep, append_entry, read_sweep
from harness.results.launches import read_sidecar
from harness.schema.artifact import Artifact, CheckTensor, ExportedModel, Manifest
from harness.schema.device import DeviceInfo
from harness.schema.energy import EnergyTrouble
from harness.schema.job import Job
from harness.schema.plan import Plan, parse_plan
from harness.schema.power import PowerSource
from harness.schema.record import LaunchRecord, Trace, parse_sidecar, read_record, write_sidecar
from harness.schema.sweep import LedgerEntry
from harness.schema.validity import Validity
from harness.storage.files import write_whole
from tests.fakes.device import (
    OUTPUT,
    FakeDevice,
    Storage,
    device_info,
    failed_record,
    good_record,
    wrong_record,
)
from tests.fakes.energy import Load, as_bytes, launch, rapl

PLAN = """
[plan]
name = "fake"
rounds = 2
devices = ["fake"]
[[model]]
name = "net"
source = "nowhere:net"
inputs = [{ shape = [1, 3] }]
[matrix]
recipe = ["fp32", "int8-static"]
threads = [1, 2]
[measure]
passes = ["latency"]
"""
LAUNCHES = 2 * 2  # rounds and thread counts; int8-static is skipped
OFTEN = Patience(first_pause_seconds=0.001, longest_pause_seconds=0.001)
"""Asks a device often whether it is cool: it is a made-up one."""


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@dataclass
class Scene:
    """A sweep folder and what a host would use on it; a new host can come at any time."""

    folder: Path
    plan: Plan
    device: FakeDevice
    models: tuple[ExportedModel, ...]
    patience: Patience = OFTEN
    seen: list[Progress] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def services(self) -> Services:
        return Services(
            open_device=lambda info, purpose: self.device,
            runner_pack=lambda engine, info: None,  # type: ignore[arg-type,return-value]
            observe=self.seen.append,
            warn=self.warnings.append,
            patience=self.patience,
        )

    def run(self, services: Services | None = None) -> bool:
        with hold(self.folder) as sweep:
            run_sweep(sweep, self.models, services or self.services())
        return is_complete(self.read())

    def another_host(self, **changes: object) -> Scene:
        """Return the scene as a new host finds it: the folder and the device's storage stay."""
        device = FakeDevice(info=self.device.info, storage=self.device.storage, **changes)  # type: ignore[arg-type]
        return Scene(self.folder, self.plan, device, self.models, self.patience)

    def read(self) -> Sweep:
        return read_sweep(self.folder)

    def launched(self) -> list[LedgerEntry]:
        return [entry for entry in self.read().entries if entry.index is not None]

    def good_files(self) -> list[Path]:
        files = sorted(self.folder.glob("launches/*/*.jsonl"))
        return [f for f in files if isinstance(read_record(f), LaunchRecord)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, [device_info()])


def make_scene(tmp_path: Path, infos: list[DeviceInfo]) -> Scene:
    plan = parse_plan(PLAN, "fake.toml")
    folder = create_sweep(tmp_path / "sweeps", plan, infos, ["phonebench", "run", "fake.toml"])
    return Scene(folder, plan, FakeDevice(), (exported(tmp_path),))


def exported(tmp_path: Path) -> ExportedModel:
    (tmp_path / "checks.bin").write_bytes(bytes(12))
    (tmp_path / "net.ptl").write_bytes(b"a model")
    np.savez(tmp_path / "reference.npz", allow_pickle=False, **{"0/0": OUTPUT})
    manifest = Manifest(
        sha256="aa",
        size_bytes=7,
        details={},
        operators=(),
        parameters=1,
        nonzero_parameters=1,
        flops=1,
        torch_version="0",
        python_version="0",
        recipe="fp32",
        format="ptl",
        options={"container": "zip"},
        memory_format="contiguous",
        quantized_engine=None,
        seed=0,
        export_seconds=0.0,
        created_unix=0.0,
    )
    good = Artifact(
        variant="net.fp32",
        model="net",
        recipe="fp32",
        format="ptl",
        options={"container": "zip"},
        memory_format="contiguous",
        status="ok",
        path=tmp_path / "net.ptl",
        manifest=manifest,
        min_sqnr_db=60.0,
    )
    refused = Artifact(
        variant="net.int8-static",
        model="net",
        recipe="int8-static",
        format="ptl",
        options={"container": "zip"},
        memory_format="contiguous",
        status="skipped",
        reason="needs calibration",
        advice="give it some",
    )
    return ExportedModel(
        name="net",
        status="ok",
        checks_path=tmp_path / "checks.bin",
        checks_sha256="bb",
        checks=((CheckTensor(shape=(1, 3), dtype="float32", offset_bytes=0),),),
        reference_path=tmp_path / "reference.npz",
        artifacts=(good, refused),
    )


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
            lambda job: good_record(job).replace(b'"record_version":2', b'"record_version":1'),
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


HOT = {"thermal_status": 2, "temperature_celsius": 45.0}
CALM = {"thermal_status": 0, "temperature_celsius": 30.0}


def remade(scene: Scene, measure: str, **device: Any) -> Scene:
    """Return the scene with other settings of one launch, and another device."""
    passes = "" if "passes" in measure else '\npasses = ["latency"]'
    plan = parse_plan(PLAN.replace('passes = ["latency"]', measure + passes), "fake.toml")
    folder = create_sweep(scene.folder.parent, plan, [device_info()], ["phonebench"])
    return Scene(folder, plan, FakeDevice(**device), scene.models)


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


@dataclass
class MadeUpRecorder:
    """Records a rail, unless it is told what goes wrong."""

    trouble: str = ""
    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")
        if self.trouble == "start":
            raise MeterError("the meter is gone")

    def stop(self) -> tuple[Trace, ...]:
        self.calls.append("stop")
        if self.trouble == "stop":
            raise MeterError("the meter is gone")
        return (RAIL,)


RAIL = Trace(type="trace", name="rail:CPU", unit="uJ", time_ns=[1, 2], values=[0.0, 5.0])
RAILS = PowerSource(kind="rails", name="rails: CPU")
ENERGY = 'passes = ["latency", "energy"]\nretries = 0\nbaseline_seconds = 1\nenergy_seconds = 5'


def test_energy_is_recorded_beside_the_launch_and_stored_with_its_source(scene: Scene) -> None:
    recorder = MadeUpRecorder()
    scene = remade(scene, ENERGY, source=RAILS, recorder_of=lambda source: recorder)
    assert scene.run()
    energy = [e for e in scene.launched() if e.measured_pass == "energy"]
    assert len(energy) == LAUNCHES
    assert recorder.calls == ["start", "stop"] * LAUNCHES
    for entry in energy:
        assert entry.power == RAILS
        assert str(entry.sidecar_file).endswith(f"{entry.case}.sidecar.jsonl")
        assert read_sidecar(scene.folder, entry) == ((RAIL,), "")
    jobs = [job for job in scene.device.storage.started if job.measured_pass == "energy"]
    assert {job.baseline_seconds for job in jobs} == {1.0}
    assert {(j.steady.min_seconds, j.steady.max_seconds) for j in jobs} == {(5.0, 5.0)}


def answer_with(record: LaunchRecord) -> Callable[[Job], bytes]:
    """Return a runner that always comes back with this record, as the launch that it was asked for."""

    def answer(job: Job) -> bytes:
        header = record.header.model_copy(update={"launch": job.launch, "job": job})
        return as_bytes(replace(record, header=header))

    return answer


def test_the_energy_by_which_a_launch_was_judged_is_in_its_line_of_the_ledger(scene: Scene) -> None:
    load = Load(block=10.0, baseline=5.0)
    source = PowerSource(kind="rapl", name="rapl", wraps_at=1e12)
    worked = launch(load, tuple(rapl(load.watts(), 1e12)))
    for record in (worked, launch(load)):
        told = remade(scene, ENERGY, source=source, answer=answer_with(record))
        told.models = (scene.models[0].model_copy(update={"reference_path": None}),)
        told.run()
        for entry in told.launched():
            assert entry.energy == (
                measure_energy(record, (), source) if entry.measured_pass == "energy" else None
            )
            if isinstance(entry.energy, EnergyTrouble):
                assert entry.validity is not None
                assert entry.energy.text in [reason.text for reason in entry.validity.reasons]


@pytest.mark.parametrize("trouble", ["start", "stop"])
def test_a_recorder_in_trouble_does_not_end_the_launch(scene: Scene, trouble: str) -> None:
    recorder = MadeUpRecorder(trouble)
    scene = remade(scene, ENERGY, source=RAILS, recorder_of=lambda source: recorder)
    assert scene.run()
    energy = [e for e in scene.launched() if e.measured_pass == "energy"]
    assert {e.status for e in energy} == {"ok"}
    assert {e.sidecar_error.message for e in energy if e.sidecar_error} == {"the meter is gone"}
    assert {r.key for e in energy if e.validity for r in e.validity.reasons} == {"recorder-failed"}
    assert all(e.sidecar_file is None for e in energy)


def test_energy_that_is_refused_fails_its_own_launches_and_no_others(scene: Scene) -> None:
    scene = remade(scene, ENERGY)
    assert not scene.run()
    by_pass = {(e.measured_pass, e.status) for e in scene.launched()}
    assert by_pass == {("latency", "ok"), ("energy", "failed")}
    assert count_unfinished(scene.read()) == Unfinished(LAUNCHES, refused=LAUNCHES)
    errors = [e.error for e in scene.launched() if e.error]
    assert {error.kind for error in errors} == {"EnergyRefused"}
    assert len(errors) == LAUNCHES
    assert scene.launched()[-1].validity is not None


def test_energy_that_was_refused_is_measured_by_a_resumed_sweep_once_it_can_be(
    scene: Scene,
) -> None:
    scene = remade(scene, ENERGY)
    assert not scene.run()
    recorder = MadeUpRecorder()
    later = scene.another_host(source=RAILS, recorder_of=lambda source: recorder)
    assert later.run()
    assert {(e.attempt, e.status) for e in scene.launched()} == {(1, "ok")}
    assert len(scene.launched()) == 2 * LAUNCHES


def test_what_a_phone_did_on_its_own_counts_though_nobody_unplugged_it_for_the_rest(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four energy launches are done when it is plugged in too early, and stays so."""

    def plug_in_early(
        device: FakeDevice, energy: EnergyPass, jobs: list[tuple[Job, None]], *_: object
    ) -> None:
        for job, pack in jobs[:2]:
            device.start(job, pack)  # type: ignore[arg-type]
        raise EnergyRefused("it was not unplugged")

    by_hand = EnergyPass(RAILS, None, "by-hand")
    monkeypatch.setattr(device_run, "open_energy_pass", lambda *_: by_hand)
    monkeypatch.setattr(device_run, "run_detached", plug_in_early)
    scene = remade(scene, ENERGY)
    assert not scene.run()
    energy = [e.status for e in scene.launched() if e.measured_pass == "energy"]
    assert energy == ["ok", "ok", "interrupted", "interrupted"]
    assert any("not unplugged" in text for text in scene.warnings)
    assert count_unfinished(scene.read()) == Unfinished(2, refused=0)
    assert scene.another_host().run()
    started = [job.launch for job in scene.device.storage.started]
    assert len(started) == len(set(started)) == 2 * LAUNCHES


def test_a_file_of_what_was_recorded_beside_that_was_cut_is_seen() -> None:
    whole = write_sidecar((RAIL, RAIL))
    assert parse_sidecar(whole, "sidecar") == (RAIL, RAIL)
    for end in range(len(whole) - 1):
        with pytest.raises(BadRecord):
            parse_sidecar(whole[:end], "sidecar")
    with pytest.raises(BadRecord):
        parse_sidecar(whole.replace(b"5.0", b"6.0"), "sidecar")


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
