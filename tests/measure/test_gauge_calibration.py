"""What a fuel gauge means is found out, kept by fingerprint, and refused where it does not tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.analysis.energy import shortest_phases
from harness.analysis.gauge import analyse, describe, find_period, find_quantum
from harness.cancellation import Cancellation
from harness.cli import app
from harness.devices.android.device import AndroidPhone
from harness.devices.base import JobStatus
from harness.devices.calibrations import calibration_path, read_calibration, store_calibration
from harness.errors import CalibrationRefused, HarnessError, NotSupported
from harness.measure.gauge_calibration import Pace, calibrate
from harness.runners import pack_for
from harness.runners.pack import RunnerPack
from harness.runners.synthetic_load import ENGINE
from harness.schema.job import Channel, Job, Probe
from harness.schema.plan import DeviceSettings
from harness.schema.power import CHARGE, CURRENT, VOLTAGE, Calibration, PowerSource
from harness.schema.record import LaunchRecord, ProbeFailure
from tests.fakes.device import FakeDevice, device_info
from tests.fakes.energy import Gauge, Load, as_bytes, launch, without
from tests.fakes.phones import SMALL, own_adb_server
from tests.virtual_android import AdbServer, Fault, VirtualPhone
from tests.virtual_android.spec import Battery
from tests.virtual_android.sysfs import Answer

LOAD = Load(baseline=15.0, block=30.0, noise=0.02)
GAUGE = Gauge()
QUICK = Pace(settle_seconds=0.0)


def polled(gauge: Gauge = GAUGE, load: Load = LOAD) -> LaunchRecord:
    """Return what a calibration's run gives: the gauge is polled ten times a second."""
    return launch(load, replace(gauge, poll=0.1).traces(load.watts(), load.seed))


