"""Android phones over adb, on virtual phones behind a real adb server: what only a phone can do.

What any device must do is in `device_contract.py`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.cancellation import Cancellation
from harness.devices import registry as devices
from harness.devices.android.device import AndroidPhone, Timing, discover
from harness.devices.android.scripts import ROOT
from harness.devices.base import JobStatus
from harness.errors import CommandFailed, DeviceError, DeviceLost, DeviceNotFound, NotSupported
from harness.measure.device_run import Services
from harness.measure.progress import Progress
from harness.measure.sweep import create_sweep, hold, is_complete, run_sweep
from harness.results.folder import read_sweep
from harness.runners.pack import RunnerPack
from harness.schema.artifact import ExportedModel
from harness.schema.device import DeviceInfo
from harness.schema.job import TensorSource
from harness.schema.plan import DeviceSettings, parse_plan
from harness.schema.record import LaunchRecord, parse_record, read_record
from harness.schema.sweep import LedgerEntry
from tests.fakes.packs import fake_runner_pack, known_duration_ns, made_up_model, small_job
from tests.fakes.phones import SMALL, await_truth, own_adb_server, plugged_in
from tests.virtual_android import AdbServer, Core, Fault, VirtualPhone

pytestmark = pytest.mark.slow

# Hosts that give up, expire and look after things within seconds.
QUICK = Timing(
    patience_seconds=20.0,
    lock_expires_seconds=3,
    heartbeat_seconds=0.5,
    watchdog_seconds=1,
    await_seconds=2.0,
)
SETTINGS = DeviceSettings(stay_awake=True, fixed_performance=True, suspend_charging=True)
ALTERED = {
    "fixed_performance",
    "global/stay_on_while_plugged_in",
    "power.battery_input.suspended",
    "system/screen_off_timeout",
}


@pytest.fixture(scope="module")
def adb() -> Iterator[AdbServer]:
    with own_adb_server() as server:
        yield server


@pytest.fixture(scope="module")
def shared_phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    """A phone that tests leave as it was."""
    with plugged_in(adb) as phone:
        yield phone


@pytest.fixture
def phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    """A phone of the test's own, to break."""
    with plugged_in(adb) as phone:
        yield phone


@contextmanager
def opened(phone: VirtualPhone, timing: Timing = QUICK) -> Iterator[AndroidPhone]:
    with closing(AndroidPhone(phone.serial, "a test", timing)) as device:
        yield device


@pytest.fixture(scope="module")
def pack() -> RunnerPack:
    return fake_runner_pack()


def start(device: AndroidPhone, pack: RunnerPack, tmp_path: Path, name: str, sleep_ms: int) -> str:
    """Start a job of the fake runner; return its name."""
    content = f"{sleep_ms}\n".encode()
    (tmp_path / "model").write_bytes(content)
    device.install(pack)
    place = device.stage(tmp_path / "model", hashlib.sha256(content).hexdigest())
    device.start(small_job(name, place), pack)
    return name


def wait(device: AndroidPhone, name: str, seconds: float = 30) -> JobStatus:
    with closing(Cancellation()) as cancellation:
        return device.wait(name, seconds, cancellation)


def shell(adb: AdbServer, phone: VirtualPhone, command: str) -> str:
    return adb.run("-s", phone.serial, "shell", command).stdout.decode()


def run_host(phone: VirtualPhone, code: str, *, ends_with: int = 0) -> None:
    """Run a host of its own: `phone` is open there, with the settings changed."""
    ended = subprocess.run([sys.executable, "-c", host_code(phone, code)], check=False)
    assert ended.returncode == ends_with


def host_code(phone: VirtualPhone, code: str) -> str:
    return (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from harness.devices.android.device import AndroidPhone, Timing\n"
        "from harness.schema.job import Job\n"
        "from harness.schema.plan import DeviceSettings\n"
        "from harness.runners.pack import RunnerPack\n"
        f"phone = AndroidPhone({phone.serial!r}, 'another host', {QUICK!r})\n"
        f"phone.apply(DeviceSettings.model_validate_json({SETTINGS.model_dump_json()!r}))\n"
        f"{code}\n"
    )


