"""What is read of the kernel while a launch runs: what there is, what is worth it, how often."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.devices.kernel_files import CPU, Readable, Zone, make_probes, parse_readable
from harness.schema.job import Pass, Probe

CORE = f"{CPU}/cpu4/cpufreq"
ANSWER = {
    "readable": f"/proc/stat\n{CORE}/scaling_cur_freq\n{CORE}/stats/time_in_state",
    "zones": "thermal_zone0 38000 cpu-0-0\nthermal_zone7 31250 skin-therm-adc\n"
    "thermal_zone9 -40000 modem\nthermal_zone3 0 gpu\nthermal_zone4 29000 battery\nnonsense",
}


def names(probes: Sequence[Probe]) -> list[str]:
    return [channel.name for probe in probes for channel in probe.channels]


def test_only_what_can_be_read_is_read() -> None:
    found = names(make_probes(parse_readable(ANSWER), "latency"))
    assert found[:3] == ["cpu4_clock", "cpu4_cycles", "cpu_busy"]
    assert names(make_probes(parse_readable({}), "latency")) == []


def test_the_skin_comes_first_and_implausible_sensors_not_at_all() -> None:
    found = names(make_probes(parse_readable(ANSWER), "latency"))
    assert found[3:] == ["temperature:skin-therm-adc", "temperature:battery", "temperature:cpu-0-0"]


def test_of_many_zones_a_few_are_followed_and_equal_names_are_told_apart() -> None:
    zones = tuple(Zone(f"thermal_zone{n}", "cpu", 40_000) for n in range(40))
    found = names(make_probes(Readable(frozenset(), zones), "latency"))
    assert len(found) == len(set(found)) == 6


@pytest.mark.parametrize("measured_pass", ["latency", "profile"])
def test_nothing_has_a_period_where_times_are_measured(measured_pass: Pass) -> None:
    probes = make_probes(parse_readable(ANSWER), measured_pass)
    assert probes
    assert all(probe.period_seconds is None for probe in probes)


@pytest.mark.parametrize(("measured_pass", "period"), [("memory", 0.02), ("energy", 0.1)])
def test_memory_is_followed_from_outside_in_bytes(measured_pass: Pass, period: float) -> None:
    memory, *others = make_probes(parse_readable(ANSWER), measured_pass)
    assert memory.file == "/proc/@PID/status"
    assert memory.period_seconds == period
    assert [(c.name, c.after, c.scale) for c in memory.channels] == [
        ("rss", "VmRSS:", 1024),
        ("swap", "VmSwap:", 1024),
    ]
    assert all(probe.period_seconds == 0.5 for probe in others)