# --- what one run tells --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "instant"])
@pytest.mark.parametrize("refresh", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("unit", [1e-6, 1e-3])
def test_sign_unit_and_period_are_found(sign: int, unit: float, refresh: float, kind: str) -> None:
    found = analyse(polled(Gauge(refresh, 0.001, kind, sign, unit)), "f00d", 0.0)
    assert (found.sign, found.amperes_per_unit) == (sign, unit)
    assert found.refresh_seconds == pytest.approx(refresh, rel=0.03)
    assert found.quantum * unit == pytest.approx(0.001)


@pytest.mark.parametrize("seed", range(5))
def test_a_coarse_gauge_without_noise_is_timed_by_its_other_files(seed: int) -> None:
    found = analyse(polled(Gauge(1.0, 0.01), replace(LOAD, noise=0.0, seed=seed)), "f00d", 0.0)
    assert found.refresh_seconds == pytest.approx(1.0, rel=0.05)
    assert found.quantum * 1e-6 >= 0.01


def test_the_charge_counter_confirms_the_unit() -> None:
    found = analyse(polled(), "f00d", 0.0)
    assert found.scale_from == "charge counter"
    assert found.charge_ratio == pytest.approx(1.0, abs=0.01)


def test_a_coarse_counter_confirms_the_unit_and_no_more() -> None:
    found = analyse(_changed(polled(), CHARGE, lambda v: np.round(v / 1000) * 1000), "f00d", 0.0)
    assert found.scale_from == "charge counter"
    assert found.charge_ratio is None
    assert "too coarse" in describe(found)


def test_without_a_counter_the_unit_is_what_a_phone_can_draw() -> None:
    found = analyse(without(polled(Gauge(amperes_per_unit=1e-3)), CHARGE), "f00d", 0.0)
    assert (found.amperes_per_unit, found.scale_from) == (1e-3, "magnitude")
    assert found.charge_ratio is None


def _changed(
    record: LaunchRecord, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> LaunchRecord:
    def one(values: list[float]) -> list[float]:
        return [float(value) for value in change(np.asarray(values))]

    return replace(
        record,
        traces=tuple(
            t.model_copy(update={"values": one(t.values)}) if t.name == name else t
            for t in record.traces
        ),
    )


def _constant(values: np.ndarray) -> np.ndarray:
    return np.full(len(values), 400_000.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_constant, "it is frozen"),
        (lambda values: values * 1e-5, "unit is unknown"),
        (lambda values: values - 900_000, "contradicts itself"),
        (lambda values: np.random.default_rng(1).normal(size=len(values)) * 4e5, "show the load"),
    ],
    ids=["constant", "tiny", "charging", "noise"],
)
def test_a_gauge_that_does_not_tell_is_refused(
    change: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    with pytest.raises(CalibrationRefused, match=reason):
        analyse(_changed(polled(), CURRENT, change), "f00d", 0.0)


def test_a_counter_of_another_unit_is_refused() -> None:
    record = _changed(polled(), CHARGE, lambda v: v[0] + (v - v[0]) * 100)
    with pytest.raises(CalibrationRefused, match="neither uA nor mA"):
        analyse(record, "f00d", 0.0)


def test_what_the_phone_answered_instead_is_quoted() -> None:
    failure = ProbeFailure(channel=CURRENT, count=600, reason="Permission denied")
    record = launch(LOAD, failures=(failure,))
    with pytest.raises(CalibrationRefused, match=r"Permission denied \(600 times\)"):
        analyse(record, "f00d", 0.0)


def test_a_gauge_too_slow_for_a_plans_defaults_is_said_to_need_longer_phases() -> None:
    found = Gauge(4.0).calibration()
    assert "measure." not in describe(found)
    slow = found.model_copy(update={"refresh_seconds": 10.0})
    assert str(shortest_phases(10.0, 1.0)) in describe(slow)


def test_a_gauge_too_slow_for_the_time_given_is_refused() -> None:
    record = without(polled(Gauge(20.0)), VOLTAGE, CHARGE)
    with pytest.raises(CalibrationRefused) as refused:
        analyse(record, "f00d", 0.0)
    assert "--seconds" in refused.value.advice


def test_a_period_is_found_among_its_multiples() -> None:
    rng = np.random.default_rng(3)
    gaps = rng.choice([1, 1, 1, 2, 3], 40) * 1.7 + rng.uniform(-0.1, 0.1, 40)
    assert find_period(gaps, 0.1) == pytest.approx(1.7, rel=0.02)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([100, 104, 112, 300], 4),
        ([0, 2000, 5000], 1000),
        ([0, 156, 313, 469, 15625], 156),
        ([10, 11, 12], 1),
    ],
)
def test_the_step_is_that_of_which_all_are_multiples(values: list[float], step: float) -> None:
    assert find_quantum(np.asarray(values, dtype=float)) == pytest.approx(step, abs=1)


# --- the whole, on a made-up phone ---------------------------------------------------------------

PROBE = Probe(file="/current", period_seconds=1.0, channels=(Channel(name=CURRENT, unit="raw"),))
SOURCE = PowerSource(
    kind="gauge", name="fuel gauge", probes=(PROBE,), sees_charging=True, refusal="not calibrated"
)


@dataclass
class GaugePhone(FakeDevice):
    """A phone with a gauge, maybe on a cable, whose charging maybe stops when it is told to."""

    plugged: bool = False
    suspends: bool = True
    has_setting: bool = True
    source: PowerSource | None = SOURCE
    suspended: bool = False
    awake: bool = False
    jobs_seen: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answer = self._answer

    def power_sources(self) -> list[PowerSource]:
        return [self.source] if self.source else []

    def apply(self, settings: DeviceSettings) -> None:
        if not self.has_setting:
            raise NotSupported("no such property")
        self.suspended = settings.suspend_charging
        self.awake |= settings.stay_awake

    def restore(self) -> None:
        super().restore()
        self.suspended = False

    def _answer(self, job: Job) -> bytes:
        self.jobs_seen.append(job)
        charged = 0.9 if self.plugged and not (self.suspended and self.suspends) else 0.0
        load = replace(LOAD, seed=len(self.jobs_seen))
        record = polled(Gauge(sign=-1, charged=charged), load)
        header = record.header.model_copy(update={"launch": job.launch})
        return as_bytes(replace(record, header=header))


