"""What limits trust: each doubt is a value with advice, found in the data and nowhere else.

One row a doubt. Not here: how it is looked for (`doubt_checks.py`), the numbers themselves, and how
a doubt looks on the page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.analysis import doubt_checks as checks
from harness.analysis.cases import DeviceSummary, Finding, SweepSummary
from harness.analysis.doubt_checks import THRESHOLDS, Found, Level, each_case
from harness.analysis.words import percent, plural


@dataclass(frozen=True)
class Rule:
    """One doubt about a device's numbers, and how it is looked for.

    `label` is what the row of a case that it names says; "" for doubts that name none.
    """

    key: str
    level: Level
    label: str
    text: str
    advice: str
    check: Callable[[DeviceSummary], Found | None]

    def look(self, device: DeviceSummary) -> Iterator[Finding]:
        """Yield the finding, if there is one."""
        found = self.check(device)
        if found is not None:
            yield Finding(
                key=self.key,
                level=found.level or self.level,
                text=self.text.format(*found.words),
                advice=found.advice or self.advice,
                where=device.info.id,
                details=found.details,
                cases=found.cases,
            )


def find_limits(summary: SweepSummary) -> tuple[Finding, ...]:
    """Return every doubt, the gravest first."""
    found = [
        *_torn_ledger(summary),
        *_accepted_findings(summary),
        *_few_evaluation_samples(summary),
    ]
    for device in summary.devices:
        found += [finding for rule in RULES for finding in rule.look(device)]
    return tuple(sorted(found, key=lambda finding: finding.level != "warning"))


def flag_cases(device: DeviceSummary, findings: Sequence[Finding]) -> DeviceSummary:
    """Return the device with each case carrying the keys of the doubts that name it."""
    flags: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.where == device.info.id:
            for case in finding.cases:
                flags[case].append(finding.key)
    return replace(
        device, cases=tuple(replace(case, flags=tuple(flags[case.id])) for case in device.cases)
    )


# --- doubts about the sweep ----------------------------------------------------------------------


def _torn_ledger(summary: SweepSummary) -> Iterator[Finding]:
    if summary.torn_lines:
        yield Finding(
            "torn_ledger",
            "warning",
            f"{plural(summary.torn_lines, 'line')} of the ledger cannot be read",
            "A crash cut a line while it was written; `phonebench run --resume` measures what "
            "it stood for again.",
        )


def _few_evaluation_samples(summary: SweepSummary) -> Iterator[Finding]:
    few: dict[str, int] = {}
    for model in summary.models:
        for artifact in model.artifacts:
            if artifact.accuracy and artifact.accuracy.samples < THRESHOLDS.accuracy_samples:
                few[model.name] = artifact.accuracy.samples
    if few:
        yield Finding(
            "few_evaluation_samples",
            "note",
            "Accuracy rests on few samples",
            f"Give an evaluation set of {THRESHOLDS.accuracy_samples} samples or more; small "
            "differences in accuracy mean nothing here.",
            details=tuple(f"{name}: {count} samples" for name, count in few.items()),
        )


def _accepted_findings(summary: SweepSummary) -> Iterator[Finding]:
    """Name what the sweep was told to measure in spite of."""
    for device, found in summary.file.findings.items():
        serious = [finding for finding in found if finding.level == "serious"]
        if serious:
            yield Finding(
                "accepted_findings",
                "warning",
                f"It was measured in spite of {plural(len(serious), 'serious finding')}",
                "They were accepted with --accept; `phonebench doctor` says what to do about them.",
                where=device,
                details=tuple(f"{one.key}: {one.text}" for one in serious),
            )


# --- doubts about a device ------------------------------------------------------------------------

# The order is the order of the page, within one level.
RULES: tuple[Rule, ...] = (
    Rule(
        "unfinished", "warning", "",
        "The sweep is not finished: {} of {} launches have not run",
        "Go on with `phonebench run --resume FOLDER`; nothing that is done runs again.",
        checks.unfinished,
    ),
    Rule(
        "wrong_outputs", "warning", "wrong outputs",
        "{} outputs too far from the eager model's",
        "A fast wrong answer is a failure: these launches do not count. Look at the recipe's "
        "fidelity on the host, then at the engine.",
        each_case(checks.wrong_outputs),
    ),
    Rule(
        "lost_launches", "warning", "lost launches",
        "{} launches that failed or were interrupted",
        "They stay in the files and out of the statistics. If the failures depend on what is "
        "slow, the rest looks too good.",
        each_case(checks.lost_launches),
    ),
    Rule(
        "not_valid", "warning", "many not valid",
        f"{{}} more than {percent(THRESHOLDS.not_valid)} of launches that do not count",
        "Each is shown with its reason.",
        checks.not_valid,
    ),
    Rule(
        "leaks", "warning", "memory grows",
        "{} memory that grows with every inference",
        "Something is allocated and never freed, in the model or its engine: a long run will "
        "exhaust the memory, and its peak here depends on how long was measured.",
        each_case(checks.leaks),
    ),
    Rule(
        "energy_refused", "warning", "",
        "Energy was refused: {}",
        "`phonebench doctor` says which sources of power the device has.",
        checks.energy_refused,
    ),
    Rule(
        "no_energy", "warning", "no energy",
        "{} no energy, although it was measured",
        "What the source of power told cannot be believed; the traces show it.",
        each_case(checks.no_energy),
    ),
    Rule(
        "few_launches", "warning", "few launches",
        f"{{}} fewer than {THRESHOLDS.launches} good launches",
        "So few give a range, not an interval: raise plan.rounds to 10 or more.",
        each_case(checks.few_launches),
    ),
    Rule(
        "bimodal_cases", "warning", "two groups",
        "{} launches in two groups",
        "The median falls into one of them by chance. Memory layout, core choice and clock steps "
        "do this: pin the cores (matrix.affinity) or fix the clocks.",
        each_case(checks.bimodal_cases),
    ),
    Rule(
        "varying_launches", "warning", "noisy",
        f"{{}} launches that differ by more than {percent(THRESHOLDS.variation)} "
        "(coefficient of variation)",
        "Close what else runs on the device, let it cool, fix its clocks, or raise plan.rounds.",
        each_case(checks.varying_launches),
    ),
    Rule(
        "drifting_device", "warning", "",
        "The device became {} {} from the first round to the last",
        "Comparisons are paired by round, so they bear it; the latencies themselves do not. "
        "Let the device cool between launches, or fix its clocks.",
        checks.drifting_device,
    ),
    Rule(
        "busy_cores", "warning", "busy cores",
        f"{{}} more than {THRESHOLDS.involuntary_switches_per_second:g} involuntary context "
        "switches a second",
        "Something else wanted the cores while they were timed: close it, or use fewer threads "
        "than cores.",
        each_case(checks.busy_cores),
    ),
    Rule(
        "loaded_at_start", "warning", "",
        "The device was busy before {} of {} (load up to {} a core beyond the sweep's own)",
        "Something else runs on it: stop it, and measure again.",
        checks.loaded_at_start,
    ),
    Rule(
        "drifting_cases", "note", "drifts",
        "{} launches that drift",
        "See them in the order they ran; heat and background work are the usual causes.",
        each_case(checks.drifting_cases),
    ),
    Rule(
        "host_is_no_phone", "note", "",
        "This device is the computer that ran the sweep, not a phone",
        "Which variant is faster can be the other way round on a phone's processor.",
        checks.host_is_no_phone,
    ),
    Rule(
        "clocks_vary", "note", "",
        "The clocks are not fixed (governor {})",
        "See the launches in the order they ran.",
        checks.clocks_vary,
    ),
    Rule(
        "clocks_unknown", "note", "",
        "The device does not tell its clocks",
        "Throttling or a changed clock would show only as drift or as two groups of launches.",
        checks.clocks_unknown,
    ),
    Rule(
        "warm_cold_loads", "note", "cold load is warm",
        "{} cold loads that were not cold",
        "The page cache could not be dropped (some file systems refuse): read the cold load as "
        "one from memory.",
        each_case(checks.warm_cold_loads),
    ),
    Rule(
        "few_iterations", "note", "few iterations",
        f"{{}} fewer than {THRESHOLDS.p90_iterations} iterations a launch",
        "The median stands; do not rely on the p90. Raise measure.min_iterations.",
        each_case(checks.few_iterations),
    ),
    Rule(
        "energy_not_compared", "note", "energy not compared",
        "{} an energy that is not compared",
        "Energies are compared where they come from one source with one calibration, and stand "
        "out from idle: measure all cases in one sweep, for longer (measure.energy_seconds).",
        each_case(checks.energy_not_compared),
    ),
    Rule(
        "sampling_costs", "note", "",
        f"Reading the probes cost more than {percent(THRESHOLDS.sampling_share)} of one core",
        "The latency pass reads none while it times. In the other passes this is part of what "
        "was measured.",
        checks.sampling_costs,
    ),
    Rule(
        "no_memory_pass", "note", "",
        "Memory was not measured",
        'Add "memory" to measure.passes.',
        checks.no_memory_pass,
    ),
)  # fmt: skip

LABELS: dict[str, str] = {rule.key: rule.label for rule in RULES if rule.label}
"""What the row of a case says of each doubt that names it."""
