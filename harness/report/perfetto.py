"""One launch as a trace that Perfetto's UI opens: https://ui.perfetto.dev.

Every moment that was recorded is in it, on one clock, the device's CLOCK_MONOTONIC: phases and every
inference as slices, marks as instants, all series as counters with their units. What has no time
(the device, the verdict, the energy) stands beside the slice "launch". The format is Perfetto's
published one (protos/perfetto/trace). Not here: which launch (`results/launches.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import count, pairwise
from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from harness.analysis.memory import growth
from harness.analysis.power import read_power
from harness.errors import BadRecord
from harness.schema.device import DeviceInfo
from harness.schema.energy import EnergyTrouble
from harness.schema.record import LaunchRecord, Mark, Phase, Trace
from harness.schema.sweep import LedgerEntry, SweepFile

# The phase that each mark ends. One that is not listed is called after its mark.
_PHASES = {
    "engine_ready": "set-up",
    "model_loaded": "cold load",
    "first_inference_done": "first inference",
    "warmup_done": "warm-up",
    "idle_before_done": "idle before",
    "steady_done": "steady",
    "idle_after_done": "idle after",
    "end": "checks, warm loads",
}
_CALLS: dict[Phase, str] = {
    "cold_load": "cold load",
    "first_inference": "first inference",
    "warmup": "warm-up inference",
    "steady": "inference",
    "warm_load": "warm load",
}
_MEMORY_AT_MARKS = (
    "rss_bytes",
    "rss_anon_bytes",
    "rss_file_bytes",
    "vm_hwm_bytes",
    "swap_bytes",
    "pss_bytes",
)
# Kernels count these in ticks of 10 ms: over less than ten of them a rate is mostly rounding.
_SHORTEST_RATE_NS = 100_000_000
_SEQUENCE = 1  # all packets are of one writer
_LAST_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Slice:
    name: str
    begin_ns: int
    end_ns: int
    notes: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Counter:
    """A quantity over time: each value holds until the next one."""

    name: str
    unit: str
    time_ns: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Event:
    """One packet of a track: a slice begins or ends, an instant, or a counter's new value."""

    time_ns: int
    track: int
    kind: int
    name: str = ""
    value: float = 0.0
    notes: Mapping[str, Any] | None = None


def make_trace(
    sweep: SweepFile,
    entry: LedgerEntry,
    record: LaunchRecord,
    sidecar: Sequence[Trace] = (),
    sidecar_trouble: str = "",
) -> bytes:
    """Return a launch as a Perfetto trace. Raises BadRecord for times that no clock can show.

    `sidecar_trouble` says why what was recorded beside the runner is missing, if some was.
    """
    content = BytesIO()  # packet by packet: a long launch has hundreds of thousands
    builder = StreamingTraceProtoBuilder(content)
    _add_clocks(builder, record)
    tracks = count(1)
    device = next(info for info in sweep.devices if info.id == entry.device)
    root = _add_root(builder, entry, device, next(tracks))
    known = {"sweep": sweep.id, "device": device.model_dump(mode="json")}
    known |= _what_is_known(entry, record) | {"recorded beside": sidecar_trouble or None}
    events: list[_Event] = []

    def add_track(name: str, unit: str | None = None) -> int:
        return _add_track(builder, next(tracks), root, name, unit)

    for name, slices in (
        ("launch", [_whole(record, known)]),
        ("phases", _phases(record)),
        ("loads and inferences", _calls(record)),
    ):
        # Slices of one track may not overlap; those of a sound record never do.
        for lane in _lanes(slices):
            events += _slice_events(add_track(name), lane)
    events += _instants(record, add_track("marks"))
    for counter in _counters(entry, record, sidecar):
        if not counter.time_ns:
            continue
        events += _counter_events(add_track(counter.name, counter.unit), counter)
    _add_events(builder, events, record.header.launch)
    return content.getvalue()


# --- what a launch consists of -------------------------------------------------------------------


def _whole(record: LaunchRecord, known: Mapping[str, Any]) -> _Slice:
    """Return the launch as one slice; everything without a time of its own stands beside it."""
    header = record.header
    began = header.main_ns if header.exec_ns is None else header.exec_ns
    return _Slice("launch", began, record.end.time_ns, known)