KILL_9 = "os.kill(os.getpid(), signal.SIGKILL)"


# --- discovery -----------------------------------------------------------------------------------


def test_a_phone_is_found_and_described(shared_phone: VirtualPhone) -> None:
    (found,) = (found for found in discover() if found.id == shared_phone.serial)
    assert found.state == "ready"
    assert found.info is not None
    assert found.info.name == "Phonebench Virtual Phone"
    assert found.info.system == "Android 14 (API 34)"
    assert found.info.abi == "x86_64"
    assert found.info.cores == len(shared_phone.spec.cores)


@pytest.mark.parametrize(
    ("state", "advice"), [("unauthorized", "accept this computer's key"), ("offline", "Unplug it")]
)
def test_a_phone_that_cannot_be_used_says_why_and_what_to_do(
    adb: AdbServer, phone: VirtualPhone, state: str, advice: str
) -> None:
    phone.faults.add(Fault("unauthorized" if state == "unauthorized" else "offline"))
    adb.await_state(phone.serial, state)
    (found,) = (found for found in discover() if found.id == phone.serial)
    assert (found.state, found.info) == (state, None)
    assert advice in found.advice
    with pytest.raises(DeviceNotFound, match=f"it is {state}") as refused:
        devices.find_devices([phone.serial])
    assert advice in refused.value.advice
    with pytest.raises(DeviceNotFound, match=f"adb says {state}") as refused:
        AndroidPhone(phone.serial, "a test")
    assert advice in refused.value.advice


def test_several_phones_are_told_apart_and_all_means_those_that_are_ready(
    adb: AdbServer, shared_phone: VirtualPhone, phone: VirtualPhone
) -> None:
    with plugged_in(adb, replace(SMALL, serialno="VP0002", model="Other Phone")) as other:
        phone.faults.add(Fault("unauthorized"))
        adb.await_state(phone.serial, "unauthorized")
        infos = devices.find_devices(["all"])
        assert {info.id for info in infos} == {shared_phone.serial, other.serial}
        assert len({info.fingerprint for info in infos}) == 2


def test_a_phone_that_is_not_attached_is_told_with_those_that_are(
    shared_phone: VirtualPhone,
) -> None:
    with pytest.raises(DeviceNotFound, match=shared_phone.serial):
        devices.find_devices(["nosuchserial"])
    with pytest.raises(DeviceNotFound, match="adb says absent"):
        AndroidPhone("nosuchserial", "a test")


