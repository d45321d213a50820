"""The sources of power of an Android phone: its power rails, and its fuel gauge.

Rails (ODPM) are measured behind the battery and recorded by the phone's own `perfetto`, beside
the launch. The gauge is read by the runner, from sysfs or, where the vendor hides that, by
`cmd battery`. Not here: an external meter (`harness/devices/monsoon.py`), and what the numbers mean
(`harness/analysis/energy.py`).
"""

from __future__ import annotations

import re
import shlex
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.devices.android.adb import Output
from harness.devices.android.scripts import ROOT
from harness.errors import MeterError
from harness.schema.job import Channel, Probe
from harness.schema.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    RAIL,
    SLOWEST_POLL_SECONDS,
    VOLTAGE,
    Calibration,
    PowerSource,
)
from harness.schema.record import Trace

_SUPPLIES = "/sys/class/power_supply"
# Vendors' names for the battery's gauge; the folder itself is often closed to the shell while
# the files in it are not, so they are asked for by name too.
_KNOWN_SUPPLIES = ("battery", "bms", "maxfg", "max77759fg", "main-battery")
_GAUGE_FILES = ("current_now", "voltage_now", "charge_counter", "status")

ASK = {
    "supplies": f"for s in {_SUPPLIES}/* {' '.join(f'{_SUPPLIES}/{n}' for n in _KNOWN_SUPPLIES)}; do\n"
    '[ -e "$s" ] || continue\n'
    'type=; { read -r type < "$s/type"; } 2>/dev/null; echo "$s type $type"\n'
    '[ "$type" = Battery ] || [ -z "$type" ] || continue\n'
    f"for f in {' '.join(_GAUGE_FILES)}; do\n"
    'echo "$s $f $(cat "$s/$f" 2>&1)"; done; done',
    "asked": "cmd battery get -f current_now 2>&1",
    "dumped": "dumpsys battery",
    "rails": "dumpsys powerstats",
    "perfetto": "command -v perfetto",
}

_UNKNOWN_PERIOD_SECONDS = 0.25
_SHORTEST_PERIOD_SECONDS = 0.05
_STATUS_PERIOD_SECONDS = 0.5


@dataclass(frozen=True)
class Supply:
    """One battery in /sys/class/power_supply: what each of its files answered."""

    folder: str
    answers: Mapping[str, str]

    def number(self, file: str) -> int | None:
        """Return what a file reads, None if it does not read as a number."""
        return _number(self.answers.get(file, ""))

    @property
    def missing(self) -> tuple[str, ...]:
        """The files that power is made of, and that do not read as numbers."""
        return tuple(f for f in ("current_now", "voltage_now") if self.number(f) is None)


def describe_sources(
    found: Mapping[str, str], calibration: Calibration | None, device: str
) -> tuple[PowerSource, ...]:
    """Return a phone's sources from the answers to ASK, the best first; unusable ones say why."""
    return (_rails(found), _gauge(found, calibration, device))


# --- rails ---------------------------------------------------------------------------------------

_TRACES = "/data/misc/perfetto-traces"  # the one folder where the phone lets perfetto write
_FILE_PREFIX = f"{_TRACES}/phonebench-"
# The shortest period that the android.power data source takes (perfetto, android_power_data_source.cc).
_RAIL_POLL_MS = 100
# Perfetto ends by itself, should the host be gone.
_LONGEST_RECORDING_MS = 3_600_000
_BUFFER_KB = 16_384
# Rails carry milliseconds of CLOCK_BOOTTIME; two clocks are snapped microseconds apart.
_RAIL_CLOCK_UNCERTAINTY_NS = 1_000_000
_LARGEST_TRACE_BYTES = 256 << 20
_UNDO = f"{ROOT}/changes/power-rails.sh"


def parse_rails(text: str) -> tuple[str, ...]:
    """Return the names of the rails in `dumpsys powerstats` (AOSP, PowerStatsService)."""
    names = re.findall(r"ChannelId: \d+, ChannelName: ([^,\n]+), ChannelSubsystem: ", text)
    return tuple(dict.fromkeys(names))


def _rails(found: Mapping[str, str]) -> PowerSource:
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
        clock_uncertainty_ns=_RAIL_CLOCK_UNCERTAINTY_NS,
        refusal=refusal,
        advice=advice,
    )


