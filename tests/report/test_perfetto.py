"""A launch as a Perfetto trace, read back by the published schema, and by Perfetto itself.

`read_trace` refuses what the format's rules do not allow; Perfetto's UI, with its trace processor,
runs in a real browser (see `perfetto_ui.py`).
"""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
from playwright.sync_api import Browser

from harness.errors import BadRecord
from harness.report.perfetto import make_trace
from harness.results.folder import Sweep, read_sweep
from harness.results.launches import read_checked
from harness.schema.device import DeviceInfo
from harness.schema.record import LaunchRecord, Mark, Trace, read_record
from harness.schema.sweep import LedgerEntry, SweepFile
from harness.storage.files import write_whole
from tests.fakes.sweeps import Shape, write_sweep
from tests.places import GOLDEN
from tests.report.perfetto_ui import open_trace

Event = proto.TrackEvent
PHONEBENCH = [sys.executable, "-m", "harness"]
HOSTILE = 'a "phone" <script>\U0001f4a5\x00\x1b[31m\ud800'
SHAPE = Shape(
    models=("digits",), recipes=("fp32",), threads=(1,), rounds=2, evaluated=(),
    passes=("latency", "memory", "energy", "profile"), troubles=False,
)  # fmt: skip


@dataclass(frozen=True)
class Read:
    """A trace as its readers see it: slices and counters by track, all times in ns."""

    slices: dict[str, list[tuple[str, int, int]]]
    instants: dict[str, list[tuple[str, int]]]
    counters: dict[str, list[tuple[int, float]]]
    units: dict[str, str]
    notes: dict[str, Any]
    root: str
    clocks: dict[int, int]


def read_trace(content: bytes) -> Read:
    """Parse a trace and see that it keeps the rules of the format."""
    trace = proto.Trace.FromString(content)
    tracks: dict[int, Any] = {}
    open_slices: dict[int, list[tuple[str, int]]] = defaultdict(list)
    slices, instants, counters = defaultdict(list), defaultdict(list), defaultdict(list)
    notes: dict[str, Any] = {}
    last_ns = 0
    assert trace.packet[0].sequence_flags == proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            assert descriptor.uuid not in tracks
            assert not descriptor.parent_uuid or descriptor.parent_uuid in tracks
            tracks[descriptor.uuid] = descriptor
        if not packet.HasField("track_event"):
            continue
        assert packet.timestamp_clock_id == proto.BUILTIN_CLOCK_MONOTONIC
        assert packet.timestamp >= last_ns
        last_ns, event = packet.timestamp, packet.track_event
        descriptor = tracks[event.track_uuid]
        assert descriptor.HasField("counter") == (event.type == Event.TYPE_COUNTER)
        stack = open_slices[event.track_uuid]
        if event.type == Event.TYPE_SLICE_BEGIN:
            assert not stack, f"slices overlap on {descriptor.name}"
            stack.append((event.name, packet.timestamp))
        elif event.type == Event.TYPE_SLICE_END:
            slices[descriptor.name].append((*stack.pop(), packet.timestamp))
        elif event.type == Event.TYPE_INSTANT:
            instants[descriptor.name].append((event.name, packet.timestamp))
        else:
            counters[descriptor.name].append((packet.timestamp, event.double_counter_value))
        if event.debug_annotations:
            notes[event.name] = {one.name: plain(one) for one in event.debug_annotations}
    assert not any(open_slices.values())
    (root,) = [one for one in tracks.values() if not one.parent_uuid]
    assert root.child_ordering == proto.TrackDescriptor.EXPLICIT
    snapshot = trace.packet[0].clock_snapshot
    assert snapshot.primary_trace_clock == proto.BUILTIN_CLOCK_MONOTONIC
    return Read(
        slices,
        instants,
        counters,
        {d.name: unit_of(d.counter) for d in tracks.values() if d.HasField("counter")},
        notes,
        root.name,
        {clock.clock_id: clock.timestamp for clock in snapshot.clocks},
    )


