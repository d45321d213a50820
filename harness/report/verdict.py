"""The answer in words: which case of a model is fastest on a device, and how sure that is.

Not here: markup.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis import metrics
from harness.analysis.cases import CaseSummary, DeviceSummary
from harness.analysis.comparisons import Comparison, compare_by_round
from harness.analysis.words import (
    bounds,
    estimate_words,
    fidelity_words,
    name_some,
    percent,
    plural,
    quantity,
    scale_of,
    speed_words,
)


@dataclass(frozen=True)
class Verdict:
    """One sentence on a model, in three parts: `headline` names the fastest, the rest qualify."""

    model: str
    recipe: str
    headline: str
    latency: str
    rest: str


def judge(device: DeviceSummary, model: str) -> Verdict:
    """Say which case of the model is the fastest on this device."""
    cases = [case for case in device.cases if case.case.variant.model == model]
    timed = [(case, case.latency) for case in cases if case.latency is not None]
    if not timed:
        headline, reason = _without_latency(cases)
        return Verdict(model, "", headline, "", reason)
    best, latency = min(timed, key=lambda one: one[1].median)
    rivals = [(case, _over(best, case)) for case, _ in timed if case is not best]
    # There were launches enough to show that the best is faster, and they do not.
    equals = [case for case, over in rivals if over.outcome in ("not shown", "worse")]
    unsure = sum(over.outcome == "too few launches" for _, over in rivals)
    verb = "has the least median" if equals or unsure else "is the fastest"
    if len(timed) == 1:
        verb = "is the only one measured"
    return Verdict(
        model,
        best.case.variant.recipe,
        f"{best.label} ({best.setting}) {verb}",
        estimate_words(latency, metrics.find(metrics.LATENCY).unit),
        "; ".join([*_qualities(best, [case for case, _ in timed]), *_rivals(equals, unsure)]),
    )


def _without_latency(cases: list[CaseSummary]) -> tuple[str, str]:
    """Say why no case is known to be the fastest: the headline, and the reason if there is one."""
    launches = [launch for case in cases for launch in case.launches]
    reason = next((case.reason for case in cases if case.reason), "")
    if all(launch.measured is None for launch in launches):
        return "nothing was measured", reason or "no launch has run"
    if any(launch.measured_pass == "latency" for launch in launches):
        return "no latency launch counts", reason
    return "latency was not measured", reason


def _over(best: CaseSummary, other: CaseSummary) -> Comparison:
    """Compare the latency of the best case with another's."""
    return compare_by_round(metrics.find(metrics.LATENCY), best.launches, other.launches)


def _qualities(best: CaseSummary, timed: list[CaseSummary]) -> list[str]:
    words = []
    baseline = next((case for case in timed if case.id == best.baseline), None)
    compared = best.comparisons.get(metrics.LATENCY)
    if compared is not None and compared.ratio is not None and baseline is not None:
        how, interval = speed_words(compared.ratio)
        link = "from" if compared.outcome == "not shown" else "than"
        words.append(f"{how} {link} {baseline.label} with as many threads {interval}".rstrip())
    if best.accuracy is not None:
        other = baseline.accuracy if baseline and baseline is not best else None
        sidecar = f" ({baseline.label}: {percent(other.top1)})" if baseline and other else ""
        words.append(f"accuracy {percent(best.accuracy.top1)}{sidecar}")
    if best.energy is not None:
        joules = best.energy.joules
        scale = scale_of(metrics.find(metrics.ENERGY).unit, [joules.median])
        energy = f"{quantity(joules.median, scale)} an inference {bounds(joules, scale)}"
        words.append(energy.rstrip())
    fidelity = best.device_fidelity or best.host_fidelity
    if fidelity is not None and fidelity.exact:
        words.append("outputs equal to the eager model's")
    elif fidelity is not None and fidelity.sqnr_db is not None:
        words.append(f"outputs at {fidelity_words(fidelity)} SQNR")
    return words


def _rivals(equals: list[CaseSummary], unsure: int) -> list[str]:
    """Name the cases that the best one is not shown to beat."""
    words = []
    if equals:
        names = name_some([f"{case.label} ({case.setting})" for case in equals])
        words.append(f"no difference shown to {names}")
    if unsure:
        words.append(f"too few launches to tell it from {plural(unsure, 'other')}")
    return words