class RailsRecorder:
    """Records the rails with the phone's own perfetto, which outlives the connection.

    `run` runs a script on the phone, again if the phone went away meanwhile; it raises
    DeviceError, also on an exit code other than 0.
    """

    def __init__(self, run: Callable[[str, float], Output]) -> None:
        self._run = run
        self._file = self._note = ""

    def start(self) -> None:
        """Begin to record. Raises DeviceError; MeterError if perfetto does not start.

        How to undo it is among the phone's changes, for whoever comes after a host that died.
        """
        token = uuid.uuid4().hex
        self._file, self._note = f"{_FILE_PREFIX}{token}.pftrace", f"{ROOT}/rails.{token}"
        # The configuration comes on stdin: perfetto may not read the shell's own files (SELinux).
        answer = self._run(
            f"mkdir -p {ROOT}/changes && cat > {_UNDO} <<'END_OF_UNDO' || exit 1\n"
            f"{self._end}rm -f {self._file} {self._note}\nEND_OF_UNDO\n"
            f"[ -e {self._note} ] || perfetto --txt -c - -o {self._file} --background "
            f"> {self._note} 2>&1 <<'END_OF_CONFIG'\n{_make_config()}END_OF_CONFIG\n"
            f"cat {self._note}",
            20.0,
        ).text
        if not re.search(r"^\s*\d+\s*$", answer, re.M):
            raise MeterError(
                f"the phone's perfetto does not record power rails: {_quote(answer)}",
                'Choose another source in the plan: measure.energy_source = "gauge".',
            )

    def stop(self) -> tuple[Trace, ...]:
        """End, and return each rail's counter. Raises DeviceError; MeterError if it is damaged."""
        content = self._run(
            f"{self._end}bytes=$(stat -c %s {self._file} 2>/dev/null || echo 0)\n"
            f"[ $bytes -gt {_LARGEST_TRACE_BYTES} ] || cat {self._file} 2>/dev/null\ntrue",
            120.0,
        ).stdout
        self._run(f"rm -f {self._file} {self._note} {_UNDO}", 20.0)
        return parse_recording(content)

    @property
    def _end(self) -> str:
        """What ends perfetto, whose process id is noted, and sees it gone.

        It writes its file when it is asked to end, and is gone when that is whole.
        """
        return (
            "while read -r pid; do case $pid in *[!0-9]*|'') ;; *)\n"
            "grep -q perfetto /proc/$pid/cmdline && kill $pid && n=0 &&\n"
            "while [ -e /proc/$pid ] && [ $n -lt 150 ]; do sleep 0.1; n=$((n + 1)); done\n"
            f";; esac; done 2>/dev/null < {self._note}\n"
        )


def _make_config() -> str:
    return (
        f"buffers {{ size_kb: {_BUFFER_KB} fill_policy: DISCARD }}\n"
        'data_sources { config { name: "android.power" android_power_config {\n'
        f"  battery_poll_ms: {_RAIL_POLL_MS} collect_power_rails: true }} }} }}\n"
        f"duration_ms: {_LONGEST_RECORDING_MS}\n"
    )


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


_BOOTTIME_AND_MONOTONIC = (6, 3)  # ClockSnapshot.Clock.BuiltinClocks


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


# --- the fuel gauge ------------------------------------------------------------------------------


