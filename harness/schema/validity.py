"""Whether a launch may count, and what speaks against it. Not here: judging (`analysis/validity.py`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


ReasonLevel = Literal["suspect", "invalid"]
ValidityLevel = Literal["valid", "suspect", "invalid"]


class Reason(_Model):
    """One thing that speaks against a launch: a rule that it breaks, by its key, and what was seen.

    `passing`: it may be gone at another try.
    """

    key: str
    level: ReasonLevel
    text: str
    passing: bool = False


class Validity(_Model):
    """Whether a launch may count: as bad as the worst of its reasons. See docs/validity.md."""

    level: ValidityLevel
    reasons: tuple[Reason, ...] = ()
