"""The shell scripts of phones, run as they are sent: by mksh with toybox, as on Android, and by dash.

What a whole phone does with them is in `tests/devices/android` and `tests/contract`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.devices.android import files, scripts
from harness.devices.android.facts import sections
from harness.devices.android.jobs import place_job
from harness.devices.android.scripts import LOST_LOCK, REFUSED, Script, guard, load, program, script
from harness.devices.base import JobExit
from harness.runners.pack import RunnerPack
from tests.conftest import require_tool
from tests.fakes.packs import fake_runner_pack, script_pack, small_job
from tests.fakes.phones import await_truth
from tests.places import REPOSITORY

FOLDER = REPOSITORY / "android_runner" / "scripts"
NAMES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.sh"))
SHELLS = ("mksh", "dash")
# What the doctor makes sure of on a phone (health.sh): scripts have no other tools here.
TOOLS = re.findall(r"for tool in ([^;]+);", load("questions/health").replace("\\\n", " "))[
    0
].split()
HOSTILE = """it's "quoted", $(touch hit) `touch hit` $HOME \\n \\\\ %s
END
  a second line; exit 1"""


@dataclass(frozen=True)
class Shell:
    """A phone's shell on this computer. `services` is what Android's commands keep their state in."""

    shell: str
    root: Path
    tools: Path
    services: Path

    def ask(self, *asked: Script) -> subprocess.CompletedProcess[str]:
        """Run scripts as they are sent to a phone."""
        return subprocess.run(
            [self.shell, "-c", program(*asked)],
            env={"PATH": str(self.tools)},
            cwd=self.root.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def run(self, *asked: Script) -> str:
        """Run scripts that end well and complain of nothing; return what they print."""
        ended = self.ask(*asked)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout


@pytest.fixture(params=SHELLS)
def phone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell, toybox = require_tool(request.param), require_tool("toybox")
    tools, services, root = (tmp_path / name for name in ("bin", "services", "phonebench"))
    tools.mkdir()
    services.mkdir()
    (tools / "sh").symlink_to(shell)
    for name in set(TOOLS) - set(SERVICES):
        (tools / name).symlink_to(toybox)
    for name, text in SERVICES.items():
        (tools / name).write_text(f"#!{shell}\ncd {services} || exit 1\n{text}")
        (tools / name).chmod(0o755)
    for module in (scripts, files):
        monkeypatch.setattr(module, "ROOT", str(root))
    return Shell(shell, root, tools, services)


# What scripts ask of Android itself. A service named in the file `refuses` takes what it is told and
# forgets it.
SERVICES = {
    "settings": """file=$2.$3
case $1 in
  get) cat "$file" 2>/dev/null || echo null ;;
  put) grep -q "$3" refuses 2>/dev/null || echo "$4" > "$file" ;;
  delete) rm -f "$file" ;;
