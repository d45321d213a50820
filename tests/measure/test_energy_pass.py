"""How energy is measured on a device: which source, how charging is kept off, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.energy import measure_energy, needed_phases
from harness.cancellation import Cancellation
from harness.devices import usb_hub
from harness.devices.android.device import AndroidPhone
from harness.devices.android.queue import parse_look
from harness.devices.base import QueueView, Recorder
from harness.devices.calibrations import calibration_path, store_calibration
from harness.doctor.examine import judge_energy, refuse_unfit
from harness.errors import DeviceError, DeviceUnfit, EnergyRefused, NotSupported
from harness.measure.charging import EnergyPass, open_energy_pass
from harness.measure.device_run import Services
from harness.measure.patience import PATIENCE, Patience
from harness.measure.sweep import create_sweep, hold, run_sweep
from harness.measure.unplugged import run_detached
from harness.results.folder import Sweep, read_sweep
from harness.runners import pack_for
from harness.runners.pack import RunnerPack
from harness.runners.synthetic_load import ENGINE, SyntheticLoad
from harness.schema.device import Conditions
from harness.schema.energy import Energy
from harness.schema.job import Channel, Job, Loop, Probe, TensorSource
from harness.schema.plan import DeviceSettings, Plan, make_plan
from harness.schema.power import CURRENT, Calibration, PowerSource, SourceKind
from harness.schema.record import LaunchRecord, Trace, parse_record
from harness.schema.sweep import LedgerEntry
from tests.fakes.device import FakeDevice
from tests.fakes.packs import fake_runner_pack, made_up_model
from tests.fakes.phones import QUICK, SMALL, await_truth, opened, plugged_in
from tests.places import REPOSITORY, VIRTUAL_ANDROID
from tests.virtual_android import AdbServer, VirtualPhone
from tests.virtual_android.spec import Battery

VIRTUAL_TOOLS = VIRTUAL_ANDROID
AT_ONCE = Patience(
    reversal_seconds=0.0,
    unplug_seconds=5.0,
    port_seconds=5.0,
    replug_seconds=30.0,
    poll_seconds=0.05,
)
CALIBRATION = Calibration(
    fingerprint="f00d",
    made_unix=0.0,
    sign=-1,  # the virtual phone's gauge counts what charges it as positive
    amperes_per_unit=1e-6,
    refresh_seconds=0.25,
    quantum=1.0,
)


def plan(source: str = "best", charging: str = "auto", **measure: object) -> Plan:
    return make_plan(
        {
            "plan": {"name": "energy", "rounds": 2},
            "model": [{"name": "net", "source": "nowhere:net", "inputs": [{"shape": [1, 3]}]}],
            "matrix": {"threads": [1, 2]},
            "measure": {"passes": ["energy"], "energy_source": source, **measure},
            "device": {"energy_charging": charging},
        },
        "a test's plan",
    )


def gauge(calibration: Calibration | None = CALIBRATION, **changes: object) -> PowerSource:
    probe = Probe(file="current_now", channels=(Channel(name=CURRENT, unit="raw"),))
    source = PowerSource(
        kind="gauge", name="gauge", probes=(probe,), sees_charging=True, calibration=calibration
    )
    return source.model_copy(update=changes)


def of_kind(kind: SourceKind, refusal: str = "") -> PowerSource:
    return PowerSource(kind=kind, name=f"the {kind}", refusal=refusal, advice="buy one")


@dataclass
class FakePhone(FakeDevice):
    """A fake with a battery: its charger, what it makes of being told to suspend it, its sources."""

    sources: tuple[PowerSource, ...] = ()
    charges: bool = True
    suspend: str = "works"
    gauge_answers: bool = True
    applied: list[DeviceSettings] = field(default_factory=list)

    def power_sources(self) -> Sequence[PowerSource]:
        return self.sources

    def recorder(self, source: PowerSource) -> Recorder | None:
        return None

    def conditions(self) -> Conditions:
        return Conditions(unix=0.0, charging=self.charges)

    def apply(self, settings: DeviceSettings) -> None:
        self.applied.append(settings)
        if settings.suspend_charging and self.suspend == "not there":
            raise NotSupported("suspend-charging cannot be switched on")
        if settings.suspend_charging and self.suspend == "works":
            self.charges = False

    def read_current(self, source: PowerSource) -> float | None:
        if not self.gauge_answers:
            return None
        return 500_000.0 if self.charges else -120_000.0

    def enqueue(
        self, jobs: Sequence[tuple[Job, RunnerPack]], patience_seconds: int, rest_seconds: int
    ) -> None:
        raise AssertionError("nothing is to be queued")

    def look_at_queue(self) -> QueueView | None:
        return None

    def cancel_queue(self) -> None:
        pass


@pytest.fixture(autouse=True)
def own_calibrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep calibrations from tests that run meanwhile: virtual phones share a fingerprint."""
    monkeypatch.setattr(
        "harness.devices.calibrations.cache_folder", lambda: tmp_path / "calibrations"
    )


