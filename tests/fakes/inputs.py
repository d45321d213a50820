"""Seeded inputs: the same numbers as the native runner's, made with numpy.

`runner_core/inputs.cpp` is the other implementation; the tests compare the two bit by bit. Not
here: real inputs, which come from the user's own functions.

The i-th value of a tensor draws the i-th number z of splitmix64 (Steele, Lea, Flood: "Fast
splittable pseudorandom number generators", 2014) from its seed:

- floats: low + (high - low) * (z >> 40) / 2^24, in float64, then rounded to float32, and from
  there (to nearest, ties to even) to float16 or bfloat16;
- integers: ceil(low) + z mod (ceil(high) - ceil(low));
- bool: the top bit of z, whatever the range.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import PlanError
from harness.schema.job import TensorSource

_EXACT = 2.0**53


def generate(source: TensorSource) -> npt.NDArray[Any]:
    """Make the tensor that the runner makes of this source, shape `source.shape`.

    numpy has no bfloat16: such values come as uint16, holding their bits. Raises PlanError if the
    dtype has no values in the range.
    """
    numbers = _splitmix64(source.seed, math.prod(source.shape))
    match source.dtype:
        case "bool":
            values: npt.NDArray[Any] = (numbers >> np.uint64(63)).astype(np.bool_)
        case "int64" | "int32" | "int16" | "int8" | "uint8":
            values = _integers(numbers, source)
        case _:
            values = _floats(numbers, source)
    return values.reshape(source.shape)


def _splitmix64(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """Return the first `count` numbers; unsigned arrays wrap around, as the method wants."""
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _floats(numbers: npt.NDArray[np.uint64], source: TensorSource) -> npt.NDArray[Any]:
    unit = (numbers >> np.uint64(40)).astype(np.float64) * 2.0**-24
    wide = source.low + (source.high - source.low) * unit
    if source.dtype == "float64":
        return wide
    narrow = wide.astype(np.float32)
    if source.dtype == "bfloat16":
        bits = narrow.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    return narrow.astype(source.dtype)


def _integers(numbers: npt.NDArray[np.uint64], source: TensorSource) -> npt.NDArray[Any]:
    limits = np.iinfo(source.dtype)
    first, beyond = math.ceil(source.low), math.ceil(source.high)
    if (
        first >= beyond
        or first < max(float(limits.min), -_EXACT)
        or beyond - 1 > min(float(limits.max), _EXACT)
    ):
        raise PlanError(
            f"no {source.dtype} values lie in [{source.low}, {source.high}), or not all fit",
            "Set low and high of that input so that the range holds integers of its dtype.",
        )
    steps = (numbers % np.uint64(beyond - first)).astype(np.int64)
    return (steps + np.int64(first)).astype(source.dtype)
