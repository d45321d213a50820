"""What every device must do, whatever it is: run for all in `benches.py` but a physical phone by
`pytest tests/contract/test_device.py` (with `-k local` for one of them), and for a physical phone by
`make test-device SERIAL=...`.

A device that is new to the harness is done when these tests pass.
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
from contextlib import closing, suppress
from pathlib import Path
from typing import get_args

import pytest

from harness.cancellation import Cancellation
from harness.devices.base import Device, JobStatus
from harness.errors import DeviceError, NotSupported, Stopped
from harness.runners.pack import RunnerPack
from harness.schema.job import Pass
from harness.schema.plan import DeviceSettings
from tests.fakes.benches import BENCHES, WANTED, Bench
from tests.fakes.packs import script_pack, small_job
from tests.fakes.phones import await_truth

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=WANTED)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Bring one device about; all tests of this module share it."""
    with BENCHES[request.param]() as bench:
        yield bench


@pytest.fixture
def device(bench: Bench) -> Iterator[Device]:
    device = bench.open()
    for left in device.jobs():
        device.forget(left)
    yield device
    with suppress(DeviceError):  # the test has let another host take it
        for name in device.jobs():
            device.kill(name)
            device.forget(name)
    device.close()


@pytest.fixture
def runner(bench: Bench, device: Device, tmp_path: Path) -> Callable[[str], RunnerPack]:
    """Make a pack of a shell script, on the device; $1 is the job file, $2 the result file."""

    def make(script: str) -> RunnerPack:
        pack = script_pack(tmp_path / "pack", script, bench.shell, device.info.abi)
        device.install(pack)
        return pack

    return make


Runner = Callable[[str], RunnerPack]


def wait(device: Device, name: str, seconds: float = 20) -> JobStatus:
    with closing(Cancellation()) as cancellation:
        return device.wait(name, seconds, cancellation)


# --- jobs ----------------------------------------------------------------------------------------


def test_a_job_runs_to_its_end_and_leaves_its_result(device: Device, runner: Runner) -> None:
    assert device.poll("a").state == "absent"
    device.start(small_job("a"), runner('cp "$1" "$2"; echo words >&2; exit 3'))
    status = wait(device, "a")
    assert status.state == "finished"
    assert status.exit is not None
    assert (status.exit.exit_code, status.exit.signal) == (3, None)
    assert status.exit.end_ns > status.exit.start_ns
    result = device.fetch("a")
    assert result.record is not None
    assert result.record.strip() == small_job("a").model_dump_json().encode()
    assert result.stderr_tail == "words\n"


def test_a_job_stays_until_it_is_forgotten(device: Device, runner: Runner) -> None:
    device.start(small_job("a"), runner('echo done > "$2"'))
    wait(device, "a")
    assert device.fetch("a") == device.fetch("a")
    assert list(device.jobs()) == ["a"]
    device.forget("a")
    assert list(device.jobs()) == []
    assert device.poll("a").state == "absent"


def test_a_runner_that_is_killed_is_finished_by_that_signal(device: Device, runner: Runner) -> None:
    device.start(small_job("a"), runner('echo half > "$2.partial"; kill -9 $$'))
    status = wait(device, "a")
    assert status.exit is not None
    assert status.exit.signal == signal.SIGKILL
    assert device.fetch("a").record == b"half\n"


def test_killing_a_job_ends_its_children_too(device: Device, runner: Runner) -> None:
    writes = '( while :; do echo x >> "$2.partial"; sleep 0.05; done ) & wait'
    device.start(small_job("a"), runner(writes))
    await_truth(lambda: bool(device.fetch("a").record))
    assert wait(device, "a", 0.05).state == "running"
    device.kill("a")
    assert device.poll("a").state in ("finished", "vanished")
    written = device.fetch("a").record
    time.sleep(0.3)
    assert device.fetch("a").record == written


def test_a_job_is_killed_at_once_after_it_was_started(device: Device, runner: Runner) -> None:
    device.start(small_job("a"), runner("sleep 300"))
    device.kill("a")
    assert device.poll("a").state in ("finished", "vanished")


