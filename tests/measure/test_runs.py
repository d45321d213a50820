"""A whole run without a terminal: begun, carried out and resumed, on a device in memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.devices import registry
from harness.devices.base import Attached
from harness.devices.health import Busy, Health, Load
from harness.errors import DeviceLost, DeviceNotFound, DeviceUnfit, PlanError, SweepError
from harness.measure import runs, sweep
from harness.measure.progress import Progress
from harness.results.find import find_newest
from harness.results.folder import Sweep, read_sweep
from harness.schema.artifact import ExportedModel
from harness.schema.device import Conditions
from harness.schema.plan import Plan, parse_plan
from tests.fakes.device import FakeDevice
from tests.fakes.packs import made_up_model

PLAN = """
[plan]
name = "fake"
rounds = 2
devices = ["fake"]
[[model]]
name = "net"
source = "my_models:net"
inputs = [{ shape = [1, 3] }]
[matrix]
threads = [1, 2]
[measure]
passes = ["latency"]
"""
LAUNCHES = 2 * 2
CALM = Health(kind="local", conditions=Conditions(unix=0.0), holder="", load=Load(0.0, ()))
HELD = replace(CALM, holder="another phonebench")


@dataclass
class Desk:
    """A folder of a person's with a fake device on it; what a run exports and tells is noted."""

    folder: Path
    device: FakeDevice
    plan: Plan
    health: Health = CALM
    attached: bool = True
    exports: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    steps: list[Progress] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def sweeps(self) -> Path:
        return self.folder / "sweeps"

    def told(self) -> runs.Observers:
        return runs.Observers(self.said.append, self.steps.append, self.warnings.append)

    def begin(self, *accepted: str) -> Path:
        return runs.begin(self.plan, self.sweeps, ["phonebench", "run"], accepted)

    def driver(self) -> registry.Driver:
        return registry.Driver(
            discover=lambda: [Attached("fake", "ready", info=self.device.info)],
            open_device=lambda name, purpose: self._open(),
            read_health=lambda name, measure_link: self._look(),
            read_power_sources=lambda name: (),
        )

    def export(self, plan: Plan, **how: Any) -> tuple[ExportedModel, ...]:
        self.exports.append(how)
        how["progress"]("net: exporting fp32")
        return (made_up_model(self.folder, plan),)

    def _open(self) -> FakeDevice:
        return self.device

    def _look(self) -> Health:
        if not self.attached:
            raise DeviceLost("it is not there")
        return self.health


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    """Give the test a desk. Whatever the test does there, nothing is printed."""
    (tmp_path / "my_models.py").touch()
    monkeypatch.chdir(tmp_path)
    scene = Desk(tmp_path, FakeDevice(), parse_plan(PLAN, "fake.toml"))
    monkeypatch.setattr(registry, "DRIVERS", {"local": scene.driver})
    monkeypatch.setattr(runs, "export_models", scene.export)
    monkeypatch.setattr("harness.runners.pack_for", lambda engine, info, progress: None)
    capfd.readouterr()
    yield scene
    assert capfd.readouterr() == ("", "")


def test_a_run_is_begun_and_carried_out_and_tells_its_observers(desk: Desk) -> None:
    folder = desk.begin()
    assert folder == find_newest(desk.sweeps)
    assert desk.device.storage.started == []
    ending = runs.carry_out(folder, desk.told())
    assert (ending.complete, ending.stopped) == (True, False)
    assert ending.sweep == read_sweep(folder)
    assert [entry.status for entry in ending.sweep.entries] == ["ok"] * LAUNCHES
    assert desk.said == ["net: exporting fp32"]
    assert len([step for step in desk.steps if step.entry]) == LAUNCHES
    assert desk.warnings == []


def test_a_sweep_says_what_was_asked_and_what_was_found_before(desk: Desk) -> None:
    desk.health = HELD
    file = read_sweep(desk.begin("in-use")).file
    assert (file.command, file.accepted) == (("phonebench", "run"), ("in-use",))
    assert file.directory == str(desk.folder)
    assert file.plan.sha256() == desk.plan.sha256()
    levels = {finding.key: finding.level for finding in file.findings["fake"]}
    assert levels["in-use"] == "serious"


@pytest.mark.parametrize(
    ("plan", "health", "error", "says"),
    [
        (PLAN.replace("my_models", "my_modelz"), CALM, PlanError, "no such module"),
        (PLAN.replace('["fake"]', '["other"]'), CALM, DeviceNotFound, "no device 'other'"),
        (PLAN, HELD, DeviceUnfit, "another phonebench"),
    ],
)
def test_what_cannot_be_run_here_leaves_no_sweep(
    desk: Desk, plan: str, health: Health, error: type[Exception], says: str
) -> None:
    desk.plan, desk.health = parse_plan(plan, "fake.toml"), health
    with pytest.raises(error, match=says):
        desk.begin()
    assert not desk.sweeps.exists()


