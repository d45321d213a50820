"""phonebench: measure how a model runs on real phones, and know how sure the answer is.

    import harness

    frames = harness.load("sweeps/20261121-1200-mine")     # or a list of them
    frames.cases, frames.launches, frames.samples, frames.traces

docs/data-frames.md says what is in them; examples/look_at_a_sweep.py is a place to start from.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analysis.frames import Frames


def load(folders: str | Path | Iterable[str | Path]) -> Frames:
    """Read one sweep folder, or several, as pandas data frames.

    Raises SweepError for a folder that is no sweep, and for two that hold the same.
    """
    # Here, so that `import harness` and every command that shows no table do without pandas.
    from harness.analysis import frames

    return frames.load(folders)
