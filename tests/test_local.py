"""This computer as a device, with real processes: jobs outlive their host, and are found again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.devices.local import LocalDevice, discover, open_device
from harness.errors import DeviceError, DeviceNotFound
from harness.job import Job, Loop, TensorSource
from harness.runtimes import RuntimePack, build_local
from harness.stop import Stop

pytestmark = pytest.mark.slow

LOOP = Loop(min_iterations=1, min_seconds=0, max_iterations=1, max_seconds=1)


@pytest.fixture(scope="module")
def supervise() -> Path:
    return build_local("lite").supervise


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    device = LocalDevice(tmp_path / "device", "a test")
    yield device
    for name in device.jobs():
        device.kill(name)
    device.close()


def pack_of(supervise: Path, tmp_path: Path, script: str) -> RuntimePack:
    """Return a pack whose runner is a shell script; $1 is the job file, $2 the result file."""
    folder = tmp_path / "pack"
    folder.mkdir(exist_ok=True)
    runner = folder / "runner_lite"
    runner.write_text(f"#!/bin/sh\n{script}\n")
    runner.chmod(0o755)
    if not (folder / "supervise").exists():
        (folder / "supervise").symlink_to(supervise)
    return RuntimePack(
        key="test",
        engine="lite",
        abi="x86_64",
        folder=folder,
        engine_version="0",
        compiler="sh",
        sha256={},
    )


def job(name: str) -> Job:
    return Job(
        launch=name,
        engine="lite",
        measured_pass="latency",
        model_file="none",
        threads=1,
        inputs=(TensorSource(shape=(1,)),),
        warmup=LOOP,
        steady=LOOP,
    )


def test_a_job_runs_to_its_end_and_leaves_its_result(
    device: LocalDevice, supervise: Path, tmp_path: Path
) -> None:
    assert device.poll("a").state == "absent"
    device.start(job("a"), pack_of(supervise, tmp_path, 'cp "$1" "$2"; echo words >&2; exit 3'))
    status = device.wait("a", 10, Stop())
    assert status.state == "finished"
    assert status.exit is not None
    assert (status.exit.exit_code, status.exit.signal) == (3, None)
    result = device.fetch("a")
    assert result.record == job("a").model_dump_json().encode()
    assert result.stderr_tail == "words\n"
    assert device.jobs() == ["a"]
    device.forget("a")
    assert device.poll("a").state == "absent"


def test_a_runner_that_is_killed_is_finished_by_that_signal(
    device: LocalDevice, supervise: Path, tmp_path: Path
) -> None:
    device.start(job("a"), pack_of(supervise, tmp_path, "kill -9 $$"))
    status = device.wait("a", 10, Stop())
    assert status.exit is not None
    assert status.exit.signal == 9


def test_killing_a_job_ends_its_children_too(
    device: LocalDevice, supervise: Path, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    script = f"sleep 300 & echo $! > {note}.partial; mv {note}.partial {note}; wait"
    device.start(job("a"), pack_of(supervise, tmp_path, script))
    while not note.exists():
        time.sleep(0.01)
    assert device.wait("a", 0.05, Stop()).state == "running"
    device.kill("a")
    assert device.poll("a").state in ("finished", "vanished")
    assert not _runs(int(note.read_text()))


def test_a_job_outlives_a_host_that_is_killed_and_is_collected_by_the_next(
    supervise: Path, tmp_path: Path
) -> None:
    pack = pack_of(supervise, tmp_path, 'sleep 1; echo late > "$2"')
    folder = tmp_path / "device"
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from harness.devices.local import LocalDevice\n"
        "from harness.job import Job\n"
        "from harness.runtimes import RuntimePack\n"
        "from harness.stop import Stop\n"
        f"device = LocalDevice(Path({str(folder)!r}), 'the first host')\n"
        f"job = Job.model_validate_json({job('a').model_dump_json()!r})\n"
        f"device.start(job, RuntimePack.model_validate_json({pack.model_dump_json()!r}))\n"
        "device.wait('a', 0.2, Stop())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    second = LocalDevice(folder, "the second host")
    try:
        assert second.poll("a").state == "running"
        assert second.wait("a", 10, Stop()).state == "finished"
        assert second.fetch("a").record == b"late\n"
    finally:
        second.close()


def test_a_job_whose_processes_are_all_killed_has_vanished(
    device: LocalDevice, supervise: Path, tmp_path: Path
) -> None:
    device.start(job("a"), pack_of(supervise, tmp_path, "sleep 300"))
    child = device._children["a"]
    while not (tmp_path / "device/jobs/a/pid").exists():
        time.sleep(0.01)
    runner = int((tmp_path / "device/jobs/a/pid").read_text().split()[0])
    os.kill(child.pid, signal.SIGKILL)
    os.killpg(runner, signal.SIGKILL)
    assert device.wait("a", 10, Stop()).state == "vanished"


def test_one_harness_at_a_time_holds_this_computer(tmp_path: Path) -> None:
    first = LocalDevice(tmp_path, "sweep one")
    try:
        with pytest.raises(DeviceError, match=r"measured already, by process .*: sweep one"):
            LocalDevice(tmp_path, "sweep two")
    finally:
        first.close()
    LocalDevice(tmp_path, "sweep two").close()


def test_this_computer_is_the_same_device_every_time(own_cache: Path) -> None:
    (first,), (second,) = discover(), discover()
    assert first == second
    one = first.info
    assert one is not None
    assert one.cores >= 1
    assert one.memory_total_bytes > 0
    device = open_device("local", "a test")
    assert device.conditions().load_1min is not None
    device.close()
    with pytest.raises(DeviceNotFound):
        open_device("remote", "a test")


def _runs(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