def refuse(device: FakeDevice, plan: Plan) -> EnergyRefused:
    with pytest.raises(EnergyRefused) as refused:
        open_energy_pass(device, plan, lambda text: None, AT_ONCE)
    return refused.value


# --- which source --------------------------------------------------------------------------------


def test_the_first_source_that_can_be_used_is_taken() -> None:
    device = FakePhone(sources=(of_kind("rails", "it has none"), gauge()), charges=False)
    opened_pass = open_energy_pass(device, plan(), lambda text: None)
    assert opened_pass.source.kind == "gauge"
    assert opened_pass.charging == "not charging"
    assert device.applied[-1].stay_awake, "without a cable it would go to sleep"


def test_rails_need_nothing_of_the_charger() -> None:
    device = FakePhone(sources=(of_kind("rails"), gauge()))
    opened_pass = open_energy_pass(device, plan(), lambda text: None)
    assert (opened_pass.source.kind, opened_pass.charging) == ("rails", "no matter")
    assert device.applied == []


def test_a_meter_is_taken_only_if_the_plan_names_it() -> None:
    device = FakePhone(sources=(of_kind("rails", "none"), of_kind("meter")), charges=False)
    assert "the meter" not in refuse(device, plan()).message
    named = open_energy_pass(device, plan("meter"), lambda text: None)
    assert named.source.kind == "meter"


def test_a_meter_beside_a_cable_that_charges_is_told_of() -> None:
    device, told = FakePhone(sources=(of_kind("meter"),)), list[str]()
    open_energy_pass(device, plan("meter"), told.append)
    assert "charges from a cable" in told[0]


def test_a_refusal_names_every_source_with_its_reason_and_its_way_out() -> None:
    sources = (of_kind("rails", "it has none"), gauge(None, refusal="not calibrated"))
    error = refuse(FakePhone(sources=sources), plan())
    for words in ("the rails: it has none", "buy one", "gauge: not calibrated"):
        assert words in error.message
    assert "measure.passes" in error.advice


def test_a_source_that_the_plan_names_and_the_device_lacks_is_refused_by_name() -> None:
    assert '"rapl", and what it has is: gauge' in (
        refuse(FakePhone(sources=(gauge(),)), plan("rapl")).message
    )
    finding = judge_energy((of_kind("rapl"),), plan("meter"))
    assert finding.level == "serious"
    assert 'measure.energy_source = "meter", and what it has is: rapl' in finding.text
    assert 'measure.energy_source = "best"' in finding.advice


def test_a_run_that_wants_energy_where_nothing_measures_it_is_refused_before_it_begins() -> None:
    finding = judge_energy((of_kind("rails", "none"), gauge(None, refusal="raw")), plan())
    assert (finding.key, finding.level) == ("energy", "serious")
    assert "the rails: none; gauge: raw" in finding.text
    with pytest.raises(DeviceUnfit, match="--accept energy"):
        refuse_unfit({"phone": (finding,)}, ())
    refuse_unfit({"phone": (finding,)}, ("energy",))
    assert judge_energy((gauge(),), plan()).level == "ok"


def test_without_a_plan_the_source_is_told_and_nothing_of_it_is_serious() -> None:
    ready = judge_energy((of_kind("rails", "none"), gauge(), of_kind("meter")))
    assert (ready.level, ready.text) == ("ok", "energy comes from: gauge")
    raw = judge_energy((gauge(None, refusal="raw", advice="calibrate it"), of_kind("meter")))
    assert (raw.level, raw.advice) == ("warning", "calibrate it")
    slow = gauge(CALIBRATION.model_copy(update={"refresh_seconds": 10.0}))
    assert judge_energy((slow,)).level == "warning"


