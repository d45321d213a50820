"""The phone's `perfetto`: records the power rails, as Android's own does, to a trace in its real format.

Sources: perfetto, perfetto_cmd.cc (arguments, answers), android_power_data_source.cc (what is recorded).
As on Android the configuration must come through stdin, and the trace may only be written to one folder.
Not here: how energy is split over rails, which is `body.py`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf import text_format
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.virtual_android.body import Body
from tests.virtual_android.sandbox import Sandbox

TRACES = "/data/misc/perfetto-traces"
SHORTEST_POLL_MS = 100
USUAL_POLL_MS = 1000
FLUSH_SECONDS = 0.2
"""How long it collects what is still in buffers, after it was asked to end and before it writes."""
SNAPSHOT_SECONDS = 10.0
BOOTTIME, MONOTONIC, REALTIME = (
    pb.BUILTIN_CLOCK_BOOTTIME,
    pb.BUILTIN_CLOCK_MONOTONIC,
    pb.BUILTIN_CLOCK_REALTIME,
)


class Refused(Exception):
    """What perfetto says instead of recording."""


@dataclass(frozen=True)
class Request:
    """What to record, and where to."""

    config: pb.TraceConfig
    out: str


def parse_request(arguments: Sequence[str]) -> Request:
    """Read perfetto's arguments, the last being what came through stdin. Raises Refused."""
    words, text = list(arguments[:-1]), arguments[-1]
    config_from, out, is_text = "", "", False
    while words:
        match words.pop(0):
            case "-c" | "--config" if words:
                config_from = words.pop(0)
            case "-o" | "--out" if words:
                out = words.pop(0)
            case "--txt":
                is_text = True
            case "-d" | "--background" | "-D" | "--background-wait":
                pass  # the client's own affair
            case word:
                raise Refused(f"perfetto: unrecognized option '{word}'")
    if config_from != "-":
        raise Refused(f"Could not open {config_from} (errno: 13, Permission denied)")
    if not is_text:
        raise Refused("Could not parse TraceConfig proto: this phone takes --txt only")
    if out != "-" and not out.startswith(f"{TRACES}/"):
        raise Refused(
            f"Failed to open {out}. If you get permission denied in {TRACES}, the file might have"
            " been created by another user, try deleting it first. (errno: 13, Permission denied)"
        )
    try:
        return Request(text_format.Parse(text, pb.TraceConfig()), out)
    except text_format.ParseError as error:
        raise Refused(f"The TraceConfig is invalid: {error}") from error


@dataclass(frozen=True)
class Rails:
    """What is recorded of the phone."""

    names: tuple[str, ...]
    body: Body
    sandbox: Sandbox
    advance: Callable[[], None]


async def record(request: Request, rails: Rails, stopped: asyncio.Future[bytes]) -> bytes:
    """Record until the configured duration is over, or until `stopped`; return the trace."""
    trace = pb.Trace()
    _add_clocks(trace, rails.sandbox)
    polls_ms = [
        source.config.android_power_config.battery_poll_ms or USUAL_POLL_MS
        for source in request.config.data_sources
        if source.config.name == "android.power"
        and source.config.android_power_config.collect_power_rails
    ]
    seconds = request.config.duration_ms / 1000 or float("inf")
    deadline, snapped = time.monotonic() + seconds, time.monotonic()
    period = max(min(polls_ms, default=USUAL_POLL_MS), SHORTEST_POLL_MS) / 1000
    first = True
    while not stopped.done() and time.monotonic() < deadline:
        if polls_ms and rails.names:
            _add_rails(trace, rails, describe=first)
            first = False
        if time.monotonic() - snapped > SNAPSHOT_SECONDS:
            _add_clocks(trace, rails.sandbox)
            snapped = time.monotonic()
        await asyncio.wait([stopped], timeout=min(period, deadline - time.monotonic()))
    await asyncio.sleep(FLUSH_SECONDS)
    whole: bytes = trace.SerializeToString()
    return whole


def save(sandbox: Sandbox, path: str, trace: bytes) -> None:
    """Write a trace to the phone, whole."""
    descriptor = sandbox.files.create(path, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(trace)


def _add_clocks(trace: pb.Trace, sandbox: Sandbox) -> None:
    snapshot = trace.packet.add().clock_snapshot
    snapshot.primary_trace_clock = BOOTTIME
    for clock, ns in (
        (BOOTTIME, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - sandbox.boottime_offset_ns),
        (MONOTONIC, time.monotonic_ns() - sandbox.clock_offset_ns),
        (REALTIME, time.time_ns()),
    ):
        snapshot.clocks.add(clock_id=clock, timestamp=ns)


def _add_rails(trace: pb.Trace, rails: Rails, describe: bool) -> None:
    rails.advance()
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - rails.sandbox.boottime_offset_ns
    packet = trace.packet.add(timestamp=now_ns)
    for index, (name, energy_uws) in enumerate(rails.body.rails_uws(rails.names).items()):
        if describe:
            packet.power_rails.rail_descriptor.add(
                index=index, rail_name=name, subsys_name="CPU" if "CPU" in name else "Other"
            )
        packet.power_rails.energy_data.add(
            index=index, timestamp_ms=round(now_ns / 1e6), energy=energy_uws
        )
