"""Nothing is lost: launches with a fault each, on a virtual phone or on this computer.

Small sweeps run in processes of their own. When a launch begins, a seeded fault is drawn for it:
what can happen to a phone and its cable, kill -9 of the host, Ctrl-C, kill -9 of the adb server.
Each sweep is resumed until every launch has ended. The runner is made up: its numbers are a known
function of the launch's name, and it keeps a diary of its own of what it began and finished.

    lost            finished by the runner's diary, and without an ok line in the ledger
    duplicated      begun twice, or finished or ok again after it was ok
    wrong           ok in the ledger with numbers that are not this launch's
    left_changed    settings that a sweep changed and that were not put back after it
    without_status  planned, and not in the ledger

Goals: 0 of each. Every number is over all launches of the campaign.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness.devices.android.device import AndroidPhone, Timing
from harness.devices.base import Device
from harness.devices.local.device import LocalDevice
from harness.measure.device_run import Services
from harness.measure.progress import Progress
from harness.measure.sweep import create_sweep, hold, run_sweep
from harness.results.folder import read_sweep
from harness.schema.device import DeviceInfo
from harness.schema.plan import Plan, make_plan
from harness.schema.record import LaunchRecord, read_record
from harness.schema.sweep import LedgerEntry
from tests.fakes.packs import fake_runner_pack, known_duration_ns, made_up_model
from tests.fakes.phones import SMALL, own_adb_server
from tests.virtual_android import AdbServer, VirtualPhone, random_fault

LAUNCHES_A_SWEEP = 20
MOST_RESUMPTIONS = 40
# Everything as on a desk, but faster: a campaign cannot wait minutes for a watchdog.
TIMING = Timing(
    patience_seconds=15.0,
    lock_expires_seconds=4,
    heartbeat_seconds=1.0,
    watchdog_seconds=1,
    await_seconds=3.0,
)
UNDONE_SECONDS = 2 * TIMING.lock_expires_seconds + 10.0
HOST_FAULTS = ("kill -9 host", "ctrl-c")
# What the bench's own use of adb meets when the server has just been killed: one that still takes a
# connection as it ends, an answer cut short, or another client that starts the server as well.
ADB_TROUBLE = (OSError, ValueError, subprocess.SubprocessError)
RECOVERY_SECONDS = 60.0


@dataclass
class Tally:
    """What a campaign has seen."""

    figures: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    hosts: int = 0
    repeated: int = 0
    trouble: list[str] = field(default_factory=list)

    def blame(self, figure: str, what: str) -> None:
        self.figures[figure] += 1
        self.trouble.append(f"{figure}: {what}")


T = TypeVar("T")


def insist(use_adb: Callable[[], T]) -> T:
    """Do it until it succeeds: the bench must bear what it inflicts. In the end, raise what it meets."""
    deadline = time.monotonic() + 2 * RECOVERY_SECONDS
    while True:
        try:
            return use_adb()
        except ADB_TROUBLE:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Bench(ABC):
    """Where a campaign takes place: what can go wrong there, and what is true of it."""

    @abstractmethod
    def draw(self, rng: random.Random) -> str:
        """Draw a fault of the device's own, and inflict it; return its name."""

    @abstractmethod
    def diary(self) -> list[str]:
        """Return the runner's own lines."""

    @abstractmethod
    def altered(self) -> dict[str, Any]:
        """Return the settings that are not as they were."""

    @abstractmethod
    def recover(self) -> None:
        """Let what is wrong pass, and wait until the device can be used again."""


class PhoneBench(Bench):
    """A virtual phone behind a real adb server."""

    def __init__(self, server: AdbServer, phone: VirtualPhone) -> None:
        self._server, self._phone = server, phone

    def draw(self, rng: random.Random) -> str:
        if rng.random() < 1 / 13:
            with suppress(*ADB_TROUBLE):  # nobody may be there to be killed
                self._server.run("kill-server")  # the host starts it again, if it is alive
            return "adb server killed"
        fault = random_fault(rng)
        self._phone.faults.add(fault)
        return fault.kind

    def diary(self) -> list[str]:
        self.recover()
        self._phone.faults.clear()
        self.recover()
        return insist(self._read_diary).splitlines()

    def altered(self) -> dict[str, Any]:
        return self._phone.altered()

    def recover(self) -> None:
        insist(self._await_phone)

    def _read_diary(self) -> str:
        self._await_phone()
        script = f"[ ! -e {DIARY} ] || cat {DIARY} && echo {WHOLE}"
        shown = self._server.run("-s", self._phone.serial, "shell", script, check=True)
        diary, end, _ = shown.stdout.decode().partition(f"{WHOLE}\n")
        if not end:
            raise ConnectionError("the diary was cut short")
        return diary

    def _await_phone(self) -> None:
        if not self._server.alive():
            self._server.start()
        self._server.await_state(self._phone.serial, "device", RECOVERY_SECONDS)