def test_without_an_adb_server_one_is_started(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    adb.kill()
    discover()
    assert adb.alive()
    adb.await_state(shared_phone.serial, "device")


def test_an_adb_that_does_not_work_hides_no_other_device(
    adb: AdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    local, broken = devices.discover()
    assert local.id == "local"
    assert broken.id == "adb"
    assert "does not answer" in broken.state
    assert broken.advice
    with pytest.raises(DeviceNotFound, match="does not answer"):
        devices.find_devices(["some phone"])


def test_a_phone_stays_the_same_over_reboots_faults_and_cables(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        first = device.info
        for fault in (Fault("drop"), Fault("core_offline", core=1), Fault("reboot")):
            phone.faults.add(fault)
            assert device.conditions().battery_percent == 80
    with opened(phone) as device:
        assert device.info == first


def test_two_phones_of_one_model_are_two_devices(adb: AdbServer, phone: VirtualPhone) -> None:
    with plugged_in(adb, replace(SMALL, serialno="VP0002")) as twin:
        assert info_of(phone).fingerprint != info_of(twin).fingerprint


# --- conditions and cores ------------------------------------------------------------------------


def test_conditions_are_the_phones_own(phone: VirtualPhone) -> None:
    phone.set_body(skin_celsius=44.0)
    with opened(phone) as device:
        hot = device.conditions()
        assert hot.thermal_status == 3
        assert hot.temperature_celsius is not None
        assert 43 < hot.temperature_celsius <= 44
        assert hot.clocks_khz is not None
        assert max(hot.clocks_khz) < Core.BIG_KHZ, "a hot phone's clocks are lower"
        assert (hot.battery_percent, hot.charging, hot.governor) == (80, True, "schedutil")
        device.apply(DeviceSettings(suspend_charging=True))
        await_truth(lambda: device.conditions().charging is False)


def test_affinity_is_what_was_asked_and_what_the_runner_saw(
    adb: AdbServer, pack: RunnerPack, tmp_path: Path
) -> None:
    spec = replace(SMALL, cores=(Core(300_000, Core.LITTLE_KHZ), Core(500_000, Core.BIG_KHZ)))
    with plugged_in(adb, spec) as phone, opened(phone) as device:
        assert device.resolve_cores("little") == (0,)
        assert device.resolve_cores("big") == (1,)
        scene = Scene.of(tmp_path, [device.info], pack, affinity=["all", "big", "little"])
        device.close()
        assert scene.run()
        seen = {
            entry.case.rpartition("-")[2]: (record.header.job.affinity, record.actual.affinity)
            for entry, record in scene.records()
            if record.header.job is not None and record.actual is not None
        }
        assert seen["big"] == ((1,), (1,))
        assert seen["little"] == ((0,), (0,))


def test_a_phone_with_cores_of_one_kind_refuses_big(adb: AdbServer) -> None:
    with plugged_in(adb, replace(SMALL, cores=(Core(300_000, 2_000_000),) * 2)) as phone:
        with opened(phone) as device, pytest.raises(NotSupported, match="no big cores") as refused:
            device.resolve_cores("big")
        assert "2000000" in refused.value.message
        assert refused.value.advice


def test_a_core_that_goes_offline_is_seen_by_the_runner(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        scene = Scene.of(tmp_path, [device.info], pack)
    phone.faults.add(Fault("core_offline", core=1))
    assert scene.run()
    actual = [record.actual.affinity for _, record in scene.records() if record.actual]
    assert set(actual) == {(0,)}


# --- staging -------------------------------------------------------------------------------------


def random_file(path: Path, size_bytes: int) -> tuple[Path, str]:
    path.write_bytes(os.urandom(size_bytes))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def pushed_bytes(phone: VirtualPhone) -> int:
    return int(phone.state()["pushed_bytes"])


def test_nothing_is_sent_twice_not_even_by_another_host(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 3_000_000)
    with opened(phone) as device:
        device.stage(source, sha256)
        device.install(pack)
    sent = pushed_bytes(phone)
    assert sent == 3_000_000 + sum((pack.folder / name).stat().st_size for name in pack.sha256)
    with opened(phone) as another_host:
        another_host.stage(source, sha256)
        another_host.install(pack)
    assert pushed_bytes(phone) == sent


def test_a_transfer_that_arrives_damaged_is_noticed_and_sent_again(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 500_000)
    with opened(phone) as device:
        phone.faults.add(Fault("corrupt", at_byte=123_456))
        place = device.stage(source, sha256)
    assert [fault.kind for fault in phone.faults.struck()] == ["corrupt"]
    assert shell(adb, phone, f"sha256sum {place}").split()[0] == sha256


def test_a_link_that_always_damages_is_an_error_and_leaves_nothing_to_be_trusted(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 100_000)
    with opened(phone) as device:
        for _ in range(3):
            phone.faults.add(Fault("corrupt", at_byte=1))
        # One strikes at once; the next only in the next file.
        source_is_wrong = sha256.replace(sha256[:4], "0000")
        with pytest.raises(CommandFailed, match="arrives damaged, 3 times over") as error:
            device.stage(source, source_is_wrong)
        assert error.value.advice
        assert shell(adb, phone, f"ls {ROOT}/store/{source_is_wrong}") == ""


def test_a_push_is_finished_after_the_cable_was_pulled(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 4_000_000)
    with opened(phone) as device:
        phone.faults.add(Fault("unplug", after_bytes=1_500_000, seconds=1.0))
        place = device.stage(source, sha256)
    assert shell(adb, phone, f"sha256sum {place}").split()[0] == sha256


def test_too_little_space_is_told_before_anything_is_sent(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    source, sha256 = random_file(tmp_path / "model", 1000)
    with opened(phone) as device:
        sent = pushed_bytes(phone)
        phone.faults.add(Fault("disk_full", free_bytes=10 << 20))
        with pytest.raises(CommandFailed, match="has 10 MB free") as error:
            device.stage(source, sha256)
        assert "phonebench clean" in error.value.advice
        assert pushed_bytes(phone) == sent


def test_a_disk_that_fills_up_meanwhile_is_told(phone: VirtualPhone, tmp_path: Path) -> None:
    source, sha256 = random_file(tmp_path / "model", 20_000_000)
    with opened(phone) as device:
        phone.faults.add(Fault("disk_full", after_bytes=2_000_000, free_bytes=100_000))
        with pytest.raises(CommandFailed, match="No space left"):
            device.stage(source, sha256)
        phone.faults.clear()
        device.stage(source, sha256)


def test_a_phone_that_is_full_says_so_when_it_is_opened(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    shell(adb, phone, "head -c 8000 /dev/zero > /data/local/tmp/others")
    phone.faults.add(Fault("disk_full"))
    with pytest.raises(DeviceError, match="No space left") as error:
        AndroidPhone(phone.serial, "a test", QUICK)
    assert "Free some space" in error.value.advice
    phone.faults.clear()
    with opened(phone):
        pass


# --- jobs ----------------------------------------------------------------------------------------


def test_a_job_of_any_length_arrives(phone: VirtualPhone, pack: RunnerPack, tmp_path: Path) -> None:
    checks = ((TensorSource(shape=(1, 3), file="x" * 200),),) * 1000
    with opened(phone) as device:
        start(device, pack, tmp_path, "warm-up", 0)
        place = device.stage(tmp_path / "model", hashlib.sha256(b"0\n").hexdigest())
        job = small_job("long", place).model_copy(update={"checks": checks})
        device.start(job, pack)
        assert wait(device, "long").state == "finished"
        record = parse_record(device.fetch("long").record or b"", "long")
    assert isinstance(record, LaunchRecord)
    assert record.header.job == job


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop"),
        Fault("unplug", seconds=1.5),
        Fault("offline", seconds=1.0),
        Fault("unauthorized", seconds=1.0),
        Fault("stall", seconds=1.5),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_job_goes_on_while_its_phone_is_away_and_its_result_is_collected(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path, fault: Fault
) -> None:
    with opened(phone) as device:
        start(device, pack, tmp_path, "a", 1200)
        phone.faults.add(replace(fault, after_seconds=0.3))
        status = wait(device, "a")
        assert status.state == "finished"
        record = device.fetch("a").record
        assert record is not None
        assert f'"duration_ns":[{known_duration_ns("a")},'.encode() in record
    assert phone.faults.struck()


def test_the_adb_server_may_be_killed_while_a_job_runs(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        start(device, pack, tmp_path, "a", 1500)
        timer = threading.Timer(0.4, adb.kill)
        timer.start()
        assert wait(device, "a").state == "finished"
        timer.join()


def test_a_phone_that_stays_away_is_lost_after_some_patience(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone, replace(QUICK, patience_seconds=1.0)) as device:
        start(device, pack, tmp_path, "a", 0)
        phone.faults.add(Fault("unplug"))
        with pytest.raises(DeviceLost, match=phone.serial) as lost:
            wait(device, "a")
        assert "--resume" in lost.value.advice
        begin = time.monotonic()
        with pytest.raises(DeviceLost):
            device.restore()
        assert time.monotonic() - begin < 20, "a lost phone is not waited for again"


def test_a_job_has_vanished_after_a_reboot_and_settings_are_changed_again(
    phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        changed = phone.altered()
        assert set(changed) == ALTERED
        start(device, pack, tmp_path, "a", 60_000)
        phone.faults.add(Fault("reboot", after_seconds=0.3))
        assert wait(device, "a").state == "vanished"
        assert phone.altered() == changed, "fixed performance does not survive a reboot by itself"
        device.restore()
        assert phone.altered() == {}


# --- the lock ------------------------------------------------------------------------------------


def test_a_lock_names_its_holder_and_what_it_does(phone: VirtualPhone) -> None:
    holder = rf"in use by .* \(process {os.getpid()}: a test\)"
    with opened(phone), pytest.raises(DeviceError, match=holder):
        AndroidPhone(phone.serial, "another", QUICK)


def as_another_computer(adb: AdbServer, phone: VirtualPhone) -> None:
    """Rewrite the lock as if another computer held it."""
    shell(adb, phone, f'cd {ROOT}/lock && sed -i \'s/"host": "[^"]*"/"host": "other"/\' holder')


def test_a_lock_of_another_computer_expires_without_a_sign_of_life(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    as_another_computer(adb, phone)
    with pytest.raises(DeviceError, match="on other") as refused:
        AndroidPhone(phone.serial, "a test", QUICK)
    assert "3 s" in refused.value.advice
    time.sleep(QUICK.lock_expires_seconds + 0.5)
    with opened(phone):
        pass


def test_a_lock_of_a_dead_process_of_this_computer_is_taken_at_once(phone: VirtualPhone) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    with opened(phone):
        pass


def test_a_running_job_keeps_the_lock_of_another_computer_alive(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    with opened(phone) as device:
        device.install(pack)
    (tmp_path / "long").write_bytes(b"8000\n")
    job = (
        f"phone.install(pack := RunnerPack.model_validate_json({pack.model_dump_json()!r}))\n"
        f"place = phone.stage(Path({str(tmp_path / 'long')!r}), "
        f"{hashlib.sha256(b'8000' + bytes([10])).hexdigest()!r})\n"
        f"job = Job.model_validate_json({small_job('long').model_dump_json()!r})\n"
        "phone.start(job.model_copy(update={'model_file': place}), pack)\n"
    )
    run_host(phone, job + KILL_9, ends_with=-signal.SIGKILL)
    as_another_computer(adb, phone)
    time.sleep(QUICK.lock_expires_seconds + 1.5)
    with pytest.raises(DeviceError, match="on other"):
        AndroidPhone(phone.serial, "a test", QUICK)
    assert phone.altered(), "the watchdog lets a running job be"


def test_a_host_that_was_silent_too_long_learns_that_it_lost_the_phone(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    silent = replace(QUICK, heartbeat_seconds=60.0)
    with opened(phone, silent) as first:
        as_another_computer(adb, phone)
        time.sleep(QUICK.lock_expires_seconds + 0.5)
        with opened(phone) as second:
            with pytest.raises(DeviceLost, match="taken over by another host"):
                first.conditions()
            first.close()
            second.conditions()


# --- settings ------------------------------------------------------------------------------------


def test_settings_are_put_back_at_the_end(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        assert set(phone.altered()) == ALTERED
        device.restore()
        assert phone.altered() == {}


def test_a_setting_that_somebody_else_had_made_is_put_back_to_that(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    shell(adb, phone, "settings put global stay_on_while_plugged_in 3")
    with opened(phone) as device:
        device.apply(SETTINGS)
        device.restore()
    assert phone.altered() == {"global/stay_on_while_plugged_in": "3"}


def test_a_setting_that_the_phone_refuses_is_named(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        with pytest.raises(NotSupported, match="governor") as refused:
            device.apply(DeviceSettings(governor="performance"))
        assert "root" in refused.value.advice
        device.restore()


def test_the_next_host_puts_back_what_a_killed_one_had_changed(phone: VirtualPhone) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    assert set(phone.altered()) == ALTERED
    with opened(phone):
        assert phone.altered() == {}


def test_the_watchdog_on_the_phone_puts_back_what_a_killed_host_had_changed(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    run_host(phone, KILL_9, ends_with=-signal.SIGKILL)
    assert set(phone.altered()) == ALTERED
    await_truth(lambda: phone.altered() == {}, seconds=30)
    await_truth(lambda: not any("watchdog" in line for line in phone.commands()))


def test_a_change_that_cannot_be_undone_is_named_and_stays_for_the_next_try(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        stuck = f"{ROOT}/changes/stuck.sh"
        shell(adb, phone, f"echo false > {stuck}")
        with pytest.raises(CommandFailed, match=r"could not undo: stuck\n"):
            device.restore()
        assert phone.altered() == {}
        shell(adb, phone, f"echo true > {stuck}")
        device.restore()


def test_what_the_watchdog_undoes_at_the_same_moment_is_no_failure(
    adb: AdbServer, phone: VirtualPhone
) -> None:
    with opened(phone) as device:
        shell(
            adb,
            phone,
            f"mkdir -p {ROOT}/changes; echo 'rm gone.sh; false' > {ROOT}/changes/gone.sh",
        )
        device.restore()
        assert (
            shell(adb, phone, f"ls {ROOT}/changes 2>&1; true")
            .strip()
            .endswith("No such file or directory")
        )


def test_the_watchdog_lets_a_living_host_be(phone: VirtualPhone) -> None:
    with opened(phone) as device:
        device.apply(SETTINGS)
        time.sleep(2 * QUICK.lock_expires_seconds + 2)
        assert set(phone.altered()) == ALTERED
        device.restore()


# --- sweeps --------------------------------------------------------------------------------------


PLAN = """
[plan]
name = "phones"
rounds = {rounds}
devices = ["phones"]
[[model]]
name = "net"
source = "nowhere:net"
inputs = [{{ shape = [1, 3] }}]
[matrix]
affinity = {affinity}
[measure]
passes = ["latency"]
[device]
stay_awake = true
fixed_performance = true
"""


@dataclass
class Scene:
    """A sweep on phones, with the fake runner; a new host can come at any time."""

    folder: Path
    model: ExportedModel
    services: Services
    began: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        tmp_path: Path,
        infos: list[DeviceInfo],
        pack: RunnerPack,
        *,
        sleep_ms: int = 0,
        rounds: int = 2,
        affinity: list[str] | None = None,
        on_begin: Callable[[int], None] = lambda number: None,
    ) -> Scene:
        plan = parse_plan(PLAN.format(rounds=rounds, affinity=affinity or ["all"]), "phones.toml")
        folder = create_sweep(tmp_path / "sweeps", plan, infos, ["phonebench", "run"])
        model = made_up_model(tmp_path, plan, sleep_ms=sleep_ms, diary="/data/local/tmp/diary")
        began: list[str] = []
        warnings: list[str] = []

        def observe(progress: Progress) -> None:
            if progress.entry is None:
                began.append(progress.device)
                on_begin(len(began))

        services = Services(
            open_device=lambda info, purpose: AndroidPhone(info.id, purpose, QUICK),
            runner_pack=lambda engine, info: pack,
            observe=observe,
            warn=warnings.append,
        )
        return cls(folder, model, services, began, warnings)

    def run(self) -> bool:
        with hold(self.folder) as sweep:
            run_sweep(sweep, (self.model,), self.services)
        return is_complete(read_sweep(self.folder))

    def entries(self) -> list[LedgerEntry]:
        return list(read_sweep(self.folder).entries)

    def records(self) -> list[tuple[LedgerEntry, LaunchRecord]]:
        """Return what is ok in the ledger, with its record."""
        pairs = [(e, read_record(self.folder / e.file)) for e in self.entries() if e.file]
        return [(e, r) for e, r in pairs if e.status == "ok" and isinstance(r, LaunchRecord)]


def diary(adb: AdbServer, phone: VirtualPhone) -> list[str]:
    return sorted(shell(adb, phone, "cat /data/local/tmp/diary").splitlines())


def info_of(phone: VirtualPhone) -> DeviceInfo:
    with opened(phone) as device:
        return device.info


def test_a_sweep_leaves_the_phone_as_it_was(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    scene = Scene.of(tmp_path, [info_of(phone)], pack, rounds=3)
    assert scene.run()
    for entry, record in scene.records():
        assert entry.before is not None
        assert entry.after is not None
        assert entry.before.battery_percent == 80
        launch = record.header.launch
        assert set(record.durations_ns("steady").tolist()) == {known_duration_ns(launch)}
    assert len(scene.records()) == 3
    assert phone.altered() == {}
    assert shell(adb, phone, f"ls {ROOT}/jobs {ROOT}/lock 2>/dev/null").split()[1:] == []


@pytest.mark.parametrize("fault", ["reboot", "unplug"])
def test_a_sweep_takes_a_phone_up_again_that_reboots_or_is_unplugged(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path, fault: str
) -> None:
    def strike(number: int) -> None:
        if number == 2:
            kind = Fault("reboot") if fault == "reboot" else Fault("unplug", seconds=1.0)
            phone.faults.add(replace(kind, after_seconds=0.4))

    scene = Scene.of(tmp_path, [info_of(phone)], pack, sleep_ms=800, rounds=3, on_begin=strike)
    assert scene.run()
    second = [(e.attempt, e.status) for e in scene.entries() if e.index == 2]
    expected = {"reboot": [(1, "interrupted"), (2, "ok")], "unplug": [(1, "ok")]}
    assert second == expected[fault]
    assert len([line for line in diary(adb, phone) if line.startswith("finished")]) == 3
    assert phone.altered() == {}


@pytest.mark.parametrize("end", ["ctrl-c", "kill -9"])
def test_a_host_that_ends_early_is_followed_by_one_that_runs_only_what_is_missing(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path, end: str
) -> None:
    scene = Scene.of(tmp_path, [info_of(phone)], pack, sleep_ms=1500, rounds=3)
    # A process of its own, because it is killed. It is this very scene, made again.
    code = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from tests.devices.android.test_android import *\n"
        f"folder = Path({str(scene.folder)!r})\n"
        "infos = list(read_sweep(folder).file.devices)\n"
        f"number = signal.{'SIGINT' if end == 'ctrl-c' else 'SIGKILL'}\n"
        "def strike(launch):\n"
        "    if launch == 2:\n"
        "        threading.Timer(0.7, os.kill, (os.getpid(), number)).start()\n"
        f"tmp = Path({str(tmp_path)!r})\n"
        "scene = Scene.of(tmp, infos, fake_runner_pack(), sleep_ms=1500, rounds=3, on_begin=strike)\n"
        "scene.folder = folder\n"
        "scene.run()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)
    assert ended.returncode != 0
    if end == "ctrl-c":
        assert phone.altered() == {}, "Ctrl-C restores"
    assert scene.run()
    assert {e.status for e in scene.entries() if e.index != 2} == {"ok"}
    assert [e.status for e in scene.entries() if e.index == 2][-1] == "ok"
    lines = diary(adb, phone)
    assert len([line for line in lines if line.startswith("finished")]) == 3
    assert len(lines) == len(set(lines)), "no launch began twice"
    assert len([line for line in lines if "began" in line]) == (4 if end == "ctrl-c" else 3)
    assert phone.altered() == {}


def test_phones_are_measured_in_parallel_and_one_that_is_lost_stops_no_other(
    adb: AdbServer, phone: VirtualPhone, pack: RunnerPack, tmp_path: Path
) -> None:
    def strike(number: int) -> None:
        if number == 3:
            phone.faults.add(Fault("unplug"))

    with ExitStack() as stack:
        specs = [replace(SMALL, serialno=f"VP00{n}") for n in (2, 3)]
        others = [stack.enter_context(plugged_in(adb, spec)) for spec in specs]
        infos = [info_of(one) for one in (phone, *others)]
        scene = Scene.of(tmp_path, infos, pack, sleep_ms=500, rounds=3, on_begin=strike)
        quick = replace(QUICK, patience_seconds=1.0)
        scene.services = replace(
            scene.services, open_device=lambda info, purpose: AndroidPhone(info.id, purpose, quick)
        )
        assert not scene.run()
        assert set(scene.began[:3]) == {info.id for info in infos}, "all began at once"
        ok = [entry.device for entry in scene.entries() if entry.status == "ok"]
        assert all(ok.count(other.serial) == 3 for other in others)
        assert ok.count(phone.serial) < 3
        assert any(phone.serial in warning for warning in scene.warnings)
        phone.plug_in(adb)
        # The lock could not be given back, and this very process, its holder, lives on.
        time.sleep(QUICK.lock_expires_seconds + 0.5)
        assert scene.run()
        assert len([e for e in scene.entries() if e.status == "ok"]) == 9
        assert phone.altered() == {}
