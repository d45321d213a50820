"""Energy is true: joules an inference on virtual phones whose consumption is known exactly.

Phones of both signs and both units of current, refreshed at 1 Hz in steps of 1 mA and every 4 s in
steps of 10 mA, half of them on a cable with charging suspended, half without. Each is calibrated once, by
`harness.measure.gauge_calibration`; then come launches of the energy pass with a seeded load, through a real adb
server, the real runner, its sampler and the phone's files. The truth is what the phone consumed over the
block, less what it consumed at rest (the mean of both idles), over the true number of inferences.

    error_1hz, error_4s   the 95th percentile of |measured / truth - 1| over the runs
    coverage              the share of runs whose 95% interval holds the truth

Goals: 0.02, 0.05, 0.9. Time is scaled: a minute's block takes `60 / --scale` seconds, and idle, refresh,
polls and inferences are shorter in the same proportion. `--unscaled` makes one run of each refresh rate
in real time instead.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from harness import runners
from harness.analysis.energy import measure_energy
from harness.cancellation import Cancellation
from harness.devices.android.device import AndroidPhone
from harness.devices.calibrations import store_calibration
from harness.measure.charging import EnergyPass, open_energy_pass
from harness.measure.gauge_calibration import Pace, calibrate
from harness.measure.patience import Patience
from harness.runners.pack import RunnerPack
from harness.runners.synthetic_load import ENGINE, SyntheticLoad
from harness.schema.energy import Energy
from harness.schema.job import Job, Loop, TensorSource
from harness.schema.plan import Plan, make_plan
from harness.schema.record import LaunchRecord, parse_record
from tests.fakes.phones import own_adb_server
from tests.virtual_android import AdbServer, VirtualPhone
from tests.virtual_android.spec import CALM, Battery, PhoneSpec

BLOCK_SECONDS, IDLE_SECONDS, INFERENCE_SECONDS = 60.0, 15.0, 0.01
OPERATIONS_A_SECOND = 1e9  # of the synthetic engine, about
TRIES = 3
STEP_MA = {1.0: 1, 4.0: 10}
"""What a refresh of so many seconds shows its current in."""


@dataclass(frozen=True)
class Kind:
    """A sort of phone: what its gauge says, and whether it is on a cable."""

    refresh: float
    sign: Literal[1, -1]
    per_ampere: int
    cable: bool

    def __str__(self) -> str:
        unit = {1_000_000: "uA", 1000: "mA"}[self.per_ampere]
        way = "suspended" if self.cable else "no cable"
        return f"{self.refresh:g} s {'+' if self.sign > 0 else '-'}{unit} {way}"

    def spec(self, scale: float, seed: int) -> PhoneSpec:
        """Return the phone, its gauge as much faster as time is scaled."""
        battery = Battery(
            current_sign=self.sign,
            current_per_ampere=self.per_ampere,
            gauge_period_seconds=self.refresh / scale,
            current_step_ua=1000 * STEP_MA[self.refresh],
            current_noise_ua=3000,
            seed=seed,
        )
        return PhoneSpec(
            data_bytes=256 * 1024**2,
            battery=battery,
            thermal=CALM,
            step_seconds=min(0.01, self.refresh / scale / 10),
        )


def kinds(refresh: float) -> list[Kind]:
    """Return both signs and both units; a cable for one of each."""
    return [
        Kind(refresh, sign, per_ampere, cable=(sign > 0) == (per_ampere > 1000))
        for sign in (1, -1)
        for per_ampere in (1_000_000, 1000)
    ]


@dataclass
class Tally:
    """What was seen of one kind of phone."""

    errors: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


class Bench:
    """One phone, calibrated, its charger kept off."""

    def __init__(self, phone: VirtualPhone, scale: float, cancellation: Cancellation) -> None:
        self._phone, self._scale, self._cancellation = phone, scale, cancellation
        self._device = AndroidPhone(phone.serial, "energy_truth")
        self._pack: RunnerPack = runners.pack_for(ENGINE, self._device.info)

    def close(self) -> None:
        self._device.restore()
        self._device.close()

    def calibrate(self) -> None:
        """Calibrate as `phonebench calibrate` does."""
        usual, scale = Pace(), self._scale
        pace = Pace(
            usual.idle_seconds / scale,
            usual.load_seconds / scale,
            usual.poll_seconds / scale,
            usual.settle_seconds / scale,
        )
        found = calibrate(
            self._device, lambda: self._pack, lambda _: None, self._cancellation, pace
        )
        store_calibration(found)
        time.sleep(1 + 12 / self._scale)  # until the gauge shows that it charges again

    def open(self) -> EnergyPass:
        """Choose the source and keep the charger off, as a sweep does."""
        patience = Patience(reversal_seconds=5.0, poll_seconds=0.05)
        return open_energy_pass(self._device, energy_plan(), say, patience)

    def launch(self, energy: EnergyPass, number: int) -> tuple[LaunchRecord, float]:
        """Run one launch; return its record and the true joules an inference."""
        job = self._job(energy, number)
        energy.check_charging(self._device)
        self._device.start(job, self._pack)
        self._device.wait(job.launch, 60 + 2 * BLOCK_SECONDS, self._cancellation)
        record = parse_record(self._device.fetch(job.launch).record or b"", job.launch)
        assert isinstance(record, LaunchRecord), record
        truth = self._truth(record)
        self._device.forget(job.launch)
        return record, truth

    def _job(self, energy: EnergyPass, number: int) -> Job:
        rng, scale = random.Random(number), self._scale
        seconds = INFERENCE_SECONDS / scale * rng.uniform(0.5, 1.5)
        load = SyntheticLoad(work=round(OPERATIONS_A_SECOND * seconds))
        with tempfile.TemporaryDirectory() as folder:
            path = load.write(Path(folder) / "load.json")
            model = self._device.stage(path, hashlib.sha256(path.read_bytes()).hexdigest())
        period = max(energy.source.calibration.refresh_seconds / 4, 0.001)  # type: ignore[union-attr]
        probes = [p.model_copy(update={"period_seconds": period}) for p in energy.source.probes]
        return Job(
            launch=f"energy-truth-{os.getpid()}-{number}-{time.monotonic_ns()}",
            engine=ENGINE,
            measured_pass="energy",
            model_file=model,
            threads=1,
            inputs=(TensorSource(shape=(1,)),),
            warm_loads=0,
            warmup=Loop(min_iterations=1, min_seconds=1 / scale, max_iterations=100_000,
                        max_seconds=1 / scale),
            steady=Loop(min_iterations=1, min_seconds=BLOCK_SECONDS / scale,
                        max_iterations=1_000_000, max_seconds=BLOCK_SECONDS / scale),
            baseline_seconds=IDLE_SECONDS / scale,
            probes=tuple(probes),
        )  # fmt: skip

    def _truth(self, record: LaunchRecord) -> float:
        """Return joules an inference by the phone's own account."""
        marks = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
        times = [mark.time_ns for name in marks if (mark := record.mark(name))]
        before, block, after = (
            self._phone.consumed(a, b).mj / ((b - a) / 1e9) for a, b in itertools.pairwise(times)
        )
        counters = record.samples["steady"].counters
        assert counters is not None
        net_mw = block - (before + after) / 2
        return net_mw / 1e3 * (times[2] - times[1]) / 1e9 / counters.iterations