def test_a_job_whose_processes_are_all_killed_has_vanished(device: Device, runner: Runner) -> None:
    device.start(small_job("a"), runner('read -r pid ticks < "${1%/*}/pid"; kill -9 -$pid'))
    assert wait(device, "a").state == "vanished"


def test_waiting_ends_when_somebody_wants_to_stop(device: Device, runner: Runner) -> None:
    device.start(small_job("a"), runner("sleep 300"))
    with closing(Cancellation()) as cancellation:
        timer = threading.Timer(0.3, cancellation.set)
        timer.start()
        begin = time.monotonic()
        with suppress(Stopped):
            assert device.wait("a", 60, cancellation).state == "running"
        timer.join()
        assert time.monotonic() - begin < 30, "it did not wait for the job"
    device.kill("a")


def test_a_large_result_arrives_whole(device: Device, runner: Runner) -> None:
    script = 'head -c 5000000 /dev/urandom > "$2"; sha256sum "$2" >&2'
    device.start(small_job("a"), runner(script))
    assert wait(device, "a").state == "finished"
    result = device.fetch("a")
    assert result.record is not None
    assert hashlib.sha256(result.record).hexdigest() == result.stderr_tail.split()[0]


def test_jobs_of_many_names_do_not_mix(device: Device, runner: Runner) -> None:
    pack = runner('cp "$1" "$2"')
    for name in ("a", "b", "a-1"):
        device.start(small_job(name), pack)
        wait(device, name)
    assert sorted(device.jobs()) == ["a", "a-1", "b"]
    device.forget("a")
    assert sorted(device.jobs()) == ["a-1", "b"]
    assert b'"launch":"a-1"' in (device.fetch("a-1").record or b"")


# --- files ---------------------------------------------------------------------------------------


def test_a_staged_file_is_there_under_the_path_that_was_told(
    device: Device, runner: Runner, tmp_path: Path
) -> None:
    content = os.urandom(300_000)
    source = tmp_path / "a file.ptl"
    source.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    place = device.stage(source, sha256)
    assert device.stage(source, sha256) == place
    device.start(small_job("a"), runner(f'cp "{place}" "$2"'))
    wait(device, "a")
    assert device.fetch("a").record == content


def test_a_runner_is_started_by_the_launcher_that_its_pack_brings(
    bench: Bench, device: Device, tmp_path: Path
) -> None:
    script = 'echo "$STARTED_FROM" > "$2"; ls "$STARTED_FROM" >> "$2"'
    pack = script_pack(tmp_path / "pack", script, bench.shell, device.info.abi, launcher=True)
    device.install(pack)
    device.start(small_job("a"), pack)
    assert wait(device, "a").state == "finished"
    folder, *files = (device.fetch("a").record or b"").decode().split()
    assert folder.startswith("/")
    assert {"launcher", "runner_lite", "supervise"} <= set(files)


def test_what_was_brought_to_a_device_is_gone_after_it_was_cleaned(
    bench: Bench, device: Device, runner: Runner, tmp_path: Path
) -> None:
    content = os.urandom(300_000)
    source = tmp_path / "a file.ptl"
    source.write_bytes(content)
    place = device.stage(source, hashlib.sha256(content).hexdigest())
    device.start(small_job("ended"), runner(f'cp "{place}" "$2"'))
    wait(device, "ended")
    device.start(small_job("runs"), runner("sleep 300"))
    assert device.clean() >= len(content)
    device.close()
    with closing(bench.open()) as second:
        assert second.clean() < len(content)
    with closing(bench.open()) as again:
        assert list(again.jobs()) == []
        assert [again.poll(name).state for name in ("ended", "runs")] == ["absent", "absent"]
        pack = script_pack(
            tmp_path / "pack", f'[ ! -e "{place}" ]; echo $? > "$2"', bench.shell, again.info.abi
        )
        again.install(pack)
        again.start(small_job("looks"), pack)
        wait(again, "looks")
        is_the_hosts_own = place == str(source.resolve())
        assert again.fetch("looks").record == (b"1\n" if is_the_hosts_own else b"0\n")


