"""The job file: what one runner process is asked to do.

One job is one case, one pass, one process. The runner refuses a job of another version. No
plans and no statistics here. `docs/record-format.md` describes every field;
`tests/golden/job.json` is checked by the C++ side and by this one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.schema.base import Frozen

Dtype = Literal[
    "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"
]
MemoryFormat = Literal["contiguous", "channels_last"]
Pass = Literal["latency", "memory", "energy", "profile"]
Reading = Literal["number", "time_in_state", "cpu_busy", "charging"]


class TensorSource(Frozen):
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


class Loop(Frozen):
    """When a loop of inferences may stop: both minima reached, or either maximum."""

    min_iterations: int = Field(ge=0)
    min_seconds: float = Field(ge=0)
    max_iterations: int = Field(ge=1)
    max_seconds: float = Field(gt=0)


class Channel(Frozen):
    """One quantity in what a probe reads: the number that follows `after`, or the first one."""

    name: str
    unit: str
    after: str = ""
    scale: float = 1.0


class Probe(Frozen):
    """Something of the device that is read while a launch runs; each channel becomes a `trace`.

    One of `file` and `command` is set; "@PID" in a file is the runner's process id. With
    `period_seconds` it is read that often by a process of its own, from the start of the launch to
    its end; without, by the runner itself at its marks, outside of everything that is timed.
    `reading` says how text becomes a value: "number": as the channels say, times their scale;
    "time_in_state": cpufreq's lines of "KHZ TICKS" become kilocycles since boot (the sum of KHZ x
    seconds); "cpu_busy": the first line of /proc/stat becomes the ns that all cores were busy since
    boot; "charging": a power_supply's status becomes 0 if it is Discharging, else 1, for a battery
    that is full, or not charging though plugged, gives nothing either. These three have one channel.
    """

    file: str | None = None
    command: tuple[str, ...] | None = None
    period_seconds: float | None = Field(default=None, gt=0)
    reading: Reading = "number"
    channels: tuple[Channel, ...] = Field(min_length=1)


class Job(Frozen):
    """Everything that a runner needs for one launch. Paths are the device's own.

    In the energy pass the runner idles for `baseline_seconds` before and after the steady loop.
    """

    job_version: Literal[2] = 2
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
    baseline_seconds: float = Field(default=0.0, ge=0)
    probes: tuple[Probe, ...] = ()
