"""Examining devices: pure judgement, and real answers of virtual phones in every sort of trouble."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.doubts import find_limits
from harness.analysis.summary import summarise
from harness.devices.android import health as android_health
from harness.devices.android.device import AndroidPhone
from harness.devices.android.scripts import ROOT
from harness.devices.health import (
    Busy,
    Health,
    Link,
    Load,
    measure_load,
    parse_clock_cap,
    parse_offline,
)
from harness.devices.local import health as local_health
from harness.devices.local.device import LocalDevice, lock_path
from harness.doctor import examine as doctor
from harness.errors import DeviceUnfit, PlanError
from harness.measure.sweep import hold, note_examination
from harness.results.folder import read_sweep
from harness.schema.device import Conditions, DeviceFinding
from tests.conftest import missing
from tests.places import REPOSITORY
from tests.virtual_android import AdbServer, Battery, Fault, PhoneSpec, VirtualPhone

GOOD = Health(
    kind="android",
    conditions=Conditions(
        unix=0.0,
        temperature_celsius=27.0,
        battery_percent=80.0,
        charging=False,
        thermal_status=0,
    ),
    holder="",
    virtual_signs="",
    load=Load(0.1, (Busy("system_server", 0.1),)),
    free_bytes=20_000_000_000,
    governors=("performance",),
    clock_cap=1.0,
    offline_cores=(),
    missing_tools=(),
    build_type="user",
    battery_frozen=False,
    battery_saver=False,
    screen_on=True,
    selinux="Enforcing",
    link=Link("usb", 41, 41, 35e6, 30e6),
)
NOTHING_KNOWN = Health(kind="android", conditions=Conditions(unix=0.0))


def of(health: Health, key: str) -> DeviceFinding:
    """Return the finding of that key."""
    return next(finding for finding in doctor.judge(health) if finding.key == key)


def with_conditions(**changes: object) -> Health:
    return replace(GOOD, conditions=GOOD.conditions.model_copy(update=changes))


# --- judgement -----------------------------------------------------------------------------------


def test_a_phone_in_good_state_has_nothing_to_complain_of() -> None:
    assert {finding.level for finding in doctor.judge(GOOD)} == {"ok"}


@pytest.mark.parametrize(
    ("health", "key", "level", "says"),
    [
        (with_conditions(battery_percent=24.0), "battery-low", "serious", "24%"),
        (with_conditions(battery_percent=25.0), "battery-low", "ok", "25%"),
        (with_conditions(charging=True), "battery-charging", "warning", "charges"),
        (with_conditions(temperature_celsius=41.5), "temperature", "serious", "42 °C"),
        (with_conditions(temperature_celsius=38.0), "temperature", "warning", "38 °C"),
        (with_conditions(thermal_status=1), "throttling", "warning", "status 1 of 6"),
        (with_conditions(thermal_status=3), "throttling", "serious", "status 3 of 6"),
        (replace(GOOD, battery_frozen=True), "battery-frozen", "serious", "made up"),
        (replace(GOOD, battery_saver=True), "battery-saver", "serious", "lowers the clocks"),
        (replace(GOOD, virtual_signs="ro.hardware is ranchu"), "emulator", "serious", "ranchu"),
        (replace(GOOD, build_type="userdebug"), "debuggable", "warning", "userdebug"),
        (replace(GOOD, build_type="eng"), "debuggable", "serious", "eng"),
        (replace(GOOD, screen_on=False), "screen-off", "warning", "doze"),
        (
            replace(GOOD, load=Load(1.6, (Busy("com.game", 1.2), Busy("gms", 0.4)))),
            "busy",
            "serious",
            "1.6 cores are busy: com.game 1.2, gms 0.4",
        ),
        (replace(GOOD, load=Load(0.5, ())), "busy", "warning", "0.5 cores"),
        (replace(GOOD, free_bytes=100_000_000), "space-low", "serious", "100 MB"),
        (replace(GOOD, free_bytes=400_000_000), "space-low", "warning", "400 MB"),
        (replace(GOOD, missing_tools=("setsid",)), "tools-missing", "serious", "setsid"),
        (replace(GOOD, governors=("schedutil",)), "clocks-vary", "warning", "schedutil"),
        (replace(GOOD, clock_cap=0.6), "clocks-held", "warning", "60%"),
        (replace(GOOD, offline_cores=(4, 5)), "cores-offline", "warning", "4, 5"),
        (replace(GOOD, selinux="Permissive"), "selinux", "warning", "permissive"),
        (replace(GOOD, holder="ann on rack (process 7: sweep x)"), "in-use", "serious", "ann"),
        (replace(GOOD, link=Link("usb", 41, 39)), "adb", "warning", "39"),
        (replace(GOOD, link=Link("usb", 41, 41, 2e6, 9e6)), "link", "warning", "2.0 MB/s"),
        (replace(GOOD, link=Link("network", 41, 41, 20e6, 20e6)), "link", "warning", "network"),
        (GOOD, "link", "ok", "as USB 2 allows"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_level_its_number_and_a_way_out(
    health: Health, key: str, level: str, says: str
) -> None:
    finding = of(health, key)
    assert (finding.level, says in finding.text) == (level, True), finding
    assert bool(finding.advice) == (level != "ok")


def test_what_a_phone_does_not_tell_is_a_finding_and_never_stands_in_the_way() -> None:
    findings = doctor.judge(NOTHING_KNOWN)
    assert {finding.level for finding in findings} == {"warning"}
    assert all("cannot be read" in finding.text and finding.advice for finding in findings)


def test_the_gravest_comes_first() -> None:
    health = replace(GOOD, screen_on=False, battery_saver=True)
    assert [finding.key for finding in doctor.judge(health)][:2] == ["battery-saver", "screen-off"]


def test_a_busy_hot_virtual_computer_without_a_compiler_is_still_measured() -> None:
    health = Health(
        kind="local",
        conditions=Conditions(unix=0.0, temperature_celsius=99.0),
        holder="",
        virtual_signs="/.dockerenv is there",
        load=Load(8.0, (Busy("cc1plus", 8.0),)),
        free_bytes=10**10,
    )
    assert {finding.level for finding in doctor.judge(health)} == {"warning", "ok"}
    doctor.refuse_unfit({"local": doctor.judge(health)}, ())


def test_a_refusal_names_every_serious_finding_its_way_out_and_how_to_accept_all() -> None:
    health = replace(with_conditions(battery_percent=12.0), virtual_signs="ro.hardware is ranchu")
    findings = {"phone": doctor.judge(health), "other": doctor.judge(GOOD)}
    with pytest.raises(DeviceUnfit) as refused:
        doctor.refuse_unfit(findings, ["emulator"])
    assert "phone: battery-low: the battery is at 12%\n    Charge it" in refused.value.message
    assert "ranchu" not in refused.value.message
    assert "--accept emulator,battery-low" in refused.value.advice
    doctor.refuse_unfit(findings, ["emulator", "battery-low"])
    doctor.refuse_unfit(findings, ["all"])


def test_accepting_what_does_not_exist_names_what_does() -> None:
    assert doctor.parse_accepted(" busy, all,busy") == ("busy", "all")
    assert doctor.parse_accepted(None) == ()
    with pytest.raises(PlanError, match="--accept battery: there is no such") as error:
        doctor.parse_accepted("battery")
    assert "battery-low" in error.value.advice


def test_the_docs_name_every_finding() -> None:
    page = (REPOSITORY / "docs/doctor.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE)) == doctor.KEYS


# --- answers -------------------------------------------------------------------------------------


def stat(pid: int, name: str, group: int, ticks: int) -> str:
    return f"{pid} ({name}) S 1 {group} {group} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 5"


def test_load_is_what_others_used_between_two_readings() -> None:
    before = [stat(7, "a) (b", 7, 100), stat(8, "runner", 8, 0), stat(9, "gle.android.gms", 9, 10)]
    after = [stat(7, "a) (b", 7, 150), stat(8, "runner", 8, 90), stat(9, "gle.android.gms", 9, 20)]
    names = {9: "com.google.android.gms"}
    load = measure_load(
        "\n".join(before), "\n".join([*after, stat(10, "new", 10, 99), "11 (torn"]), 0.5,
        frozenset({8}), names,
    )  # fmt: skip
    assert load == Load(1.2, (Busy("a) (b", 1.0), Busy("com.google.android.gms", 0.2)))
    assert measure_load("", "", 0.5, frozenset(), names) is None


def test_cores_and_clocks_are_read_as_the_kernel_writes_them() -> None:
    assert parse_offline("0-7", "0-3,6") == (4, 5, 7)
    assert parse_offline("0", "0") == ()
    assert parse_offline("", "0-3") is None
    assert parse_clock_cap("1800000 1800000\n1400000 2800000\n\nnonsense") == 0.5
    assert parse_clock_cap("") is None


@pytest.mark.parametrize(
    ("properties", "signs"),
    [
        ({"ro.hardware": "oriole", "ro.product.model": "Pixel 6"}, ""),
        ({"ro.hardware": "ranchu"}, "ro.hardware is ranchu"),
        ({"ro.kernel.qemu": "1", "ro.hardware": "x"}, "ro.kernel.qemu is 1"),
        ({"ro.product.model": "sdk_gphone64_x86_64"}, "ro.product.model is sdk_gphone64_x86_64"),
        ({}, None),
    ],
)
def test_emulators_give_themselves_away(properties: dict[str, str], signs: str | None) -> None:
    assert android_health.find_virtual_signs(properties) == signs


def test_an_answer_without_anything_in_it_leaves_everything_unknown() -> None:
    health = android_health.parse_health("", 0.0, None, None)
    assert health == NOTHING_KNOWN


def test_this_computer_is_examined_without_being_changed(own_cache: Path) -> None:
    health = local_health.read_health("local", measure_link=True)
    assert (health.kind, health.holder) == ("local", "")
    assert health.load is not None
    assert health.free_bytes
    assert not own_cache.exists()


def test_this_computer_says_who_measures_on_it(own_cache: Path) -> None:
    with closing(LocalDevice(lock_path().parent, "sweep one")):
        holder = local_health.read_health("local", measure_link=False).holder
    assert holder == f"process {os.getpid()}: sweep one"
    assert local_health.read_health("local", measure_link=False).holder == ""


def test_cleaning_this_computer_removes_its_jobs(own_cache: Path) -> None:
    with closing(LocalDevice(lock_path().parent, "clean")) as device:
        job = lock_path().parent / "jobs" / "old"
        job.mkdir()
        (job / "result.jsonl").write_bytes(bytes(1000))
        assert device.clean() >= 1000
        assert device.jobs() == []


# --- virtual phones ------------------------------------------------------------------------------

# A name that no emulator has: what it is otherwise is judged as a phone's.
PHONE = PhoneSpec(device="handset", data_bytes=1024**3)


@pytest.fixture(scope="module")
def handset(adb: AdbServer) -> Iterator[VirtualPhone]:
    with VirtualPhone(PHONE) as phone:
        phone.plug_in(adb)
        yield phone


def examined(phone: VirtualPhone, key: str) -> DeviceFinding:
    return of(android_health.read_health(phone.serial, measure_link=False), key)


def await_level(phone: VirtualPhone, key: str, level: str) -> DeviceFinding:
    """Examine the phone until its gauges and its kernel tell what has happened to it."""
    deadline = time.monotonic() + 20
    while (finding := examined(phone, key)).level != level:
        assert time.monotonic() < deadline, finding
    return finding


def examine_new_phone(adb: AdbServer, spec: PhoneSpec, key: str) -> DeviceFinding:
    with VirtualPhone(spec) as phone:
        phone.plug_in(adb)
        return examined(phone, key)


@pytest.mark.slow
def test_a_healthy_phone_is_fit_every_question_is_answered_and_nothing_is_left_on_it(
    adb: AdbServer, handset: VirtualPhone
) -> None:
    health = android_health.read_health(handset.serial, measure_link=True)
    findings = doctor.judge(health)
    assert not [finding for finding in findings if finding.level == "serious"]
    assert not [finding for finding in findings if "cannot be read" in finding.text]
    assert health.link is not None
    assert health.link.push_bytes_per_second
    assert health.link.pull_bytes_per_second
    assert handset.altered() == {}
    assert adb.run("-s", handset.serial, "shell", f"ls {ROOT}").returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "key", "level", "says"),
    [
        ({"emulator": True}, "emulator", "serious", "ro.kernel.qemu is 1"),
        ({"device": "virtual"}, "emulator", "serious", "ro.hardware is virtual"),
        ({"debuggable": True}, "debuggable", "warning", "userdebug"),
        ({"battery": Battery(level_percent=12.0)}, "battery-low", "serious", "12%"),
        ({"missing_tools": ("setsid", "df")}, "tools-missing", "serious", "lacks df, setsid"),
        ({"missing_tools": ("df",)}, "space-low", "warning", "cannot be read"),
    ],
)
def test_what_a_phone_is_shows(
    adb: AdbServer, changes: dict[str, object], key: str, level: str, says: str
) -> None:
    finding = examine_new_phone(adb, replace(PHONE, **changes), key)  # type: ignore[arg-type]
    assert (finding.level, says in finding.text) == (level, True), finding


@pytest.mark.slow
def test_heat_a_full_disk_and_a_lost_core_show(adb: AdbServer) -> None:
    if (os.cpu_count() or 1) < 2:
        missing("a second core")
    with VirtualPhone(PHONE) as phone:
        phone.plug_in(adb)
        phone.faults.add(Fault("heat", celsius=20.0))
        phone.faults.add(Fault("disk_full", free_bytes=50_000_000))
        phone.faults.add(Fault("core_offline", core=1))
        assert "°C" in await_level(phone, "temperature", "serious").text
        assert "thermal status" in await_level(phone, "throttling", "serious").text
        assert "50 MB" in await_level(phone, "space-low", "serious").text
        assert await_level(phone, "cores-offline", "warning").text == "cores offline: 1"
        assert await_level(phone, "clocks-held", "warning").text.startswith("a core is held at")


@pytest.mark.slow
def test_a_full_phone_is_examined_all_the_same(adb: AdbServer) -> None:
    with VirtualPhone(PHONE) as phone:
        phone.plug_in(adb)
        phone.faults.add(Fault("disk_full", free_bytes=0))
        await_level(phone, "space-low", "serious")
        health = android_health.read_health(phone.serial, measure_link=True)
        assert "speed not measured" in of(health, "link").text


@pytest.mark.slow
def test_what_keeps_a_phone_busy_is_named(adb: AdbServer) -> None:
    with VirtualPhone(PHONE) as phone:
        phone.plug_in(adb)
        spin = "while :; do :; done & while :; do :; done"
        with adb.popen("-s", phone.serial, "shell", spin) as spinning:
            deadline = time.monotonic() + 20
            while (finding := examined(phone, "busy")).level == "ok":
                if time.monotonic() > deadline:
                    break
            spinning.kill()
    assert "busy: sh " in finding.text


@pytest.mark.slow
def test_a_job_of_ours_that_still_runs_does_not_make_a_phone_busy(adb: AdbServer) -> None:
    with VirtualPhone(PHONE) as phone:
        phone.plug_in(adb)
        spin = f"mkdir -p {ROOT}/jobs/x; setsid sh -c 'echo $$ 9 > {ROOT}/jobs/x/pid; while :; do :; done'"
        with adb.popen("-s", phone.serial, "shell", spin) as spinning:
            try:
                await_commands(phone, "while :")
                await_level(phone, "busy", "ok")
            finally:
                spinning.kill()


def await_commands(phone: VirtualPhone, part: str) -> None:
    deadline = time.monotonic() + 20
    while not any(part in command for command in phone.commands()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_pretended_battery_a_dark_screen_and_the_battery_saver_show(
    adb: AdbServer, handset: VirtualPhone
) -> None:
    def shell(command: str) -> None:
        adb.run("-s", handset.serial, "shell", command, check=True)

    shell("dumpsys battery unplug; settings put global low_power 1; input keyevent SLEEP")
    try:
        health = android_health.read_health(handset.serial, measure_link=False)
    finally:
        shell("dumpsys battery reset; settings put global low_power 0; input keyevent WAKEUP")
    assert of(health, "battery-frozen").level == "serious"
    assert of(health, "battery-saver").level == "serious"
    assert of(health, "screen-off").level == "warning"


# --- the verbs -----------------------------------------------------------------------------------


def phonebench(*arguments: str, cwd: Path, code: int) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def test_doctor_of_this_computer_ends_well_for_people_and_for_scripts(tmp_path: Path) -> None:
    told = json.loads(phonebench("doctor", "local", "--json", cwd=tmp_path, code=0).stdout)
    assert told[0]["id"] == "local"
    assert {finding["key"] for finding in told[0]["findings"]} >= {"busy", "virtualised", "energy"}
    assert "0 serious" in phonebench("doctor", "local", cwd=tmp_path, code=0).stdout


@pytest.mark.slow
def test_doctor_without_a_name_examines_all_also_those_that_cannot_be_used(
    adb: AdbServer, handset: VirtualPhone, tmp_path: Path
) -> None:
    with VirtualPhone(replace(PHONE, authorization="refuses")) as locked:
        locked.plug_in(adb, state="unauthorized")
        told = json.loads(phonebench("doctor", "--json", cwd=tmp_path, code=3).stdout)
    found = {device["id"]: device["findings"] for device in told}
    assert set(found) == {"local", handset.serial, locked.serial}
    (finding,) = found[locked.serial]
    assert (finding["key"], finding["text"]) == ("not-ready", "it is unauthorized")
    assert "screen" in finding["advice"]
    phonebench("doctor", handset.serial, cwd=tmp_path, code=0)
    assert "no device 'pixel'" in phonebench("doctor", "pixel", cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_doctor_tells_of_a_gauge_that_sysfs_hides_that_it_is_asked_for_and_not_calibrated(
    adb: AdbServer, tmp_path: Path
) -> None:
    with VirtualPhone(replace(PHONE, battery=Battery(readable=False))) as phone:
        serial = phone.plug_in(adb)
        (told,) = json.loads(phonebench("doctor", serial, "--json", cwd=tmp_path, code=0).stdout)
    (finding,) = [finding for finding in told["findings"] if finding["key"] == "energy"]
    assert finding["level"] == "warning", "latency can be measured all the same"
    assert "fuel gauge (cmd battery): its fuel gauge is not calibrated" in finding["text"]
    assert f"phonebench calibrate {serial}" in finding["advice"]


@pytest.mark.slow
def test_run_refuses_an_unfit_phone_unless_told_otherwise_and_writes_down_what_it_was_told(
    adb: AdbServer, tmp_path: Path
) -> None:
    # Its model cannot be exported: all that is to be seen happens before anything is launched.
    (tmp_path / "my_models.py").write_text("def net():\n    raise RuntimeError('no weights')\n")
    run = ("run", "my_models:net", "--shape", "1x3", "--no-report", "--device")
    spec = replace(PHONE, emulator=True, battery=Battery(level_percent=12.0))
    with VirtualPhone(spec) as phone:
        serial = phone.plug_in(adb)
        refused = phonebench(*run, serial, "--accept", "emulator", cwd=tmp_path, code=2).stderr
        assert "battery-low: the battery is at 12%" in refused
        assert "--accept emulator,battery-low" in refused
        assert not (tmp_path / "sweeps").exists()
        phonebench(*run, serial, "--accept", "emulator,battery-low", cwd=tmp_path, code=3)
        (folder,) = (tmp_path / "sweeps").iterdir()
        file = read_sweep(folder).file
        assert file.accepted == ("emulator", "battery-low")
        levels = {finding.key: finding.level for finding in file.findings[serial]}
        assert [levels[key] for key in file.accepted] == ["serious", "serious"]

        phonebench("run", "--resume", "--no-report", cwd=tmp_path, code=3)
        phone.faults.add(Fault("disk_full", free_bytes=1_000_000))
        assert await_level(phone, "space-low", "serious")
        assert "space-low" in phonebench("run", "--resume", cwd=tmp_path, code=2).stderr
        again = ("run", "--resume", "--no-report", "--accept", "all")
        phonebench(*again, cwd=tmp_path, code=3)
    sweep = read_sweep(folder)
    assert sweep.file.accepted == ("emulator", "battery-low", "all")
    shown = [f for f in find_limits(summarise(sweep)) if f.key == "accepted_findings"]
    assert [(f.where, len(f.details)) for f in shown] == [(serial, 3)]


@pytest.mark.slow
def test_a_phone_in_use_is_neither_run_nor_cleaned_and_then_only_what_is_ours_goes(
    adb: AdbServer, handset: VirtualPhone, tmp_path: Path
) -> None:
    serial = handset.serial
    adb.run("-s", serial, "shell", "echo theirs > /data/local/tmp/theirs", check=True)
    with closing(AndroidPhone(serial, "sweep one")):
        finding = examined(handset, "in-use")
        assert (finding.level, "sweep one" in finding.text) == ("serious", True)
        (tmp_path / "my_models.py").touch()
        run = ("run", "my_models:net", "--shape", "1x3", "--device", serial)
        assert "in-use" in phonebench(*run, cwd=tmp_path, code=2).stderr
        busy = phonebench("clean", serial, "--yes", cwd=tmp_path, code=3)
        assert "is in use by" in busy.stderr
        store = f"head -c 5000000 /dev/zero > {ROOT}/store/aa"
        adb.run("-s", serial, "shell", store, check=True)
    assert examined(handset, "in-use").level == "ok"
    assert "nobody to ask" in phonebench("clean", serial, cwd=tmp_path, code=2).stderr
    told = phonebench("clean", serial, "--yes", cwd=tmp_path, code=0).stdout
    assert float(told.split()[1]) >= 5.0
    assert told.endswith("MB freed\n")
    left = adb.run("-s", serial, "shell", "ls /data/local/tmp").stdout.split()
    assert left == [b"theirs"]


def test_a_later_examination_adds_what_is_graver_and_loses_nothing(tmp_path: Path) -> None:
    from tests.fakes.device import device_info
    from tests.fakes.scene import make_scene

    folder = make_scene(tmp_path, [device_info()]).folder

    def finding(key: str, level: str) -> DeviceFinding:
        return DeviceFinding(key=key, level=level, text=level)

    with hold(folder) as sweep:
        note_examination(sweep, ["busy"], {"fake": (finding("busy", "serious"),)})
    later = (finding("busy", "ok"), finding("space-low", "serious"))
    with hold(folder) as sweep:
        note_examination(sweep, ["space-low"], {"fake": later})
    file = read_sweep(folder).file
    assert file.accepted == ("busy", "space-low")
    assert [(f.key, f.level) for f in file.findings["fake"]] == [
        ("busy", "serious"),
        ("space-low", "serious"),
    ]