def parse_supplies(text: str) -> tuple[Supply, ...]:
    """Return the batteries, those that tell most of what matters first."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        match = re.match(rf"({_SUPPLIES}/\S+) (type|{'|'.join(_GAUGE_FILES)}) ?(.*)$", line)
        if match:
            answers[match[1]][match[2]] = match[3].strip()
    found = [
        Supply(folder, told)
        for folder, told in answers.items()
        if told.get("type") in ("Battery", "") and "current_now" in told
    ]

    def rank(supply: Supply) -> tuple[int, int]:
        silent = sum(supply.number(file) is None for file in _GAUGE_FILES)
        return len(supply.missing), silent

    return tuple(sorted(found, key=rank))


def _gauge(found: Mapping[str, str], calibration: Calibration | None, device: str) -> PowerSource:
    """Return the gauge as it can best be read; what cannot be read at all says so."""
    supplies = parse_supplies(found.get("supplies", ""))
    asked = _number(found.get("asked", ""))
    refusal, advice = _judge_calibration(calibration, device)
    if supplies and not supplies[0].missing:
        name, probes = supplies[0].folder, _sysfs_probes(supplies[0], calibration)
    elif asked is not None:
        name, probes = "cmd battery", _ASKED_PROBES
    else:
        name, probes = "hidden", ()
        refusal = _explain_hidden(supplies, found.get("asked", ""))
        advice = (
            "The vendor hides the gauge from adb: energy needs power rails or an external meter."
        )
    return PowerSource(
        kind="gauge",
        name=f"fuel gauge ({name})",
        probes=probes,
        sees_charging=True,
        calibration=calibration,
        refusal=refusal,
        advice=advice,
    )


def _judge_calibration(calibration: Calibration | None, device: str) -> tuple[str, str]:
    if calibration is not None:
        return "", ""
    return (
        "its fuel gauge is not calibrated: nobody knows the sign and the unit of its current",
        f"phonebench calibrate {device}",
    )


def _explain_hidden(supplies: Sequence[Supply], asked: str) -> str:
    """Say what was tried to read the current and the voltage, and what came back."""
    tried = [
        f"{supply.folder}/{file} answers {_quote(supply.answers.get(file, ''))}"
        for supply in supplies
        for file in supply.missing
    ]
    tried.append(f"`cmd battery get -f current_now` answers {_quote(asked)}")
    return f"its fuel gauge cannot be read: {'; '.join(tried)}"


def _quote(answer: str) -> str:
    line = " ".join(answer.split())
    return f'"{line[-80:]}"' if line else "nothing"


def _sysfs_probes(supply: Supply, calibration: Calibration | None) -> tuple[Probe, ...]:
    """Return the probes of a gauge in sysfs; units of power_supply: uV, and uAh for the counter."""
    period = _gauge_period(calibration)
    channels = {
        "current_now": Channel(name=CURRENT, unit="raw"),
        "voltage_now": Channel(name=VOLTAGE, unit="V", scale=1e-6),
        "charge_counter": Channel(name=CHARGE, unit="uAh"),
    }
    numbers = [
        Probe(file=f"{supply.folder}/{file}", period_seconds=period, channels=(channel,))
        for file, channel in channels.items()
        if supply.number(file) is not None
    ]
    if not supply.answers.get("status", "").replace(" ", "").isalpha():
        return tuple(numbers)
    status = Probe(
        file=f"{supply.folder}/status",
        period_seconds=_STATUS_PERIOD_SECONDS,
        reading="charging",
        channels=(Channel(name=CHARGING, unit="boolean"),),
    )
    return (*numbers, status)


def _gauge_period(calibration: Calibration | None) -> float:
    """Return how often a gauge is read: four times as often as it changes, within reason."""
    if calibration is None:
        return _UNKNOWN_PERIOD_SECONDS
    wanted = calibration.refresh_seconds / 4
    return min(max(wanted, _SHORTEST_PERIOD_SECONDS), SLOWEST_POLL_SECONDS)


# The battery service is asked for the current with -f, which makes it read everything anew; then
# `dumpsys battery` tells that. Status 2 is charging and 5 full (android.os.BatteryManager).
_ASKED_PROBES = (
    Probe(
        command=(
            "sh",
            "-c",
            'echo "current $(cmd battery get -f current_now)"; b=$(dumpsys battery); echo "$b"\n'
            'case "$b" in *"  status: 3"*) echo plugged 0;; *) echo plugged 1;; esac',
        ),
        period_seconds=SLOWEST_POLL_SECONDS,  # each reading starts two programs
        channels=(
            Channel(name=CURRENT, unit="raw", after="current "),
            Channel(name=VOLTAGE, unit="V", after="\n  voltage:", scale=1e-3),
            Channel(name=CHARGE, unit="uAh", after="Charge counter:"),
            Channel(name=CHARGING, unit="boolean", after="plugged "),
        ),
    ),
)


def make_reading(source: PowerSource) -> str | None:
    """Return the script that reads the gauge's current once; None if the source has no such probe."""
    probe = source.current_probe
    if probe is None:
        return None
    return f"cat {probe.file}" if probe.command is None else shlex.join(probe.command)


def parse_reading(source: PowerSource, answer: str) -> float | None:
    """Return the raw current in the answer to `make_reading`."""
    probe = source.current_probe
    if probe is None:
        return None
    after = re.escape(probe.channels[0].after)
    match = re.search(rf"{after}\s*([+-]?\d+)(?![\w.])", answer)
    return float(match[1]) if match else None


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else None