def unit_of(counter: Any) -> str:
    unit = counter.unit_name or proto.CounterDescriptor.Unit.Name(counter.unit)
    assert unit != "UNIT_UNSPECIFIED"
    return str(unit)


def plain(annotation: Any) -> Any:
    """Return what was written beside a slice, as plain Python."""
    if annotation.dict_entries:
        return {one.name: plain(one) for one in annotation.dict_entries}
    if annotation.array_values:
        return [plain(one) for one in annotation.array_values]
    kind = annotation.WhichOneof("value")
    return getattr(annotation, kind) if kind else None


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return read_sweep(write_sweep(tmp_path_factory.mktemp("sweeps") / "one", SHAPE))


@dataclass(frozen=True)
class Chosen:
    """One launch of a sweep, with what was recorded of it."""

    sweep: SweepFile
    device: DeviceInfo
    entry: LedgerEntry
    record: LaunchRecord
    sidecar: tuple[Trace, ...] = ()
    sidecar_trouble: str = ""

    def read(self) -> Read:
        """Make a trace of it, and read that."""
        return read_trace(self.trace())

    def trace(self) -> bytes:
        sweep = self.sweep.model_copy(update={"devices": (self.device,)})
        return make_trace(sweep, self.entry, self.record, self.sidecar, self.sidecar_trouble)


def choose(sweep: Sweep, measured_pass: str, device: str = "phone-1") -> Chosen:
    entries = [
        entry
        for entry in sweep.entries
        if entry.measured_pass == measured_pass and entry.device == device
    ]
    info = next(info for info in sweep.file.devices if info.id == device)
    return Chosen(sweep.file, info, entries[0], read_checked(sweep.folder, entries[0]))


@pytest.mark.parametrize("measured_pass", ["latency", "memory", "energy", "profile"])
def test_whatever_has_a_time_in_the_record_is_in_the_trace(
    sweep: Sweep, measured_pass: str
) -> None:
    launch = choose(sweep, measured_pass)
    record, read = launch.record, launch.read()
    calls = [
        (start, start + duration)
        for samples in record.samples.values()
        for start, duration in zip(samples.start_ns, samples.duration_ns, strict=True)
    ]
    shown = [(begin, end) for _, begin, end in read.slices["loads and inferences"]]
    assert shown == sorted(calls)
    assert read.instants["marks"] == [(mark.name, mark.time_ns) for mark in record.marks]
    for trace in record.traces:
        assert read.counters[trace.name] == list(zip(trace.time_ns, trace.values, strict=True))
    rss = [(mark.time_ns, mark.rss_bytes) for mark in record.marks]
    assert read.counters["rss at marks"] == rss
    assert read.units["rss at marks"] == "UNIT_SIZE_BYTES"
    assert read.clocks == {
        proto.BUILTIN_CLOCK_MONOTONIC: record.header.main_ns,
        proto.BUILTIN_CLOCK_REALTIME: record.header.unix_ns,
    }


def test_the_phases_fill_the_launch_from_the_start_of_the_process_to_its_end(sweep: Sweep) -> None:
    launch = choose(sweep, "energy")
    phases = launch.read().slices["phases"]
    assert [name for name, _, _ in phases] == [
        "process start", "set-up", "cold load", "first inference", "warm-up", "idle before",
        "steady", "idle after", "checks, warm loads", "writing the record",
    ]  # fmt: skip
    assert phases[0][1] == launch.record.header.exec_ns
    assert phases[-1][2] == launch.record.end.time_ns
    assert all(one[2] == following[1] for one, following in pairwise(phases))
    steady_done = launch.record.mark("steady_done")
    assert steady_done
    assert ("steady", steady_done.time_ns) in [(name, end) for name, _, end in phases]


def test_what_is_known_of_a_launch_stands_beside_it(sweep: Sweep) -> None:
    launch = choose(sweep, "energy")
    read = launch.read()
    notes = read.notes["launch"]
    assert notes["case"] == launch.entry.case
    assert notes["device"]["name"] == "Pixel 6"
    assert notes["validity"] == {"level": "valid", "reasons": None}
    assert notes["energy"]["joules_per_inference"] > 0
    assert notes["runner"]["engine"]["version"] == "2.13.0"
    assert notes["counters"]["iterations"] >= notes["counters"]["inferences shown"]
    assert read.root == f"{launch.entry.case} on Pixel 6 (energy, valid)"


