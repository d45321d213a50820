"""How close outputs are to the eager model's: pure functions on arrays.

Used on the host when a model is exported, and again on what a runner put out on a device.
Not here: how close is close enough (each recipe's `min_sqnr_db`, and the plan's).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import WrongOutput
from harness.schema.artifact import Fidelity

Outputs = Mapping[str, npt.NDArray[Any]]


def compare(reference: Outputs, outputs: Outputs) -> Fidelity:
    """Compare the outputs of all check samples with the reference.

    Both map "SAMPLE/INDEX" to an array of any shape and number type. With a NaN or an infinity on
    either side nothing is comparable: `exact` is False and every number None. The same for an SQNR
    of zero signal. Raises WrongOutput if an output is missing, is not expected, or has another
    shape.
    """
    _check_structure(reference, outputs)
    samples = len({key.partition("/")[0] for key in reference})
    expected = _joined(reference)
    seen = _joined({key: outputs[key] for key in reference})
    if not (np.isfinite(expected).all() and np.isfinite(seen).all()):
        return Fidelity(
            samples=samples, exact=False, max_abs_error=None, sqnr_db=None, cosine=None,
            top1_agreement=None,
        )  # fmt: skip
    exact = bool((expected == seen).all())
    max_abs_error = float(np.abs(expected - seen).max(initial=0.0))
    return Fidelity(
        samples=samples,
        exact=exact,
        max_abs_error=max_abs_error if math.isfinite(max_abs_error) else None,
        sqnr_db=None if exact else sqnr_db(expected, seen),
        cosine=cosine(expected, seen),
        top1_agreement=_top1_agreement(reference, outputs),
    )


def is_good_enough(fidelity: Fidelity, min_sqnr_db: float | None) -> bool:
    """Tell whether outputs may count. Without a floor, they must only be finite numbers."""
    if fidelity.exact:
        return True
    if min_sqnr_db is None:
        return fidelity.max_abs_error is not None
    return fidelity.sqnr_db is not None and fidelity.sqnr_db >= min_sqnr_db


def sqnr_db(reference: npt.NDArray[Any], output: npt.NDArray[Any]) -> float | None:
    """Return 10 log10(sum ref^2 / sum (ref - out)^2) of finite, unequal arrays of one shape.

    None where it has no finite value (no signal, or no error).
    """
    peak = float(max(np.abs(reference).max(initial=0.0), np.abs(output).max(initial=0.0)))
    if peak == 0:
        return None
    # Scaled first: squares of large values would overflow.
    scaled, error = reference / peak, reference / peak - output / peak
    signal, noise = float(np.square(scaled).sum()), float(np.square(error).sum())
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def cosine(reference: npt.NDArray[Any], output: npt.NDArray[Any]) -> float | None:
    """Return the cosine of the angle between two flat finite arrays; None if one is all zeros."""
    peaks = [float(np.abs(values).max(initial=0.0)) for values in (reference, output)]
    if 0 in peaks:
        return None
    a, b = reference / peaks[0], output / peaks[1]
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))


def _check_structure(reference: Outputs, outputs: Outputs) -> None:
    if not reference:
        raise WrongOutput("there are no reference outputs to compare with")
    for key in sorted(reference.keys() | outputs.keys()):
        sample, _, index = key.partition("/")
        name = f"output {index} of check sample {sample}"
        if key not in outputs:
            raise WrongOutput(f"{name} is missing")
        if key not in reference:
            raise WrongOutput(f"{name} is not one that the eager model gives")
        if outputs[key].shape != reference[key].shape:
            raise WrongOutput(
                f"{name} has the shape {list(outputs[key].shape)}; "
                f"the eager model gives {list(reference[key].shape)}"
            )


def _joined(outputs: Outputs) -> npt.NDArray[np.float64]:
    return np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in outputs.values()])


def _top1_agreement(reference: Outputs, outputs: Outputs) -> float | None:
    agreed = rows = 0
    for key, expected in reference.items():
        if not key.endswith("/0") or expected.ndim == 0 or expected.shape[-1] < 2:
            continue
        same = expected.argmax(-1) == outputs[key].argmax(-1)
        agreed += int(same.sum())
        rows += int(np.size(same))
    return agreed / rows if rows else None