def _what_is_known(entry: LedgerEntry, record: LaunchRecord) -> dict[str, Any]:
    """Return the host's account of a launch, and what of the runner's has no time of its own."""
    grown = growth(record)
    shown_apart = {"device", "validity", "power", "energy"}
    return {
        **entry.model_dump(mode="json", exclude=shown_apart),
        "validity": entry.validity.model_dump() if entry.validity else "not judged",
        "runner": record.header.model_dump(mode="json", exclude={"type"}),
        "actual": record.actual.model_dump(exclude={"type"}) if record.actual else None,
        "counters": _loop_counters(record),
        "memory growth": asdict(grown) if grown else None,
        "sampling": record.sampling.model_dump(exclude={"type"}) if record.sampling else None,
        "power source": entry.power.model_dump(exclude={"probes"}) if entry.power else None,
        "energy": _energy(entry),
        "runner error": record.error.model_dump(exclude={"type"}) if record.error else None,
    }


def _loop_counters(record: LaunchRecord) -> dict[str, Any] | None:
    """Return the counters of the steady loop, and how many of its inferences are shown."""
    steady = record.samples.get("steady")
    if steady is None or steady.counters is None:
        return None
    return {**steady.counters.model_dump(), "inferences shown": len(steady.start_ns)}


def _energy(entry: LedgerEntry) -> dict[str, Any] | None:
    if isinstance(entry.energy, EnergyTrouble):
        return {"trouble": entry.energy.text}
    return entry.energy.model_dump() if entry.energy else None


def _phases(record: LaunchRecord) -> Iterator[_Slice]:
    """Yield what lies between marks, from the start of the process to the end of the record."""
    header, end = record.header, record.end
    if header.exec_ns is not None:
        yield _Slice("process start", header.exec_ns, header.main_ns)
    marks = [mark for mark in record.marks if mark.name != "main"]
    borders = [header.main_ns, *(mark.time_ns for mark in marks)]
    for (begin_ns, end_ns), mark in zip(pairwise(borders), marks, strict=True):
        yield _Slice(_PHASES.get(mark.name, f"until {mark.name}"), begin_ns, end_ns)
    last = f"{record.error.phase}, failed" if record.error else "writing the record"
    yield _Slice(last, borders[-1], end.time_ns)


def _calls(record: LaunchRecord) -> Iterator[_Slice]:
    """Yield every load and every inference whose times were kept, exactly as timed."""
    for phase, samples in record.samples.items():
        for begin_ns, duration_ns in zip(samples.start_ns, samples.duration_ns, strict=True):
            yield _Slice(_CALLS[phase], begin_ns, begin_ns + duration_ns)


def _instants(record: LaunchRecord, track: int) -> Iterator[_Event]:
    """Yield each mark with what it cost, and the error, if there was one."""
    for mark in record.marks:
        notes = mark.model_dump(exclude={"type", "name", "time_ns"})
        yield _Event(mark.time_ns, track, proto.TrackEvent.TYPE_INSTANT, mark.name, notes=notes)
    if record.error is not None:
        notes = record.error.model_dump(exclude={"type"})
        yield _Event(record.end.time_ns, track, proto.TrackEvent.TYPE_INSTANT, "error", notes=notes)


def _counters(
    entry: LedgerEntry, record: LaunchRecord, sidecar: Sequence[Trace]
) -> Iterator[_Counter]:
    """Yield what is worked out of the traces, then every trace as it was recorded.

    Those that only grow since the device was started come last: one looks at their rates.
    """
    yield from _power(entry, record, sidecar)
    for trace in record.traces:
        yield from _rates(trace)
    recorded = (*record.traces, *sidecar)
    yield from (_as_recorded(trace) for trace in recorded if not _is_since_boot(trace))
    for name in _MEMORY_AT_MARKS:
        yield _at_marks(record.marks, name, "byte")
    yield _at_marks(record.marks, "os_threads", "threads")
    yield from (_as_recorded(trace) for trace in recorded if _is_since_boot(trace))


