"""Sums a sweep up: one row a case, with every number the report and the terminal show.

Only valid launches with status ok count, and only within one device. Not here: words, pixels,
and doubts (`findings.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from harness.analysis.case_energy import combine, compare_energies
from harness.analysis.cases import (
    CaseStatus,
    CaseSummary,
    DeviceSummary,
    SweepSummary,
    commonest_reason,
    deciding_launches,
)
from harness.analysis.doubts import find_limits, flag_cases
from harness.analysis.launches import PEAK_DEFINITION, Launch, Numbers, read_launch
from harness.analysis.memory import Growth
from harness.analysis.stats import Estimate, estimate, paired_speedup
from harness.analysis.validity import REASON_ADVICE
from harness.analysis.words import fidelity_order
from harness.results.folder import Sweep
from harness.schema.artifact import Artifact, Fidelity
from harness.schema.device import DeviceInfo
from harness.schema.energy import EnergyTrouble
from harness.schema.plan import Case
from harness.schema.sweep import LedgerEntry

Standing = tuple[CaseStatus, str, str]


def summarise(sweep: Sweep) -> SweepSummary:
    """Sum up a sweep: read every launch's file, and work out each case's numbers and doubts."""
    devices = tuple(_summarise_device(sweep, info) for info in sweep.file.devices)
    bare = SweepSummary(sweep.folder, sweep.file, sweep.models, devices, (), sweep.torn_lines)
    findings = find_limits(bare)
    flagged = tuple(flag_cases(device, findings) for device in devices)
    return replace(bare, devices=flagged, findings=findings)


def _summarise_device(sweep: Sweep, info: DeviceInfo) -> DeviceSummary:
    entries = [entry for entry in sweep.entries if entry.device == info.id]
    launches = [read_launch(sweep.folder, entry) for entry in entries if entry.index is not None]
    refused = {entry.case: entry for entry in entries if entry.index is None}
    artifacts = {a.variant: a for model in sweep.models for a in model.artifacts}
    schedule = sweep.file.schedule.get(info.id, ())
    planned = Counter(launch.case for launch in schedule)
    by_case: dict[str, list[Launch]] = defaultdict(list)
    for launch in launches:
        by_case[launch.case].append(launch)

    def summarise_case(case: Case) -> CaseSummary:
        own = tuple(by_case[case.id])
        artifact = artifacts.get(case.variant.id)
        standing = _refusal(sweep, case, refused.get(case.id), artifact) or _standing(own)
        first = _first_recipe(sweep, case)
        return _summarise_case(info.id, case, standing, artifact, own, planned[case.id], first)

    cases = _compare(tuple(map(summarise_case, sweep.cases().values())), _baselines(sweep))
    # A case that could not be exported has no launches to wait for.
    expected = sum(launch.case not in refused for launch in schedule)
    return DeviceSummary(info, cases, tuple(launches), expected)


def _compare(cases: tuple[CaseSummary, ...], baselines: dict[str, str]) -> tuple[CaseSummary, ...]:
    """Return the cases compared with their baselines: latencies paired by round, and energies."""
    latencies = {case.id: case.latency_by_round() for case in cases}
    energies = {case.id: case.energy for case in cases}
    return tuple(
        replace(
            case,
            baseline=baseline,
            speedup=paired_speedup(latencies[baseline], latencies[case.id])
            if baseline is not None and baseline != case.id
            else None,
            energy_ratio=compare_energies(energies[baseline], case.energy)
            if baseline is not None and baseline != case.id and case.energy is not None
            else None,
        )
        for case in cases
        for baseline in (baselines.get(case.id),)
    )


def _refusal(
    sweep: Sweep, case: Case, entry: LedgerEntry | None, artifact: Artifact | None
) -> Standing | None:
    """Return why a case could not be launched at all, or None if it could."""
    if entry is not None:
        error = entry.error
        return entry.status, error.message if error else "", error.advice if error else ""
    if artifact is not None and artifact.status != "ok":
        return artifact.status, artifact.reason, artifact.advice
    for model in sweep.models:
        if model.name == case.variant.model and model.status == "failed":
            return "failed", model.reason, model.advice
    return None


def _standing(launches: Sequence[Launch]) -> Standing:
    """Judge a case by its launches: ok if one that times counts, else what befell them.

    Where launches of other passes count, all that is missing is a valid latency.
    """
    if not launches:
        return "not run", "the sweep ended before its first launch", "Go on with --resume."
    timed = deciding_launches(launches)
    if any(launch.counts for launch in timed):
        return "ok", "", ""
    status, reason, advice = _what_befell(timed)
    others_count = any(launch.counts for launch in launches)
    return "no valid latency" if others_count else status, reason, advice


def _what_befell(launches: Sequence[Launch]) -> Standing:
    """Return what keeps launches that do not count from counting: most of them, or the last."""
    doubtful = [launch for launch in launches if launch.numbers is not None]
    if doubtful and (reason := commonest_reason(doubtful)):
        return "no valid launch", reason.text, REASON_ADVICE.get(reason.key, "")
    last = launches[-1]
    return last.status, last.reason, last.advice


def _baselines(sweep: Sweep) -> dict[str, str]:
    """Map each case to the one it is compared with: its model's first recipe, all else equal."""
    cases = sweep.cases().values()
    known = {
        _but_recipe(case): case.id
        for case in cases
        if case.variant.recipe == _first_recipe(sweep, case)
    }
    return {case.id: known[_but_recipe(case)] for case in cases if _but_recipe(case) in known}