def test_power_is_in_watts_where_its_source_can_tell(sweep: Sweep) -> None:
    launch = choose(sweep, "energy")
    read = launch.read()
    assert read.units["power"] == "W"
    steady = next(one for one in read.slices["phases"] if one[0] == "steady")
    block = [watts for time_ns, watts in read.counters["power"] if steady[1] < time_ns < steady[2]]
    assert sum(block) / len(block) == pytest.approx(
        read.notes["launch"]["energy"]["block_watts"], rel=0.1
    )


def test_a_launch_without_energy_says_why(tmp_path: Path) -> None:
    shape = replace(SHAPE, gauge_trouble="nothing", passes=("energy",))
    launch = choose(read_sweep(write_sweep(tmp_path / "sweep", shape)), "energy")
    read = launch.read()
    assert "power" not in read.counters
    assert "battery_current" in read.notes["launch"]["energy"]["trouble"]


def test_counters_since_boot_are_also_shown_as_what_they_mean(sweep: Sweep) -> None:
    launch = choose(sweep, "memory")
    seconds = [1, 2, 4]
    busy = Trace(
        type="trace", name="cpu_busy", unit="ns", time_ns=[s * 10**9 for s in seconds],
        values=[5e9, 6.5e9, 7.5e9],
    )  # fmt: skip
    cycles = Trace(
        type="trace", name="cpu3_cycles", unit="kcycles", time_ns=[10**9, 10**9, 3 * 10**9],
        values=[0.0, 0.0, 4e6],
    )  # fmt: skip
    close = busy.model_copy(
        update={
            "time_ns": [10**9, 10**9 + 10**6, 2 * 10**9, 2 * 10**9 + 10**6],
            "values": [0.0, 2e7, 1.5e9, 1.6e9],
        }
    )
    seen = replace(launch, record=replace(launch.record, traces=(busy, cycles)))
    read = seen.read()
    assert read.counters["cores busy"] == [(10**9, 1.5), (2 * 10**9, 0.5)]
    assert read.counters["cpu3 mean clock"] == [(10**9, 2.0)]
    assert (read.units["cores busy"], read.units["cpu3 mean clock"]) == ("cores", "GHz")
    # A tick of the kernel's counter, 10 ms, within a millisecond is no load of ten cores.
    seen = replace(launch, record=replace(launch.record, traces=(close,)))
    ((begin_ns, cores),) = seen.read().counters["cores busy"]
    assert begin_ns == 10**9
    assert cores == pytest.approx(1.6 / 1.001)


def test_names_may_hold_anything(sweep: Sweep) -> None:
    launch = choose(sweep, "memory")
    trace = Trace(type="trace", name=HOSTILE, unit=HOSTILE, time_ns=[1], values=[float("inf")])
    launch = replace(
        launch,
        device=launch.device.model_copy(update={"name": HOSTILE, "details": {"serial": HOSTILE}}),
        record=replace(launch.record, traces=(trace, trace.model_copy(update={"values": [1.0]}))),
    )
    read = launch.read()
    shown = HOSTILE.replace("\ud800", "?")
    assert read.counters[shown] == [(1, 1.0)]
    assert f" on {shown} (" in read.root
    assert read.notes["launch"]["device"]["details"] == {"serial": shown}


def test_what_was_recorded_beside_the_runner_is_in_the_trace_or_its_loss_told(
    sweep: Sweep,
) -> None:
    launch = choose(sweep, "memory")
    rail = Trace(type="trace", name="rail:CPU", unit="uJ", time_ns=[5, 9], values=[1.0, 2.0])
    read = replace(launch, sidecar=(rail,)).read()
    assert read.counters["rail:CPU"] == [(5, 1.0), (9, 2.0)]
    read = replace(launch, sidecar_trouble="x.sidecar.jsonl is cut short").read()
    assert "rail:CPU" not in read.counters
    assert "cut short" in read.notes["launch"]["recorded beside"]