def test_a_plan_too_short_for_the_gauge_is_refused_before_it_begins_with_what_is_needed() -> None:
    source = gauge(CALIBRATION.model_copy(update={"refresh_seconds": 10.0}))
    needed = needed_phases(source)
    assert needed is not None
    lengths: dict[str, Any] = {
        "baseline_seconds": needed.baseline_seconds,
        "energy_seconds": needed.energy_seconds,
    }
    assert judge_energy((source,), plan(**lengths)).level == "ok"
    for key, seconds in lengths.items():
        finding = judge_energy((source,), plan(**(lengths | {key: seconds - 0.1})))
        assert (finding.key, finding.level) == ("energy", "serious")
        assert str(needed) in finding.advice
    assert judge_energy((of_kind("rails"), source), plan(baseline_seconds=1)).level == "ok"


# --- the charger ---------------------------------------------------------------------------------


def test_suspended_charging_is_believed_when_the_current_has_turned_round() -> None:
    device = FakePhone(sources=(gauge(),))
    energy = open_energy_pass(device, plan(), lambda text: None, AT_ONCE)
    assert energy.charging == "suspend"
    assert device.applied[-1].suspend_charging
    energy.check_charging(device)


@pytest.mark.parametrize(
    ("suspend", "words"),
    [("ignored", "does not turn round"), ("not there", "cannot be suspended")],
)
def test_charging_that_goes_on_in_spite_of_it_is_no_suspension(suspend: str, words: str) -> None:
    device = FakePhone(sources=(gauge(),), suspend=suspend)
    assert words in refuse(device, plan(charging="suspend")).message


def test_a_gauge_that_stops_answering_proves_no_suspension() -> None:
    device = FakePhone(sources=(gauge(),), gauge_answers=False)
    assert "current cannot be read" in refuse(device, plan(charging="suspend")).message


def test_a_calibration_that_found_suspension_to_be_ignored_is_believed() -> None:
    ignores = CALIBRATION.model_copy(update={"suspend_works": False})
    device = FakePhone(sources=(gauge(ignores),))
    assert "its calibration found" in refuse(device, plan(charging="suspend")).message
    assert device.applied == []


def test_a_launch_does_not_begin_when_charging_has_come_back() -> None:
    device = FakePhone(sources=(gauge(),))
    energy = open_energy_pass(device, plan(), lambda text: None, AT_ONCE)
    device.charges = True
    with pytest.raises(EnergyRefused, match="charges again"):
        energy.check_charging(device)


def test_what_works_for_nobody_else_is_left_to_a_persons_hand() -> None:
    device = FakePhone(sources=(gauge(),), suspend="ignored")
    energy = open_energy_pass(device, plan(), lambda text: None, AT_ONCE)
    assert energy.charging == "by-hand"
    assert energy.is_detached


def test_the_docs_say_how_long_a_person_is_waited_for() -> None:
    page = (REPOSITORY / "docs/energy.md").read_text()
    assert f"You have {PATIENCE.unplug_seconds / 60:g} minutes to pull it" in page
    assert f"not back\n   {PATIENCE.replug_seconds / 3600:g} hour later counts as lost" in page


def test_a_port_that_cannot_be_switched_is_refused_with_the_reason() -> None:
    device = FakePhone(sources=(gauge(),))
    assert "no USB port has" in refuse(device, plan(charging="usb-port")).message


def test_charging_is_measured_along_only_when_the_plan_says_so() -> None:
    device = FakePhone(sources=(gauge(),))
    energy = open_energy_pass(device, plan(charging="as-is"), lambda text: None)
    assert energy.charging == "as-is"


class StuckPhone(FakePhone):
    """A phone that goes and comes back, and is for ever at the same launch."""

    looks = 0

    def enqueue(self, *_: object) -> None:
        pass

    def look_at_queue(self) -> QueueView | None:
        self.looks += 1
        return QueueView(1, charging=self.looks % 3 == 0)


