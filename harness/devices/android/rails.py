"""The power rails of an Android phone (ODPM): recorded by the phone's own perfetto, beside a launch.

Rails are measured behind the battery, so a charger does not disturb them. Not here: the fuel gauge
(`gauge.py`), and what the numbers mean (`harness/analysis/energy.py`).
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.devices.android.facts import quote
from harness.devices.android.scripts import ROOT, Script, script
from harness.devices.android.shell import GuardedShell
from harness.errors import MeterError
from harness.schema.power import RAIL, PowerSource
from harness.schema.record import Trace

_TRACES = "/data/misc/perfetto-traces"  # the one folder where the phone lets perfetto write
# Rails carry milliseconds of CLOCK_BOOTTIME; two clocks are snapped microseconds apart.
_CLOCK_UNCERTAINTY_NS = 1_000_000
_LARGEST_TRACE_BYTES = 256 << 20
_STOP_SECONDS = 120.0
_BOOTTIME_AND_MONOTONIC = (6, 3)  # ClockSnapshot.Clock.BuiltinClocks


def parse_rails(text: str) -> tuple[str, ...]:
    """Return the names of the rails in `dumpsys powerstats` (AOSP, PowerStatsService)."""
    names = re.findall(r"ChannelId: \d+, ChannelName: ([^,\n]+), ChannelSubsystem: ", text)
    return tuple(dict.fromkeys(names))


def describe_source(found: Mapping[str, str]) -> PowerSource:
    """Return the rails as a source, from the answer to power_sources.sh; unusable ones say why."""
    rails = parse_rails(found.get("rails", ""))
    refusal = advice = ""
    if not rails:
        refusal = "it has no power rails that it lets be read (`dumpsys powerstats` lists none)"
        advice = "Pixel 6 and later have power rails."
    elif not found.get("perfetto", "").strip():
        refusal = "its power rails can only be recorded with perfetto, which it lacks"
        advice = "Android 10 and later have perfetto."
    shown = ", ".join(rails[:3]) + (f" and {len(rails) - 3} more" if len(rails) > 3 else "")
    return PowerSource(
        kind="rails",
        name=f"power rails ({shown})" if rails else "power rails",
        clock_uncertainty_ns=_CLOCK_UNCERTAINTY_NS,
        refusal=refusal,
        advice=advice,
    )


class RailsRecorder:
    """Records the rails of a phone; what records outlives the connection."""

    def __init__(self, shell: GuardedShell) -> None:
        self._shell = shell
        self._file = self._note = ""

    def start(self) -> None:
        """Begin to record. Raises DeviceError; MeterError if perfetto does not start.

        How to undo it is among the phone's changes, for whoever comes after a host that died.
        """
        token = uuid.uuid4().hex
        self._file, self._note = f"{_TRACES}/phonebench-{token}.pftrace", f"{ROOT}/rails.{token}"
        undo = f"{self._end.text}\n{self._remove().text}"
        start = script("power/rails_start", file=self._file, note=self._note, undo=undo)
        answer = self._shell.run(start).text
        if not re.search(r"^\s*\d+\s*$", answer, re.M):
            raise MeterError(
                f"the phone's perfetto does not record power rails: {quote(answer)}",
                'Choose another source in the plan: measure.energy_source = "gauge".',
            )

    def stop(self) -> tuple[Trace, ...]:
        """End, and return each rail's counter. Raises DeviceError; MeterError if it is damaged."""
        read = script("power/rails_read", file=self._file, largest_bytes=_LARGEST_TRACE_BYTES)
        content = self._shell.run(self._end, read, seconds=_STOP_SECONDS).stdout
        self._shell.run(self._remove(f"{ROOT}/changes/power-rails.sh"))
        return parse_recording(content)

    @property
    def _end(self) -> Script:
        return script("power/rails_end", note=self._note)

    def _remove(self, *more: str) -> Script:
        return script("files/remove", self._file, self._note, *more)


def parse_recording(content: bytes) -> tuple[Trace, ...]:
    """Return the rails of a perfetto trace, in CLOCK_MONOTONIC. Raises MeterError if there are none.

    Energies are microjoules since boot; their times, milliseconds of CLOCK_BOOTTIME, are mapped by the
    trace's own snapshots of the clocks (perfetto, power_rails.proto and clock_snapshot.proto).
    """
    from google.protobuf.message import DecodeError
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

    trace = pb.Trace()
    try:
        trace.ParseFromString(content)
    except DecodeError as error:
        raise MeterError("the phone's recording of its power rails is damaged") from error
    names: dict[int, str] = {}
    points: dict[int, dict[int, float]] = defaultdict(dict)
    offsets: list[tuple[int, int]] = []
    for packet in trace.packet:
        if packet.HasField("clock_snapshot"):
            clocks = {clock.clock_id: clock.timestamp for clock in packet.clock_snapshot.clocks}
            boot, monotonic = (clocks.get(n) for n in _BOOTTIME_AND_MONOTONIC)
            if boot is not None and monotonic is not None:
                offsets.append((boot, monotonic - boot))
        if packet.HasField("power_rails"):
            names |= {rail.index: rail.rail_name for rail in packet.power_rails.rail_descriptor}
            for reading in packet.power_rails.energy_data:
                points[reading.index][reading.timestamp_ms * 1_000_000] = float(reading.energy)
    if not points or not offsets:
        missing = "no readings" if not points else "no clocks"
        raise MeterError(f"the phone's recording of its power rails holds {missing}")
    return tuple(
        _as_trace(names.get(index, f"rail {index}"), points[index], offsets)
        for index in sorted(points)
    )


def _as_trace(name: str, points: Mapping[int, float], offsets: Sequence[tuple[int, int]]) -> Trace:
    """Return one rail; each time is mapped by the snapshot that is nearest to it."""
    times = sorted(points)
    return Trace(
        type="trace",
        name=f"{RAIL}{name}",
        unit="uJ",
        time_ns=[time + min(offsets, key=lambda o: abs(o[0] - time))[1] for time in times],
        values=[points[time] for time in times],
    )