def no_pack() -> Any:
    """Return no runner pack: a made-up phone needs none."""


def calibrated(phone: GaugePhone, told: list[str] | None = None) -> Calibration:
    with closing(Cancellation()) as cancellation:
        tell = (told if told is not None else []).append
        return calibrate(phone, no_pack, tell, cancellation, QUICK)


@pytest.mark.parametrize("has_setting", [True, False])
def test_a_phone_without_a_cable_is_kept_awake_if_it_can_be_and_measured_once(
    has_setting: bool,
) -> None:
    phone = GaugePhone(has_setting=has_setting)
    found = calibrated(phone)
    assert phone.awake == has_setting
    assert phone.restored
    assert found.sign == -1
    assert found.suspend_works is None
    assert len(phone.jobs_seen) == 1
    assert phone.jobs() == []
    (job,) = phone.jobs_seen
    assert job.measured_pass == "energy"
    assert [probe.period_seconds for probe in job.probes] == [0.1]


def test_a_phone_on_a_cable_is_measured_again_with_charging_suspended() -> None:
    phone, told = GaugePhone(plugged=True), list[str]()
    found = calibrated(phone, told)
    assert found.sign == -1
    assert found.suspend_works
    assert len(phone.jobs_seen) == 2
    assert phone.restored
    assert not phone.suspended
    assert "suspended" in told[-1]


@pytest.mark.parametrize("phone", [{"suspends": False}, {"has_setting": False}], ids=str)
def test_a_phone_that_charges_all_the_time_is_refused_and_restored(phone: dict[str, bool]) -> None:
    made = GaugePhone(plugged=True, **phone)  # type: ignore[arg-type]
    with pytest.raises(CalibrationRefused, match="charges all the time") as refused:
        calibrated(made)
    assert "wireless" in refused.value.advice
    assert made.restored


def test_a_phone_without_a_readable_gauge_is_refused_with_its_own_reason() -> None:
    hidden = SOURCE.model_copy(update={"probes": (), "refusal": "its gauge says nothing"})
    for source, reason in ((None, "no fuel gauge"), (hidden, "its gauge says nothing")):
        with pytest.raises(CalibrationRefused, match=reason):
            calibrated(GaugePhone(source=source))


def test_a_run_that_breaks_off_leaves_nothing_on_the_phone() -> None:
    def lost(n: int) -> None:
        raise HarnessError("the cable")

    phone = GaugePhone(on_wait=lost)
    with pytest.raises(HarnessError, match="the cable"):
        calibrated(phone)
    assert phone.jobs() == []


def test_what_a_dead_host_left_running_does_not_load_the_phone_meanwhile() -> None:
    phone = GaugePhone()
    phone.storage.jobs |= {"calibrate-old": JobStatus("running"), "sweep-1": JobStatus("finished")}
    calibrated(phone)
    assert phone.killed == ["calibrate-old"]
    assert phone.jobs() == ["sweep-1"]
    phone.storage.jobs["sweep-2"] = JobStatus("running")
    with pytest.raises(CalibrationRefused, match="still runs sweep-2"):
        calibrated(phone)


# --- the whole, on a virtual phone ---------------------------------------------------------------

GAUGE_SPEC = Battery(gauge_period_seconds=0.1, current_step_ua=1000, current_sign=-1, seed=5)
VIRTUAL = Pace(idle_seconds=1.5, load_seconds=3.0, poll_seconds=0.02, settle_seconds=0.5)


@pytest.fixture(scope="module")
def pack() -> RunnerPack:
    info = device_info().model_copy(update={"kind": "android", "abi": "x86_64"})
    return pack_for(ENGINE, info)


@pytest.fixture(scope="module")
def server() -> Iterator[AdbServer]:
    with own_adb_server() as started:
        yield started


