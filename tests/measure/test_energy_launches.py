"""Launches of the energy pass in a sweep: recorded, judged, refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

import harness.measure.device_run as device_run
from harness.analysis.energy import measure_energy
from harness.errors import (
    BadRecord,
    EnergyRefused,
    MeterError,
)
from harness.measure.charging import EnergyPass
from harness.measure.sweep import (
    Unfinished,
    count_unfinished,
)
from harness.results.launches import read_sidecar
from harness.schema.energy import EnergyTrouble
from harness.schema.job import Job
from harness.schema.power import PowerSource
from harness.schema.record import LaunchRecord, Trace, parse_sidecar, write_sidecar
from tests.fakes.device import (
    FakeDevice,
)
from tests.fakes.energy import Load, as_bytes, launch, rapl
from tests.fakes.scene import LAUNCHES, Scene, remade


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
