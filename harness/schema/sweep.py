"""The files of a sweep folder: sweep.json, artifacts.json, and a line of ledger.jsonl.

Not here: reading and writing them (`results/folder.py`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.schema.artifact import ExportedModel, Fidelity
from harness.schema.base import Frozen
from harness.schema.device import Conditions, DeviceFinding, DeviceInfo
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.job import Pass
from harness.schema.plan import Plan
from harness.schema.power import PowerSource
from harness.schema.validity import Validity

SWEEP_VERSION = 3


Status = Literal["ok", "failed", "skipped", "interrupted"]


class Host(Frozen):
    """The computer that ran the sweep."""

    system: str
    python: str
    harness: str
    torch: str
    git: str | None = None


class PlannedLaunch(Frozen):
    """One entry of a device's schedule; `index` is its place in it, from 1."""

    index: int
    round: int
    case: str
    measured_pass: Pass


class SweepFile(Frozen):
    """sweep.json: what was asked. `command` is the exact command line that made it.

    `findings` are those of the examination before the sweep, by device; `accepted` holds the keys
    of the serious ones ("all": any) that it was told to measure in spite of.
    """

    sweep_version: int
    id: str
    created_unix: float
    command: tuple[str, ...]
    directory: str
    plan_name: str
    plan_sha256: str
    plan: Plan
    host: Host
    devices: tuple[DeviceInfo, ...]
    schedule: dict[str, tuple[PlannedLaunch, ...]]
    accepted: tuple[str, ...] = ()
    findings: dict[str, tuple[DeviceFinding, ...]] = Field(default_factory=dict)


class LaunchError(Frozen):
    """Why a launch has no good result."""

    kind: str
    message: str
    advice: str = ""


class LedgerEntry(Frozen):
    """The host's account of one launch, or of one case that could not be launched at all.

    For a skipped case, `index`, `round` and `measured_pass` are None. `attempt` counts from 1: a
    retry is an entry of its own. `file` is relative to the sweep folder; None if the runner left
    nothing. `fidelity` compares the outputs on the device with the reference.
    `runner_ns` is the life of the runner process, `host_ns` the whole launch as the host saw it;
    `cooled_seconds` is what the start gate waited before it. `power` is the source of power in the
    energy pass, and `energy` what came of it: the launch was judged by that very value. `sidecar_file`
    holds what was recorded beside the runner, if anything was; `sidecar_error` says why that failed.
    """

    device: str
    case: str
    status: Status
    index: int | None = None
    round: int | None = None
    measured_pass: Pass | None = None
    attempt: int = 1
    file: str | None = None
    sha256: str | None = None
    error: LaunchError | None = None
    fidelity: Fidelity | None = None
    before: Conditions | None = None
    after: Conditions | None = None
    started_unix: float | None = None
    host_ns: int | None = None
    runner_ns: int | None = None
    cooled_seconds: float | None = None
    validity: Validity | None = None
    power: PowerSource | None = None
    energy: Energy | EnergyTrouble | None = None
    sidecar_file: str | None = None
    sidecar_error: LaunchError | None = None


class ArtifactsFile(Frozen):
    """artifacts.json."""

    models: tuple[ExportedModel, ...]