def test_a_launch_that_does_not_end_keeps_nobody_pulling_the_cable_for_ever() -> None:
    told: list[str] = []
    loop = Loop(min_iterations=1, min_seconds=0.2, max_iterations=1, max_seconds=0.2)
    job = Job(
        launch="stuck",
        engine="lite",
        measured_pass="energy",
        model_file="/model",
        threads=1,
        inputs=(),
        warmup=loop,
        steady=loop,
    )
    energy = EnergyPass(gauge(), None, "by-hand")
    with closing(Cancellation()) as cancellation:
        wanted = plan(charging="by-hand", cooldown_seconds=0)
        jobs: Any = [(job, None)]  # this phone starts nothing
        patience = replace(AT_ONCE, poll_seconds=0.01, launch_overhead_seconds=0.0)
        run_detached(StuckPhone(), energy, jobs, wanted, told.append, cancellation, patience)
    assert "does not end" in told[-1]
    assert any("too early" in text for text in told)


@pytest.mark.parametrize(
    ("status", "charging"), [(1, True), (2, True), (3, False), (4, True), (5, True), (None, True)]
)
def test_a_phone_in_a_queue_is_off_its_charger_only_when_it_says_that_it_discharges(
    status: int | None, charging: bool
) -> None:
    battery = "Current Battery Service state:\n  AC powered: false\n"
    if status is not None:
        battery += f"  status: {status}\n  level: 100\n"
    assert parse_look(f"queue\njob\njob\nrunning\n{battery}") == QueueView(3, charging)


# --- on virtual phones ---------------------------------------------------------------------------


@contextmanager
def calibrated(device: AndroidPhone) -> Iterator[None]:
    """Calibrate the gauge of one phone, as if that had been done."""
    store_calibration(CALIBRATION.model_copy(update={"fingerprint": device.info.fingerprint}))
    yield
    calibration_path(device.info.fingerprint).unlink()


@pytest.mark.slow
def test_a_phone_that_suspends_its_charger_is_taken_at_its_word_by_its_current(
    adb: AdbServer,
) -> None:
    with plugged_in(adb) as phone, opened(phone) as device, calibrated(device):
        energy = open_energy_pass(device, plan(), lambda text: None)
        assert (energy.source.kind, energy.charging) == ("gauge", "suspend")
        device.restore()
        assert phone.altered() == {}


@pytest.mark.slow
def test_a_phone_that_ignores_being_told_is_found_out(adb: AdbServer) -> None:
    spec = replace(SMALL, battery=Battery(suspend_works=False))
    with plugged_in(adb, spec) as phone, opened(phone) as device, calibrated(device):
        with pytest.raises(EnergyRefused, match="does not turn round"):
            open_energy_pass(device, plan(charging="suspend"), lambda text: None, AT_ONCE)
        device.restore()
        assert phone.altered() == {}


@dataclass
class Desk:
    """A sweep of energy launches on one virtual phone, and the person who is told to unplug it."""

    folder: Path
    phone: VirtualPhone
    told: list[str] = field(default_factory=list)
    on_told: Callable[[str], None] = lambda text: None
    tell_at_once: Callable[[str], None] = lambda text: None
    patience: Patience = PATIENCE

    def tell(self, text: str) -> None:
        self.tell_at_once(text)
        self.told.append(text)
        threading.Thread(target=self.on_told, args=(text,), daemon=True).start()

    def run(self, sweep: Sweep) -> list[LedgerEntry]:
        model = made_up_model(self.folder, sweep.file.plan, sleep_ms=800)
        services = Services(
            open_device=lambda info, purpose: AndroidPhone(info.id, purpose, QUICK),
            runner_pack=lambda engine, info: fake_runner_pack(),
            observe=lambda progress: None,
            warn=self.tell,
            patience=self.patience,
        )
        with hold(sweep.folder) as held:
            run_sweep(held, (model,), services)
        return list(read_sweep(sweep.folder).entries)


@contextmanager
def desk(adb: AdbServer, folder: Path, charging: str = "by-hand") -> Iterator[tuple[Desk, Sweep]]:
    wanted = plan(charging=charging, energy_seconds=0.5, baseline_seconds=0.1, cooldown_seconds=0)
    with plugged_in(adb) as phone:
        with closing(AndroidPhone(phone.serial, "a test", QUICK)) as device:
            info = device.info
        store_calibration(CALIBRATION.model_copy(update={"fingerprint": info.fingerprint}))
        sweep = create_sweep(folder / "sweeps", wanted, (info,), ("test",))
        yield Desk(folder, phone), read_sweep(sweep)
        calibration_path(info.fingerprint).unlink()