def calibrate_virtual(
    server: AdbServer,
    pack: RunnerPack,
    battery: Battery,
    *,
    cable: bool,
    fault: Fault | None = None,
) -> Calibration:
    """Calibrate a virtual phone; whatever comes of it, the phone is left as it was."""
    with (
        VirtualPhone(replace(SMALL, battery=battery)) as phone,
        closing(Cancellation()) as cancellation,
    ):
        phone.plug_in(server, cable=cable)
        if fault is not None:
            phone.faults.add(fault)
        with closing(AndroidPhone(phone.serial, "test")) as device:
            try:
                return calibrate(device, lambda: pack, lambda _: None, cancellation, VIRTUAL)
            finally:
                assert phone.altered() == {}
                assert device.jobs() == []


@pytest.mark.slow
@pytest.mark.parametrize("cable", [False, True], ids=["over the air", "on a cable"])
def test_a_virtual_phone_is_understood(server: AdbServer, pack: RunnerPack, cable: bool) -> None:
    found = calibrate_virtual(server, pack, GAUGE_SPEC, cable=cable)
    assert (found.sign, found.amperes_per_unit) == (1, 1e-6)
    assert found.refresh_seconds == pytest.approx(0.1, rel=0.1)
    assert found.charge_ratio == pytest.approx(1.0, abs=0.1)
    assert found.suspend_works is (True if cable else None)


@pytest.mark.slow
def test_a_virtual_phone_that_ignores_suspension_is_refused(
    server: AdbServer, pack: RunnerPack
) -> None:
    with pytest.raises(CalibrationRefused, match="charges all the time"):
        calibrate_virtual(server, pack, replace(GAUGE_SPEC, suspend_works=False), cable=True)


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["garbage", "nothing", "denied", "frozen", "gone"])
def test_a_virtual_gauge_that_does_not_answer_well_is_refused(
    server: AdbServer, pack: RunnerPack, answer: Answer
) -> None:
    # It was well when it was looked for, and is so no more when it is read.
    fault = Fault("sensor", on_process="runner_synthetic", answer=answer, times=0)
    with pytest.raises(CalibrationRefused) as refused:
        calibrate_virtual(server, pack, GAUGE_SPEC, cable=False, fault=fault)
    assert "gauge" in refused.value.message


@pytest.mark.slow
def test_the_command_keeps_what_it_finds_and_says_it(
    server: AdbServer, pack: RunnerPack, cache: Path
) -> None:
    (cache / "packs").symlink_to(pack.folder.parent)
    with VirtualPhone(replace(SMALL, battery=GAUGE_SPEC)) as phone:
        phone.plug_in(server, cable=False)
        result = CliRunner().invoke(app, ["calibrate", phone.serial, "--seconds", "5", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["sign"] == 1
    assert read_calibration(found["fingerprint"]) is not None
    assert Path(found["file"]).is_file()


# --- where it is kept ----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHONEBENCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "fingerprint", ["f00d", "../../etc/passwd", "vendor/x:14/A1", "", "é" * 300]
)
def test_a_calibration_is_kept_by_fingerprint_whatever_its_characters(
    fingerprint: str, cache: Path
) -> None:
    found = Gauge().calibration().model_copy(update={"fingerprint": fingerprint})
    path = store_calibration(found)
    assert path.parent == cache / "calibration"
    assert read_calibration(fingerprint) == found
    assert read_calibration(fingerprint + "x") is None


def test_a_damaged_or_foreign_calibration_counts_as_none() -> None:
    path = store_calibration(Gauge().calibration())
    path.write_text("{}")
    assert read_calibration("f00d") is None
    path.write_text(Gauge().calibration().model_copy(update={"fingerprint": "z"}).model_dump_json())
    assert read_calibration("f00d") is None


def test_names_that_would_collide_are_kept_apart() -> None:
    assert calibration_path("a/b") != calibration_path("a_b")
