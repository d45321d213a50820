"""A made-up phone whose draw is known exactly, and what gauges, rails and meters say of it.

Numbers only: no process, no clock. Not here: a phone that runs a runner (`virtual_phone/`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.schema.job import Channel, Probe
from harness.schema.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    METER_POWER,
    RAIL,
    RAPL_ENERGY,
    VOLTAGE,
    Calibration,
    PowerSource,
)
from harness.schema.record import (
    LaunchRecord,
    ProbeFailure,
    Trace,
)
from tests.fakes.records import RecordBuilder, make_counters, make_header, make_samples

Array = npt.NDArray[np.float64]

STEP = 0.01
"""Seconds between two points at which the draw is known."""
START_NS = 5_000_000_000


@dataclass(frozen=True)
class Load:
    """What a phone draws, over the phases of an energy launch. Powers in W, times in seconds."""

    idle: float = 0.4
    work: float = 1.5
    baseline: float = 15.0
    block: float = 60.0
    inference: float = 0.01
    noise: float = 0.05
    noise_seconds: float = 0.3
    drift: float = 0.0
    seed: int = 0

    def begins(self) -> list[float]:
        """Return when warm-up, idle, block and idle end."""
        return [3.0, 3.0 + self.baseline, 3.0 + self.baseline + self.block,
                3.0 + 2 * self.baseline + self.block]  # fmt: skip

    @property
    def iterations(self) -> int:
        return round(self.block / self.inference)

    def watts(self) -> Array:
        """Return the draw at every STEP from the start of the launch until 2 s after its end.

        Noise is an AR(1) process that forgets in `noise_seconds`, at work and at rest; the drift is
        linear over the launch, and a part of the idle.
        """
        warm, idle, steady, end = self.begins()
        times = np.arange(0, end + 2.0, STEP)
        rng = np.random.default_rng(self.seed)
        keep = np.exp(-STEP / self.noise_seconds)
        shocks = rng.normal(size=len(times)) * self.noise * np.sqrt(1 - keep**2)
        noise = np.zeros(len(times))
        for n in range(1, len(times)):
            noise[n] = keep * noise[n - 1] + shocks[n]
        busy = (times < warm) | ((times >= idle) & (times < steady))
        slow = self.idle * self.drift * times / times[-1]
        return np.asarray(self.idle + self.work * busy + noise * (0.4 + 0.6 * busy) + slow)

    def joules(self, watts: Array) -> float:
        """Return the truth: joules an inference, net of an idle that is interpolated."""
        warm, idle, steady, end = (round(t / STEP) for t in self.begins())
        resting = (watts[warm:idle].mean() + watts[steady:end].mean()) / 2
        return float((watts[idle:steady].mean() - resting) * self.block / self.iterations)


@dataclass(frozen=True)
class Gauge:
    """How a fuel gauge shows the draw. `step` is in amperes; `kind` is what a refresh brings."""

    refresh: float = 1.0
    step: float = 0.001
    kind: str = "mean"
    sign: int = 1
    amperes_per_unit: float = 1e-6
    poll: float | None = None
    charged: float = 0.0
    """What a charger puts into the battery all the time, in amperes."""

    def calibration(self) -> Calibration:
        return Calibration(
            fingerprint="f00d",
            made_unix=0.0,
            sign=1 if self.sign > 0 else -1,
            amperes_per_unit=self.amperes_per_unit,
            refresh_seconds=self.refresh * 1.003,
            quantum=max(1.0, round(self.step / self.amperes_per_unit)),
            charge_ratio=1.0,
        )

    @property
    def period(self) -> float:
        """How often it is polled, in seconds."""
        return self.poll or min(max(self.refresh / 4, 0.05), 1.0)

    def source(self) -> PowerSource:
        channel = Channel(name=CURRENT, unit="raw")
        return PowerSource(
            kind="gauge",
            name="fuel gauge (made up)",
            probes=(Probe(file="current_now", period_seconds=self.period, channels=(channel,)),),
            sees_charging=True,
            calibration=self.calibration(),
        )

    def traces(self, watts: Array, seed: int = 0) -> tuple[Trace, ...]:
        """Return what polling it gives: current, voltage, charge and charging."""
        rng = np.random.default_rng(seed)
        volts = 3.9 - 0.08 * watts / 3.9
        amperes = watts / volts - self.charged
        length = max(1, round(self.refresh / STEP))
        refreshes = np.arange(rng.integers(0, length), len(watts), length)
        total = np.concatenate([[0.0], np.cumsum(amperes)])
        if self.kind == "mean":
            first = np.maximum(refreshes - length, 0)
            shown = (total[refreshes] - total[first]) / np.maximum(refreshes - first, 1)
        else:
            shown = amperes[refreshes]
        raw = np.round(shown / self.step) * self.step / self.amperes_per_unit * self.sign
        charge = 3_000_000 - np.round(total[refreshes] * STEP / 3600 * 1e6)
        millivolts = np.round(volts[refreshes], 3)
        times = np.arange(0.001, len(watts) * STEP, self.period)
        times = times + rng.uniform(0, 0.003, len(times))
        index = np.searchsorted(refreshes * STEP, times, side="right") - 1
        times, index = times[index >= 0], index[index >= 0]
        return (
            trace(CURRENT, "raw", times, np.round(raw[index])),
            trace(VOLTAGE, "V", times, millivolts[index]),
            trace(CHARGE, "uAh", times, charge[index]),
            trace(CHARGING, "boolean", times, np.full(len(times), self.charged > 0)),
        )


def trace(name: str, unit: str, seconds: npt.ArrayLike, values: npt.ArrayLike) -> Trace:
    """Return a trace; times count from the start of the launch."""
    time_ns = (np.asarray(seconds, dtype=np.float64) * 1e9).astype(np.int64) + START_NS
    return Trace(
        type="trace",
        name=name,
        unit=unit,
        time_ns=time_ns.tolist(),
        values=np.asarray(values, dtype=np.float64).tolist(),
    )


def rails(
    watts: Array, period: float = 0.25, names: tuple[str, ...] = ("CPU", "REST")
) -> list[Trace]:
    """Return power rails that share the draw, as counters of uJ."""
    total = np.concatenate([[0.0], np.cumsum(watts) * STEP * 1e6])
    index = np.arange(0, len(watts), round(period / STEP))
    parts = np.linspace(1, 2, len(names))
    return [
        trace(f"{RAIL}{name}", "uJ", index * STEP, 1e9 + np.round(total[index] * part))
        for name, part in zip(names, parts / parts.sum(), strict=True)
    ]


def rapl(watts: Array, wraps_at: float, period: float = 0.1) -> list[Trace]:
    """Return a counter of uJ that wraps around."""
    total = np.concatenate([[0.0], np.cumsum(watts) * STEP * 1e6])
    index = np.arange(0, len(watts), round(period / STEP))
    return [trace(RAPL_ENERGY, "uJ", index * STEP, np.round(total[index]) % wraps_at)]


def meter(watts: Array, late_seconds: float = 0.0) -> list[Trace]:
    """Return the samples of a meter; its clock may be late."""
    times = np.arange(1, len(watts) + 1) * STEP
    return [trace(METER_POWER, "W", times + late_seconds, watts)]


def launch(
    load: Load, traces: tuple[Trace, ...] = (), failures: tuple[ProbeFailure, ...] = ()
) -> LaunchRecord:
    """Return the record of an energy launch with that load."""
    names = ("warmup_done", "idle_before_done", "steady_done", "idle_after_done")
    begins = load.begins()
    end_ns = START_NS + round((begins[-1] + 2.0) * 1e9)
    count = min(load.iterations, 1000)
    builder = RecordBuilder(make_header("l", START_NS, "synthetic")).mark("main", START_NS)
    for name, begin in zip(names, begins, strict=False):
        builder.mark(name, START_NS + round(begin * 1e9))
    starts = begins[1] + np.arange(count) * load.block / count
    samples = make_samples(
        "steady",
        (starts * 1e9 + START_NS).astype(np.int64).tolist(),
        [round(load.inference * 1e9)] * count,
        make_counters(load.iterations, round(load.block * 1e9)),
    )
    return builder.add(samples, *traces).sampling(1, 1, 1, failures).read(end_ns)


def as_bytes(record: LaunchRecord) -> bytes:
    """Return a record as its runner would have written it."""
    return (
        RecordBuilder(record.header)
        .add(*record.marks, *record.samples.values(), *record.traces, record.sampling)
        .write(record.end.time_ns)
    )


def without(record: LaunchRecord, *names: str) -> LaunchRecord:
    """Return a record that lacks these traces or marks."""
    return replace(
        record,
        traces=tuple(t for t in record.traces if t.name not in names),
        marks=tuple(m for m in record.marks if m.name not in names),
    )
