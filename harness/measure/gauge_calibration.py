"""A run on a device that tells what its fuel gauge means: a known load between two rests.

Not here: what is read off that run (`analysis/gauge.py`), how the gauge is read (`devices/`), and where
calibrations are kept (`devices/calibrations.py`).
"""

from __future__ import annotations

import hashlib
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.gauge import (
    ADVICE_WIRELESS,
    PhaseCurrents,
    analyse,
    check_reversal,
    is_plugged,
)
from harness.cancellation import Cancellation
from harness.devices.base import Device
from harness.errors import CalibrationRefused, DeviceError, NotSupported
from harness.measure.charging import keep_awake
from harness.runners.pack import RunnerPack
from harness.runners.synthetic_load import ENGINE, SyntheticLoad
from harness.schema.job import Job, Loop, Probe, TensorSource
from harness.schema.plan import DeviceSettings
from harness.schema.power import Calibration, PowerSource
from harness.schema.record import LaunchRecord, parse_record

Tell = Callable[[str], None]

_JOB_PREFIX = "calibrate-"
_LOAD = SyntheticLoad(work=1_000_000)  # about a millisecond


@dataclass(frozen=True)
class Pace:
    """How long the phases of a calibration are, and how often the gauge is read."""

    idle_seconds: float = 15.0
    load_seconds: float = 30.0
    poll_seconds: float = 0.1
    settle_seconds: float = 5.0

    @property
    def run_seconds(self) -> float:
        """How long one run takes."""
        return 2 * self.idle_seconds + self.load_seconds


def calibrate(
    device: Device,
    find_pack: Callable[[], RunnerPack],
    tell: Tell,
    cancellation: Cancellation,
    pace: Pace = Pace(),
) -> Calibration:
    """Find out what a device's gauge means, by a known load between two rests. Nothing is stored.

    `find_pack` returns the pack of the engine "synthetic"; it is called if there is a gauge.
    A device that charges is measured twice: as it is, and with charging suspended, which the
    reversal of its current has to prove. Everything is put back. Raises CalibrationRefused with the
    reason, DeviceError, and Stopped.
    """
    source = _find_gauge(device)
    _clear(device)
    pack = find_pack()
    device.install(pack)
    with _put_back(device):
        keep_awake(device, DeviceSettings())
        tell(f"reading {source.name} at rest, at work, at rest: {pace.run_seconds:.0f} s")
        record = _run(device, pack, source, pace, cancellation)
        if not is_plugged(record):
            return analyse(record, device.info.fingerprint, time.time())
        as_it_is = PhaseCurrents.of(record)
        tell("it is plugged in: the same again with charging suspended")
        try:
            device.apply(DeviceSettings(suspend_charging=True))
        except NotSupported as error:
            raise CalibrationRefused(
                f"{device.info.id} charges all the time: {error.message}", ADVICE_WIRELESS
            ) from error
        cancellation.wait_for(None, pace.settle_seconds)
        record = _run(device, pack, source, pace, cancellation)
    check_reversal(device.info.id, as_it_is, PhaseCurrents.of(record))
    return analyse(record, device.info.fingerprint, time.time(), suspend_works=True)


@contextmanager
def _put_back(device: Device) -> Iterator[None]:
    """Restore the device at the end; trouble with that hides no earlier error."""
    try:
        yield
    except BaseException:
        with suppress(DeviceError):  # the phone does it by itself, or whoever opens it next
            device.restore()
        raise
    device.restore()


def _find_gauge(device: Device) -> PowerSource:
    gauges = [source for source in device.power_sources() if source.kind == "gauge"]
    if not gauges:
        raise CalibrationRefused(
            f"{device.info.id} has no fuel gauge to calibrate",
            "Only phones have one; rails, RAPL and meters need no calibration.",
        )
    readable = [gauge for gauge in gauges if gauge.probes]
    if not readable:
        raise CalibrationRefused(
            f"{device.info.id} cannot be calibrated: {gauges[0].refusal}", gauges[0].advice
        )
    return readable[0]


def _clear(device: Device) -> None:
    """See that nothing of ours works on the device: what a host that died has left of this, or else."""
    for job in device.jobs():
        runs = device.poll(job).state == "running"
        if job.startswith(_JOB_PREFIX):
            if runs:
                device.kill(job)
            device.forget(job)
        elif runs:
            raise CalibrationRefused(
                f"{device.info.id} still runs {job}, which a host that is gone has left",
                "Wait until it has ended, or go on with that sweep: `phonebench run --resume`.",
            )


def _run(
    device: Device, pack: RunnerPack, source: PowerSource, pace: Pace, cancellation: Cancellation
) -> LaunchRecord:
    """Run idle, load, idle, once. Raises CalibrationRefused if the runner does not deliver."""
    job = _make_job(device, source, pace)
    try:
        device.start(job, pack)
        status = device.wait(job.launch, pace.run_seconds + 60.0, cancellation)
        result = device.fetch(job.launch)
    finally:
        with suppress(DeviceError):
            if device.poll(job.launch).state == "running":
                device.kill(job.launch)
            device.forget(job.launch)
    record = parse_record(result.record or b"", job.launch)
    if not isinstance(record, LaunchRecord) or record.error is not None:
        why = record.error.message if isinstance(record, LaunchRecord) and record.error else ""
        raise CalibrationRefused(
            f"the load did not run to its end on {device.info.id} ({status.state}) {why}".rstrip(),
            "Run `phonebench doctor`, then calibrate again.",
        )
    return record


def _make_job(device: Device, source: PowerSource, pace: Pace) -> Job:
    with tempfile.TemporaryDirectory() as folder:
        path = _LOAD.write(Path(folder) / "load.json")
        model_file = device.stage(path, hashlib.sha256(path.read_bytes()).hexdigest())
    whole = Loop(
        min_iterations=1,
        min_seconds=pace.load_seconds,
        max_iterations=1_000_000,
        max_seconds=pace.load_seconds,
    )
    nothing = Loop(min_iterations=0, min_seconds=0.0, max_iterations=1, max_seconds=1.0)
    return Job(
        launch=f"{_JOB_PREFIX}{uuid.uuid4().hex[:12]}",
        engine=ENGINE,
        measured_pass="energy",
        model_file=model_file,
        threads=max(1, device.info.cores // 2),
        inputs=(TensorSource(shape=(1,)),),
        warm_loads=0,
        warmup=nothing,
        steady=whole,
        baseline_seconds=pace.idle_seconds,
        probes=tuple(_faster(probe, pace.poll_seconds) for probe in source.probes),
    )


def _faster(probe: Probe, seconds: float) -> Probe:
    """Read a file often enough to see each refresh; a command costs too much for that."""
    return probe if probe.file is None else probe.model_copy(update={"period_seconds": seconds})