def test_ctrl_c_ends_a_run_in_good_order_and_it_can_be_resumed(desk: Desk) -> None:
    def press(number: int) -> None:
        if number == 3:
            desk.device.hangs = True
            os.kill(os.getpid(), signal.SIGINT)

    desk.device.on_wait = press
    folder = desk.begin()
    ending = runs.carry_out(folder, desk.told())
    assert (ending.complete, ending.stopped) == (False, True)
    assert [entry.status for entry in ending.sweep.entries] == ["ok", "ok", "interrupted"]
    desk.device = FakeDevice(storage=desk.device.storage)
    runs.resume(folder, (), desk.warnings.append)
    ending = runs.carry_out(folder, desk.told())
    assert (ending.complete, ending.stopped) == (True, False)
    assert desk.warnings == []


def test_ctrl_c_while_a_model_is_exported_ends_a_run_that_can_be_resumed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desk.begin()

    def press(plan: Plan, **how: Any) -> tuple[ExportedModel, ...]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "export_models", press)
        ending = runs.carry_out(folder, desk.told())
    assert (ending.complete, ending.stopped, ending.sweep.models) == (False, True, ())
    assert runs.carry_out(folder, desk.told()).complete


def test_a_lost_device_leaves_a_run_that_is_incomplete_and_that_is_told(desk: Desk) -> None:
    def lose(number: int) -> None:
        raise DeviceLost("the cable was pulled")

    desk.device.on_wait = lose
    folder = desk.begin()
    ending = runs.carry_out(folder, desk.told())
    assert (ending.complete, ending.stopped) == (False, False)
    assert desk.warnings == ["the cable was pulled"]


def test_models_are_exported_where_the_sweep_was_begun_and_as_it_was_asked(desk: Desk) -> None:
    folder = desk.begin()
    os.chdir(desk.sweeps)
    runs.carry_out(folder, desk.told(), "/usr/bin/python3", fresh=True)
    (how,) = desk.exports
    assert (how["root"], how["mobile_python"], how["fresh"]) == (
        desk.folder,
        "/usr/bin/python3",
        True,
    )


def test_a_sweep_whose_folder_of_models_is_gone_is_not_carried_out(desk: Desk) -> None:
    (desk.folder / "begun").mkdir()
    (desk.folder / "begun" / "my_models.py").touch()
    os.chdir(desk.folder / "begun")
    folder = desk.begin()
    os.chdir(desk.folder)
    (desk.folder / "begun").rename(desk.folder / "moved")
    with pytest.raises(SweepError, match="was begun in is gone"):
        runs.carry_out(folder, desk.told())
    assert desk.exports == []


def test_a_resumed_sweep_notes_what_is_found_now_and_is_refused_for_it(desk: Desk) -> None:
    folder = desk.begin()
    desk.health = HELD
    with pytest.raises(DeviceUnfit, match="another phonebench"):
        runs.resume(folder, (), desk.warnings.append)
    assert read_sweep(folder).file.accepted == ()
    runs.resume(folder, ("in-use",), desk.warnings.append)
    file = read_sweep(folder).file
    assert file.accepted == ("in-use",)
    assert {f.level for f in file.findings["fake"] if f.key == "in-use"} == {"serious"}
    runs.resume(folder, (), desk.warnings.append)


def test_a_device_that_is_away_is_not_waited_for_when_a_sweep_is_resumed(desk: Desk) -> None:
    folder = desk.begin()
    desk.attached = False
    runs.resume(folder, (), desk.warnings.append)
    assert desk.warnings == ["fake was not examined: it is not there"]


def test_devices_that_have_nothing_left_to_do_are_not_examined_again(desk: Desk) -> None:
    folder = desk.begin()
    runs.carry_out(folder, desk.told())
    desk.health = replace(HELD, load=Load(9.0, (Busy("games", 9.0),)))
    runs.resume(folder, (), desk.warnings.append)
    assert runs.carry_out(folder, desk.told()).complete


def test_a_sweep_is_resumed_by_its_own_plan_alone(desk: Desk) -> None:
    folder = desk.begin()
    runs.resume(folder, (), desk.warnings.append, desk.plan)
    other = parse_plan(PLAN.replace("rounds = 2", "rounds = 3"), "fake.toml")
    with pytest.raises(SweepError, match="the plan has changed"):
        runs.resume(folder, (), desk.warnings.append, other)


def test_what_is_no_sweep_is_neither_resumed_nor_carried_out(desk: Desk) -> None:
    for folder in (desk.folder, desk.folder / "none"):
        with pytest.raises(SweepError, match="is not a sweep folder"):
            runs.resume(folder, (), desk.warnings.append)
        with pytest.raises(SweepError, match="is not a sweep folder"):
            runs.carry_out(folder, desk.told())


def test_a_sweep_is_resumed_by_one_harness_at_a_time(desk: Desk) -> None:
    folder = desk.begin()
    with sweep.hold(folder), pytest.raises(SweepError, match="is being run by another"):
        runs.resume(folder, (), desk.warnings.append)


def test_a_sweep_is_read_once_while_it_is_held_and_once_at_its_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def read(folder: Path) -> Sweep:
        reads.append(folder)
        return read_sweep(folder)

    monkeypatch.setattr(sweep, "read_sweep", read)
    monkeypatch.setattr(runs, "read_sweep", read)
    folder = desk.begin()
    assert runs.carry_out(folder, desk.told()).complete
    assert reads == [folder] * 2
    runs.resume(folder, (), desk.warnings.append, desk.plan)
    assert reads == [folder] * 3