def _as_recorded(trace: Trace) -> _Counter:
    return _Counter(trace.name, trace.unit, trace.time_ns, trace.values)


def _is_since_boot(trace: Trace) -> bool:
    """Tell whether it counts on from when the device was started: time, cycles and energy do."""
    return trace.unit in ("ns", "kcycles", "uJ")


def _power(
    entry: LedgerEntry, record: LaunchRecord, sidecar: Sequence[Trace]
) -> Iterator[_Counter]:
    """Yield the power in watts, as far as its source can tell: each reading from its beginning."""
    power = read_power(record, sidecar, entry.power) if entry.power else None
    if power is None or isinstance(power, EnergyTrouble) or not len(power.watts):
        return
    # A gauge's readings may overlap by what it is not known better: the earlier one ends then.
    begins = [int(power.begin_ns[0])]
    begins += [
        max(int(begin), int(ended))
        for begin, ended in zip(power.begin_ns[1:], power.end_ns[:-1], strict=True)
    ]
    watts = [float(value) for value in power.watts]
    yield _Counter("power", "W", [*begins, int(power.end_ns[-1])], [*watts, watts[-1]])


def _rates(trace: Trace) -> Iterator[_Counter]:
    """Yield how fast a counter since boot went, where that is what one wants to see."""
    if trace.name == "cpu_busy":
        name, unit, a_second = "cores busy", "cores", 1e9  # counted in ns of each core
    elif trace.name.endswith("_cycles"):
        name, unit, a_second = f"{trace.name.removesuffix('_cycles')} mean clock", "GHz", 1e6
    else:
        return
    readings = _far_enough_apart(list(zip(trace.time_ns, trace.values, strict=True)))
    steps = [
        (begin[0], (end[1] - begin[1]) / a_second / ((end[0] - begin[0]) * 1e-9))
        for begin, end in pairwise(readings)
    ]
    yield _Counter(name, unit, [time for time, _ in steps], [rate for _, rate in steps])