class LocalBench(Bench):
    """This computer: the processes of a launch are what can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def draw(self, rng: random.Random) -> str:
        victim = rng.choice(("runner", "whole job", "nothing"))
        time.sleep(rng.uniform(0.0, 0.1))
        for path in self._folder.glob("device/jobs/*/pid"):
            with suppress(OSError, ValueError):
                pid = int(path.read_text().split()[0])
                if victim == "whole job":
                    os.killpg(pid, signal.SIGKILL)
                elif victim == "runner":
                    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                    for child in children:
                        os.kill(int(child), signal.SIGKILL)
        return f"kill -9 {victim}" if victim != "nothing" else victim

    def diary(self) -> list[str]:
        diary = self._folder / "diary"
        return diary.read_text().splitlines() if diary.exists() else []

    def altered(self) -> dict[str, Any]:
        return {}

    def recover(self) -> None:
        pass


DIARY = "/data/local/tmp/diary"
WHOLE = "that is all"


def make_campaign_plan(device: str, launches: int, number: int) -> Plan:
    """Return a plan of so many tiny launches, which changes settings of the phone."""
    return make_plan(
        {
            "plan": {"name": f"campaign {number}", "rounds": launches, "devices": [device]},
            "model": [{"name": "net", "source": "nowhere:net", "inputs": [{"shape": [1, 3]}]}],
            # Heat is among the faults: what matters here is that nothing is lost, not what counts.
            "measure": {
                "passes": ["latency"],
                "timeout_seconds": 20.0,
                "retries": 0,
                "cooldown_seconds": 0.0,
            },
            "device": {"stay_awake": True, "fixed_performance": True, "suspend_charging": True},
        },
        "the campaign's plan",
    )


# --- the host, a process that may be killed at any time ------------------------------------------


def open_device(serial: str, folder: Path, purpose: str) -> Device:
    """Open the campaign's device: a phone, or this computer when `serial` is "local"."""
    if serial == "local":
        return LocalDevice(folder / "device", purpose)
    return AndroidPhone(serial, purpose, TIMING)


def be_host(serial: str, folder: Path, sweep: Path) -> None:
    """Run or resume one sweep; print the index of each launch as it begins."""
    plan = read_sweep(sweep).file.plan
    # Each sweep has a file of its own to push: a megabyte, so that there is time for faults.
    rng = random.Random(sweep.name)
    diary = str(folder / "diary") if serial == "local" else DIARY
    sleep_ms, padding = rng.randrange(0, 300), rng.randbytes(1_000_000)
    scratch = folder / f"model-{sweep.name}"
    scratch.mkdir(exist_ok=True)
    model = made_up_model(scratch, plan, sleep_ms=sleep_ms, diary=diary, padding=padding)
    pack = fake_runner_pack("local" if serial == "local" else "android")

    def observe(progress: Progress) -> None:
        if progress.entry is None:
            print(progress.done, flush=True)

    services = Services(
        open_device=lambda info, purpose: open_device(serial, folder, purpose),
        runner_pack=lambda engine, info: pack,
        observe=observe,
        warn=lambda text: print(text.splitlines()[0], file=sys.stderr, flush=True),
    )
    with suppress(KeyboardInterrupt), hold(sweep) as held:
        run_sweep(held, (model,), services)


# --- the campaign --------------------------------------------------------------------------------


def run_campaign(
    bench: Bench, serial: str, folder: Path, launches: int, seed: int, box_seconds: float
) -> Tally:
    """Run sweeps until so many launches have ended, or the time is over."""
    tally, deadline = Tally(), time.monotonic() + box_seconds
    info = _device_info(bench, serial, folder)
    number = 0
    while tally.figures["launches"] < launches and time.monotonic() < deadline:
        number += 1
        wanted = min(LAUNCHES_A_SWEEP, launches - tally.figures["launches"])
        plan = make_campaign_plan(info.id, wanted, number)
        sweep = create_sweep(folder / "sweeps", plan, [info], ["campaign"])
        rng = random.Random(f"{seed}/{number}")
        _run_to_the_end(bench, serial, folder, sweep, rng, tally)
        _judge(bench, sweep, tally)
        shown = ", ".join(f"{n} {status}" for status, n in sorted(tally.statuses.items()))
        print(f"{tally.figures['launches']:4d} launches: {shown}", file=sys.stderr, flush=True)
    return tally


def _device_info(bench: Bench, serial: str, folder: Path) -> DeviceInfo:
    bench.recover()
    device = open_device(serial, folder, "the campaign begins")
    device.close()
    return device.info