esac
""",
    "getprop": 'cat "$1" 2>/dev/null || echo\n',
    "setprop": 'grep -q "$1" refuses 2>/dev/null || echo "$2" > "$1"\n',
    "cmd": '! grep -q "$2" refuses 2>/dev/null && echo "$3" > "$2"\n',
    "input": "true\n",
    "dumpsys": 'cat "$1"\n',
}


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_is_understood_as_it_is_and_as_it_is_sent(shell: str) -> None:
    path = require_tool(shell)
    for name in NAMES:
        for text in ((FOLDER / f"{name}.sh").read_text(), load(name)):
            checked = subprocess.run([path, "-n"], input=text, capture_output=True, text=True)
            assert (checked.returncode, checked.stderr) == (0, ""), name


@pytest.mark.parametrize("name", NAMES)
def test_a_script_says_what_it_is_for_and_what_it_must_be_told(name: str) -> None:
    first, second, *_ = (FOLDER / f"{name}.sh").read_text().splitlines()
    assert first == "#!/system/bin/sh"
    assert re.match(r"# [A-Z].", second)
    assert "/data/local/tmp/phonebench" not in load(name), "the folder is told"


def test_what_is_told_arrives_as_it_is_whatever_is_in_it(phone: Shell) -> None:
    phone.root.mkdir()
    (phone.root / "lock").mkdir()
    seize = script("lock/seize", token="t", mine=HOSTILE, theirs="")
    phone.run(seize)
    assert (phone.root / "lock/holder").read_text() == f"{HOSTILE}\n"
    assert phone.run(script("power/gauge_once", "echo", HOSTILE.replace("\\", ""))).count("\n") == 3
    assert not (phone.root.parent / "hit").exists()


def test_a_script_that_is_not_told_what_it_needs_does_nothing(phone: Shell) -> None:
    ended = phone.ask(script("jobs/start"))
    assert ended.returncode != 0
    assert "launch" in ended.stderr
    assert not phone.root.exists()


def test_a_script_can_be_run_by_hand_as_the_readme_says(phone: Shell) -> None:
    text = "".join((FOLDER / f"{name}.sh").read_text() for name in ("lib", "jobs/poll"))
    answer = subprocess.run(
        [phone.tools / "sh"],
        env={"PATH": str(phone.tools), "root": str(phone.root), "launch": "0007-net-fp32"},
        input=text,
        capture_output=True,
        text=True,
    )
    assert (answer.stdout, answer.stderr) == ("absent\n", "")


def test_an_error_names_the_scripts_and_not_the_guard() -> None:
    sent = program(guard("t"), script("jobs/kill", launch="a"), script("jobs/poll", launch="a"))
    assert sent.splitlines()[0] == "# jobs/kill + jobs/poll"


# --- questions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", sorted(name for name in NAMES if "section " in load(name) and name != "lib")
)
def test_a_question_that_fails_leaves_its_section_empty_and_the_others_be(
    phone: Shell, name: str
) -> None:
    for tool in phone.tools.iterdir():
        if tool.name not in ("sh", "sleep"):
            tool.unlink()
    answer = phone.ask(script(name))
    assert answer.returncode == 0
    asked = re.findall(r"^section (\w+)$", load(name), re.M)
    assert list(sections(answer.stdout)) == asked


# --- the lock ------------------------------------------------------------------------------------


def take(phone: Shell, token: str) -> str:
    mine = f'{{"token": "{token}", "user": "j\\u00fcrgen"}}'
    return phone.run(script("lock/take", token=token, mine=mine), script("lock/held"))


def test_a_lock_is_held_by_one_and_told_to_the_others(phone: Shell) -> None:
    assert take(phone, "one") == "taken\n"
    assert take(phone, "one") == "taken\n", "asked again"
    state, silent, holder = take(phone, "two").splitlines()
    assert (state, int(silent) < 30) == ("held", True)
    assert holder == '{"token": "one", "user": "j\\u00fcrgen"}'
    phone.run(script("lock/let_go"))
    assert phone.run(script("lock/held")) == ""
    assert take(phone, "two") == "taken\n"


def test_only_the_holder_of_the_lock_gets_past_the_guard(phone: Shell) -> None:
    take(phone, "one")
    beat = phone.root / "lock/heartbeat"
    os.utime(beat, (0, 0))
    assert phone.run(guard("one"), script("jobs/list")) == ""
    assert time.time() - beat.stat().st_mtime < 30, "a sign of life"
    for token in ("two", "on"[::-1]):
        refused = phone.ask(guard(token), script("lock/let_go"))
        assert refused.returncode == LOST_LOCK
    assert take(phone, "one") == "taken\n"
    phone.run(script("lock/let_go"))
    assert phone.ask(guard("one"), script("jobs/list")).returncode == LOST_LOCK


def test_a_lock_is_seized_from_the_holder_that_was_seen_and_from_no_other(phone: Shell) -> None:
    take(phone, "one")
    theirs = (phone.root / "lock/holder").read_text().strip()
    two = script("lock/seize", token="two", mine="two", theirs=theirs)
    phone.run(two)
    phone.run(two)  # asked again
    assert phone.ask(script("lock/seize", token="three", mine="3", theirs=theirs)).returncode == 1
    assert (phone.root / "lock/holder").read_text() == "two\n"


# --- jobs ----------------------------------------------------------------------------------------


def install(phone: Shell, pack: RunnerPack) -> RunnerPack:
    shutil.copytree(pack.folder, phone.root / "packs" / pack.key)
    return pack


def start(phone: Shell, pack: RunnerPack, name: str) -> None:
    place = place_job("jobs", small_job(name), pack)
    assert phone.run(place, script("jobs/start", launch=name)) == ""


def poll(phone: Shell, name: str) -> Sequence[str]:
    return phone.run(script("jobs/poll", launch=name)).splitlines()


def await_end(phone: Shell, name: str) -> JobExit:
    phone.run(script("jobs/await", launch=name, seconds="30"))
    state, told = poll(phone, name)
    assert state == "finished"
    return JobExit.model_validate_json(told)


def own_pack(phone: Shell, tmp_path: Path, text: str) -> RunnerPack:
    shell = str(phone.tools / "sh")
    return install(phone, script_pack(tmp_path / "pack", text, shell, os.uname().machine))


def test_a_job_is_started_once_and_its_result_arrives_with_its_hash(
    phone: Shell, tmp_path: Path
) -> None:
    text = 'echo began >> diary; echo "$OMP_NUM_THREADS threads" >&2; cat "$1" > "$2"'
    pack = own_pack(phone, tmp_path, text)
    assert poll(phone, "a") == ["absent"]
    start(phone, pack, "a")
    assert await_end(phone, "a").exit_code == 0
    start(phone, pack, "a")
    answer = phone.run(script("jobs/fetch", launch="a"))
    expected = small_job("a").model_dump_json() + "\n"
    digest = hashlib.sha256(expected.encode()).hexdigest()
    assert answer == f"{digest} {len(expected)}\n{expected}1 threads\n"
    assert (phone.root / "jobs/a/diary").read_text() == "began\n"


def test_a_job_that_runs_is_a_sign_of_life_until_it_is_killed(phone: Shell, tmp_path: Path) -> None:
    pack = own_pack(phone, tmp_path, "sleep 600")
    take(phone, "one")
    os.utime(phone.root / "lock/heartbeat", (0, 0))
    start(phone, pack, "a")
    await_truth(lambda: (phone.root / "jobs/a/pid").exists())
    assert poll(phone, "a") == ["running"]
    assert phone.run(script("lock/held")).splitlines()[0] == "0"
    phone.run(script("jobs/await", launch="a", seconds="0.1"))
    phone.run(script("jobs/kill", launch="a"))
    await_truth(lambda: poll(phone, "a") == ["vanished"])
    assert int(phone.run(script("lock/held")).splitlines()[0]) > 1_000_000
    assert phone.run(script("jobs/fetch", launch="a")).startswith("none\n")


def test_a_job_of_another_boot_has_vanished(phone: Shell, tmp_path: Path) -> None:
    start(phone, own_pack(phone, tmp_path, "sleep 600"), "a")
    await_truth(lambda: (phone.root / "jobs/a/pid").exists())
    boot = phone.root / "jobs/a/boot"
    now = boot.read_text()
    boot.write_text("another\n")
    assert poll(phone, "a") == ["vanished"]
    boot.write_text(now)
    phone.run(script("jobs/kill", launch="a"))


def test_only_the_jobs_that_are_named_are_forgotten(phone: Shell) -> None:
    for name in ("a", "b", "-c"):
        (phone.root / "jobs" / name).mkdir(parents=True)
    assert phone.run(script("jobs/forget", "a", "-c"), script("jobs/list")) == "b\n"


def test_the_clock_is_read_by_the_supervisor_of_any_pack(phone: Shell) -> None:
    install(phone, fake_runner_pack())
    clock = load("questions/clock").replace("/system/bin/sh", str(phone.tools / "sh"))
    told = phone.run(Script("clock", f"root={phone.root}\n{clock}"))
    assert JobExit.model_validate_json(told).exit_code == 0
    assert not (phone.root / "clock").exists()


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_a_file_gets_its_name_when_its_hash_is_right(phone: Shell, known: bool) -> None:
    phone.run(script("files/list_store"))
    partial, file = phone.root / "store/x.partial", phone.root / "store/x"
    partial.write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    wrong = script("files/accept", file=file, partial=partial, sha256="0" * 64)
    assert phone.ask(wrong).returncode == 1
    assert not file.exists()
    right = script("files/accept", file=file, partial=partial, sha256="" if known else sha256)
    phone.run(right)
    assert phone.ask(right).returncode == 0, "asked again"
    assert phone.run(script("files/list_store")) == "x 7\n"
    phone.run(script("files/remove", str(file), str(partial)))
    assert phone.run(script("files/list_store")) == ""


def test_a_pack_appears_whole_and_what_has_arrived_of_it_is_told(phone: Shell) -> None:
    begin = script("files/begin_pack", "runner", "lib/a b.so", key="k")
    assert phone.ask(script("files/find_pack", key="k")).returncode == 1
    assert phone.run(begin) == ""
    partial = phone.root / "packs/k.partial"
    (partial / "lib/a b.so").write_bytes(b"content")
    assert phone.run(begin) == f"{hashlib.sha256(b'content').hexdigest()}  lib/a b.so\n"
    for _ in range(2):
        phone.run(script("files/install_pack", key="k"))
    phone.run(script("files/find_pack", key="k"))
    assert os.access(phone.root / "packs/k/lib/a b.so", os.X_OK)


def test_a_file_is_hashed_while_it_arrives(phone: Shell, tmp_path: Path) -> None:
    content = os.urandom((3 << 20) + 12_345)
    follow = script("files/hash_while_pushing", file=tmp_path / "f", size_bytes=len(content))
    with subprocess.Popen(
        [phone.shell, "-c", program(follow)], env={"PATH": str(phone.tools)}, stdout=subprocess.PIPE
    ) as process:
        with (tmp_path / "f").open("wb") as file:
            for at in range(0, len(content), 700_000):
                file.write(content[at : at + 700_000])
                file.flush()
                time.sleep(0.03)
        assert process.stdout is not None
        told = process.stdout.read().split()[0].decode()
    assert told == hashlib.sha256(content).hexdigest()


def test_the_file_of_a_link_test_goes_away_with_a_folder_that_was_made_for_it(phone: Shell) -> None:
    file = phone.root / "test"
    phone.run(script("files/link_begin"))
    file.write_text("there and back")
    assert phone.run(script("files/link_read", file=file)) == "there and back"
    phone.run(script("files/link_end", file=file))
    assert not phone.root.exists()
    file.parent.mkdir()
    (phone.root / "jobs").mkdir()
    phone.run(script("files/link_end", file=file))
    assert phone.root.exists()


# --- changes and settings ------------------------------------------------------------------------

SETTINGS = {
    "stay_awake": ("global.stay_on_while_plugged_in", "7"),
    "screen_timeout": ("system.screen_off_timeout", "2147483647"),
    "suspend_charging": ("power.battery_input.suspended", "true"),
    "fixed_performance": ("set-fixed-performance-mode-enabled", "true"),
}


def change(phone: Shell, setting: str) -> subprocess.CompletedProcess[str]:
    (phone.root / "changes").mkdir(parents=True, exist_ok=True)
    return phone.ask(script("changes/make", name="it", setting=load(f"settings/{setting}")))


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_put_back_to_what_was_found_at_first(phone: Shell, setting: str) -> None:
    file, changed = phone.services / SETTINGS[setting][0], SETTINGS[setting][1]
    file.write_text("false\n")
    for _ in range(2):  # it has rebooted
        assert change(phone, setting).returncode == 0
        assert file.read_text() == f"{changed}\n"
    assert phone.run(script("changes/restore")) == ""
    assert file.read_text() == "false\n"
    assert not (phone.root / "changes").exists()


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_was_not_there_is_gone_again_or_off(phone: Shell, setting: str) -> None:
    change(phone, setting)
    assert phone.run(script("changes/restore")) == ""
    file = phone.services / SETTINGS[setting][0]
    assert not file.exists() or file.read_text() == "false\n"


@pytest.mark.parametrize("setting", [*SETTINGS, "governor"])
def test_a_setting_that_is_refused_leaves_nothing_behind(phone: Shell, setting: str) -> None:
    (phone.services / "refuses").write_text("\n".join(key for key, _ in SETTINGS.values()))
    told = {"governor": "no_such_governor"}
    (phone.root / "changes").mkdir(parents=True)
    make = script("changes/make", name="it", setting=load(f"settings/{setting}"), **told)
    assert phone.ask(make).returncode == REFUSED
    assert list((phone.root / "changes").iterdir()) == []


def test_every_policy_gets_its_own_governor_back(phone: Shell, tmp_path: Path) -> None:
    text = load("settings/governor").replace("/sys/devices/system/cpu/cpufreq", str(tmp_path))
    policies = {tmp_path / f"policy{n}/scaling_governor": was for n, was in ((0, "a"), (4, "b"))}
    for file, was in policies.items():
        file.parent.mkdir()
        file.write_text(f"{was}\n")
    (phone.root / "changes").mkdir(parents=True)
    phone.run(script("changes/make", name="it", setting=text, governor="performance"))
    assert {file.read_text() for file in policies} == {"performance\n"}
    phone.run(script("changes/restore"))
    assert {file: file.read_text().strip() for file in policies} == policies


def test_the_watchdog_undoes_what_a_silent_host_had_changed_and_ends(phone: Shell) -> None:
    take(phone, "one")
    change(phone, "stay_awake")
    watchdog = program(script("changes/watchdog", period_seconds="0.1", silent_seconds=1000))
    phone.run(script("changes/start_watchdog", watchdog=watchdog))
    await_truth(lambda: (phone.root / "watchdog.pid").exists())
    time.sleep(0.5)
    assert (phone.services / "global.stay_on_while_plugged_in").exists(), "the host lives"
    os.utime(phone.root / "lock/heartbeat", (0, 0))
    await_truth(lambda: not (phone.root / "changes").exists())
    assert not (phone.services / "global.stay_on_while_plugged_in").exists()
    pid = (phone.root / "watchdog.pid").read_text().strip()
    await_truth(lambda: not Path("/proc", pid).exists())


# --- the queue -----------------------------------------------------------------------------------


def enqueue(phone: Shell, pack: RunnerPack, *names: str) -> None:
    queue = script("queue/queue", *names, patience_seconds=1, rest_seconds=0)
    phone.run(
        script("queue/begin", undo=script("queue/undo").text),
        *(place_job("queue", small_job(name), pack) for name in names),
        script("queue/start", queue=queue.text),
    )


def battery(phone: Shell, status: int) -> None:
    (phone.services / "battery").write_text(f"  status: {status}\n  temperature: 300\n")


def test_a_queue_runs_its_jobs_in_turn_while_the_battery_discharges(
    phone: Shell, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    pack = own_pack(phone, tmp_path, f'echo "${{PWD##*/}}" >> {diary}; echo done > "$2"')
    battery(phone, 3)
    take(phone, "one")
    enqueue(phone, pack, "b", "a")
    await_truth(lambda: (phone.root / "jobs/a/exit").exists())
    assert diary.read_text() == "b\na\n"
    assert await_end(phone, "b").exit_code == 0
    assert "job" not in phone.run(script("queue/look")).split()
    phone.run(script("queue/cancel"))
    assert not (phone.root / "queue").exists()
    assert phone.run(script("jobs/list")) == "a\nb\n"


def test_a_queue_gives_up_while_a_charger_feeds_the_phone(phone: Shell, tmp_path: Path) -> None:
    battery(phone, 2)
    take(phone, "one")
    enqueue(phone, own_pack(phone, tmp_path, "true"), "a")
    seen = phone.run(script("queue/look"))
    assert seen.split()[:2] == ["queue", "job"]
    assert "  status: 2" in seen
    await_truth(lambda: phone.run(script("queue/look")).split()[0] == "job")
    assert phone.run(script("jobs/list")) == ""


# --- power ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "plugged"), [(3, 0), (2, 1), (5, 1)])
def test_a_hidden_gauge_is_read_by_asking_the_battery_service(
    phone: Shell, status: int, plugged: int
) -> None:
    battery(phone, status)
    (phone.tools / "cmd").write_text(f"#!{phone.shell}\necho -120000\n")
    answer = phone.run(script("power/gauge"))
    assert answer == f"current -120000\n  status: {status}\n  temperature: 300\nplugged {plugged}\n"
