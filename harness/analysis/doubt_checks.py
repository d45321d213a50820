"""How each doubt is looked for: one function a doubt, one table of thresholds.

Those about a case say what is found in it, "" for nothing. Not here: what a doubt says and what
helps against it (`doubts.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.analysis import metrics
from harness.analysis.cases import CaseSummary, DeviceSummary, relative_latency
from harness.analysis.stats import (
    LAUNCHES_FOR_INTERVAL,
    drift,
    fewest_samples,
    separation,
    variation,
)
from harness.analysis.validity import REASON_ADVICE
from harness.analysis.words import estimate_words, percent, plural, significant


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
    # MLPerf's early stopping needs so many samples to speak of a p90 at all.
    p90_iterations: int = fewest_samples(0.9)


THRESHOLDS = Thresholds()

Level = Literal["warning", "note"]


@dataclass(frozen=True)
class Found:
    """That a rule applies: the `words` for the places of its text, and what it is seen in.

    `level` and `advice` replace the rule's own, where those depend on what was found.
    """

    words: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    level: Level | None = None
    advice: str = ""


def each_case(check: Callable[[CaseSummary], str]) -> Callable[[DeviceSummary], Found | None]:
    """Look at the cases one by one; `check` says what is found in one, "" for nothing."""

    def over(device: DeviceSummary) -> Found | None:
        return about([(case, told) for case in device.cases if (told := check(case))])

    return over


def about(cases: Sequence[tuple[CaseSummary, str]]) -> Found | None:
    """Make what is found in some cases into one; its word is "3 cases have"."""
    if not cases:
        return None
    many = f"{plural(len(cases), 'case')} {'has' if len(cases) == 1 else 'have'}"
    return Found(
        (many,),
        details=tuple(f"{case.id}: {told}" for case, told in cases),
        cases=tuple(case.id for case, _ in cases),
    )


# --- doubts about cases --------------------------------------------------------------------------

# Kinds of failure that have rules of their own.
_WRONG_OUTPUT, _ENERGY_REFUSED = "WrongOutput", "EnergyRefused"


def wrong_outputs(case: CaseSummary) -> str:
    """Find launches whose outputs are not the eager model's."""
    wrong = [one for one in case.launches if one.error_kind == _WRONG_OUTPUT]
    return wrong[0].reason if wrong else ""


def lost_launches(case: CaseSummary) -> str:
    """Find launches that have no result, but for those that other rules tell of."""
    told_elsewhere = (_WRONG_OUTPUT, _ENERGY_REFUSED)
    lost = [one for one in case.bad_launches() if one.error_kind not in told_elsewhere]
    if not lost:
        return ""
    last = lost[-1].reason or lost[-1].entry.status
    return f"{len(lost)} of {len(case.launches)}; the last: {last}"


def not_valid(device: DeviceSummary) -> Found | None:
    """Name the cases that lost many launches to what was around them, and the reasons for it."""
    many, keys = [], Counter[str]()
    for case in device.cases:
        # A case without any energy has a rule of its own.
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
    found = about(many)
    advice = dict.fromkeys(REASON_ADVICE.get(key, "") for key, _ in keys.most_common(3))
    said = " ".join(["Each is shown with its reason.", *filter(None, advice)])
    return replace(found, advice=said) if found is not None else None


def leaks(case: CaseSummary) -> str:
    """Find memory that grows with every inference."""
    growth = case.estimates.get(metrics.GROWTH)
    if growth is None or not case.grows:
        return ""
    return f"grows by {estimate_words(growth, metrics.find(metrics.GROWTH).unit)}"


def no_energy(case: CaseSummary) -> str:
    """Find an energy that was asked for, was not refused, and is not there."""
    trouble = case.energy_trouble
    if case.energy is not None or trouble is None or trouble.key == _ENERGY_REFUSED:
        return ""
    return trouble.text


def energy_not_compared(case: CaseSummary) -> str:
    """Find an energy that cannot be held against the baseline's."""
    comparison = case.comparisons.get(metrics.ENERGY)
    return comparison.withheld if comparison is not None else ""


def few_launches(case: CaseSummary) -> str:
    """Find a latency of too few launches for an interval."""
    if case.latency is None or case.latency.launches >= THRESHOLDS.launches:
        return ""
    return plural(case.latency.launches, "launch", "launches")


def _medians(case: CaseSummary) -> list[float]:
    launches = case.of_pass("latency")
    return [one.values[metrics.LATENCY] for one in launches if metrics.LATENCY in one.values]


def varying_launches(case: CaseSummary) -> str:
    """Find launches that differ much."""
    spread = variation(_medians(case))
    if spread is None or spread <= THRESHOLDS.variation:
        return ""
    return f"{percent(spread)} between launches"


def drifting_cases(case: CaseSummary) -> str:
    """Find launches that become slower or faster."""
    trend = drift(_medians(case))
    if trend is None or abs(trend.z) <= THRESHOLDS.drift_z:
        return ""
    if abs(trend.change) <= THRESHOLDS.case_drift:
        return ""
    return f"{trend.change:+.1%} from the first launch to the last"


