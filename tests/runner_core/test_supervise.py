"""The supervisor starts a job that outlives its host, and notes how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.schema.record import LaunchRecord, read_record
from tests.fakes.runner_bench import (
    ENDLESS,
    Bench,
)

pytestmark = pytest.mark.slow


def supervise(bench: Bench, folder: Path, *command: str | Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    return subprocess.Popen(
        [bench.pack.supervise, folder, "--", *command], start_new_session=True, stdout=-3
    )


def exit_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "exit").read_text())
    return content


def wait_for(path: Path) -> None:
    for _ in range(2000):
        if path.exists():
            return
        time.sleep(0.01)
    pytest.fail(f"{path} does not appear")


def runner_of(supervisor: int) -> int:
    for _ in range(2000):
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    pytest.fail("the supervisor starts nothing")


def test_the_supervisor_keeps_output_exit_code_times_and_peak_memory(
    bench: Bench, tmp_path: Path
) -> None:
    job = tmp_path / "job.json"
    job.write_text(bench.job().model_dump_json())
    folder = tmp_path / "run"
    begun = time.monotonic_ns()
    supervisor = supervise(bench, folder, bench.pack.runner, job, folder / "result.jsonl")
    assert supervisor.wait(60) == 0
    ended = exit_of(folder)
    assert (ended["exit_code"], ended["signal"]) == (0, None)
    assert begun <= ended["start_ns"] < ended["end_ns"] <= time.monotonic_ns()
    assert ended["max_rss_bytes"] > 1 << 20
    assert (folder / "stdout").read_text() == "warming up\nmeasuring\ndone\n"
    assert (folder / "stderr").read_bytes() == b""
    assert int((folder / "pid").read_text().split()[0]) == supervisor.pid
    record = read_record(folder / "result.jsonl")
    assert isinstance(record, LaunchRecord)
    assert record.header.exec_ns is not None
    assert ended["start_ns"] <= record.header.exec_ns <= record.header.main_ns


@pytest.mark.parametrize(
    ("script", "code", "by_signal"),
    [("exit 3", 3, None), ("kill -9 $$", None, 9), ("kill -11 $$", None, 11)],
)
def test_the_exit_file_tells_a_code_from_a_signal(
    bench: Bench, tmp_path: Path, script: str, code: int | None, by_signal: int | None
) -> None:
    assert supervise(bench, tmp_path / "run", "/bin/sh", "-c", script).wait(20) == 0
    ended = exit_of(tmp_path / "run")
    assert (ended["exit_code"], ended["signal"]) == (code, by_signal)


def test_a_program_that_is_not_there_ends_with_127_and_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    assert supervise(bench, tmp_path / "run", "/no/runner").wait(20) == 0
    assert exit_of(tmp_path / "run")["exit_code"] == 127
    assert "cannot execute /no/runner" in (tmp_path / "run" / "stderr").read_text()


def test_the_pid_file_recognises_the_process_by_its_start_time(
    bench: Bench, tmp_path: Path
) -> None:
    supervisor = supervise(bench, tmp_path / "run", "/bin/sleep", "60")
    wait_for(tmp_path / "run" / "pid")
    pid, ticks = map(int, (tmp_path / "run" / "pid").read_text().split())
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert (pid, ticks) == (supervisor.pid, int(stat[19]))
    os.killpg(pid, signal.SIGKILL)
    supervisor.wait(20)
    assert not (tmp_path / "run" / "exit").exists()


def test_a_job_outlives_the_process_that_asked_for_it(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], start_new_session=True)\n"
        "print('started', flush=True); time.sleep(60)"
    )
    command = [bench.pack.supervise, folder, "--", "/bin/sh", "-c", "read line < ../go; exit 5"]
    os.mkfifo(tmp_path / "go")
    host = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, command)], stdout=-1, cwd=folder
    )
    assert host.stdout is not None
    assert host.stdout.readline() == b"started\n"
    wait_for(folder / "pid")
    host.kill()
    host.wait(20)
    host.stdout.close()
    (tmp_path / "go").write_text("now\n")
    wait_for(folder / "exit")
    assert exit_of(folder)["exit_code"] == 5


def test_hangups_and_ctrl_c_do_not_reach_a_supervised_job(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    supervisor = supervise(
        bench, tmp_path / "run", "/bin/sh", "-c", f"read line < {tmp_path}/go; exit 6"
    )
    wait_for(tmp_path / "run" / "pid")
    runner_of(supervisor.pid)
    supervisor.send_signal(signal.SIGHUP)
    supervisor.send_signal(signal.SIGINT)
    (tmp_path / "go").write_text("now\n")
    assert supervisor.wait(20) == 0
    assert exit_of(tmp_path / "run")["exit_code"] == 6


def test_a_request_to_stop_reaches_the_runner_which_finishes_its_record(
    bench: Bench, tmp_path: Path
) -> None:
    job, folder = tmp_path / "job.json", tmp_path / "run"
    job.write_text(bench.job(steady=ENDLESS).model_dump_json())
    supervisor = supervise(bench, folder, bench.pack.runner, job, folder / "result.jsonl")
    wait_for(folder / "stdout")
    while "measuring" not in (folder / "stdout").read_text():
        time.sleep(0.01)
    supervisor.terminate()
    assert supervisor.wait(20) == 0
    assert exit_of(folder)["signal"] == signal.SIGTERM
    record = read_record(folder / "result.jsonl")
    assert isinstance(record, LaunchRecord)
    assert record.error is not None
    assert "SIGTERM" in record.error.message


def test_a_runner_does_not_run_on_when_its_supervisor_is_killed(
    bench: Bench, tmp_path: Path
) -> None:
    supervisor = supervise(bench, tmp_path / "run", "/bin/sleep", "60")
    runner = runner_of(supervisor.pid)
    descriptor = os.pidfd_open(runner)
    supervisor.kill()
    supervisor.wait(20)
    with os.fdopen(descriptor):
        for _ in range(2000):
            stat = Path(f"/proc/{runner}/stat")
            if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.01)
    pytest.fail("the runner lives on")


def test_the_supervisor_refuses_wrong_usage(bench: Bench) -> None:
    done = subprocess.run([bench.pack.supervise, "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
