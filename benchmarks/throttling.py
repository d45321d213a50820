"""Throttling is caught: sweeps on a virtual phone that heats up during launches, or never does.

Both sweeps are real ones: real adb, the real runner with a known load, the start gate, retries. In the
one, heat comes while every second runner works, beginning with the first: the skin warms at once, Android's
thermal status rises and the cores' highest clocks fall; then it cools. So a launch that is made again is
spared. In the other sweep nothing happens.

    rises         runners during which the phone heated up: one a launch, where all goes well
    caught        of these, invalid for that, kept, and made again
    calm          launches of a phone without heat
    false_alarms  of these, ever not valid for a reason of heat or clocks

Goals: caught = rises, and false_alarms = 0. `others` counts attempts that did not count for other reasons:
processes of this computer that compete with the phone. They prove nothing here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness import runners
from harness.devices.android.device import AndroidPhone
from harness.measure.device_run import Services
from harness.measure.sweep import create_sweep, hold, run_sweep
from harness.results.folder import Sweep, read_sweep
from harness.runners.pack import RunnerPack
from harness.runners.synthetic_load import ENGINE, SyntheticLoad
from harness.schema.artifact import ExportedModel
from harness.schema.job import Job
from harness.schema.plan import Plan, make_plan
from harness.schema.sweep import LedgerEntry
from tests.fakes.packs import made_up_model
from tests.fakes.phones import SMALL, own_adb_server
from tests.virtual_android import AdbServer, Fault, VirtualPhone
from tests.virtual_android.spec import CALM

HEAT_REASONS = {"status-rose", "clock-limited", "clock-moved", "cores-offline", "not-cooled"}
# The phone cools within a second, so that 300 launches take minutes; a real one takes minutes each.
PHONE = replace(SMALL, thermal=replace(CALM, time_constant_seconds=0.1))
RUNNER = r"^\S*runner_synthetic "  # needs no loader; not supervise, which names it too
HEAT = Fault(
    "heat", celsius=18.0, seconds=1.0, on_process=RUNNER, delay_seconds=0.15, every=2, times=0
)


class SyntheticPhone(AndroidPhone):
    """A phone that runs the engine with the known load, which no plan can name."""

    def start(self, job: Job, pack: RunnerPack) -> None:
        """Start the job with that engine."""
        super().start(job.model_copy(update={"engine": ENGINE}), pack)


def make_throttling_plan(device: str, launches: int) -> Plan:
    """Return a plan of short launches of one case."""
    return make_plan(
        {
            "plan": {"name": "throttling", "rounds": launches, "devices": [device]},
            "model": [{"name": "net", "source": "nowhere:net", "inputs": [{"shape": [1, 3]}]}],
            "measure": {
                "passes": ["latency"],
                "min_seconds": 0.3,
                "max_seconds": 5.0,
                "warmup_seconds": 0.1,
                "warm_loads": 0,
                "retries": 6,
                "cooldown_seconds": 30.0,
            },
        },
        "the benchmark's plan",
    )


def synthetic_model(folder: Path, plan: Plan) -> ExportedModel:
    """Return the known load as if it had been exported: it takes some 50 microseconds.

    So short that hardly any is hit when this computer has other things to do.
    """
    model = made_up_model(folder, plan)
    (artifact,) = model.artifacts
    assert artifact.path is not None
    assert artifact.manifest is not None
    assert model.reference_path is not None
    content = SyntheticLoad(work=50_000).write(artifact.path).read_bytes()
    np.savez(model.reference_path, allow_pickle=False, **{"0/0": np.ones(1, dtype=np.float32)})
    manifest = artifact.manifest.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    )
    artifact = artifact.model_copy(update={"manifest": manifest})
    return model.model_copy(update={"artifacts": (artifact,)})


def run(server: AdbServer, launches: int, fault: Fault | None, folder: Path) -> Sweep:
    """Run one sweep on a new phone, with a fault or without; return it."""
    folder.mkdir()
    with VirtualPhone(PHONE) as phone:
        phone.plug_in(server)
        device = SyntheticPhone(phone.serial, "throttling")
        info = device.info
        device.close()
        pack = runners.pack_for(ENGINE, info)
        plan = make_throttling_plan(info.id, launches)
        model = synthetic_model(folder, plan)
        sweep = create_sweep(folder / "sweeps", plan, [info], ["throttling"], ["busy"])
        if fault is not None:
            phone.faults.add(fault)
        services = Services(
            open_device=lambda info, purpose: SyntheticPhone(info.id, purpose),
            runner_pack=lambda engine, info: pack,
            observe=lambda progress: None,
            warn=say,
        )
        with hold(sweep) as held:
            run_sweep(held, (model,), services)
    return read_sweep(sweep)


def attempts(sweep: Sweep) -> list[LedgerEntry]:
    """Return every attempt that had a runner, in the order in which they ran."""
    return [entry for entry in sweep.entries if entry.index is not None]


def is_made_again(sweep: Sweep, entry: LedgerEntry) -> bool:
    """Tell whether a launch was tried again after an attempt."""
    return any(e.index == entry.index and e.attempt > entry.attempt for e in sweep.entries)


def keys(entry: LedgerEntry) -> set[str]:
    """Return why an attempt does not count."""
    return {reason.key for reason in entry.validity.reasons} if entry.validity else {"failed"}


def say(text: str) -> None:
    """Print for the person."""
    print(text, file=sys.stderr, flush=True)


def show(name: str, sweep: Sweep, began: float) -> None:
    """Print the reasons of every attempt that does not count, how often each."""
    reasons = Counter(key for entry in sweep.entries for key in keys(entry))
    cooled = [entry.cooled_seconds or 0.0 for entry in sweep.entries if entry.attempt > 1]
    mean = f"{sum(cooled) / len(cooled):.1f} s of cooling before each retry, " if cooled else ""
    attempts = len(sweep.entries)
    say(f"{name}: {attempts} attempts, {mean}{time.monotonic() - began:.0f} s; {dict(reasons)}")


def main() -> None:
    """Run both sweeps, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--launches", type=int, default=100, help="of each sweep (default 100)")
    launches = parser.parse_args().launches
    with own_adb_server() as server, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        hot = run(server, launches, HEAT, Path(folder) / "hot")
        show("with heat", hot, began)
        began = time.monotonic()
        calm = run(server, launches, None, Path(folder) / "calm")
        show("without", calm, began)
    heated = attempts(hot)[::2]
    caught = [entry for entry in heated if keys(entry) & HEAT_REASONS and is_made_again(hot, entry)]
    for entry in attempts(hot)[1::2]:
        if keys(entry) & HEAT_REASONS and entry.validity:
            say(f"spared, and not valid: {entry.index}.{entry.attempt} {entry.validity.reasons}")
    alarms = {entry.index for entry in attempts(calm) if keys(entry) & HEAT_REASONS}
    others = [e for e in (*attempts(hot), *attempts(calm)) if keys(e) - HEAT_REASONS]
    figures = {
        "rises": len(heated),
        "caught": len(caught),
        "calm": len({entry.index for entry in attempts(calm)}),
        "false_alarms": len(alarms),
        "others": len(others),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
