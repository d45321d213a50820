"""A launch as a job in the device's own words: files brought to it, cores resolved, loops sized.

Not here: what a job may say (`schema/job.py`), and running it (`launch.py`).
"""

from __future__ import annotations

from harness.devices.base import Device
from harness.measure.attempt import LaunchTask
from harness.schema.job import Job, Loop, Pass, TensorSource
from harness.schema.plan import Measure
from harness.schema.power import PowerSource

# Loading may take minutes on a slow phone; the loops have limits of their own.
_LOADING_SECONDS = 120.0
# A profile needs no more inferences than it takes to average.
_PROFILE_ITERATIONS = 20
# The energy pass works for a time, however many inferences that is: the most that a job can ask for.
_MOST_ITERATIONS = 1_000_000_000


def stage_files(device: Device, task: LaunchTask) -> tuple[str, str]:
    """Bring the launch's artifact and check inputs to the device; return their paths there."""
    model, artifact = task.model, task.artifact
    assert artifact.path is not None
    assert artifact.manifest is not None
    assert model.checks_path is not None
    return (
        device.stage(artifact.path, artifact.manifest.sha256),
        device.stage(model.checks_path, model.checks_sha256),
    )


def make_job(device: Device, task: LaunchTask, power: PowerSource | None = None) -> Job:
    """Write the launch's job, in the device's own paths; `power` is sampled by it where it can be."""
    measure, case = task.plan.measure, task.case
    model, manifest, measured_pass = (
        task.model,
        task.artifact.manifest,
        task.planned.measured_pass,
    )
    assert manifest is not None
    model_file, checks_file = stage_files(device, task)
    checks = tuple(
        tuple(
            TensorSource(
                shape=t.shape, dtype=t.dtype, file=checks_file, offset_bytes=t.offset_bytes
            )
            for t in sample
        )
        for sample in model.checks
    )
    return Job(
        launch=task.key,
        engine=case.engine,
        measured_pass=measured_pass,
        model_file=model_file,
        threads=case.threads,
        affinity=_resolve_cores(device, case.affinity),
        memory_format=case.variant.memory_format,
        quantized_engine=manifest.quantized_engine,
        inputs=checks[0],
        checks=checks,
        warm_loads=measure.warm_loads if measured_pass == "latency" else 0,
        warmup=_warmup(measure),
        steady=_steady(measure, measured_pass),
        delay_seconds=measure.delay_seconds,
        baseline_seconds=measure.baseline_seconds if measured_pass == "energy" else 0.0,
        probes=(*device.probes(measured_pass), *(power.probes if power is not None else ())),
    )


def _resolve_cores(device: Device, affinity: str) -> tuple[int, ...] | None:
    """Return the cores that an affinity means on this device; None for "all"."""
    if affinity == "all":
        return None
    if affinity in ("big", "little"):
        return device.resolve_cores(affinity)
    return parse_cores(affinity)


def parse_cores(affinity: str) -> tuple[int, ...]:
    """Return the cores of "0,2-3" as (0, 2, 3)."""
    cores: set[int] = set()
    for part in affinity.split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cores))


def _warmup(measure: Measure) -> Loop:
    return Loop(
        min_iterations=measure.warmup_iterations,
        min_seconds=measure.warmup_seconds,
        max_iterations=measure.max_iterations,
        max_seconds=measure.max_seconds,
    )


def _steady(measure: Measure, measured_pass: Pass) -> Loop:
    if measured_pass == "energy":
        return Loop(
            min_iterations=1,
            min_seconds=measure.energy_seconds,
            max_iterations=_MOST_ITERATIONS,
            max_seconds=measure.energy_seconds,
        )
    profile = measured_pass == "profile"
    iterations = measure.min_iterations
    return Loop(
        min_iterations=min(_PROFILE_ITERATIONS, iterations) if profile else iterations,
        min_seconds=0.0 if profile else measure.min_seconds,
        max_iterations=measure.max_iterations,
        max_seconds=measure.max_seconds,
    )


def longest_seconds(task: LaunchTask) -> float:
    """Return after how long a launch that is still busy is killed."""
    measure = task.plan.measure
    limit = measure.timeout_seconds or _LOADING_SECONDS + 2 * measure.max_seconds
    if task.planned.measured_pass == "energy":
        limit += measure.energy_seconds + 2 * measure.baseline_seconds
    return limit
