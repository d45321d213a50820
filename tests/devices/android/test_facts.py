"""What a phone's answers mean, on text as phones print it. No phone is needed."""

from __future__ import annotations

import pytest

from harness.devices.android import facts
from harness.devices.android.facts import Battery, Core, Thermal

PROPERTIES = """\
[ro.board.platform]: [kalama]
[ro.build.fingerprint]: [samsung/dm1q/dm1q:14/UP1A.231005.007/S911BXXS3BXD1:user/release-keys]
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.manufacturer]: [samsung]
[ro.product.model]: [SM-S911B]
[ro.serialno]: [R5CW10ABCDE]
[ro.soc.manufacturer]: [QTI]
[ro.soc.model]: [SM8550]
[persist.sys.boot.reason.history]: [reboot,1700000000
shutdown,1690000000]
[sys.boot_completed]: [1]
"""
CORES = "0 2016000\n1 2016000\n2 2016000\n3 2803200\n4 2803200\n5 2803200\n6 2803200\n7 3360000\n"
MEMINFO = "MemTotal:        7469204 kB\nMemFree:          301244 kB\nMemAvailable:    3512340 kB\n"
BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Charge counter: 3120000
  status: 2
  health: 2
  present: true
  level: 83
  scale: 100
  voltage: 4211
  temperature: 298
  technology: Li-ion
"""
THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 3
Thermal Status: 1
Cached temperatures:
	Temperature{mValue=99.0, mType=3, mName=skin, mStatus=5}
HAL Ready: true
Current temperatures from HAL:
	Temperature{mValue=41.2, mType=0, mName=AP, mStatus=0}
	Temperature{mValue=29.8, mType=2, mName=BAT, mStatus=0}
	Temperature{mValue=38.7, mType=3, mName=SKIN, mStatus=1}
	Temperature{mValue=0.0, mType=3, mName=SKIN2, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=cpu}
"""


def answer(**sections: str) -> str:
    """Return what the phone prints when it is asked several questions."""
    return "".join(f"phonebench {name}\n{text}" for name, text in sections.items())


def identity(**changes: str) -> str:
    sections = {
        "properties": PROPERTIES, "memory": MEMINFO, "cores": CORES, "page": "4096\n",
        "kernel": "5.15.123-android13\n",
    }  # fmt: skip
    return answer(**{**sections, **changes})


def test_an_answer_is_cut_into_sections() -> None:
    assert facts.sections("noise\nphonebench one\n1\nphonebench two\n") == {
        "one": "1",
        "two": "",
    }


def test_a_phone_is_described_by_its_properties() -> None:
    info, cores = facts.describe("R5CW10ABCDE", identity())
    assert (info.name, info.cpu) == ("samsung SM-S911B", "QTI SM8550")
    assert (info.system, info.abi, info.cores) == ("Android 14 (API 34)", "arm64-v8a", 8)
    assert info.memory_total_bytes == 7469204 * 1024
    assert info.details["page_bytes"] == "4096"
    assert info.details["max_clocks_khz"].startswith("2016000, ")
    assert cores[7] == Core(7, 3_360_000)


def test_a_property_may_hold_several_lines() -> None:
    found = facts.parse_properties(PROPERTIES)
    assert found["persist.sys.boot.reason.history"] == "reboot,1700000000\nshutdown,1690000000"
    assert found["sys.boot_completed"] == "1"


def test_a_phone_that_hides_its_soc_is_known_by_its_platform() -> None:
    hidden = PROPERTIES.replace("[ro.soc.model]: [SM8550]\n", "")
    info, _ = facts.describe("x", identity(properties=hidden))
    assert info.cpu == "QTI kalama"


@pytest.mark.parametrize(
    "change",
    [
        {"memory": MEMINFO.replace("7469204", "7469000")},
        {"memory": MEMINFO.replace("MemFree:          301244", "MemFree:          101244")},
        {"cores": CORES.replace("7 3360000", "7 ")},
        {"kernel": "5.15.124-android13\n"},
        {"properties": PROPERTIES.replace("[sys.boot_completed]: [1]\n", "")},
    ],
    ids=["reserved memory", "free memory", "an offline core", "kernel", "booting"],
)
def test_the_fingerprint_stays_the_same_in_use(change: dict[str, str]) -> None:
    before, _ = facts.describe("R5CW10ABCDE", identity())
    after, _ = facts.describe("192.168.1.7:5555", identity(**change))
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"properties": PROPERTIES.replace("R5CW10ABCDE", "R5CW10ZZZZZ")},
        {"properties": PROPERTIES.replace("S911BXXS3BXD1", "S911BXXS4CXE1")},
        {"page": "16384\n"},
        {"memory": MEMINFO.replace("7469204", "11469204")},
        {"cores": CORES.replace("7 3360000\n", "")},
    ],
    ids=["another phone", "an update", "page size", "memory", "cores"],
)
def test_the_fingerprint_changes_with_the_hardware_and_the_build(change: dict[str, str]) -> None:
    before, _ = facts.describe("x", identity())
    after, _ = facts.describe("x", identity(**change))
    assert after.fingerprint != before.fingerprint


