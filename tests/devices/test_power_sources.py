"""The sources of power of phones and of this computer: which there are, and why not."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices.android import gauge as android_gauge
from harness.devices.android import rails as android_rails
from harness.devices.android.device import AndroidPhone
from harness.devices.android.scripts import ROOT
from harness.devices.local import rapl
from harness.devices.monsoon import measure_offset
from harness.errors import MeterError
from harness.schema.power import CHARGE, CHARGING, CURRENT, VOLTAGE, Calibration, PowerSource
from tests.fakes.packs import fake_runner_pack
from tests.fakes.phones import QUICK, SMALL, opened, plugged_in, shell
from tests.virtual_android import AdbServer
from tests.virtual_android.spec import Battery

CALIBRATION = Calibration(
    fingerprint="f00d",
    made_unix=0.0,
    sign=-1,
    amperes_per_unit=1e-6,
    refresh_seconds=2.0,
    quantum=1.0,
)
BATTERY = "/sys/class/power_supply/battery"
READABLE = f"""{BATTERY} type Battery
{BATTERY} current_now -120000
{BATTERY} voltage_now 4012000
{BATTERY} charge_counter 3600000
{BATTERY} status Not charging
/sys/class/power_supply/usb type USB
"""


def gauge(found: dict[str, str], calibration: Calibration | None = CALIBRATION) -> PowerSource:
    return android_gauge.describe_source(found, calibration, "SERIAL")


def rails(found: dict[str, str]) -> PowerSource:
    return android_rails.describe_source(found)


def channels(source: PowerSource) -> dict[str, str]:
    return {c.name: probe.file or "command" for probe in source.probes for c in probe.channels}


# --- the fuel gauge ------------------------------------------------------------------------------


def test_a_gauge_is_read_from_sysfs_four_times_as_often_as_it_changes() -> None:
    source = gauge({"supplies": READABLE})
    assert source.name == f"fuel gauge ({BATTERY})"
    assert channels(source) == {
        CURRENT: f"{BATTERY}/current_now",
        VOLTAGE: f"{BATTERY}/voltage_now",
        CHARGE: f"{BATTERY}/charge_counter",
        CHARGING: f"{BATTERY}/status",
    }
    assert source.probes[0].period_seconds == 0.5
    assert source.sees_charging
    assert source.refusal == ""


@pytest.mark.parametrize(("refresh", "period"), [(0.01, 0.05), (60.0, 1.0)])
def test_a_gauge_is_read_neither_all_the_time_nor_hardly_ever(
    refresh: float, period: float
) -> None:
    calibration = CALIBRATION.model_copy(update={"refresh_seconds": refresh})
    assert gauge({"supplies": READABLE}, calibration).probes[0].period_seconds == period


def test_a_gauge_that_nobody_calibrated_is_listed_with_its_probes_and_the_command() -> None:
    source = gauge({"supplies": READABLE}, None)
    assert "not calibrated" in source.refusal
    assert source.advice == "phonebench calibrate SERIAL"
    assert source.probes


def test_the_battery_that_tells_most_is_taken_whatever_the_vendor_calls_it() -> None:
    other = READABLE.replace(BATTERY, "/sys/class/power_supply/maxfg")
    silent = f"{BATTERY} type Battery\n{BATTERY} current_now cat: x: Permission denied\n"
    assert "maxfg" in gauge({"supplies": silent + other}).name


def test_a_battery_that_tells_all_but_the_current_does_not_hide_the_one_that_tells_it() -> None:
    hidden = READABLE.replace("current_now -120000", "current_now cat: x: Permission denied")
    meagre = READABLE.replace(BATTERY, "/sys/class/power_supply/bms").splitlines()[:3]
    source = gauge({"supplies": hidden + "\n".join(meagre) + "\n", "asked": "-120000"})
    assert "bms" in source.name


def test_a_gauge_without_a_voltage_is_asked_of_the_battery_service_or_says_so() -> None:
    supplies = "".join(line + "\n" for line in READABLE.splitlines() if "voltage" not in line)
    assert gauge({"supplies": supplies, "asked": "-120000"}).name == "fuel gauge (cmd battery)"
    assert f"{BATTERY}/voltage_now answers nothing" in gauge({"supplies": supplies}).refusal


def test_a_gauge_that_sysfs_hides_is_asked_of_the_battery_service() -> None:
    denied = f"{BATTERY} type \n{BATTERY} current_now cat: {BATTERY}: Permission denied\n"
    source = gauge({"supplies": denied, "asked": "-120000\n"})
    assert source.name == "fuel gauge (cmd battery)"
    assert set(channels(source)) == {CURRENT, VOLTAGE, CHARGE, CHARGING}
    assert source.probes[0].period_seconds == 1.0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("cat: current_now: Permission denied", "Permission denied"),
        ("N/A", 'answers "N/A"'),
        ("", "answers nothing"),
    ],
)
def test_a_gauge_that_cannot_be_read_says_what_was_tried_and_what_came_back(
    answer: str, words: str
) -> None:
    supplies = f"{BATTERY} type Battery\n{BATTERY} current_now {answer}\n"
    source = gauge({"supplies": supplies, "asked": "Unknown command: current_now"})
    assert words in source.refusal
    assert "Unknown command" in source.refusal
    assert "external meter" in source.advice
    assert source.probes == ()


@pytest.mark.parametrize("answer", ["", "-\n", "N/A", "12.5.3x"])
def test_a_current_that_is_no_number_is_no_current(answer: str) -> None:
    source = gauge({"supplies": READABLE})
    assert android_gauge.parse_reading(source, answer) is None


# --- rails ---------------------------------------------------------------------------------------

POWERSTATS = """PowerStatsService dumpsys: available Channels
  ChannelId: 0, ChannelName: S10M_VDD_TPU, ChannelSubsystem: TPU
  ChannelId: 1, ChannelName: VSYS_PWR_MODEM, ChannelSubsystem: Modem
