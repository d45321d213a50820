"""Records of launches that never were, built as a runner writes them: part by part, then closed.

Each part has values that say nothing, but for those that are given. Not here: what a launch of some
kind looks like (`device.py`, `energy.py`, `sweeps.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel

from harness.schema.record import (
    RECORD_VERSION,
    Actual,
    Clock,
    Counters,
    Engine,
    Header,
    LaunchRecord,
    Mark,
    Phase,
    ProbeFailure,
    Runner,
    Samples,
    Sampling,
    SeenDevice,
    parse_record,
    write_records,
)


def make_header(
    launch: str, main_ns: int, engine: str = "lite", engine_version: str = "0", **changes: Any
) -> Header:
    given = {
        "record_version": RECORD_VERSION,
        "engine": Engine(name=engine, version=engine_version),
        "runner": Runner(version="0", compiler="none"),
        "device": make_seen_device(),
        "clock": Clock(name="CLOCK_MONOTONIC", resolution_ns=1, read_cost_ns=20),
        "exec_ns": None,
        "unix_ns": 3,
        "job": None,
        **changes,
    }
    return Header(type="header", launch=launch, main_ns=main_ns, **given)


def make_seen_device(**changes: Any) -> SeenDevice:
    given = {
        "machine": "none",
        "kernel": "none",
        "cpus_online": 2,
        "page_bytes": 4096,
        "memory_total_bytes": 1,
        "cpuset": None,
    }
    return SeenDevice(**{**given, **changes})


def make_counters(iterations: int, wall_ns: int, **changes: int) -> Counters:
    given = {
        "cpu_ns": wall_ns,
        "voluntary_switches": 0,
        "involuntary_switches": 0,
        "minor_faults": 0,
        "major_faults": 0,
    }
    return Counters(iterations=iterations, wall_ns=wall_ns, **{**given, **changes})


def make_samples(
    phase: Phase,
    start_ns: Sequence[int],
    duration_ns: Sequence[int],
    counters: Counters | None = None,
) -> Samples:
    return Samples(
        type="samples",
        phase=phase,
        start_ns=list(start_ns),
        duration_ns=list(duration_ns),
        counters=counters,
    )


class RecordBuilder:
    """A record in the making: what is added stands in that order."""

    def __init__(self, header: Header) -> None:
        self._parts: list[BaseModel] = [header]

    def add(self, *parts: BaseModel | None) -> Self:
        """Add parts as they are; those that are None are left out."""
        self._parts += [part for part in parts if part is not None]
        return self

    def mark(self, name: str, time_ns: int, **changes: Any) -> Self:
        given = {
            "cost_ns": 1,
            "rss_bytes": 1,
            "rss_anon_bytes": 1,
            "rss_file_bytes": 0,
            "vm_hwm_bytes": 1,
            "swap_bytes": 0,
            "pss_bytes": None,
            "os_threads": 1,
            **changes,
        }
        return self.add(Mark(type="mark", name=name, time_ns=time_ns, **given))

    def actual(self, **changes: Any) -> Self:
        given = {
            "threads": 1,
            "affinity": (0, 1),
            "memory_format": "contiguous",
            "quantized_engine": None,
            "model_resident_fraction": 0.0,
            **changes,
        }
        return self.add(Actual(type="actual", **given))

    def sampling(
        self, reads: int, cpu_ns: int, wall_ns: int, failures: Sequence[ProbeFailure] = ()
    ) -> Self:
        return self.add(
            Sampling(
                type="sampling",
                reads=reads,
                cpu_ns=cpu_ns,
                wall_ns=wall_ns,
                failures=tuple(failures),
            )
        )

    def write(self, end_ns: int, status: Literal["ok", "failed"] = "ok") -> bytes:
        """Return the file that a runner would have written."""
        return write_records(self._parts, end_ns, status)

    def read(self, end_ns: int) -> LaunchRecord:
        """Return it as the host reads it."""
        record = parse_record(self.write(end_ns), "made up")
        assert isinstance(record, LaunchRecord)
        return record