def _far_enough_apart(readings: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Leave out readings that follow another one too soon to tell a rate; the last one stays."""
    kept: list[tuple[int, float]] = []
    for reading in readings:
        if not kept or reading[0] - kept[-1][0] >= _SHORTEST_RATE_NS:
            kept.append(reading)
    if len(kept) > 1:
        kept[-1] = readings[-1]
    return kept


def _at_marks(marks: Sequence[Mark], name: str, unit: str) -> _Counter:
    known = [(mark.time_ns, getattr(mark, name)) for mark in marks]
    known = [(time_ns, value) for time_ns, value in known if value is not None]
    title = f"{name.removesuffix('_bytes')} at marks"
    return _Counter(title, unit, [time for time, _ in known], [value for _, value in known])


# --- how Perfetto writes it down -----------------------------------------------------------------


def _lanes(slices: Iterable[_Slice]) -> list[list[_Slice]]:
    """Deal slices out so that none overlaps another of its lane, each lane in order of time."""
    lanes: list[list[_Slice]] = []
    for one in sorted(slices, key=lambda one: one.begin_ns):
        free = next((lane for lane in lanes if lane[-1].end_ns <= one.begin_ns), None)
        if free is None:
            lanes.append([one])
        else:
            free.append(one)
    return lanes


def _slice_events(track: int, slices: Iterable[_Slice]) -> Iterator[_Event]:
    begin, end = proto.TrackEvent.TYPE_SLICE_BEGIN, proto.TrackEvent.TYPE_SLICE_END
    for one in slices:
        if one.end_ns < one.begin_ns:
            raise BadRecord(f"{one.name} ends before it begins: it cannot be shown")
        yield _Event(one.begin_ns, track, begin, one.name, notes=one.notes)
        yield _Event(one.end_ns, track, end)


def _counter_events(track: int, counter: _Counter) -> Iterator[_Event]:
    for time_ns, value in zip(counter.time_ns, counter.values, strict=True):
        if math.isfinite(value):
            yield _Event(time_ns, track, proto.TrackEvent.TYPE_COUNTER, value=value)


def _add_clocks(builder: StreamingTraceProtoBuilder, record: LaunchRecord) -> None:
    """Say which clock all times are of, and what the wall clock showed when the runner began."""
    packet = _make_packet(builder, record.header.main_ns)
    packet.sequence_flags = proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    snapshot = packet.clock_snapshot
    snapshot.primary_trace_clock = proto.BUILTIN_CLOCK_MONOTONIC
    for clock, now_ns in (
        (proto.BUILTIN_CLOCK_MONOTONIC, record.header.main_ns),
        (proto.BUILTIN_CLOCK_REALTIME, record.header.unix_ns),
    ):
        snapshot.clocks.add(clock_id=clock, timestamp=_checked(now_ns, "the header"))
    builder.write_packet(packet)


def _add_root(
    builder: StreamingTraceProtoBuilder, entry: LedgerEntry, device: DeviceInfo, track: int
) -> int:
    """Add the track that all others belong to.

    It is no process: of a process, the UI sorts tracks by name, and phases would stand below clocks.
    """
    verdict = entry.validity.level if entry.validity else "not judged"
    packet = _make_packet(builder)
    descriptor = packet.track_descriptor
    descriptor.uuid = track
    descriptor.child_ordering = proto.TrackDescriptor.EXPLICIT
    descriptor.name = _text(f"{entry.case} on {device.name} ({entry.measured_pass}, {verdict})")
    builder.write_packet(packet)
    return track


def _add_track(
    builder: StreamingTraceProtoBuilder, track: int, root: int, name: str, unit: str | None
) -> int:
    packet = _make_packet(builder)
    descriptor = packet.track_descriptor
    descriptor.uuid, descriptor.parent_uuid, descriptor.name = track, root, _text(name)
    descriptor.sibling_order_rank = track
    if unit == "byte":
        descriptor.counter.unit = proto.CounterDescriptor.UNIT_SIZE_BYTES
    elif unit is not None:
        descriptor.counter.unit_name = _text(unit)
    builder.write_packet(packet)
    return track


def _add_events(builder: StreamingTraceProtoBuilder, events: list[_Event], name: str) -> None:
    """Add events in order of time; those of one moment and track stay in their order."""
    for event in sorted(events, key=lambda event: event.time_ns):
        packet = _make_packet(builder, _checked(event.time_ns, name))
        packet.track_event.type = event.kind
        packet.track_event.track_uuid = event.track
        if event.name:
            packet.track_event.name = _text(event.name)
        if event.kind == proto.TrackEvent.TYPE_COUNTER:
            packet.track_event.double_counter_value = event.value
        for key, value in (event.notes or {}).items():
            if value is not None:
                _note(packet.track_event.debug_annotations.add(name=_text(key)), value)
        builder.write_packet(packet)


def _make_packet(builder: StreamingTraceProtoBuilder, time_ns: int | None = None) -> Any:
    """Return a packet of this writer; what describes a track has no time."""
    packet = builder.create_packet()
    packet.trusted_packet_sequence_id = _SEQUENCE
    if time_ns is not None:
        packet.timestamp = _checked(time_ns, "the header")
        packet.timestamp_clock_id = proto.BUILTIN_CLOCK_MONOTONIC
    return packet


def _checked(time_ns: int, of: str) -> int:
    if not 0 <= time_ns <= _LAST_NS:
        raise BadRecord(f"{of} has a time that no clock shows: {time_ns} ns")
    return time_ns


def _note(annotation: Any, value: Any) -> None:
    """Write a value beside a slice, whatever it is made of."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if inner is not None:
                _note(annotation.dict_entries.add(name=_text(str(key))), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _note(annotation.array_values.add(), inner)
    elif isinstance(value, bool):
        annotation.bool_value = value
    elif isinstance(value, int) and -_LAST_NS <= value <= _LAST_NS:
        annotation.int_value = value
    elif isinstance(value, float):
        annotation.double_value = value
    else:
        annotation.string_value = _text(str(value))


def _text(text: str) -> str:
    """Return text that is valid UTF-8, as protobuf wants it: names may hold anything."""
    return text.encode("utf-8", "replace").decode()
