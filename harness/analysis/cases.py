"""What a summed-up sweep is made of: cases, devices, doubts.

Not here: how they are worked out (`summary.py`, `findings.py`) and shown (`html.py`, `tables.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.analysis.case_energy import CaseEnergy, EnergyRatio
from harness.analysis.launches import Launch, Numbers
from harness.analysis.memory import Growth
from harness.analysis.stats import Estimate
from harness.schema.artifact import Accuracy, Artifact, ExportedModel, Fidelity
from harness.schema.device import DeviceInfo
from harness.schema.plan import Case
from harness.schema.sweep import SweepFile
from harness.schema.validity import Reason

CaseStatus = Literal[
    "ok", "failed", "skipped", "interrupted", "not run", "no valid launch", "no valid latency"
]


@dataclass(frozen=True)
class CaseSummary:
    """One case on one device. Estimates are medians over its valid launches of the pass that counts.

    Times come from the latency pass, memory from the memory pass, energy from the energy pass.
    `speedup` is relative to `baseline` (a case id): the same model with its first recipe in the
    plan (`baseline_recipe`), all else equal, paired by round; None for the baseline itself.
    `growth` is that of the memory launch with the median slope. `reason` says why the status is
    not ok: with "no valid latency" launches of other passes count, and have their numbers here.
    """

    device: str
    case: Case
    status: CaseStatus
    reason: str
    advice: str
    artifact: Artifact | None
    launches: tuple[Launch, ...]
    planned: int
    latency_ns: Estimate | None
    p90_ns: Estimate | None
    cold_load_ns: Estimate | None
    warm_load_ns: Estimate | None
    first_inference_ns: Estimate | None
    process_start_ns: Estimate | None
    peak_bytes: Estimate | None
    model_bytes: Estimate | None
    peak_definition: str
    rss_bytes: Estimate | None
    pss_bytes: Estimate | None
    swap_bytes: Estimate | None
    growth: Growth | None
    energy: CaseEnergy | None
    energy_trouble: str
    clock_khz: Estimate | None
    cpu_per_wall: Estimate | None
    involuntary_switches_per_second: Estimate | None
    device_fidelity: Fidelity | None
    baseline_recipe: str
    baseline: str | None
    speedup: Estimate | None
    energy_ratio: EnergyRatio | None = None
    flags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The case's id, unique on its device."""
        return self.case.id

    @property
    def has_numbers(self) -> bool:
        """Whether launches count, be it of another pass than the one that times."""
        return self.status in ("ok", "no valid latency")

    @property
    def label(self) -> str:
        """The recipe, with the file's options where they are not the usual ones."""
        return ", ".join([self.case.variant.recipe, *self.case.variant.unusual])

    @property
    def setting(self) -> str:
        """The engine and threads, and the cores if they were chosen."""
        cores = "" if self.case.affinity == "all" else f" on cores {self.case.affinity}"
        plural = "" if self.case.threads == 1 else "s"
        return f"{self.case.engine}, {self.case.threads} thread{plural}{cores}"

    @property
    def size_bytes(self) -> int | None:
        """The artifact's size."""
        manifest = self.artifact.manifest if self.artifact else None
        return manifest.size_bytes if manifest else None

    @property
    def parameters(self) -> int | None:
        """The model's parameters after pruning, before quantization."""
        manifest = self.artifact.manifest if self.artifact else None
        return manifest.parameters if manifest else None

    @property
    def flops(self) -> int | None:
        """Floating-point operations of one inference, a multiply and an add counting two."""
        manifest = self.artifact.manifest if self.artifact else None
        return manifest.flops if manifest else None

    @property
    def accuracy(self) -> Accuracy | None:
        """Top-1 accuracy on the host, if the plan names an evaluation set."""
        return self.artifact.accuracy if self.artifact else None

    @property
    def host_fidelity(self) -> Fidelity | None:
        """The artifact's outputs on the host against the eager model's."""
        return self.artifact.fidelity if self.artifact else None

    def of_pass(self, measured_pass: str) -> list[Numbers]:
        """Return the numbers of the valid launches of one pass, in the order they ran."""
        return [
            launch.numbers
            for launch in self.launches
            if launch.measured_pass == measured_pass and launch.counts and launch.numbers
        ]

    def latency_by_round(self) -> dict[int, float]:
        """Map each round to the median latency (ns) of its valid launch, for pairing."""
        return {
            launch.round: launch.numbers.median_ns
            for launch in self.launches
            if launch.measured_pass == "latency"
            and launch.counts
            and launch.numbers is not None
            and launch.numbers.median_ns is not None
        }

    def bad_launches(self) -> list[Launch]:
        """Return the launches without a result: they failed or were interrupted."""
        return [launch for launch in self.launches if launch.numbers is None]

    def doubtful_launches(self) -> list[Launch]:
        """Return the launches with a result that does not count, because of what was around them."""
        return [one for one in self.launches if one.numbers is not None and not one.counts]

    @property
    def valid_launches(self) -> int:
        """How many launches count, of all passes."""
        return sum(launch.counts for launch in self.launches)


def deciding_launches(launches: Sequence[Launch]) -> Sequence[Launch]:
    """Return those of a case's launches that time; all of them if there was no latency pass."""
    return [launch for launch in launches if launch.measured_pass == "latency"] or launches


def commonest_reason(launches: Sequence[Launch]) -> Reason | None:
    """Return what speaks against most of some launches; one of the latest stands for all."""
    reasons = [reason for launch in launches for reason in launch.validity.reasons]
    counts = Counter(reason.key for reason in reasons)
    if not counts:
        return None
    key = counts.most_common(1)[0][0]
    return next(reason for reason in reversed(reasons) if reason.key == key)


@dataclass(frozen=True)
class DeviceSummary:
    """One device: its cases in the plan's order, and its launches in the order they ran."""

    info: DeviceInfo
    cases: tuple[CaseSummary, ...]
    launches: tuple[Launch, ...]
    planned: int

    @property
    def unfinished(self) -> int:
        """How many launches of the schedule the ledger lacks."""
        return max(0, self.planned - len({launch.index for launch in self.launches}))


@dataclass(frozen=True)
class Finding:
    """Something in the data that limits how far a number can be trusted, and what to do."""

    key: str
    level: Literal["warning", "note"]
    title: str
    advice: str
    where: str = ""
    details: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepSummary:
    """Everything a sweep has to say. `folder` holds the launches' files, for traces."""

    folder: Path
    file: SweepFile
    models: tuple[ExportedModel, ...]
    devices: tuple[DeviceSummary, ...]
    findings: tuple[Finding, ...]
    torn_lines: int
