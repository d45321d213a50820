"""What every file's shape is made of. Not here: any one shape."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A part of a file: it does not change once it is read, and has no key that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
