"""The job file: what one runner process is asked to do.

One job is one case, one pass, one process. The runner refuses a job of another version. No
plans and no statistics here. `docs/record-format.md` describes every field;
`tests/golden/job.json` is checked by the C++ side and by this one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

JOB_VERSION = 1

Dtype = Literal[
    "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"
]
MemoryFormat = Literal["contiguous", "channels_last"]
Pass = Literal["latency", "memory", "profile"]

DTYPE_BYTES: dict[Dtype, int] = {
    "float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSource(_Strict):
    """One input tensor: its shape, and where its values come from.

    With `file`, raw little-endian values at `offset_bytes` of it, in row-major order. Without,
    values drawn from `seed`: uniform in [low, high) (floats), or integers of that range.
    """

    shape: tuple[int, ...]
    dtype: Dtype = "float32"
    file: str | None = None
    offset_bytes: int = 0
    seed: int = 0
    low: float = 0.0
    high: float = 1.0


class Loop(_Strict):
    """When a loop of inferences may stop: both minima reached, or either maximum."""

    min_iterations: int = Field(ge=0)
    min_seconds: float = Field(ge=0)
    max_iterations: int = Field(ge=1)
    max_seconds: float = Field(gt=0)


class Job(_Strict):
    """Everything that a runner needs for one launch. Paths are the device's own."""

    job_version: Literal[1] = 1
    launch: str
    engine: str
    measured_pass: Pass
    model_file: str
    threads: int = Field(ge=1)
    affinity: tuple[int, ...] | None = None
    memory_format: MemoryFormat = "contiguous"
    quantized_engine: str | None = None
    inputs: tuple[TensorSource, ...]
    checks: tuple[tuple[TensorSource, ...], ...] = ()
    drop_page_cache: bool = True
    warm_loads: int = Field(default=3, ge=0)
    warmup: Loop
    steady: Loop
    delay_seconds: float = Field(default=0.0, ge=0)