def test_slices_that_overlap_get_tracks_of_their_own(sweep: Sweep) -> None:
    launch = choose(sweep, "memory")
    steady = launch.record.samples["steady"]
    overlapping = steady.model_copy(
        update={"start_ns": [10, 15, 20, 20], "duration_ns": [10, 20, 0, 5]}
    )
    record = replace(launch.record, samples={"steady": overlapping})
    read = replace(launch, record=record).read()
    assert sorted(read.slices["loads and inferences"]) == [
        ("inference", 10, 20), ("inference", 15, 35), ("inference", 20, 20), ("inference", 20, 25),
    ]  # fmt: skip


@pytest.mark.parametrize("time_ns", [-1, 2**63, 2**70])
def test_times_that_no_clock_shows_are_refused(sweep: Sweep, time_ns: int) -> None:
    launch = choose(sweep, "memory")
    trace = Trace(type="trace", name="rss", unit="byte", time_ns=[time_ns], values=[1.0])
    with pytest.raises(BadRecord, match="no clock shows"):
        replace(launch, record=replace(launch.record, traces=(trace,))).trace()
    steady = launch.record.samples["steady"]
    backwards = steady.model_copy(update={"start_ns": [10], "duration_ns": [-1]})
    with pytest.raises(BadRecord, match="ends before it begins"):
        replace(launch, record=replace(launch.record, samples={"steady": backwards})).trace()


def test_an_unknown_mark_ends_a_phase_called_after_it(sweep: Sweep) -> None:
    launch = choose(sweep, "memory")
    last: Mark = launch.record.marks[-1]
    marks = (*launch.record.marks[:-1], last.model_copy(update={"name": "novelty_done"}))
    launch = replace(launch, record=replace(launch.record, marks=marks))
    assert "until novelty_done" in [name for name, _, _ in launch.read().slices["phases"]]


@pytest.mark.parametrize("name", ["ok", "failed", "refused", "signal"])
def test_what_the_runner_really_writes_becomes_a_trace_also_when_it_failed(
    sweep: Sweep, name: str
) -> None:
    record = read_record(GOLDEN / f"{name}.jsonl")
    assert isinstance(record, LaunchRecord)
    read = replace(choose(sweep, "memory"), record=record).read()
    assert read.slices["launch"]
    assert len(read.slices["loads and inferences"]) == sum(
        len(samples.start_ns) for samples in record.samples.values()
    )
    for trace in record.traces:
        assert len(read.counters[trace.name]) == len(trace.values)
    if record.error is None:
        return
    assert read.instants["marks"][-1] == ("error", record.end.time_ns)
    assert read.notes["error"]["message"] == record.error.message
    assert read.notes["launch"]["runner error"]["message"] == record.error.message
    assert f"{record.error.phase}, failed" in [name for name, _, _ in read.slices["phases"]]


# --- by Perfetto itself ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("measured_pass", ["energy", "memory"])
def test_perfettos_trace_processor_reads_all_of_it_and_finds_nothing_wrong(
    sweep: Sweep, browser: Browser, measured_pass: str
) -> None:
    content = choose(sweep, measured_pass).trace()
    read = read_trace(content)
    with open_trace(browser, content) as opened:
        slices = opened.query(
            "select track.name, slice.name, ts, ts + dur from slice join track "
            "on track.id = track_id where dur > 0 or track.name <> 'marks' order by ts"
        )
        instants = opened.query(
            "select slice.name, ts from slice join track on track.id = track_id "
            "where track.name = 'marks' order by ts, slice.id"
        )
        counters = opened.query(
            "select name, ts, value from counter join counter_track t on t.id = track_id "
            "order by ts, counter.id"
        )
        units = opened.query("select name, unit from counter_track")
        troubles = opened.query("select name from stats where severity <> 'info' and value > 0")
    shown: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for track, name, begin_ns, end_ns in slices:
        shown[track].append((name, begin_ns, end_ns))
    assert shown == read.slices
    assert instants == read.instants["marks"]
    values: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for name, time_ns, value in counters:
        values[name].append((time_ns, value))
    assert values == {name: points for name, points in read.counters.items() if points}
    assert {name: unit.replace("bytes", "UNIT_SIZE_BYTES") for name, unit in units} == read.units
    assert troubles == []