def test_conditions_come_from_battery_thermal_service_and_clocks() -> None:
    found = facts.parse_conditions(
        answer(
            load="7.35 6.12 5.90 3/5321 20345\n",
            memory=MEMINFO,
            battery=BATTERY,
            thermal=THERMAL,
            clocks="691200\n2016000\n",
            limits="2016000\n2841600\n",
            governor="walt\n",
        ),
        unix=1.5,
    )
    assert (found.unix, found.load_1min, found.governor) == (1.5, 7.35, "walt")
    assert (found.battery_percent, found.charging, found.thermal_status) == (83, True, 1)
    assert found.temperature_celsius == 38.7
    assert found.clocks_khz == (691200, 2016000)
    assert found.clock_limits_khz == (2016000, 2841600)
    assert found.memory_available_bytes == 3512340 * 1024


def test_what_a_phone_does_not_tell_is_none_and_no_error() -> None:
    found = facts.parse_conditions(answer(load="", battery="Can't find service: battery\n"), 1.0)
    assert found.model_dump(exclude={"unix"}, exclude_none=True) == {}
    info, cores = facts.describe("x", "")
    assert (info.abi, info.cores, cores) == ("unknown", 0, ())


def test_without_a_skin_sensor_the_battery_tells_the_temperature() -> None:
    found = facts.parse_conditions(answer(battery=BATTERY, thermal="Thermal Status: 0\n"), 1.0)
    assert found.temperature_celsius == 29.8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BATTERY, Battery(83.0, True, 29.8)),
        (BATTERY.replace("status: 2", "status: 3"), Battery(83.0, False, 29.8)),
        (BATTERY.replace("temperature: 298", "temperature: -15"), Battery(83.0, True, -1.5)),
        (BATTERY.replace("scale: 100", "scale: 0"), Battery(None, True, 29.8)),
        ("", Battery(None, None, None)),
    ],
)
def test_batteries(text: str, expected: Battery) -> None:
    assert facts.parse_battery(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (THERMAL, Thermal(1, 38.7)),
        (THERMAL.replace("mValue=38.7", "mValue=0.0"), Thermal(1, None)),
        (THERMAL.partition("HAL Ready")[0], Thermal(1, None)),
        ("Thermal Status: 6\n", Thermal(6, None)),
        ("Can't find service: thermalservice\n", Thermal(None, None)),
    ],
    ids=["a reading", "0.0 is none", "cached is none", "only the status", "no service"],
)
def test_thermal_services(text: str, expected: Thermal) -> None:
    assert facts.parse_thermal(text) == expected


DF = """\
Filesystem       1K-blocks      Used Available Use% Mounted on
/dev/block/dm-50 109871460  38450220  71290168  36% /data/user/0
"""


@pytest.mark.parametrize(
    ("text", "expected"), [(DF, 71290168 * 1024), ("", None), ("df: no such file\n", None)]
)
def test_free_space(text: str, expected: int | None) -> None:
    assert facts.parse_free_bytes(text) == expected


def cores(*clocks: int | None) -> tuple[Core, ...]:
    return tuple(Core(number, khz) for number, khz in enumerate(clocks))


@pytest.mark.parametrize(
    ("clocks", "big", "little"),
    [
        ((1800, 1800, 2800, 2800), (2, 3), (0, 1)),
        ((2016, 2016, 2803, 3360), (3,), (0, 1)),
        ((1800, None, 2800, None), (2,), (0,)),
        ((2000, 2000), None, None),
        ((None, None), None, None),
        ((), None, None),
    ],
    ids=["two kinds", "three kinds", "some offline", "all alike", "not told", "none"],
)
def test_big_and_little_are_the_highest_and_the_lowest_clock(
    clocks: tuple[int | None, ...], big: tuple[int, ...] | None, little: tuple[int, ...] | None
) -> None:
    assert facts.select_cores("big", cores(*clocks)) == big
    assert facts.select_cores("little", cores(*clocks)) == little