def bimodal_cases(case: CaseSummary) -> str:
    """Find launches in two groups, far apart."""
    distance, spread = separation(_medians(case)), variation(_medians(case))
    if distance is None or distance <= THRESHOLDS.separation:
        return ""
    return "the launches form two groups" if (spread or 0) > THRESHOLDS.group_distance / 2 else ""


def busy_cores(case: CaseSummary) -> str:
    """Find cores that something else wanted."""
    rate = case.estimates.get(metrics.SWITCHES)
    if rate is None or rate.median <= THRESHOLDS.involuntary_switches_per_second:
        return ""
    return f"{significant(rate.median)} a second"


def warm_cold_loads(case: CaseSummary) -> str:
    """Find cold loads of a file that was still in memory."""
    actual = [one.measured.actual for one in case.of_pass("latency") if one.measured is not None]
    resident = [one.model_resident_fraction for one in actual if one is not None]
    most = max(filter(None, resident), default=0.0)
    return f"{percent(most)} of the file was still in memory" if most else ""


def few_iterations(case: CaseSummary) -> str:
    """Find launches with too few iterations for a p90."""
    counts = [int(one.values[metrics.ITERATIONS]) for one in case.of_pass("latency")]
    few = bool(counts) and min(counts) < THRESHOLDS.p90_iterations
    return plural(min(counts), "iteration") if few else ""


# --- doubts about a device -----------------------------------------------------------------------


def unfinished(device: DeviceSummary) -> Found | None:
    """Count the launches that have not run."""
    missing = device.unfinished
    return Found((str(missing), str(device.planned))) if missing else None


def energy_refused(device: DeviceSummary) -> Found | None:
    """Say that no energy was measured at all, and why."""
    refused = [one.entry.error for one in device.launches if one.error_kind == _ENERGY_REFUSED]
    error = refused[-1] if refused else None
    return Found((error.message,), advice=error.advice) if error is not None else None


def drifting_device(device: DeviceSummary) -> Found | None:
    """Look for a trend that all cases share, round by round: heat, a battery, a neighbour."""
    by_round: dict[int, list[float]] = defaultdict(list)
    for case in device.cases:
        for launch in case.launches:
            relative = relative_latency(case, launch)
            if relative is not None and launch.counts:
                by_round[launch.round].append(relative)
    trend = drift([float(np.median(by_round[number])) for number in sorted(by_round)])
    if trend is None or abs(trend.z) <= THRESHOLDS.drift_z:
        return None
    if abs(trend.change) <= THRESHOLDS.device_drift:
        return None
    return Found((percent(abs(trend.change)), "slower" if trend.change > 0 else "faster"))


def sampling_costs(device: DeviceSummary) -> Found | None:
    """Find passes whose probes cost much."""
    costs = device.sampling_shares().items()
    high = [f"{name} pass: {percent(share)}" for name, share in costs
            if share > THRESHOLDS.sampling_share]  # fmt: skip
    return Found(details=tuple(high)) if high else None


def no_memory_pass(device: DeviceSummary) -> Found | None:
    """Tell whether no launch measured memory."""
    passes = {launch.measured_pass for launch in device.launches}
    return Found() if passes and "memory" not in passes else None


def host_is_no_phone(device: DeviceSummary) -> Found | None:
    """Tell whether this is the computer that ran the sweep."""
    return None if device.info.is_phone else Found()


def _governors(device: DeviceSummary) -> list[str]:
    before = [one.entry.before for one in device.launches if one.entry.before is not None]
    return sorted({one.governor for one in before if one.governor is not None})


def clocks_vary(device: DeviceSummary) -> Found | None:
    """Find governors that change the clocks."""
    governors = _governors(device)
    if all(governor == "performance" for governor in governors):
        return None
    advice = (
        "A phone fixes them only as root; see the launches in the order they ran."
        if device.info.is_phone
        else "Fix them with `cpupower frequency-set -g performance`."
    )
    return Found((", ".join(governors),), advice=advice)


def clocks_unknown(device: DeviceSummary) -> Found | None:
    """Tell whether neither clocks nor their governor are known."""
    before = [one.entry.before for one in device.launches if one.entry.before is not None]
    known = _governors(device) or any(one.clocks_khz is not None for one in before)
    return Found() if before and not known else None


def loaded_at_start(device: DeviceSummary) -> Found | None:
    """Look for load that the sweep itself, one launch after another, cannot have made."""
    own = max((case.case.threads for case in device.cases), default=0)
    before = [one.entry.before for one in device.launches if one.entry.before is not None]
    loads = [
        (one.load_1min - own) / device.info.cores for one in before if one.load_1min is not None
    ]
    loaded = [load for load in loads if load > THRESHOLDS.load_per_core]
    if not loaded:
        return None
    return Found(
        (str(len(loaded)), plural(len(loads), "launch", "launches"), significant(max(loaded))),
        level="warning" if len(loaded) > len(loads) / 2 else "note",
    )
