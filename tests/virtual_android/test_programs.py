"""What runs on the virtual phone: detached, across reboots, with a loader of its own."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.fakes.phones import await_truth
from tests.fakes.virtual_phones import COUNT, SMALL, Shell
from tests.virtual_android import (
    AdbServer,
    PhoneSpec,
    VirtualPhone,
)

pytestmark = pytest.mark.slow


# --- what runs on it -----------------------------------------------------------------------------


def test_a_detached_process_outlives_the_connection(
    adb: AdbServer, phone: VirtualPhone, shell: Shell
) -> None:
    def lines() -> int:
        return len(shell(phone, "cat /data/local/tmp/count").stdout.splitlines())

    assert shell(phone, COUNT).returncode == 0
    await_truth(lambda: lines() > 1)
    phone.unplug()
    adb.await_state(phone.serial, None)
    assert any("count" in command for command in phone.commands())
    assert not phone.state()["charging"]
    phone.plug_in(adb)
    before = lines()
    await_truth(lambda: lines() > before)


def test_a_reboot_ends_processes_and_keeps_data(adb: AdbServer, shell: Shell) -> None:
    with VirtualPhone(replace(SMALL, boot_completed_seconds=4.0)) as phone:
        phone.plug_in(adb)
        check_reboot(adb, phone, shell)


def check_reboot(adb: AdbServer, phone: VirtualPhone, shell: Shell) -> None:
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    first = shell(phone, boot_id).stdout
    shell(phone, COUNT)
    adb.run("-s", phone.serial, "reboot", check=True)
    await_truth(lambda: phone.state()["boots"] == 2)
    adb.await_state(phone.serial, None)
    adb.await_state(phone.serial, "device")
    assert shell(phone, "getprop sys.boot_completed").stdout == b"0\n"
    assert shell(phone, boot_id).stdout != first
    assert shell(phone, "cat /data/local/tmp/count").returncode == 0
    assert not any("count" in command for command in phone.commands())
    assert float(shell(phone, "cat /proc/uptime").stdout.split()[0]) < 60
    await_truth(lambda: shell(phone, "getprop sys.boot_completed").stdout == b"1\n")


def test_programs_of_the_host_do_not_run_without_their_loader(
    adb: AdbServer, shared_phone: VirtualPhone, shell: Shell
) -> None:
    true = shutil.which("true")
    assert true is not None
    adb.run("-s", shared_phone.serial, "push", true, "/data/local/tmp/true", check=True)
    ran = shell(shared_phone, "/data/local/tmp/true")
    assert ran.returncode == 126
    assert b"No such file or directory" in ran.stderr


BUNDLE_SOURCE = """
#include <cstdio>
#include <stdexcept>
#include <sys/utsname.h>
int main() {
  try { throw std::runtime_error("thrown"); }
  catch (const std::exception &error) {
    utsname name; uname(&name);
    std::printf("%s on %s\\n", error.what(), name.machine);
  }
}
"""


def build_bundle(folder: Path, compiler: str) -> str:
    """Build a program with its loader and libraries; return the loader's name."""
    (folder / "lib").mkdir()
    (folder / "hello.cpp").write_text(BUNDLE_SOURCE)
    subprocess.run([compiler, "-o", str(folder / "hello"), str(folder / "hello.cpp")], check=True)
    loader = "ld-linux-x86-64.so.2" if compiler == "g++" else "ld-linux-aarch64.so.1"
    for name in ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", loader):
        asked = subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        shutil.copy(Path(asked.stdout.strip()).resolve(), folder / "lib" / name)
    shutil.move(folder / "lib" / loader, folder / loader)
    (folder / loader).chmod(0o755)
    return loader


def run_bundle(adb: AdbServer, phone: VirtualPhone, folder: Path, loader: str) -> bytes:
    adb.run("-s", phone.serial, "push", str(folder), "/data/local/tmp/bundle", check=True)
    run = f"cd /data/local/tmp/bundle && ./{loader} --library-path lib ./hello"
    return adb.run("-s", phone.serial, "shell", run).stdout


def test_a_program_that_brings_its_loader_runs(
    adb: AdbServer, phone: VirtualPhone, tmp_path: Path
) -> None:
    require_tool("g++")
    loader = build_bundle(tmp_path, "g++")
    assert run_bundle(adb, phone, tmp_path, loader) == b"thrown on x86_64\n"


def test_an_arm64_program_runs_on_an_arm64_phone(
    adb: AdbServer, shell: Shell, tmp_path: Path
) -> None:
    require_tool("qemu-aarch64-static")
    require_tool("aarch64-linux-gnu-g++")
    loader = build_bundle(tmp_path, "aarch64-linux-gnu-g++")
    with VirtualPhone(PhoneSpec(abi="arm64-v8a")) as phone:
        phone.plug_in(adb)
        assert (
            shell(phone, "getprop ro.product.cpu.abi; uname -m").stdout == b"arm64-v8a\naarch64\n"
        )
        assert run_bundle(adb, phone, tmp_path, loader) == b"thrown on aarch64\n"