@pytest.mark.slow
def test_launches_run_while_a_person_holds_the_cable_and_are_collected_afterwards(
    adb: AdbServer, tmp_path: Path
) -> None:
    with desk(adb, tmp_path) as (scene, sweep):

        def person(text: str) -> None:
            if "unplug it now" in text:
                scene.phone.unplug()
                time.sleep(14)
                scene.phone.plug_in(adb)

        scene.on_told = person
        entries = scene.run(sweep)
        assert [(entry.status, entry.attempt) for entry in entries] == [("ok", 1)] * 4
        assert all(entry.power is not None for entry in entries)
        assert len(scene.told) == 1
        assert scene.phone.altered() == {}


@pytest.mark.slow
def test_a_phone_that_is_plugged_in_too_early_is_sent_away_again_for_the_rest(
    adb: AdbServer, tmp_path: Path
) -> None:
    with desk(adb, tmp_path) as (scene, sweep):
        absences = [7.0, 14.0]

        def person(text: str) -> None:
            if "unplug it now" in text:
                scene.phone.unplug()
                time.sleep(absences.pop(0))
                scene.phone.plug_in(adb)

        scene.on_told = person
        entries = scene.run(sweep)
        assert [entry.status for entry in entries] == ["ok"] * 4
        assert any("plugged in too early" in text for text in scene.told)
        assert scene.phone.altered() == {}


@pytest.mark.slow
def test_a_host_that_ends_meanwhile_loses_nothing_that_the_phone_did(
    adb: AdbServer, tmp_path: Path
) -> None:
    class Killed(BaseException):
        """Stands for the end of a host."""

    with desk(adb, tmp_path) as (scene, sweep):

        def unplug_and_die(text: str) -> None:
            scene.phone.unplug()
            raise Killed

        first = replace(scene, tell_at_once=unplug_and_die)
        with pytest.raises(Killed):
            first.run(sweep)
        await_truth(lambda: not [c for c in scene.phone.commands() if "queue" in c], 40.0)
        scene.phone.plug_in(adb)
        entries = scene.run(sweep)
        assert [(entry.status, entry.attempt) for entry in entries] == [("ok", 1)] * 4
        assert scene.told == []
        assert scene.phone.altered() == {}


