"""What limits trust: each doubt is a value with advice, found in the data and nowhere else.

One function a doubt, one table of thresholds. Not here: the numbers themselves, and how a doubt
looks on the page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from harness.analysis.cases import CaseSummary, DeviceSummary, Finding, SweepSummary
from harness.analysis.launches import Launch
from harness.analysis.stats import LAUNCHES_FOR_INTERVAL, drift, separation, variation
from harness.analysis.validity import REASON_ADVICE
from harness.analysis.words import growth_words, percent, plural, significant


@dataclass(frozen=True)
class Thresholds:
    """Where a doubt begins, and where that number comes from."""

    # Below 5 launches no distribution-free interval of the median comes near 95% (1 - 2/2^n).
    launches: int = LAUNCHES_FOR_INTERVAL
    # Real farms saw 7.6% and 13.4% between runs, a quiet desk 1.5%: 5% hides common regressions.
    variation: float = 0.05
    # Two-sided 1% of the normal approximation of Spearman's rho.
    drift_z: float = 2.58
    # The effects that comparisons look for begin at 3% for a case, so 1% for a whole device.
    case_drift: float = 0.03
    device_drift: float = 0.01
    # Ashman's D of 10 normal launches exceeds 6 once in a hundred times (simulated).
    separation: float = 6.0
    group_distance: float = 0.03
    # One involuntary switch can cost a scheduler tick (1 to 4 ms): 20 a second is up to 8%.
    involuntary_switches_per_second: float = 20.0
    # Half of every core busy with something else before the launch began.
    load_per_core: float = 0.5
    # The 95% interval of an accuracy near 95% is 2.7 points wide to each side at 250 samples.
    accuracy_samples: int = 250
    # A tenth of the launches may be unlucky; more of them, and what is left is a choice.
    not_valid: float = 0.1
    # What reading may cost, in the median of a pass: one percent of one core. At 0.6% latency beside it
    # moved by less than 0.3% (benchmarks/probe_cost.py).
    sampling_share: float = 0.01
    # MLPerf's early stopping needs 64 samples to speak of a p90 at all.
    p90_iterations: int = 64


THRESHOLDS = Thresholds()

DeviceFinder = Callable[[DeviceSummary], Iterator[Finding]]


def find_limits(summary: SweepSummary) -> tuple[Finding, ...]:
    """Return every doubt, the gravest first."""
    whole = (_torn_ledger, _accepted_findings, _few_evaluation_samples)
    found = list(chain.from_iterable(find(summary) for find in whole))
    for device in summary.devices:
        for find in DEVICE_FINDERS:
            found += [replace(finding, where=device.info.id) for finding in find(device)]
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


def _about_cases(
    key: str,
    level: str,
    title: str,
    advice: str,
    cases: Sequence[tuple[CaseSummary, str]],
) -> Iterator[Finding]:
    """Make one finding of all cases it is true of; `title` has a place for "3 cases have"."""
    if not cases:
        return
    many = f"{plural(len(cases), 'case')} {'has' if len(cases) == 1 else 'have'}"
    yield Finding(
        key=key,
        level="warning" if level == "warning" else "note",
        title=title.format(cases_have=many),
        advice=advice,
        details=tuple(f"{case.id}: {detail}" for case, detail in cases),
        cases=tuple(case.id for case, _ in cases),
    )


def _medians(case: CaseSummary) -> list[float]:
    return [n.median_ns for n in case.of_pass("latency") if n.median_ns is not None]


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


def _unfinished(device: DeviceSummary) -> Iterator[Finding]:
    if device.unfinished:
        yield Finding(
            "unfinished",
            "warning",
            f"The sweep is not finished: {device.unfinished} of {device.planned} launches "
            "have not run",
            "Go on with `phonebench run --resume FOLDER`; nothing that is done runs again.",
        )


def _wrong_outputs(device: DeviceSummary) -> Iterator[Finding]:
    wrong = [
        (case, bad[0].reason)
        for case in device.cases
        if (bad := [one for one in case.launches if one.reason.startswith("WrongOutput")])
    ]
    yield from _about_cases(
        "wrong_outputs",
        "warning",
        "{cases_have} outputs too far from the eager model's",
        "A fast wrong answer is a failure: these launches do not count. Look at the recipe's "
        "fidelity on the host, then at the engine.",
        wrong,
    )


# Kinds of failure that have findings of their own.
_TOLD_ELSEWHERE = ("WrongOutput", "EnergyRefused")


def _lost_launches(device: DeviceSummary) -> Iterator[Finding]:
    lost = [
        (case, f"{len(bad)} of {len(case.launches)}; the last: {bad[-1].reason or bad[-1].status}")
        for case in device.cases
        if (bad := [b for b in case.bad_launches() if not b.reason.startswith(_TOLD_ELSEWHERE)])
    ]
    yield from _about_cases(
        "lost_launches",
        "warning",
        "{cases_have} launches that failed or were interrupted",
        "They stay in the files and out of the statistics. If the failures depend on what is "
        "slow, the rest looks too good.",
        lost,
    )


def _not_valid(device: DeviceSummary) -> Iterator[Finding]:
    """Name the cases that lost many launches to what was around them, and the reasons for it."""
    many, keys = [], Counter[str]()
    for case in device.cases:
        # A case without any energy has a finding of its own.
        doubtful = [
            launch
            for launch in case.doubtful_launches()
            if launch.measured_pass != "energy" or case.energy is not None
        ]
        if len(doubtful) <= THRESHOLDS.not_valid * len(case.launches):
            continue
        reasons = Counter(reason.key for one in doubtful for reason in one.validity.reasons)
        keys.update(reasons)
        told = ", ".join(f"{key.replace('_', ' ')} {n}" for key, n in reasons.most_common())
        many.append((case, f"{len(doubtful)} of {len(case.launches)} launches: {told}"))
    advice = dict.fromkeys(REASON_ADVICE.get(key, "") for key, _ in keys.most_common(3))
    yield from _about_cases(
        "not_valid",
        "warning",
        f"{{cases_have}} more than {percent(THRESHOLDS.not_valid)} of launches that do not count",
        " ".join(["Each is shown with its reason.", *filter(None, advice)]),
        many,
    )


def _leaks(device: DeviceSummary) -> Iterator[Finding]:
    grown = [
        (case, f"grows by {growth_words(case.growth)}")
        for case in device.cases
        if case.growth is not None and case.growth.grows
    ]
    yield from _about_cases(
        "leaks",
        "warning",
        "{cases_have} memory that grows with every inference",
        "Something is allocated and never freed, in the model or its engine: a long run will "
        "exhaust the memory, and its peak here depends on how long was measured.",
        grown,
    )


def _energy_refused(device: DeviceSummary) -> Iterator[Finding]:
    """Say that no energy was measured at all, and why."""
    refused = [one for one in device.launches if one.reason.startswith("EnergyRefused")]
    if refused:
        last = refused[-1]
        yield Finding(
            "energy_refused",
            "warning",
            f"Energy was refused: {last.reason.removeprefix('EnergyRefused: ')}",
            last.advice or "`phonebench doctor` says which sources of power the device has.",
        )


def _no_energy(device: DeviceSummary) -> Iterator[Finding]:
    without = [
        (case, case.energy_trouble)
        for case in device.cases
        if case.energy is None
        and case.energy_trouble
        and not case.energy_trouble.startswith("EnergyRefused")
    ]
    yield from _about_cases(
        "no_energy",
        "warning",
        "{cases_have} no energy, although it was measured",
        "What the source of power told cannot be believed; the traces show it.",
        without,
    )


def _energy_not_compared(device: DeviceSummary) -> Iterator[Finding]:
    apart = [
        (case, case.energy_ratio.withheld)
        for case in device.cases
        if case.energy_ratio is not None and case.energy_ratio.withheld
    ]
    yield from _about_cases(
        "energy_not_compared",
        "note",
        "{cases_have} an energy that is not compared",
        "Energies are compared where they come from one source with one calibration, and stand "
        "out from idle: measure all cases in one sweep, for longer (measure.energy_seconds).",
        apart,
    )


def _sampling_costs(device: DeviceSummary) -> Iterator[Finding]:
    costs = sampling_shares(device).items()
    high = [(name, share) for name, share in costs if share > THRESHOLDS.sampling_share]
    if high:
        yield Finding(
            "sampling_costs",
            "note",
            f"Reading the probes cost more than {percent(THRESHOLDS.sampling_share)} of one core",
            "The latency pass reads none while it times. In the other passes this is part of what "
            "was measured.",
            details=tuple(f"{name} pass: {percent(share)}" for name, share in high),
        )


def sampling_shares(device: DeviceSummary) -> dict[str, float]:
    """Map each pass to what its probes cost: CPU time over wall time, the median over launches."""
    shares: dict[str, list[float]] = defaultdict(list)
    for launch in device.launches:
        if launch.numbers is not None and launch.numbers.sampling_share is not None:
            shares[launch.measured_pass].append(launch.numbers.sampling_share)
    return {name: float(np.median(values)) for name, values in shares.items()}


def _few_launches(device: DeviceSummary) -> Iterator[Finding]:
    few = [
        (case, plural(case.latency_ns.launches, "launch", "launches"))
        for case in device.cases
        if case.latency_ns is not None and case.latency_ns.launches < THRESHOLDS.launches
    ]
    yield from _about_cases(
        "few_launches",
        "warning",
        f"{{cases_have}} fewer than {THRESHOLDS.launches} good launches",
        "So few give a range, not an interval: raise plan.rounds to 10 or more.",
        few,
    )


def _varying_launches(device: DeviceSummary) -> Iterator[Finding]:
    varying = [
        (case, f"{percent(spread)} between launches")
        for case in device.cases
        if (spread := variation(_medians(case))) is not None and spread > THRESHOLDS.variation
    ]
    yield from _about_cases(
        "varying_launches",
        "warning",
        f"{{cases_have}} launches that differ by more than {percent(THRESHOLDS.variation)} "
        "(coefficient of variation)",
        "Close what else runs on the device, let it cool, fix its clocks, or raise plan.rounds.",
        varying,
    )


def _drifting_device(device: DeviceSummary) -> Iterator[Finding]:
    """Look for a trend that all cases share, round by round: heat, a battery, a neighbour."""
    by_round: dict[int, list[float]] = defaultdict(list)
    for case in device.cases:
        for launch in case.launches:
            relative = relative_latency(case, launch)
            if relative is not None and launch.counts:
                by_round[launch.round].append(relative)
    trend = drift([float(np.median(by_round[number])) for number in sorted(by_round)])
    if trend is None:
        return
    if abs(trend.z) > THRESHOLDS.drift_z and abs(trend.change) > THRESHOLDS.device_drift:
        way = "slower" if trend.change > 0 else "faster"
        yield Finding(
            "drifting_device",
            "warning",
            f"The device became {percent(abs(trend.change))} {way} from the first round to the last",
            "Comparisons are paired by round, so they bear it; the latencies themselves do not. "
            "Let the device cool between launches, or fix its clocks.",
        )


def relative_latency(case: CaseSummary, launch: Launch) -> float | None:
    """Return a latency launch's median over its case's; None if it has none."""
    if launch.measured_pass != "latency" or launch.numbers is None or case.latency_ns is None:
        return None
    median_ns = launch.numbers.median_ns
    return None if median_ns is None else median_ns / case.latency_ns.median


def _drifting_cases(device: DeviceSummary) -> Iterator[Finding]:
    drifting = [
        (case, f"{trend.change:+.1%} from the first launch to the last")
        for case in device.cases
        if (trend := drift(_medians(case))) is not None
        and abs(trend.z) > THRESHOLDS.drift_z
        and abs(trend.change) > THRESHOLDS.case_drift
    ]
    yield from _about_cases(
        "drifting_cases",
        "note",
        "{cases_have} launches that drift",
        "See them in the order they ran; heat and background work are the usual causes.",
        drifting,
    )


def _bimodal_cases(device: DeviceSummary) -> Iterator[Finding]:
    split = [
        (case, "the launches form two groups")
        for case in device.cases
        if (distance := separation(_medians(case))) is not None
        and distance > THRESHOLDS.separation
        and (variation(_medians(case)) or 0) > THRESHOLDS.group_distance / 2
    ]
    yield from _about_cases(
        "bimodal_cases",
        "warning",
        "{cases_have} launches in two groups",
        "The median falls into one of them by chance. Memory layout, core choice and clock steps "
        "do this: pin the cores (matrix.affinity) or fix the clocks.",
        split,
    )


def _busy_cores(device: DeviceSummary) -> Iterator[Finding]:
    limit = THRESHOLDS.involuntary_switches_per_second
    busy = [
        (case, f"{significant(rate.median)} a second")
        for case in device.cases
        if (rate := case.involuntary_switches_per_second) is not None and rate.median > limit
    ]
    yield from _about_cases(
        "busy_cores",
        "warning",
        f"{{cases_have}} more than {limit:g} involuntary context switches a second",
        "Something else wanted the cores while they were timed: close it, or use fewer threads "
        "than cores.",
        busy,
    )


def _warm_cold_loads(device: DeviceSummary) -> Iterator[Finding]:
    warm = [
        (case, f"{percent(max(resident))} of the file was still in memory")
        for case in device.cases
        if (
            resident := [
                n.actual.model_resident_fraction
                for n in case.of_pass("latency")
                if n.actual and n.actual.model_resident_fraction
            ]
        )
    ]
    yield from _about_cases(
        "warm_cold_loads",
        "note",
        "{cases_have} cold loads that were not cold",
        "The page cache could not be dropped (some file systems refuse): read the cold load as "
        "one from memory.",
        warm,
    )


def _few_iterations(device: DeviceSummary) -> Iterator[Finding]:
    few = [
        (case, plural(least, "iteration"))
        for case in device.cases
        if (numbers := case.of_pass("latency"))
        and (least := min(n.iterations for n in numbers)) < THRESHOLDS.p90_iterations
    ]
    yield from _about_cases(
        "few_iterations",
        "note",
        f"{{cases_have}} fewer than {THRESHOLDS.p90_iterations} iterations a launch",
        "The median stands; do not rely on the p90. Raise measure.min_iterations.",
        few,
    )


def _no_memory_pass(device: DeviceSummary) -> Iterator[Finding]:
    if device.launches and not any(one.measured_pass == "memory" for one in device.launches):
        yield Finding(
            "no_memory_pass",
            "note",
            "Memory was not measured",
            'Add "memory" to measure.passes.',
        )


def _host_is_no_phone(device: DeviceSummary) -> Iterator[Finding]:
    if not device.info.is_phone:
        yield Finding(
            "host_is_no_phone",
            "note",
            "This device is the computer that ran the sweep, not a phone",
            "Which variant is faster can be the other way round on a phone's processor.",
        )


def _clocks(device: DeviceSummary) -> Iterator[Finding]:
    before = [launch.before for launch in device.launches if launch.before is not None]
    governors = sorted({one.governor for one in before if one.governor is not None})
    if any(governor != "performance" for governor in governors):
        yield Finding(
            "clocks_vary",
            "note",
            f"The clocks are not fixed (governor {', '.join(governors)})",
            "Fix them with `cpupower frequency-set -g performance`."
            if not device.info.is_phone
            else "A phone fixes them only as root; see the launches in the order they ran.",
        )
    elif before and not governors and all(one.clocks_khz is None for one in before):
        yield Finding(
            "clocks_unknown",
            "note",
            "The device does not tell its clocks",
            "Throttling or a changed clock would show only as drift or as two groups of launches.",
        )


def _loaded_at_start(device: DeviceSummary) -> Iterator[Finding]:
    """Look for load that the sweep itself, one launch after another, cannot have made."""
    own = max((case.case.threads for case in device.cases), default=0)
    loads = [
        (launch.before.load_1min - own) / device.info.cores
        for launch in device.launches
        if launch.before is not None and launch.before.load_1min is not None
    ]
    loaded = [load for load in loads if load > THRESHOLDS.load_per_core]
    if loaded:
        yield Finding(
            "loaded_at_start",
            "warning" if len(loaded) > len(loads) / 2 else "note",
            f"The device was busy before {len(loaded)} of {plural(len(loads), 'launch', 'launches')}"
            f" (load up to {significant(max(loaded))} a core beyond the sweep's own)",
            "Something else runs on it: stop it, and measure again.",
        )


# The order is the order of the page, within one level.
DEVICE_FINDERS: tuple[DeviceFinder, ...] = (
    _unfinished,
    _wrong_outputs,
    _lost_launches,
    _not_valid,
    _leaks,
    _energy_refused,
    _no_energy,
    _few_launches,
    _bimodal_cases,
    _varying_launches,
    _drifting_device,
    _busy_cores,
    _loaded_at_start,
    _drifting_cases,
    _host_is_no_phone,
    _clocks,
    _warm_cold_loads,
    _few_iterations,
    _energy_not_compared,
    _sampling_costs,
    _no_memory_pass,
)