def _run_to_the_end(
    bench: Bench, serial: str, folder: Path, sweep: Path, rng: random.Random, tally: Tally
) -> None:
    """Start hosts until every launch has ended, well or not; each launch meets one fault."""
    struck: set[int] = set()
    for _ in range(MOST_RESUMPTIONS):
        if _is_done(sweep):
            return
        bench.recover()
        tally.hosts += 1
        host = subprocess.Popen(
            [sys.executable, __file__, "--host", serial, folder, sweep],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert host.stdout is not None
        before = len(_ended(sweep))
        with host.stdout:
            for line in host.stdout:
                launch = before + int(line)
                if launch not in struck:
                    struck.add(launch)
                    tally.faults[_strike(bench, host, rng)] += 1
        host.wait()


def _strike(bench: Bench, host: subprocess.Popen[str], rng: random.Random) -> str:
    time.sleep(rng.uniform(0.0, 0.4))
    if rng.random() > 0.2:
        return bench.draw(rng)
    name = rng.choice(HOST_FAULTS)
    host.send_signal(signal.SIGKILL if name == "kill -9 host" else signal.SIGINT)
    return name


def _ended(sweep: Path) -> set[int | None]:
    entries = read_sweep(sweep).entries
    return {entry.index for entry in entries if entry.status in ("ok", "failed")}


def _is_done(sweep: Path) -> bool:
    planned = read_sweep(sweep).file.schedule.values()
    return len(_ended(sweep)) == sum(len(launches) for launches in planned)


# --- the verdict ---------------------------------------------------------------------------------


def _judge(bench: Bench, folder: Path, tally: Tally) -> None:
    """Compare the sweep with what is true: the runner's diary, and the phone's own settings."""
    sweep, diary = read_sweep(folder), Counter(bench.diary())
    (launches,) = sweep.file.schedule.values()
    for planned in launches:
        tally.figures["launches"] += 1
        entries = [entry for entry in sweep.entries if entry.index == planned.index]
        if not entries:
            tally.blame("without_status", f"{sweep.file.id} {planned.index}")
        for entry in entries[-1:]:
            tally.statuses[entry.status] += 1
            tally.repeated += entry.attempt > 1
        for entry in entries:
            _check_numbers(sweep.file.id, folder, entry, tally)
        _check_diary(f"{sweep.file.id}-{planned.index:04d}-", entries, diary, tally)
    if not _is_undone(bench):
        tally.blame("left_changed", f"{sweep.file.id}: {bench.altered()}")


def _check_numbers(sweep: str, folder: Path, entry: LedgerEntry, tally: Tally) -> None:
    if entry.status != "ok":
        return
    launch = f"{sweep}-{entry.index:04d}-{entry.attempt}"
    record = read_record(folder / str(entry.file))
    expected = known_duration_ns(launch)
    durations = record.durations_ns("steady").tolist() if isinstance(record, LaunchRecord) else []
    if set(durations) != {expected}:
        tally.blame("wrong", launch)


def _check_diary(
    prefix: str, entries: list[LedgerEntry], diary: Counter[str], tally: Tally
) -> None:
    """Every attempt that the runner finished is ok in the ledger, and no launch is done twice."""
    ok = {entry.attempt for entry in entries if entry.status == "ok"}
    attempts = range(1, 2 + max((entry.attempt for entry in entries), default=0))
    finished = {n for n in attempts if diary[f"finished {prefix}{n}"]}
    for attempt in sorted(finished - ok):
        tally.blame("lost", f"{prefix}{attempt}")
    if len(ok) > 1 or len(finished) > 1 or any(diary[f"began {prefix}{n}"] > 1 for n in attempts):
        tally.blame("duplicated", prefix)


def _is_undone(bench: Bench) -> bool:
    """Tell whether the settings are as they were, at once or when the watchdog has looked."""
    deadline = time.monotonic() + UNDONE_SECONDS
    while bench.altered():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


FIGURES = ("launches", "lost", "duplicated", "wrong", "left_changed", "without_status")


def campaign(device: str, launches: int, seed: int, box_seconds: float = 3600.0) -> Tally:
    """Run a whole campaign on a device of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if device == "local":
            bench: Bench = LocalBench(folder)
            return run_campaign(bench, "local", folder, launches, seed, box_seconds)
        server = stack.enter_context(own_adb_server())
        phone = stack.enter_context(VirtualPhone(SMALL))
        phone.plug_in(server)
        bench = PhoneBench(server, phone)
        return run_campaign(bench, phone.serial, folder, launches, seed, box_seconds)


def show(tally: Tally, seconds: float) -> None:
    """Print the table, and the figures as one line of JSON."""
    print(f"{'fault':20} launches")
    for name, count in sorted(tally.faults.items()):
        print(f"{name:20} {count:8d}")
    print(f"\n{'ended':20} launches")
    for name, count in sorted(tally.statuses.items()):
        print(f"{name:20} {count:8d}")
    print(
        f"\n{tally.repeated} launches took more than one attempt; {tally.hosts} hosts, {seconds:.0f} s"
    )
    for line in tally.trouble:
        print(line)
    print(json.dumps({name: tally.figures[name] for name in FIGURES}))


def main() -> None:
    if sys.argv[1:2] == ["--host"]:
        be_host(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["android", "local"], default="android")
    parser.add_argument("--launches", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no sweep after that")
    options = parser.parse_args()
    begin = time.monotonic()
    tally = campaign(options.device, options.launches, options.seed, 60 * options.minutes)
    show(tally, time.monotonic() - begin)
    sys.exit(any(tally.figures[name] for name in FIGURES[1:]))


if __name__ == "__main__":
    main()
