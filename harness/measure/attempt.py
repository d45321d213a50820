"""One launch to be made, and one attempt at it: from its beginning to its line in the ledger.

Not here: running it (`launch.py`), and whether another attempt is due (`next_step.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace

from harness.analysis.energy import measure_energy
from harness.analysis.validity import judge
from harness.errors import HarnessError
from harness.results.launches import name_files
from harness.schema.artifact import Artifact, ExportedModel, Fidelity
from harness.schema.device import Conditions
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.plan import Case, Plan
from harness.schema.power import PowerSource
from harness.schema.record import LaunchRecord, Trace
from harness.schema.sweep import LaunchError, LedgerEntry, PlannedLaunch, Status


@dataclass(frozen=True)
class LaunchTask:
    """Everything that one launch needs. `attempt` counts from 1."""

    sweep: str
    planned: PlannedLaunch
    attempt: int
    plan: Plan
    case: Case
    model: ExportedModel
    artifact: Artifact

    @property
    def key(self) -> str:
        """The launch's name on the device, unique across all sweeps."""
        return f"{self.sweep}-{self.planned.index:04d}-{self.attempt}"

    @property
    def is_energy(self) -> bool:
        """Whether the launch is of the energy pass."""
        return self.planned.measured_pass == "energy"

    def at(self, attempt: int) -> LaunchTask:
        """Return the same launch at another attempt."""
        return replace(self, attempt=attempt)


@dataclass
class Attempt:
    """What is known of one attempt, filled in as it goes; it ends as one entry of the ledger.

    `before` and `after` are the device's conditions, `cooled_seconds` what it waited to be cool.
    `content` is what the runner left, byte for byte, and `record` the same as it reads, None if it is
    not whole; `sidecar` was recorded beside it. `power` is its source in the energy pass.
    """

    device: str
    task: LaunchTask
    power: PowerSource | None = None
    before: Conditions | None = None
    cooled_seconds: float | None = None
    after: Conditions | None = None
    started_unix: float | None = None
    host_ns: int | None = None
    runner_ns: int | None = None
    content: bytes | None = None
    record: LaunchRecord | None = None
    sidecar: tuple[Trace, ...] = ()
    sidecar_error: LaunchError | None = None
    status: Status = "ok"
    error: LaunchError | None = None
    fidelity: Fidelity | None = None

    def fail(self, error: HarnessError) -> None:
        """Note that it ended without a good result."""
        self.status, self.error = "failed", as_launch_error(error)

    def interrupt(self, error: HarnessError) -> None:
        """Note that it was cut short: that says nothing of the launch, which is due again."""
        self.status, self.error = "interrupted", as_launch_error(error)

    def close(self, accepted: Collection[str], baseline: Conditions | None) -> LedgerEntry:
        """Return the host's account of it, judged: the one place where that is made.

        `accepted` and `baseline` are those of `judge`.
        """
        name = name_files(self.device, self.task.planned, self.attempt)
        entry = LedgerEntry(
            device=self.device,
            case=self.task.case.id,
            status=self.status,
            index=self.task.planned.index,
            round=self.task.planned.round,
            measured_pass=self.task.planned.measured_pass,
            attempt=self.attempt,
            file=None if self.content is None else f"{name}.jsonl",
            sha256=None if self.content is None else hashlib.sha256(self.content).hexdigest(),
            error=self.error,
            fidelity=self.fidelity,
            before=self.before,
            after=self.after,
            started_unix=self.started_unix,
            host_ns=self.host_ns,
            runner_ns=self.runner_ns,
            cooled_seconds=self.cooled_seconds,
            power=self.power,
            energy=self._measure_energy(),
            sidecar_file=f"{name}.sidecar.jsonl" if self.sidecar else None,
            sidecar_error=self.sidecar_error,
        )
        validity = judge(entry, self.record, self.sidecar, self.task.plan, accepted, baseline)
        return entry.model_copy(update={"validity": validity})

    @property
    def attempt(self) -> int:
        """Which attempt it is, from 1."""
        return self.task.attempt

    def _measure_energy(self) -> Energy | EnergyTrouble | None:
        """Work out what it consumed: once, so that its verdict and every table have the same number."""
        if self.status != "ok" or self.power is None or self.record is None:
            return None
        if self.sidecar_error is not None:
            text = f"power was not recorded: {self.sidecar_error.message}"
            return EnergyTrouble(key="recorder-failed", text=text)
        return measure_energy(self.record, self.sidecar, self.power)


def as_launch_error(error: HarnessError) -> LaunchError:
    """Return an error as the ledger keeps it."""
    return LaunchError(kind=error.kind, message=error.message, advice=error.advice)
