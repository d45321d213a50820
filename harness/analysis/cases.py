"""What a summed-up sweep is made of: cases, devices, findings.

Not here: how they are worked out (`summary.py`, `doubts.py`) and shown (`harness.report`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from harness.analysis import metrics
from harness.analysis.case_energy import CaseEnergy
from harness.analysis.comparisons import Comparison
from harness.analysis.launches import Launch
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
class MissingEnergy:
    """Why a case has no energy: an error's kind or a rule's key, and what was seen."""

    key: str
    text: str


@dataclass(frozen=True)
class CaseSummary:
    """One case on one device. Estimates are over its valid launches of the pass that counts.

    `estimates` maps a metric to the case's number, where it has one. `comparisons` maps those that
    are compared to the ratio over `baseline` (a case id): the same model with its first recipe in
    the plan (`baseline_recipe`), all else equal; none for the baseline itself. `grows`: memory does,
    with every inference, in most memory launches (None: that is not known). `reason` says why the
    status is not ok: with "no valid latency" launches of other passes count, and have their numbers
    here. `energy_trouble` says why an energy that was asked for is missing.
    """

    device: str
    case: Case
    status: CaseStatus
    reason: str
    advice: str
    artifact: Artifact | None
    launches: tuple[Launch, ...]
    planned: int
    estimates: Mapping[str, Estimate]
    grows: bool | None
    energy: CaseEnergy | None
    energy_trouble: MissingEnergy | None
    device_fidelity: Fidelity | None
    baseline_recipe: str
    baseline: str | None = None
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def latency(self) -> Estimate | None:
        """The median latency (ms), by which cases are told fast from slow."""
        return self.estimates.get(metrics.LATENCY)

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

    def of_pass(self, measured_pass: str) -> list[Launch]:
        """Return the valid launches of one pass, in the order they ran."""
        return [one for one in self.launches if one.counts and one.measured_pass == measured_pass]

    def bad_launches(self) -> list[Launch]:
        """Return the launches without a result: they failed or were interrupted."""
        return [launch for launch in self.launches if launch.measured is None]

    def doubtful_launches(self) -> list[Launch]:
        """Return the launches with a result that does not count, because of what was around them."""
        return [one for one in self.launches if one.measured is not None and not one.counts]

    @property
    def valid_launches(self) -> int:
        """How many launches count, of all passes."""
        return sum(launch.counts for launch in self.launches)


def relative_latency(case: CaseSummary, launch: Launch) -> float | None:
    """Return a latency launch's median over its case's; None if it has none."""
    latency = launch.values.get(metrics.LATENCY)
    return None if latency is None or case.latency is None else latency / case.latency.median


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

    def sampling_shares(self) -> dict[str, float]:
        """Map each pass to what its probes cost: CPU over wall time, the median over launches."""
        shares: dict[str, list[float]] = defaultdict(list)
        for launch in self.launches:
            if metrics.SAMPLING in launch.values:
                shares[launch.measured_pass].append(launch.values[metrics.SAMPLING])
        return {name: median(values) for name, values in shares.items()}


@dataclass(frozen=True)
class Finding:
    """Something in the data that limits how far a number can be trusted, and what to do."""

    key: str
    level: Literal["warning", "note"]
    text: str
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