def energy_plan() -> Plan:
    """Return a plan that wants energy from the gauge, and charging suspended where there is a cable."""
    return make_plan(
        {
            "plan": {"name": "energy truth"},
            "model": [{"name": "load", "source": "nowhere:net", "inputs": [{"shape": [1]}]}],
            "measure": {"passes": ["energy"], "energy_source": "gauge"},
            "device": {"energy_charging": "suspend"},
        },
        "the benchmark's plan",
    )


def say(text: str) -> None:
    """Tell a person how it goes."""
    print(text, file=sys.stderr, flush=True)


def measure(server: AdbServer, kind: Kind, runs: int, scale: float, seed: int) -> Tally:
    """Run so many launches on one phone; one that is refused is tried again, as a sweep does."""
    tally = Tally()
    with VirtualPhone(kind.spec(scale, seed)) as phone, closing(Cancellation()) as cancellation:
        phone.plug_in(server, cable=kind.cable)
        with closing(Bench(phone, scale, cancellation)) as bench:
            bench.calibrate()
            energy = bench.open()
            for number in range(seed, seed + runs):
                for _ in range(TRIES):
                    record, truth = bench.launch(energy, number)
                    found = measure_energy(record, (), energy.source)
                    if isinstance(found, Energy):
                        note(tally, found, truth)
                        break
                    tally.refused[found.key] += 1
                    say(f"{kind}: {found.text}")
    return tally


