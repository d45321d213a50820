"""Whether a launch may count, and what speaks against it. Not here: judging (`analysis/validity.py`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


ValidityLevel = Literal["valid", "suspect", "invalid"]


class Reason(_Model):
    """One thing that speaks against a launch. `passing`: it may be gone at another try."""

    key: str
    level: Literal["suspect", "invalid"]
    text: str
    passing: bool = False


class Validity(_Model):
    """Whether a launch may count: as bad as the worst of its reasons. See `validity.py`."""

    level: ValidityLevel
    reasons: tuple[Reason, ...] = ()
