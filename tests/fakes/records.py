"""The parts of a result that say nothing: a header and marks of no device in particular."""

from __future__ import annotations

from harness.schema.job import Job
from harness.schema.record import RECORD_VERSION, Clock, Engine, Header, Mark, Runner, SeenDevice


def make_header(
    launch: str, engine: str, *, main_ns: int, exec_ns: int | None = None, job: Job | None = None
) -> Header:
    return Header(
        type="header",
        record_version=RECORD_VERSION,
        launch=launch,
        engine=Engine(name=engine, version="0"),
        runner=Runner(version="0", compiler="none"),
        device=SeenDevice(
            machine="none",
            kernel="none",
            cpus_online=2,
            page_bytes=4096,
            memory_total_bytes=1,
            cpuset=None,
        ),
        clock=Clock(name="CLOCK_MONOTONIC", resolution_ns=1, read_cost_ns=20),
        exec_ns=exec_ns,
        main_ns=main_ns,
        unix_ns=3,
        job=job,
    )


def make_mark(name: str, time_ns: int) -> Mark:
    return Mark(
        type="mark",
        name=name,
        time_ns=time_ns,
        cost_ns=1,
        rss_bytes=1,
        rss_anon_bytes=1,
        rss_file_bytes=0,
        vm_hwm_bytes=1,
        swap_bytes=0,
        pss_bytes=None,
        os_threads=1,
    )