"""


def test_rails_are_named_and_need_perfetto() -> None:
    found = {"rails": POWERSTATS, "perfetto": "/system/bin/perfetto"}
    assert rails(found).name == "power rails (S10M_VDD_TPU, VSYS_PWR_MODEM)"
    assert rails(found).refusal == ""
    assert not rails(found).sees_charging
    assert "perfetto, which it lacks" in rails({"rails": POWERSTATS}).refusal


def test_a_phone_without_rails_says_so() -> None:
    assert "no power rails" in rails({"rails": "Can't find service: powerstats"}).refusal


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff not a trace"])
def test_a_recording_that_is_cut_or_empty_is_said_to_be(content: bytes) -> None:
    with pytest.raises(MeterError, match=r"damaged|holds no"):
        android_rails.parse_recording(content)


# --- this computer -------------------------------------------------------------------------------


def powercap(folder: Path, *packages: str) -> Path:
    for number, energy in enumerate(packages):
        for zone, name in ((f"intel-rapl:{number}", f"package-{number}"),
                           (f"intel-rapl:{number}:0", "core")):  # fmt: skip
            (folder / zone).mkdir(parents=True)
            (folder / zone / "name").write_text(f"{name}\n")
            (folder / zone / "energy_uj").write_text(f"{energy}\n")
            (folder / zone / "max_energy_range_uj").write_text("262143328850\n")
    return folder


def test_rapl_is_read_of_every_package_and_of_no_part_of_one(tmp_path: Path) -> None:
    (source,) = rapl.describe_sources(powercap(tmp_path, "12345", "678"))
    assert [c.name for p in source.probes for c in p.channels] == ["rapl_energy", "rapl_energy:1"]
    assert source.name == "RAPL (package-0, package-1)"
    assert source.wraps_at == 262143328850
    assert source.refusal == ""


def test_rapl_that_this_user_may_not_read_is_refused_with_the_way_to_it(tmp_path: Path) -> None:
    (source,) = rapl.describe_sources(powercap(tmp_path, ""))
    assert "cannot be read" in source.refusal
    assert "chmod" in source.advice


def test_a_computer_without_rapl_says_so(tmp_path: Path) -> None:
    (source,) = rapl.describe_sources(tmp_path / "nothing")
    assert "no energy counters" in source.refusal
    assert "modprobe" in source.advice


# --- virtual phones ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_phone_names_its_sources_and_reads_its_current(adb: AdbServer) -> None:
    with plugged_in(adb) as phone, opened(phone) as device:
        first, second, third = device.power_sources()
        assert (first.kind, second.kind, third.kind) == ("rails", "gauge", "meter")
        assert all(source.refusal and source.advice for source in (first, second, third))
        current = device.read_current(second)
        assert current is not None
        assert current > 0  # it charges


@pytest.mark.slow
def test_a_phone_that_hides_its_gauge_is_asked_for_it(adb: AdbServer) -> None:
    spec = replace(SMALL, battery=Battery(readable=False))
    with plugged_in(adb, spec) as phone, opened(phone) as device:
        source = device.power_sources()[1]
        assert source.name == "fuel gauge (cmd battery)"
        current = device.read_current(source)
        assert current is not None
        assert current > 0
        # The very command that the runner will run.
        (probe,) = source.probes
        assert probe.command is not None
        answer = shell(adb, phone, f"sh -c '{probe.command[-1]}'")
        for channel in probe.channels:
            assert channel.after in answer


RAILS = ("S2M_VDD_CPUCL0", "L15M_VDD_SLC_M")


@pytest.mark.slow
def test_rails_are_recorded_in_the_phones_monotonic_clock(adb: AdbServer) -> None:
    with plugged_in(adb, replace(SMALL, rails=RAILS)) as phone, opened(phone) as device:
        source = device.power_sources()[0]
        assert (source.kind, source.refusal) == ("rails", "")
        recorder = device.recorder(source)
        assert recorder is not None
        device.install(fake_runner_pack())
        offset = measure_offset(device.read_clock)
        assert offset.uncertainty_ns < 50_000_000
        before_ns, before = time.monotonic_ns(), phone.state()["consumed_mj"]
        recorder.start()
        time.sleep(3)
        traces = recorder.stop()
        after_ns, after = time.monotonic_ns(), phone.state()["consumed_mj"]
        assert {trace.name for trace in traces} == {f"rail:{name}" for name in RAILS}
        seen_mj = sum(trace.values[-1] - trace.values[0] for trace in traces) / 1000
        assert 0 < seen_mj <= after - before
        for trace in traces:
            assert trace.time_ns == sorted(trace.time_ns)
            times = [time_ns - offset.offset_ns for time_ns in trace.time_ns]
            doubt_ns = offset.uncertainty_ns + source.clock_uncertainty_ns
            assert before_ns - doubt_ns <= times[0] < times[-1] <= after_ns + doubt_ns
        assert not [command for command in phone.commands() if "perfetto" in command]
        assert shell(adb, phone, "ls /data/misc/perfetto-traces").strip() == ""
        assert "rails" not in shell(adb, phone, f"ls {ROOT}")


@pytest.mark.slow
def test_a_recording_whose_host_died_is_ended_and_removed_by_the_next(adb: AdbServer) -> None:
    with plugged_in(adb, replace(SMALL, rails=RAILS)) as phone:
        with opened(phone) as device:
            recorder = device.recorder(device.power_sources()[0])
            assert recorder is not None
            recorder.start()
        assert [command for command in phone.commands() if "perfetto" in command]
        with closing(AndroidPhone(phone.serial, "another host", QUICK)):
            pass
        assert not [command for command in phone.commands() if "perfetto" in command]
        assert shell(adb, phone, "ls /data/misc/perfetto-traces").strip() == ""