# --- hosts ---------------------------------------------------------------------------------------


def test_a_job_outlives_a_host_that_is_killed_and_is_collected_by_the_next(
    bench: Bench, device: Device, runner: Runner
) -> None:
    pack = runner('sleep 1; echo late > "$2"')
    device.close()
    code = (
        "import os, signal\n"
        "from harness.devices.registry import find_devices, open_device\n"
        "from harness.schema.job import Job\n"
        "from harness.runners.pack import RunnerPack\n"
        "from harness.cancellation import Cancellation\n"
        f"(info,) = find_devices([{bench.id!r}])\n"
        "device = open_device(info, 'another host')\n"
        f"job = Job.model_validate_json({small_job('a').model_dump_json()!r})\n"
        f"device.start(job, RunnerPack.model_validate_json({pack.model_dump_json()!r}))\n"
        "device.wait('a', 0.2, Cancellation())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    second = bench.open("the second host")
    try:
        assert second.poll("a").state in ("running", "finished")
        assert wait(second, "a").state == "finished"
        assert second.fetch("a").record == b"late\n"
        second.forget("a")
    finally:
        second.close()


def test_one_host_at_a_time_holds_a_device(bench: Bench, device: Device) -> None:
    with pytest.raises(DeviceError, match=r"process \d+: a test") as error:
        bench.open("somebody else")
    assert error.value.advice
    device.close()
    bench.open("somebody else").close()


# --- what it is ----------------------------------------------------------------------------------


def test_a_device_is_the_same_whenever_it_is_opened(bench: Bench, device: Device) -> None:
    device.close()
    again = bench.open()
    again.close()
    assert again.info == device.info
    assert again.info.cores >= 1
    assert again.info.memory_total_bytes > 0


def test_a_device_is_found_as_what_it_is_when_it_is_opened(bench: Bench, device: Device) -> None:
    found = next(found for found in bench.driver.discover() if found.id == bench.id)
    assert found.info == device.info
    assert (device.info.id, device.info.kind) == (bench.id, bench.kind)


def test_health_and_power_sources_are_read_of_a_device_that_is_held(
    bench: Bench, device: Device
) -> None:
    health = bench.driver.read_health(bench.id, False)
    assert health.kind == bench.kind
    assert health.holder is None or "a test" in health.holder
    assert health.conditions.memory_available_bytes
    sources = bench.driver.read_power_sources(bench.id)
    assert [source.name for source in sources] == [s.name for s in device.power_sources()]


def test_a_device_tells_its_conditions(device: Device) -> None:
    before, after = device.conditions(), device.conditions()
    assert before.unix <= after.unix
    assert before.memory_available_bytes is not None
    assert before.memory_available_bytes > 0


def test_nothing_is_read_on_its_own_while_times_are_measured(device: Device) -> None:
    for measured_pass in get_args(Pass):
        probes = device.probes(measured_pass)
        names = [channel.name for probe in probes for channel in probe.channels]
        assert len(set(names)) == len(names)
        is_quiet = all(probe.period_seconds is None for probe in probes)
        assert is_quiet == (measured_pass in ("latency", "profile"))


def test_every_source_of_power_can_be_used_or_says_why_not(device: Device) -> None:
    for source in device.power_sources():
        assert source.name
        recorder = None if source.refusal else device.recorder(source)
        assert source.refusal or source.probes or recorder is not None


def test_big_and_little_cores_are_told_apart_or_refused(device: Device) -> None:
    try:
        big, little = device.resolve_cores("big"), device.resolve_cores("little")
    except NotSupported:
        return
    assert big
    assert little
    assert not set(big) & set(little)


def test_settings_are_changed_and_put_back(device: Device) -> None:
    device.apply(DeviceSettings(stay_awake=True))
    device.restore()
    device.restore()
