"""Files of output tensors: what a worker wrote, and the reference that is kept.

Not here: comparing them (`analysis/fidelity.py`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.export_worker.messages import TensorFile

if TYPE_CHECKING:
    import numpy.typing as npt

    Outputs = dict[str, npt.NDArray[Any]]


def read_outputs(written: TensorFile) -> Outputs:
    """Read a worker's file of output tensors. Keys "SAMPLE/INDEX"."""
    import numpy as np

    raw = Path(written.path).read_bytes()
    outputs = {}
    for sample, places in enumerate(written.layout):
        for index, place in enumerate(places):
            values = np.frombuffer(
                raw, np.dtype(place.dtype), math.prod(place.shape), place.offset_bytes
            )
            outputs[f"{sample}/{index}"] = values.reshape(place.shape)
    return outputs


def write_reference(path: Path, outputs: Outputs) -> None:
    """Write reference outputs as .npz."""
    import numpy as np

    np.savez(path, allow_pickle=False, **outputs)


def load_reference(path: Path) -> Outputs:
    """Read what `write_reference` wrote."""
    import numpy as np

    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}
