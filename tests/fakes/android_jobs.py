"""Jobs of the fake runner on a virtual phone, and hosts of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.devices.android.device import AndroidPhone
from harness.measure.device_run import Services
from harness.measure.progress import Progress
from harness.measure.sweep import create_sweep, hold, is_complete, run_sweep
from harness.results.folder import read_sweep
from harness.runners.pack import RunnerPack
from harness.schema.artifact import ExportedModel
from harness.schema.device import DeviceInfo
from harness.schema.plan import DeviceSettings, parse_plan
from harness.schema.record import LaunchRecord, read_record
from harness.schema.sweep import LedgerEntry
from tests.fakes.packs import made_up_model
from tests.fakes.phones import QUICK, opened, shell
from tests.virtual_android import AdbServer, VirtualPhone

SETTINGS = DeviceSettings(stay_awake=True, fixed_performance=True, suspend_charging=True)


ALTERED = {
    "fixed_performance",
    "global/stay_on_while_plugged_in",
    "power.battery_input.suspended",
    "system/screen_off_timeout",
}


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
