"""Whether a launch may count, and what speaks against it. Not here: judging (`analysis/validity.py`)."""

from __future__ import annotations

from typing import Literal

from harness.schema.base import Frozen

ReasonLevel = Literal["suspect", "invalid"]
ValidityLevel = Literal["valid", "suspect", "invalid"]


class Reason(Frozen):
    """One thing that speaks against a launch: a rule that it breaks, by its key, and what was seen.

    `passing`: it may be gone at another try.
    """

    key: str
    level: ReasonLevel
    text: str
    passing: bool = False


class Validity(Frozen):
    """Whether a launch may count: as bad as the worst of its reasons. See docs/validity.md."""

    level: ValidityLevel
    reasons: tuple[Reason, ...] = ()
