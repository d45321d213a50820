"""The stock adb client is content with the virtual phone."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fakes.phones import await_truth
from tests.fakes.virtual_phones import Shell, random_file
from tests.virtual_android import (
    AdbServer,
    PhoneSpec,
    VirtualPhone,
)

pytestmark = pytest.mark.slow


def test_adb_lists_the_phone_with_its_model(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    listing = adb.run("devices", "-l").stdout.decode()
    assert f"{shared_phone.serial}" in listing
    assert "model:Virtual_Phone" in listing


def test_shell_keeps_output_errors_and_exit_code_apart(
    shared_phone: VirtualPhone, shell: Shell
) -> None:
    ran = shell(shared_phone, "echo out; echo err >&2; exit 7")
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"out\n", b"err\n", 7)


def test_a_command_killed_by_a_signal_says_so(shared_phone: VirtualPhone, shell: Shell) -> None:
    assert shell(shared_phone, "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_an_unknown_command_fails_as_on_android(shared_phone: VirtualPhone, shell: Shell) -> None:
    ran = shell(shared_phone, "perf stat")
    assert ran.returncode == 127
    assert b"perf: inaccessible or not found" in ran.stderr


def test_exec_out_is_binary_clean(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    ran = adb.run(
        "-s", shared_phone.serial, "exec-out",
        "i=0; while [ $i -lt 256 ]; do printf \"\\\\x$(printf %x $i)\"; i=$((i+1)); done",
    )  # fmt: skip
    assert ran.stdout == bytes(range(256))


def test_stdin_reaches_the_command_and_ends(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    sent = random.Random(1).randbytes(3_000_000)
    ran = adb.run("-s", shared_phone.serial, "shell", "sha256sum", input=sent)
    assert ran.stdout.split()[0].decode() == hashlib.sha256(sent).hexdigest()


def test_a_terminal_is_a_terminal_of_the_phone(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    ran = adb.run("-s", shared_phone.serial, "shell", "-tt", "tty; exit 5")
    assert ran.stdout.startswith(b"/dev/pts/")
    assert ran.returncode == 5


def check_round_trip(adb: AdbServer, phone: VirtualPhone, folder: Path, size_bytes: int) -> None:
    sent, there = random_file(folder / "sent", size_bytes), "/data/local/tmp/round-trip"
    adb.run("-s", phone.serial, "push", str(sent), there, check=True)
    told = adb.run("-s", phone.serial, "shell", f"sha256sum {there}").stdout.split()[0].decode()
    adb.run("-s", phone.serial, "pull", there, str(folder / "got"), check=True)
    adb.run("-s", phone.serial, "shell", f"rm {there}", check=True)
    expected = hashlib.sha256(sent.read_bytes()).hexdigest()
    assert told == expected
    assert hashlib.sha256((folder / "got").read_bytes()).hexdigest() == expected


def test_a_pushed_file_comes_back_the_same(
    adb: AdbServer, shared_phone: VirtualPhone, tmp_path: Path
) -> None:
    check_round_trip(adb, shared_phone, tmp_path, 20_000_001)


def test_300_megabytes_come_back_the_same(
    adb: AdbServer, shared_phone: VirtualPhone, tmp_path: Path
) -> None:
    check_round_trip(adb, shared_phone, tmp_path, 300_000_000)


def test_an_old_phone_without_v2_services_works_too(
    adb: AdbServer, shell: Shell, tmp_path: Path
) -> None:
    with VirtualPhone(PhoneSpec(features=("cmd",))) as phone:
        phone.plug_in(adb)
        ran = shell(phone, "echo out; echo err >&2; exit 7")
        assert (ran.stdout, ran.returncode) == (b"out\nerr\n", 0)
        check_round_trip(adb, phone, tmp_path, 1_000_000)


def test_folders_are_pushed_and_pulled_with_links_and_modes(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    random_file(tmp_path / "tree/below/one", 1000)
    (tmp_path / "tree/program").write_text("#!/system/bin/sh\necho ran\n")
    (tmp_path / "tree/program").chmod(0o755)
    adb.run(
        "-s", shared_phone.serial, "push", str(tmp_path / "tree"), "/data/local/tmp", check=True
    )
    assert shell(shared_phone, "/data/local/tmp/tree/program").stdout == b"ran\n"
    adb.run(
        "-s",
        shared_phone.serial,
        "pull",
        "/data/local/tmp/tree",
        str(tmp_path / "back"),
        check=True,
    )
    assert (tmp_path / "back/below/one").read_bytes() == (tmp_path / "tree/below/one").read_bytes()


def test_a_link_on_the_phone_does_not_lead_to_the_host(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    link = "/data/local/tmp/link"
    shell(shared_phone, f"ln -sf {secret} {link}")
    assert adb.run("-s", shared_phone.serial, "pull", link, str(tmp_path / "got")).returncode != 0
    assert not (tmp_path / "got").exists()


def test_the_system_is_read_only_and_data_is_not_everybodys(
    adb: AdbServer, shared_phone: VirtualPhone, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 10)
    for place in ("/system/bin/x", "/data/x"):
        ran = adb.run("-s", shared_phone.serial, "push", str(file), place)
        assert ran.returncode == 1
        assert b"couldn't create file" in ran.stdout + ran.stderr


def test_a_long_log_streams_until_the_client_leaves(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell
) -> None:
    assert len(shell(shared_phone, "logcat -d").stdout.splitlines()) >= 2000
    follower = adb.popen("-s", shared_phone.serial, "logcat")
    assert follower.stdout is not None
    shell(shared_phone, "log -t test the line to wait for")
    while b"the line to wait for" not in follower.stdout.readline():
        pass
    follower.kill()
    follower.communicate()
    await_truth(lambda: not any("logcat" in line for line in shared_phone.commands()))


def test_an_endless_stream_meets_a_slow_reader(adb: AdbServer, shared_phone: VirtualPhone) -> None:
    stream = adb.popen("-s", shared_phone.serial, "exec-out", "yes flow control")
    assert stream.stdout is not None
    for _ in range(5):
        assert stream.stdout.read(1_000_000).count(b"control") > 0
        time.sleep(0.01)
    stream.kill()
    stream.communicate()
    await_truth(lambda: "yes flow control" not in shared_phone.commands())


def test_four_clients_work_at_once(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell, tmp_path: Path
) -> None:
    file = random_file(tmp_path / "file", 8_000_000)

    def client(number: int) -> tuple[bytes, bytes]:
        there = f"/data/local/tmp/client-{number}"
        adb.run("-s", shared_phone.serial, "push", str(file), there, check=True)
        adb.run("-s", shared_phone.serial, "pull", there, str(tmp_path / f"{number}"), check=True)
        return (tmp_path / f"{number}").read_bytes(), shell(shared_phone, f"echo {number}").stdout

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(client, range(4)))
    assert answers == [(file.read_bytes(), f"{number}\n".encode()) for number in range(4)]


def test_two_phones_are_two_phones(
    adb: AdbServer, shared_phone: VirtualPhone, phone: VirtualPhone, shell: Shell
) -> None:
    shell(phone, "touch /data/local/tmp/only-here; setprop debug.who second")
    assert shell(shared_phone, "ls /data/local/tmp/only-here").returncode == 1
    assert shell(shared_phone, "getprop debug.who").stdout == b"\n"
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    assert shell(phone, boot_id).stdout != shell(shared_phone, boot_id).stdout
