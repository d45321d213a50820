"""A load that is known exactly, for the engine "synthetic": what its model file says.

It calibrates gauges and shows that what is measured is true. The numbers are counts, not times: the
same load is the same work on every device. Not here: running it (`runner_core/engines/synthetic.cpp`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ENGINE = "synthetic"


@dataclass(frozen=True)
class SyntheticLoad:
    """What loading holds, and what each inference does.

    `work` is the number of dependent integer operations that each of the job's threads does (about
    1 ns each); `sleep_ms` comes after it. `allocate_bytes` are held from the load on, `scratch_bytes`
    during each inference, and `leak_bytes_per_inference` are lost by each. All are written, so they
    are really there.
    """

    work: int = 0
    sleep_ms: int = 0
    allocate_bytes: int = 0
    scratch_bytes: int = 0
    leak_bytes_per_inference: int = 0

    def to_json(self) -> str:
        """Return the content of a model file."""
        return json.dumps(asdict(self))

    def write(self, path: Path) -> Path:
        """Write a model file, and return its path."""
        path.write_text(self.to_json(), encoding="utf-8")
        return path
