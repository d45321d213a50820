"""A sweep on a fake device: what a host does with it, and what the next one finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.measure.device_run import Services
from harness.measure.patience import Patience
from harness.measure.progress import Progress
from harness.measure.sweep import (
    create_sweep,
    hold,
    is_complete,
    run_sweep,
)
from harness.results.folder import Sweep, read_sweep
from harness.schema.artifact import Artifact, CheckTensor, ExportedModel, Manifest
from harness.schema.device import DeviceInfo
from harness.schema.plan import Plan, parse_plan
from harness.schema.record import LaunchRecord, read_record
from harness.schema.sweep import LedgerEntry
from tests.fakes.device import (
    OUTPUT,
    FakeDevice,
    device_info,
)

PLAN = """
[plan]
name = "fake"
rounds = 2
devices = ["fake"]
[[model]]
name = "net"
source = "nowhere:net"
inputs = [{ shape = [1, 3] }]
[matrix]
recipe = ["fp32", "int8-static"]
threads = [1, 2]
[measure]
passes = ["latency"]
"""


LAUNCHES = 2 * 2  # rounds and thread counts; int8-static is skipped


OFTEN = Patience(first_pause_seconds=0.001, longest_pause_seconds=0.001)
"""Asks a device often whether it is cool: it is a made-up one."""


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@dataclass
class Scene:
    """A sweep folder and what a host would use on it; a new host can come at any time."""

    folder: Path
    plan: Plan
    device: FakeDevice
    models: tuple[ExportedModel, ...]
    patience: Patience = OFTEN
    seen: list[Progress] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def services(self) -> Services:
        return Services(
            open_device=lambda info, purpose: self.device,
            runner_pack=lambda engine, info: None,  # type: ignore[arg-type,return-value]
            observe=self.seen.append,
            warn=self.warnings.append,
            patience=self.patience,
        )

    def run(self, services: Services | None = None) -> bool:
        with hold(self.folder) as sweep:
            run_sweep(sweep, self.models, services or self.services())
        return is_complete(self.read())

    def another_host(self, **changes: object) -> Scene:
        """Return the scene as a new host finds it: the folder and the device's storage stay."""
        device = FakeDevice(info=self.device.info, storage=self.device.storage, **changes)  # type: ignore[arg-type]
        return Scene(self.folder, self.plan, device, self.models, self.patience)

    def read(self) -> Sweep:
        return read_sweep(self.folder)

    def launched(self) -> list[LedgerEntry]:
        return [entry for entry in self.read().entries if entry.index is not None]

    def good_files(self) -> list[Path]:
        files = sorted(self.folder.glob("launches/*/*.jsonl"))
        return [f for f in files if isinstance(read_record(f), LaunchRecord)]


def make_scene(tmp_path: Path, infos: list[DeviceInfo]) -> Scene:
    plan = parse_plan(PLAN, "fake.toml")
    folder = create_sweep(tmp_path / "sweeps", plan, infos, ["phonebench", "run", "fake.toml"])
    return Scene(folder, plan, FakeDevice(), (exported(tmp_path),))


def exported(tmp_path: Path) -> ExportedModel:
    (tmp_path / "checks.bin").write_bytes(bytes(12))
    (tmp_path / "net.ptl").write_bytes(b"a model")
    np.savez(tmp_path / "reference.npz", allow_pickle=False, **{"0/0": OUTPUT})
    manifest = Manifest(
        sha256="aa",
        size_bytes=7,
        details={},
        operators=(),
        parameters=1,
        nonzero_parameters=1,
        flops=1,
        torch_version="0",
        python_version="0",
        recipe="fp32",
        format="ptl",
        options={"container": "zip"},
        memory_format="contiguous",
        quantized_engine=None,
        seed=0,
        export_seconds=0.0,
        created_unix=0.0,
    )
    good = Artifact(
        variant="net.fp32",
        model="net",
        recipe="fp32",
        format="ptl",
        options={"container": "zip"},
        memory_format="contiguous",
        status="ok",
        path=tmp_path / "net.ptl",
        manifest=manifest,
        min_sqnr_db=60.0,
    )
    refused = Artifact(
        variant="net.int8-static",
        model="net",
        recipe="int8-static",
        format="ptl",
        options={"container": "zip"},
        memory_format="contiguous",
        status="skipped",
        reason="needs calibration",
        advice="give it some",
    )
    return ExportedModel(
        name="net",
        status="ok",
        checks_path=tmp_path / "checks.bin",
        checks_sha256="bb",
        checks=((CheckTensor(shape=(1, 3), dtype="float32", offset_bytes=0),),),
        reference_path=tmp_path / "reference.npz",
        artifacts=(good, refused),
    )


def remade(scene: Scene, measure: str, **device: Any) -> Scene:
    """Return the scene with other settings of one launch, and another device."""
    passes = "" if "passes" in measure else '\npasses = ["latency"]'
    plan = parse_plan(PLAN.replace('passes = ["latency"]', measure + passes), "fake.toml")
    folder = create_sweep(scene.folder.parent, plan, [device_info()], ["phonebench"])
    return Scene(folder, plan, FakeDevice(**device), scene.models)