def _first_recipe(sweep: Sweep, case: Case) -> str:
    plan = sweep.file.plan
    return plan.find_model(case.variant.model).matrix(plan.matrix).recipe[0]


def _but_recipe(case: Case) -> Case:
    return replace(case, variant=replace(case.variant, recipe=""))


def _summarise_case(
    device: str,
    case: Case,
    standing: Standing,
    artifact: Artifact | None,
    launches: tuple[Launch, ...],
    planned: int,
    baseline_recipe: str,
) -> CaseSummary:
    def over(measured_pass: str, number: Callable[[Numbers], float | None]) -> Estimate | None:
        good = [
            launch.numbers
            for launch in launches
            if launch.measured_pass == measured_pass and launch.counts and launch.numbers
        ]
        return estimate([value for value in map(number, good) if value is not None])

    energy = combine(launches)
    return CaseSummary(
        device=device,
        case=case,
        status=standing[0],
        reason=standing[1],
        advice=standing[2],
        artifact=artifact,
        launches=launches,
        planned=planned,
        latency_ns=over("latency", lambda n: n.median_ns),
        p90_ns=over("latency", lambda n: n.p90_ns),
        cold_load_ns=over("latency", lambda n: n.cold_load_ns),
        warm_load_ns=over("latency", lambda n: n.warm_load_ns),
        first_inference_ns=over("latency", lambda n: n.first_inference_ns),
        process_start_ns=over("latency", lambda n: n.process_start_ns),
        peak_bytes=over("memory", lambda n: n.peak_bytes),
        model_bytes=over("memory", lambda n: n.model_bytes),
        peak_definition=PEAK_DEFINITION,
        rss_bytes=over("memory", lambda n: n.rss_bytes),
        pss_bytes=over("memory", lambda n: n.pss_bytes),
        swap_bytes=over("memory", lambda n: n.swap_bytes),
        growth=_median_growth(launches),
        energy=energy,
        energy_trouble=_energy_trouble(launches) if energy is None else "",
        clock_khz=over("latency", lambda n: n.clock_khz),
        cpu_per_wall=over("latency", lambda n: n.cpu_per_wall),
        involuntary_switches_per_second=over(
            "latency", lambda n: n.involuntary_switches_per_second
        ),
        device_fidelity=_worst_fidelity(launches),
        baseline_recipe=baseline_recipe,
        baseline=None,
        speedup=None,
    )


def _median_growth(launches: Iterable[Launch]) -> Growth | None:
    """Return the growth of the memory launch in the middle: most of them grow if it does."""
    known = [
        launch.numbers.growth
        for launch in launches
        if launch.counts and launch.numbers is not None and launch.numbers.growth is not None
    ]
    ordered = sorted(known, key=lambda one: (one.grows, one.bytes_per_inference))
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def _energy_trouble(launches: Iterable[Launch]) -> str:
    """Return why a case has no energy: what befell most of its energy launches; "" if it ran none."""
    told = Counter[str]()
    for launch in launches:
        if launch.measured_pass != "energy":
            continue
        if launch.numbers is None:
            told[launch.reason] += 1
        elif isinstance(launch.numbers.energy, EnergyTrouble):
            told[launch.numbers.energy.text] += 1
        elif not launch.counts:
            told.update(reason.text for reason in launch.validity.reasons)
    return told.most_common(1)[0][0] if told else ""


def _worst_fidelity(launches: Iterable[Launch]) -> Fidelity | None:
    """Return the worst comparison of a device's outputs: the least SQNR of any launch."""
    known = [launch.fidelity for launch in launches if launch.fidelity is not None]
    return min(known, key=fidelity_order, default=None)
