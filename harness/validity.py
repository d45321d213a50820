"""What happened around a launch -> valid, suspect or invalid, with reasons.

Every limit is in one table with its source. Statistics use valid launches only. Not here: what is
done about it (`visit.py` retries, the report shows).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.ledger import LedgerEntry, Validity
from harness.plan import Plan
from harness.records import LaunchRecord, Trace


def judge(
    entry: LedgerEntry,
    record: LaunchRecord | None,
    beside: Sequence[Trace],
    plan: Plan,
    accepted: Collection[str] = (),
) -> Validity:
    """Judge one launch by all that was recorded around it. Findings that were accepted count not."""
    raise NotImplementedError