@pytest.mark.slow
def test_nobody_who_unplugs_it_means_no_energy_and_a_phone_left_as_it_was(
    adb: AdbServer, tmp_path: Path
) -> None:
    with desk(adb, tmp_path) as (scene, sweep):
        scene.patience = replace(PATIENCE, unplug_seconds=1.0)
        entries = scene.run(sweep)
        assert [entry.status for entry in entries] == ["failed"] * 4
        assert all(e.error is not None and "was not unplugged" in e.error.message for e in entries)
        assert scene.phone.altered() == {}
        await_truth(lambda: not [c for c in scene.phone.commands() if "queue" in c])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Put a phone of this serial number on port 2 of a hub that uhubctl can switch."""

    def attach(serial_number: str, port: int) -> None:
        place = tmp_path / "usb" / "1-1.2"
        place.mkdir(parents=True)
        (place / "serial").write_text(f"{serial_number}\n")
        monkeypatch.setattr("harness.devices.usb_hub.USB_DEVICES", place.parent)
        monkeypatch.setenv("VIRTUAL_HUB", f"1-1:2={port}")
        monkeypatch.setenv("PATH", f"{VIRTUAL_TOOLS}:{os.environ['PATH']}")

    return attach


@pytest.mark.slow
def test_a_hub_switches_the_phone_off_its_charger_and_on_again(
    adb: AdbServer, tmp_path: Path, hub: Callable[[str, int], None]
) -> None:
    with desk(adb, tmp_path, charging="usb-port") as (scene, sweep):
        scene.patience = replace(PATIENCE, launch_overhead_seconds=4.0)
        hub("VP0001", scene.phone.port)
        entries = scene.run(sweep)
        assert [entry.status for entry in entries] == ["ok"] * 4
        assert scene.told == []
        assert scene.phone.state()["cable_in"]
        assert scene.phone.altered() == {}


def test_a_port_is_found_by_the_serial_number_of_what_is_plugged_in(
    hub: Callable[[str, int], None],
) -> None:
    hub("ABC123", 1)
    assert usb_hub.find_port("ABC123") == usb_hub.Port("1-1", 2)
    assert usb_hub.find_port("another") is None


def test_a_hub_that_is_not_there_or_no_uhubctl_is_said(
    hub: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub("ABC123", 1)
    port = usb_hub.Port("7-7", 1)
    assert "No compatible devices" in usb_hub.explain_unusable(port, "ABC123")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "not installed" in usb_hub.explain_unusable(port, "ABC123")
    with pytest.raises(DeviceError, match="does not switch port 1"):
        usb_hub.switch(port, "off")


# --- the whole path, with a known load and a phone that knows what it consumed --------------------


def known_load(device: AndroidPhone, source: PowerSource, folder: Path) -> tuple[Job, RunnerPack]:
    """Bring a load to a phone, and return the job that measures what it consumes."""
    pack = pack_for(ENGINE, device.info)
    device.install(pack)
    path = SyntheticLoad(work=5_000_000).write(folder / "load.json")
    loop = Loop(min_iterations=1, min_seconds=0.1, max_iterations=1_000_000, max_seconds=0.1)
    job = Job(
        launch=f"known-load-{time.monotonic_ns()}",
        engine=ENGINE,
        measured_pass="energy",
        model_file=device.stage(path, hashlib.sha256(path.read_bytes()).hexdigest()),
        threads=1,
        inputs=(TensorSource(shape=(1,)),),
        warm_loads=0,
        warmup=loop,
        steady=loop.model_copy(update={"min_seconds": 6.0, "max_seconds": 6.0}),
        baseline_seconds=3.0,
        probes=source.probes,
    )
    return job, pack


def compare_with_truth(
    phone: VirtualPhone,
    device: AndroidPhone,
    job: Job,
    sidecar: Sequence[Trace],
    source: PowerSource,
) -> None:
    """Hold the energy of a launch against what the phone knows that it consumed."""
    record = parse_record(device.fetch(job.launch).record or b"", job.launch)
    assert isinstance(record, LaunchRecord)
    energy = measure_energy(record, sidecar, source)
    assert isinstance(energy, Energy), energy
    names = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
    times = [mark.time_ns for name in names if (mark := record.mark(name)) is not None]
    before, block, after = (
        phone.consumed(a, b).mj / (b - a) * 1e6 for a, b in itertools.pairwise(times)
    )
    truth = (block - (before + after) / 2) * energy.seconds / energy.iterations
    assert energy.joules_per_inference == pytest.approx(truth, rel=0.1)


@pytest.mark.slow
def test_rails_tell_what_a_load_consumed_while_the_phone_charges(
    adb: AdbServer, tmp_path: Path
) -> None:
    spec = replace(SMALL, rails=("S2M_VDD_CPUCL0", "L15M_VDD_SLC_M"))
    with (
        plugged_in(adb, spec) as phone,
        opened(phone) as device,
        closing(Cancellation()) as cancellation,
    ):
        energy = open_energy_pass(device, plan(), lambda text: None)
        job, pack = known_load(device, energy.source, tmp_path)
        assert energy.recorder is not None
        energy.recorder.start()
        device.start(job, pack)
        device.wait(job.launch, 60, cancellation)
        sidecar = energy.recorder.stop()
        compare_with_truth(phone, device, job, sidecar, energy.source)


@pytest.mark.slow
def test_a_launch_on_an_unplugged_phone_tells_what_it_consumed(
    adb: AdbServer, tmp_path: Path
) -> None:
    wanted = plan(charging="by-hand", cooldown_seconds=0)
    with plugged_in(adb) as phone, opened(phone) as device, calibrated(device):
        energy = open_energy_pass(device, wanted, lambda text: None)
        jobs = [known_load(device, energy.source, tmp_path)]

        def person(text: str) -> None:
            phone.unplug()
            threading.Timer(25.0, phone.plug_in, (adb,)).start()

        with closing(Cancellation()) as cancellation:
            run_detached(device, energy, jobs, wanted, person, cancellation)
        compare_with_truth(phone, device, jobs[0][0], (), energy.source)
        device.restore()
        assert phone.altered() == {}
