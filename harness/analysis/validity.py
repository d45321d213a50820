"""What happened around a launch -> valid, suspect or invalid, with reasons.

The rules are rows (`rules/`), and docs/validity.md is the same for people. Statistics use valid launches
only. What a device does not tell is no reason. Not here: what is done about it (`measure/next_step.py`
tries again, the report shows).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.analysis.rules import end, energy, heat, load, readings
from harness.analysis.rules.rule import Around, Rule
from harness.schema.device import Conditions
from harness.schema.plan import Plan
from harness.schema.record import LaunchRecord, Trace
from harness.schema.sweep import LedgerEntry
from harness.schema.validity import Reason, Validity

RULES: tuple[Rule, ...] = (*end.RULES, *heat.RULES, *load.RULES, *energy.RULES, *readings.RULES)
"""In the order in which reasons of one level are told."""

LABELS = {rule.key: rule.label for rule in RULES}
"""What each key is called where there is room for a word or two."""
REASON_ADVICE = {rule.key: rule.advice for rule in RULES}
"""What helps against each reason that takes launches out of the statistics."""

_ACCEPT_ALL = "all"


def judge(
    entry: LedgerEntry,
    record: LaunchRecord | None,
    sidecar: Sequence[Trace],
    plan: Plan,
    accepted: Collection[str] = (),
    baseline: Conditions | None = None,
) -> Validity:
    """Judge one launch by all that was recorded around it; its energy is in its entry already.

    `record` is None if none is whole; `sidecar` was recorded beside it; `accepted` are the keys of
    findings before the sweep that were accepted, which excuse what follows from them; `baseline` is the
    device when the sweep began.
    """
    around = Around(entry, record, sidecar, plan, baseline)
    rules = [rule for rule in RULES if not _is_excused(rule, accepted)]
    found = [reason for rule in rules for reason in rule.reasons(around)]
    found.sort(key=lambda reason: reason.level)  # "invalid" < "suspect"
    reasons: dict[str, Reason] = {}
    for reason in found:
        reasons.setdefault(reason.key, reason)
    ordered = tuple(reasons.values())
    return Validity(level=ordered[0].level if ordered else "valid", reasons=ordered)


def _is_excused(rule: Rule, accepted: Collection[str]) -> bool:
    return bool(rule.excused_by) and (_ACCEPT_ALL in accepted or rule.excused_by in accepted)


def may_pass(validity: Validity) -> bool:
    """Tell whether a launch that does not count may do so at another try: all its reasons pass."""
    return validity.level != "valid" and all(reason.passing for reason in validity.reasons)
