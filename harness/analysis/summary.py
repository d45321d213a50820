"""Sums a sweep up: one row a case, with every number the report and the terminal show.

Only valid launches with status ok count, and only within one device. Not here: which numbers there
are (`metrics.py`), words, pixels, and doubts (`doubts.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.analysis import metrics
from harness.analysis.case_energy import case_energy, compare_energies, of_one_source
from harness.analysis.cases import (
    CaseStatus,
    CaseSummary,
    DeviceSummary,
    MissingEnergy,
    SweepSummary,
    commonest_reason,
    deciding_launches,
)
from harness.analysis.comparisons import Comparison, compare_by_round
from harness.analysis.doubts import find_limits, flag_cases
from harness.analysis.launches import Launch, read_launch
from harness.analysis.stats import Estimate
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
        by_case[launch.entry.case].append(launch)

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
    """Return the cases compared with their baselines."""
    known = {case.id: case for case in cases}
    return tuple(
        replace(
            case,
            baseline=baseline,
            comparisons=dict(_comparisons(known[baseline], case))
            if baseline is not None and baseline != case.id
            else {},
        )
        for case in cases
        for baseline in (baselines.get(case.id),)
    )


def _comparisons(baseline: CaseSummary, case: CaseSummary) -> Iterator[tuple[str, Comparison]]:
    """Yield a case's numbers over the baseline's, by metric: paired by round, but for energies."""
    for metric in metrics.METRICS:
        if not metric.compared or metric.name not in case.estimates:
            continue
        if metric.name == metrics.ENERGY:
            energies = compare_energies(metric, baseline.energy, case.energy)
            if energies is not None:
                yield metric.name, energies
        else:
            yield metric.name, compare_by_round(metric, case.launches, baseline.launches)


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
    doubtful = [launch for launch in launches if launch.measured is not None]
    if doubtful and (reason := commonest_reason(doubtful)):
        return "no valid launch", reason.text, REASON_ADVICE.get(reason.key, "")
    last = launches[-1]
    error = last.entry.error
    return last.entry.status, last.reason, error.advice if error else ""


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
    estimates = estimate_all(launches)
    energy = case_energy(launches, estimates.get(metrics.ENERGY))
    return CaseSummary(
        device=device,
        case=case,
        status=standing[0],
        reason=standing[1],
        advice=standing[2],
        artifact=artifact,
        launches=launches,
        planned=planned,
        estimates=estimates,
        grows=_grows(launches),
        energy=energy,
        energy_trouble=_energy_trouble(launches) if energy is None else None,
        device_fidelity=_worst_fidelity(launches),
        baseline_recipe=baseline_recipe,
    )


def estimate_all(launches: Sequence[Launch]) -> Mapping[str, Estimate]:
    """Return the number of every metric over the launches that count, by name."""
    made = ((metric, _estimate(metric, launches)) for metric in metrics.METRICS)
    return {metric.name: estimate for metric, estimate in made if estimate is not None}


def _estimate(metric: metrics.Metric, launches: Sequence[Launch]) -> Estimate | None:
    good = [
        launch
        for launch in launches
        if launch.counts
        and launch.measured_pass == metric.measured_pass
        and metric.name in launch.values
    ]
    own = of_one_source(good)
    values = [launch.values[metric.name] for launch in own]
    intervals = [
        launch.measured.intervals[metric.name]
        for launch in own
        if metric.interval is not None and launch.measured is not None
    ]
    return metric.combine(values, intervals)


def _grows(launches: Iterable[Launch]) -> bool | None:
    """Tell whether memory grows in most memory launches that count; of two, in both."""
    known = sorted(
        launch.measured.growth.grows
        for launch in launches
        if launch.counts and launch.measured is not None and launch.measured.growth is not None
    )
    return known[(len(known) - 1) // 2] if known else None


def _energy_trouble(launches: Iterable[Launch]) -> MissingEnergy | None:
    """Return why a case has no energy: what befell most of its energy launches; None if it ran none."""
    told = Counter[MissingEnergy]()
    for launch in launches:
        if launch.measured_pass != "energy":
            continue
        if launch.measured is None:
            told[MissingEnergy(launch.error_kind, launch.reason)] += 1
        elif isinstance(launch.measured.energy, EnergyTrouble):
            trouble = launch.measured.energy
            told[MissingEnergy(trouble.key, trouble.text)] += 1
        elif not launch.counts:
            told.update(MissingEnergy(one.key, one.text) for one in launch.validity.reasons)
    return told.most_common(1)[0][0] if told else None


def _worst_fidelity(launches: Iterable[Launch]) -> Fidelity | None:
    """Return the worst comparison of a device's outputs: the least SQNR of any launch."""
    known = [one.entry.fidelity for one in launches if one.entry.fidelity is not None]
    return min(known, key=fidelity_order, default=None)