@pytest.mark.slow
def test_perfettos_ui_shows_phases_first_and_tells_all_of_the_launch(
    sweep: Sweep, browser: Browser
) -> None:
    launch = choose(sweep, "energy")
    content = launch.trace()
    with open_trace(browser, content) as opened:
        titles = opened.show_all()
        told = opened.query(
            "select flat_key, display_value from args join slice using (arg_set_id) "
            "where slice.name = 'launch'"
        )
    root = titles.index(read_trace(content).root)
    assert titles[root + 1 : root + 6] == [
        "launch", "phases", "loads and inferences", "marks", "power",
    ]  # fmt: skip
    notes = dict(told)
    assert notes["debug.case"] == launch.entry.case
    assert notes["debug.device.name"] == "Pixel 6"
    assert float(notes["debug.energy.joules_per_inference"]) > 0


@pytest.mark.slow
def test_perfetto_reads_hostile_names_and_launches_that_failed(
    sweep: Sweep, browser: Browser
) -> None:
    failed = read_record(GOLDEN / "failed.jsonl")
    assert isinstance(failed, LaunchRecord)
    trace = Trace(type="trace", name=HOSTILE, unit=HOSTILE, time_ns=[7], values=[1.0])
    launch = replace(choose(sweep, "memory"), record=replace(failed, traces=(trace,)))
    with open_trace(browser, launch.trace()) as opened:
        assert opened.query("select value from counter where ts = 7") == [(1.0,)]
        (note,) = opened.query(
            "select display_value from args join slice using (arg_set_id) "
            "where slice.name = 'error' and flat_key = 'debug.message'"
        )
        titles = opened.show_all()
    assert failed.error
    assert note == (failed.error.message,)
    assert any('a "phone" <script>' in title for title in titles)


# --- the command ----------------------------------------------------------------------------------


def phonebench(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    ended = subprocess.run(
        [*PHONEBENCH, "trace", *map(str, arguments)], capture_output=True, check=False
    )
    assert ended.returncode == code, ended.stderr.decode()
    return ended


def test_the_command_writes_a_file_anew_and_the_same_to_a_pipe(
    sweep: Sweep, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "launch.pftrace"
    for _ in range(2):
        told = phonebench(sweep.folder, "phone-1:1", "-o", path)
        assert b"ui.perfetto.dev" in told.stderr
        assert not told.stdout
    piped = phonebench(sweep.folder, "phone-1:1", "-o", "-")
    assert piped.stdout == path.read_bytes()
    assert read_trace(piped.stdout).slices["launch"]


def test_the_command_says_what_is_wrong_and_how_it_ended(sweep: Sweep, tmp_path: Path) -> None:
    out = tmp_path / "out.pftrace"
    assert b"There is" in phonebench(sweep.folder, "999", "-o", out, code=2).stderr
    assert b"not a sweep folder" in phonebench(tmp_path, "1", "-o", out, code=2).stderr
    assert b"cannot write" in phonebench(sweep.folder, "local:1", "-o", tmp_path, code=2).stderr
    assert not out.exists()


def test_a_trace_is_not_poured_over_a_terminal(sweep: Sweep) -> None:
    ours, terminal = pty.openpty()
    ended = subprocess.run(
        [*PHONEBENCH, "trace", str(sweep.folder), "local:1", "-o", "-"],
        stdout=terminal, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(terminal)
    os.close(ours)
    assert ended.returncode == 2
    assert b"no text for a terminal" in ended.stderr


def test_what_is_no_file_is_written_into_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(fifo, b"bytes")
    assert os.read(reader, 100) == b"bytes"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]
