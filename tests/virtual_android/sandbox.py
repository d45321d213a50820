"""Where the phone's processes live: one bubblewrap sandbox a boot, on storage that outlives it.

The sandbox has its own processes, mounts, network, host name and clocks (which start at zero at each
boot). Killing its init kills everything in it; /data is a tmpfs of this process's own mount namespace,
so it survives a reboot and vanishes with this process, however that ends. Which commands are started is not
here: see `shell.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.virtual_android.cpu_time import cpu_time
from tests.virtual_android.emulation import let_kernel_start_arm64
from tests.virtual_android.files import SHELL_ID, PhoneFiles, can_be_shell
from tests.virtual_android.image import system_image
from tests.virtual_android.spec import PhoneSpec

INIT = "while :; do sleep 86400; done"
ENVIRONMENT = {
    "PATH": "/system/bin:/vendor/bin",
    "HOME": "/",
    "SHELL": "/system/bin/sh",
    "USER": "shell",
    "LOGNAME": "shell",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
    "EXTERNAL_STORAGE": "/sdcard",
}
Process = subprocess.Popen[bytes]
# ioctl_tty(2); Python 3.11 has no names for these.
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PhoneProcess:
    """A process of the phone, as /proc inside tells it."""

    pid: int
    parent: int
    command: str
    cpu_seconds: float
    """Its own, and that of the children it has waited for."""


class Sandbox:
    """The phone's storage, and the processes of its present boot."""

    def __init__(self, spec: PhoneSpec, folder: Path) -> None:
        self._spec, self._folder = spec, folder
        self._image = system_image()
        self._boot: subprocess.Popen[bytes] | None = None
        self._init_pid = 0
        self._online = set(os.sched_getaffinity(0))
        self.files: PhoneFiles
        self.sys, self.sockets = folder / "sys", folder / "sockets"
        self._make_storage()
        if spec.abi == "arm64-v8a":
            let_kernel_start_arm64()
        self.cpu = cpu_time(lambda: sum(process.cpu_seconds for process in self.processes()))
        self.boottime_offset_ns = self.clock_offset_ns = 0
        """What the phone's CLOCK_BOOTTIME and CLOCK_MONOTONIC lag behind the host's in this boot."""

    def _make_storage(self) -> None:
        _run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(self._folder))
        data = self._folder / "data"
        for folder in (self.sys, self.sockets, data):
            folder.mkdir()
        size = f"mode=0771,size={self._spec.data_bytes}"
        _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(data))
        for name in ("local/tmp", "media/0/Download", "misc", "user/0"):
            (data / name).mkdir(parents=True)
        for name in ("local/tmp", "media", "media/0", "media/0/Download"):
            if can_be_shell():
                os.chown(data / name, SHELL_ID, SHELL_ID)
            (data / name).chmod(0o771)
        traces = data / "misc/perfetto-traces"
        traces.mkdir()
        if can_be_shell():
            os.chown(traces, 0, SHELL_ID)
        traces.chmod(0o1773)
        (self._folder / "cpuinfo").write_text(_cpuinfo(self._spec))
        if self._spec.missing_tools:
            programs = self._folder / "programs"
            shutil.copytree(self._image / "system/bin", programs, symlinks=True)
            for tool in self._spec.missing_tools:
                (programs / tool).unlink()

    # --- boots -----------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start a new sandbox on the same storage, with a new boot id and clocks at zero."""
        (self._folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        info, info_end = os.pipe()
        try:
            uptime, monotonic = _clocks_of_host()
            self.boottime_offset_ns = uptime * 1_000_000_000
            self.clock_offset_ns = monotonic * 1_000_000_000
            clocks = ["--boottime", str(-uptime), "--monotonic", str(-monotonic)]
            self._boot = subprocess.Popen(
                self.cpu.enter(
                    ["unshare", "--time", *clocks, "bwrap", *self._mounts(),
                     "--info-fd", str(info_end), "/system/bin/sh", "-c", INIT]
                ),
                pass_fds=[info_end], stdin=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(info_end)
        with os.fdopen(info) as text:
            self._init_pid = json.load(text)["child-pid"]
        self._await_shell()
        self.files = PhoneFiles(self._init_pid)

    def _mounts(self) -> list[str]:
        folder = str(self._folder)
        arguments = [
            "--ro-bind", str(self._image), "/", "--proc", "/proc", "--dev", "/dev",
            # /data last: of two places of one file system, df shows the last.
            "--bind", f"{folder}/data/media/0", "/storage/emulated/0",
            "--bind", f"{folder}/data", "/data",
            "--ro-bind", f"{folder}/sys", "/sys", "--ro-bind", f"{folder}/sockets", "/dev/socket",
            "--ro-bind", f"{folder}/boot_id", "/proc/sys/kernel/random/boot_id",
            "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--hostname", "localhost", "--die-with-parent", "--as-pid-1", "--clearenv",
            "--setenv", "PATH", ENVIRONMENT["PATH"],
        ]  # fmt: skip
        if self._spec.missing_tools:
            arguments += ["--ro-bind", f"{folder}/programs", "/system/bin"]
        if self._spec.abi == "arm64-v8a":
            arguments += ["--ro-bind", f"{folder}/cpuinfo", "/proc/cpuinfo"]
        return arguments

    def _await_shell(self) -> None:
        """Wait until bubblewrap has become init: before, its root is still the host's."""
        while not _read_text(f"/proc/{self._init_pid}/cmdline").startswith("/system/bin/sh"):
            if self._boot is None or self._boot.poll() is not None:
                raise RuntimeError("the sandbox did not start")

    def shut_down(self) -> None:
        """Kill every process of the phone; /data stays."""
        if self._boot is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._init_pid, signal.SIGKILL)
        self._boot.kill()
        self._boot.wait()
        self.files.close()
        self._boot = None

    def remove(self) -> None:
        """Give the phone's storage back to the host."""
        _run("umount", "--lazy", str(self._folder / "data"))
        _run("umount", "--lazy", str(self._folder))
        self._folder.rmdir()
        self.cpu.close()

    # --- processes -------------------------------------------------------------------------------

    def command_line(self, command: Sequence[str], *, as_root: bool = False) -> list[str]:
        """Return what to start on the host so that the shell user (or root) runs this in the phone."""
        user = ["--setuid", str(SHELL_ID), "--setgid", str(SHELL_ID)]
        if as_root or not can_be_shell():
            user = []
        return [
            "/usr/bin/nsenter", "--target", str(self._init_pid), "--mount", "--pid", "--net", "--uts",
            "--ipc", "--time", "--root", "--wd", *user, "--", *command,
        ]  # fmt: skip

    def start(
        self, command: Sequence[str], *, stdin: int, stdout: int, stderr: int, terminal: str = ""
    ) -> Process:
        """Start a command in the phone; with `terminal` (a TERM), stdin becomes its controlling one."""
        line = self.command_line(command)
        if terminal:
            line = ["/usr/bin/setsid", "--ctty", *line]
        if self._online != os.sched_getaffinity(0):
            line = ["/usr/bin/taskset", "--cpu-list", ",".join(map(str, self._online)), *line]
        return subprocess.Popen(
            self.cpu.enter(line),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**ENVIRONMENT, **({"TERM": terminal} if terminal else {})},
            start_new_session=not terminal,
        )

    def open_terminal(self) -> tuple[int, int]:
        """Open a pseudo terminal of the phone's own; return both its ends."""
        master = self.files.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        return master, fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)

    def hang_up(self, process: Process) -> None:
        """Send SIGHUP to the command that `start` started, as adbd does when its stream breaks."""
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        for child in _read_text(children).split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGHUP)

    def processes(self) -> list[PhoneProcess]:
        """List the phone's processes, the oldest first."""
        proc = Path(f"/proc/{self._init_pid}/root/proc")
        try:
            pids = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit())
        except OSError:
            return []
        found = []
        for pid in pids:
            times = _read_text(proc / str(pid) / "stat").rpartition(")")[2].split()
            command = _read_text(proc / str(pid) / "cmdline").replace("\0", " ").strip()
            if times:
                ticks = sum(int(field) for field in times[11:15])
                found.append(PhoneProcess(pid, int(times[1]), command, ticks / CLOCK_TICKS))
        return found

    def kill(self, text: str) -> list[int]:
        """Send SIGKILL to the processes whose command line contains this, as the system would."""
        victims = [p.pid for p in self.processes() if text and text in p.command and p.pid != 1]
        if victims:
            kill = ["/system/bin/kill", "-9", *map(str, victims)]
            subprocess.run(self.command_line(kill, as_root=True), env=ENVIRONMENT, check=False)
        return victims

    def set_online(self, cores: set[int]) -> None:
        """Let the phone's processes run on these cores of the host only (where it has them)."""
        self._online = cores & os.sched_getaffinity(0) or os.sched_getaffinity(0)
        for host_pid in self._host_pids():
            with suppress(ProcessLookupError, OSError):
                os.sched_setaffinity(host_pid, self._online)

    def _host_pids(self) -> list[int]:
        """Return the host's numbers of the phone's threads."""
        found: list[int] = []
        try:
            namespace = Path(f"/proc/{self._init_pid}/ns/pid").readlink()
        except OSError:
            return found
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if (entry / "ns/pid").readlink() == namespace:
                        found += [int(task.name) for task in (entry / "task").iterdir()]
        return found

    # --- storage ---------------------------------------------------------------------------------

    def leave_free(self, free_bytes: int | None) -> None:
        """Shrink /data until only this much is free; None gives it its full size again."""
        data = self._folder / "data"
        usage = os.statvfs(data)
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        size = self._spec.data_bytes if free_bytes is None else used + free_bytes
        page = os.sysconf("SC_PAGE_SIZE")
        size = max(page, (size + page - 1) // page * page)
        _run("mount", "-o", f"remount,size={size}", str(data))


def _clocks_of_host() -> tuple[int, int]:
    """Return whole seconds of CLOCK_BOOTTIME and CLOCK_MONOTONIC, to be taken off a new boot's."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME)), int(
        time.clock_gettime(time.CLOCK_MONOTONIC)
    )


def _cpuinfo(spec: PhoneSpec) -> str:
    """Return /proc/cpuinfo of an arm64 phone: Cortex-A55 and Cortex-A76."""
    fastest = max(core.max_khz for core in spec.cores)
    blocks = []
    for number, core in enumerate(spec.cores):
        part = "0xd0b" if core.max_khz == fastest else "0xd05"
        blocks.append(
            f"processor\t: {number}\nBogoMIPS\t: 38.40\n"
            "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimddp\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
            f"CPU part\t: {part}\nCPU revision\t: 0\n"
        )
    return "\n".join(blocks) + f"\nHardware\t: {spec.soc_model}\n"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _read_text(path: Path | str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
