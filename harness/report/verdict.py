"""The answer in words: which case of a model is fastest on a device, and how sure that is.

Not here: markup.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.case_energy import joule_unit
from harness.analysis.cases import CaseSummary, DeviceSummary
from harness.analysis.stats import Estimate, difference_is_shown, paired_speedup
from harness.analysis.words import (
    bounds,
    fidelity_words,
    milliseconds,
    name_some,
    percent,
    plural,
    significant,
    speedup_words,
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
    timed = [case for case in cases if case.latency_ns is not None]
    if not timed:
        headline, reason = _without_latency(cases)
        return Verdict(model, "", headline, "", reason)
    best = min(timed, key=lambda case: case.latency_ns.median if case.latency_ns else 0.0)
    latency = best.latency_ns
    assert latency is not None
    others = {case.id: _paired(best, case) for case in timed if case is not best}
    equals = [c for c in timed if c.id in others and _is_not_shown(others[c.id])]
    unsure = sum(speedup is None or speedup.basis != "interval" for speedup in others.values())
    verb = "has the least median" if equals or unsure else "is the fastest"
    if len(timed) == 1:
        verb = "is the only one measured"
    return Verdict(
        model,
        best.case.variant.recipe,
        f"{best.label} ({best.setting}) {verb}",
        f"{milliseconds(latency.median)} {bounds(latency, 1e-6)}".strip(),
        "; ".join([*_qualities(best, timed), *_rivals(equals, unsure)]),
    )


def _without_latency(cases: list[CaseSummary]) -> tuple[str, str]:
    """Say why no case is known to be the fastest: the headline, and the reason if there is one."""
    launches = [launch for case in cases for launch in case.launches]
    reason = next((case.reason for case in cases if case.reason), "")
    if all(launch.numbers is None for launch in launches):
        return "nothing was measured", reason or "no launch has run"
    if any(launch.measured_pass == "latency" for launch in launches):
        return "no latency launch counts", reason
    return "latency was not measured", reason


def _paired(best: CaseSummary, other: CaseSummary) -> Estimate | None:
    return paired_speedup(other.latency_by_round(), best.latency_by_round())


def _is_not_shown(speedup: Estimate | None) -> bool:
    """Tell whether there were launches enough to show that the best is faster, and they do not."""
    if speedup is None or speedup.basis != "interval":
        return False
    return speedup.median <= 1 or not difference_is_shown(speedup)


def _qualities(best: CaseSummary, timed: list[CaseSummary]) -> list[str]:
    words = []
    baseline = next((case for case in timed if case.id == best.baseline), None)
    if best.speedup is not None and baseline is not None:
        how, interval = speedup_words(best.speedup)
        link = "than" if how[0].isdigit() else "from"
        words.append(f"{how} {link} {baseline.label} with as many threads {interval}".rstrip())
    if best.accuracy is not None:
        other = baseline.accuracy if baseline and baseline is not best else None
        sidecar = f" ({baseline.label}: {percent(other.top1)})" if baseline and other else ""
        words.append(f"accuracy {percent(best.accuracy.top1)}{sidecar}")
    if best.energy is not None:
        unit, size = joule_unit([best.energy.joules.median])
        joules = f"{significant(best.energy.joules.median / size)} {unit}"
        words.append(f"{joules} an inference {bounds(best.energy.joules, 1 / size)}".rstrip())
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
