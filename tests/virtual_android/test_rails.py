"""The virtual phone's power rails, through its own perfetto."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

from tests.fakes.virtual_phones import SMALL, Shell
from tests.virtual_android import (
    AdbServer,
    VirtualPhone,
)

pytestmark = pytest.mark.slow


RAILS = ("S2M_VDD_CPUCL0", "S4M_VDD_CPUCL1", "L15M_VDD_SLC_M")
TRACES = "/data/misc/perfetto-traces"
RAILS_CONFIG = (
    "buffers { size_kb: 1024 }\n"
    'data_sources { config { name: "android.power" '
    "android_power_config { battery_poll_ms: 100 collect_power_rails: true } } }\n"
)


@pytest.fixture(scope="module")
def phone_with_rails(adb: AdbServer) -> Iterator[VirtualPhone]:
    with VirtualPhone(replace(SMALL, rails=RAILS)) as phone:
        phone.plug_in(adb)
        yield phone


def rails_of(trace: bytes) -> dict[str, list[tuple[int, int]]]:
    """Return each rail's times in ns of CLOCK_MONOTONIC, and its microwatt-seconds."""
    content = perfetto_trace_pb2.Trace.FromString(trace)
    clocks = {c.clock_id: c.timestamp for c in content.packet[0].clock_snapshot.clocks}
    names: dict[int, str] = {}
    found: dict[str, list[tuple[int, int]]] = {}
    for packet in content.packet:
        names |= {rail.index: rail.rail_name for rail in packet.power_rails.rail_descriptor}
        for reading in packet.power_rails.energy_data:
            time_ns = reading.timestamp_ms * 1_000_000 + clocks[3] - clocks[6]
            found.setdefault(names[reading.index], []).append((time_ns, reading.energy))
    return found


def test_power_rails_are_listed_where_there_are_any(
    phone_with_rails: VirtualPhone, phone: VirtualPhone, shell: Shell
) -> None:
    listed = shell(phone_with_rails, "dumpsys powerstats").stdout
    assert b"ChannelId: 0, ChannelName: S2M_VDD_CPUCL0, ChannelSubsystem: CPU\n" in listed
    assert b"ChannelId:" not in shell(phone, "dumpsys powerstats").stdout


def test_perfetto_records_what_the_rails_carry_until_it_is_told_to_end(
    adb: AdbServer, phone_with_rails: VirtualPhone, shell: Shell
) -> None:
    phone, file = phone_with_rails, f"{TRACES}/rails"
    started = shell(
        phone, f"perfetto --background --txt -c - -o {file} <<'END'\n{RAILS_CONFIG}END\n"
    )
    pid = int(started.stdout)
    begin_ns = phone.state()["monotonic_ns"]
    shell(phone, "timeout 0.5 sh -c 'while :; do :; done'; sleep 0.3")
    end_ns = phone.state()["monotonic_ns"]
    shell(phone, f"kill {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done")
    rails = rails_of(adb.run("-s", phone.serial, "exec-out", f"cat {file}").stdout)
    assert shell(phone, f"rm {file}").returncode == 0
    assert tuple(rails) == RAILS
    times = [time_ns for time_ns, _ in rails[RAILS[0]]]
    assert len(times) > 5
    assert times[0] < begin_ns < end_ns - 200_000_000 < times[-1]
    carried_mj = sum(points[-1][1] - points[0][1] for points in rails.values()) / 1000
    # The times of readings are whole milliseconds.
    assert carried_mj == pytest.approx(phone.consumed(times[0], times[-1]).mj, rel=0.02)
    assert rails[RAILS[0]][-1][1] > rails[RAILS[0]][0][1]


def test_perfetto_ends_by_itself_after_the_given_time(
    adb: AdbServer, phone_with_rails: VirtualPhone
) -> None:
    ran = adb.run(
        "-s", phone_with_rails.serial, "shell", "perfetto --txt -c - -o -",
        input=f"{RAILS_CONFIG}duration_ms: 350".encode(),
    )  # fmt: skip
    assert len(rails_of(ran.stdout)[RAILS[0]]) == 4


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("--txt -c - -o /data/local/tmp/trace", b"Failed to open /data/local/tmp/trace"),
        (
            f"--txt -c /data/local/tmp/config -o {TRACES}/x",
            b"Could not open /data/local/tmp/config",
        ),
        (f"--txt -c - -o {TRACES}/x --wrong", b"unrecognized option"),
    ],
)
def test_perfetto_refuses_what_android_refuses(
    phone_with_rails: VirtualPhone, shell: Shell, command: str, complaint: bytes
) -> None:
    ran = shell(phone_with_rails, f"echo | perfetto {command}")
    assert ran.returncode == 1
    assert complaint in ran.stderr


def test_perfetto_refuses_a_configuration_that_is_none(
    phone_with_rails: VirtualPhone, shell: Shell
) -> None:
    ran = shell(phone_with_rails, f"echo 'buffers {{' | perfetto --txt -c - -o {TRACES}/x -d")
    assert ran.returncode == 1
    assert b"The TraceConfig is invalid" in ran.stderr