def note(tally: Tally, found: Energy, truth: float) -> None:
    """Compare what was measured with the truth."""
    tally.errors.append(abs(found.joules_per_inference / truth - 1))
    tally.held.append(found.low_joules <= truth <= found.high_joules)
    tally.widths.append((found.high_joules - found.low_joules) / 2 / truth)


def show(name: str, tallies: list[Tally]) -> None:
    """Print one row of the table."""
    errors = np.array([error for tally in tallies for error in tally.errors])
    held = [one for tally in tallies for one in tally.held]
    widths = [width for tally in tallies for width in tally.widths]
    refused = sum((tally.refused for tally in tallies), Counter[str]())
    shown = ", ".join(f"{key} {count}" for key, count in refused.items()) or "-"
    if not len(errors):
        print(f"{name:22} {0:4d} {'-':>8} {'-':>8} {'-':>8} {'-':>9} {'-':>9}  {shown}", flush=True)
        return
    print(
        f"{name:22} {len(errors):4d} {np.median(errors):8.2%} {np.quantile(errors, 0.95):8.2%} "
        f"{errors.max():8.2%} {np.median(widths):9.2%} {np.mean(held):9.1%}  {shown}",
        flush=True,
    )


def campaign(runs: int, scale: float, seed: int) -> dict[float, list[Tally]]:
    """Measure every kind of phone, `runs` launches for each refresh rate."""
    found: dict[float, list[Tally]] = {}
    print(f"{'phone':22} {'runs':>4} {'median':>8} {'95%':>8} {'worst':>8} {'+/-':>9} {'coverage':>9}"
          "  refused")  # fmt: skip
    with own_adb_server() as server:
        for refresh in STEP_MA:
            sorts = kinds(refresh) if runs >= 4 else kinds(refresh)[:1]
            for number, kind in enumerate(sorts):
                share = runs // len(sorts) + (number < runs % len(sorts))
                tally = measure(server, kind, share, scale, seed + 100 * number)
                found.setdefault(refresh, []).append(tally)
                show(str(kind), [tally])
            show(f"{refresh:g} s, all", found[refresh])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="of each refresh rate")
    parser.add_argument("--scale", type=float, default=25.0, help="how much faster than a phone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unscaled", action="store_true", help="one run of each, in real time")
    options = parser.parse_args()
    runs, scale = (1, 1.0) if options.unscaled else (options.runs, options.scale)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        link_packs(Path(cache))
        found = campaign(runs, scale, options.seed)
    errors = {
        refresh: [error for tally in tallies for error in tally.errors]
        for refresh, tallies in found.items()
    }
    held = [one for tallies in found.values() for tally in tallies for one in tally.held]
    print(f"{len(held)} runs, {time.monotonic() - begin:.0f} s, time scaled by {scale:g}")
    print(
        json.dumps(
            {
                "error_1hz": round(float(np.quantile(errors[1.0], 0.95)), 5),
                "error_4s": round(float(np.quantile(errors[4.0], 0.95)), 5),
                "coverage": round(float(np.mean(held)), 4),
                "worst_1hz": round(max(errors[1.0]), 5),
                "worst_4s": round(max(errors[4.0]), 5),
                "runs": len(held),
            }
        )
    )


def link_packs(cache: Path) -> None:
    """Keep calibrations of made-up phones out of the user's cache, and use its runner packs."""
    from harness.storage.cache import cache_folder

    packs = cache_folder() / "packs"
    packs.mkdir(parents=True, exist_ok=True)
    (cache / "packs").symlink_to(packs)
    os.environ["PHONEBENCH_CACHE"] = str(cache)


if __name__ == "__main__":
    main()
