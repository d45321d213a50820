"""Lets the kernel start arm64 programs through qemu, inside sandboxes too.

The registration is the host's and stays, as the one that Debian's packages make; one that is there already
is left alone.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.virtual_android.image import MissingTool

BINFMT = Path("/proc/sys/fs/binfmt_misc")
NAME = "qemu-aarch64"
# The ELF header of an arm64 program and what of it counts. Source: qemu, scripts/qemu-binfmt-conf.sh.
MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def let_kernel_start_arm64() -> None:
    """Register qemu for arm64 programs, unless some emulator is registered; raises MissingTool."""
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
    if any("b700" in entry.read_text() for entry in BINFMT.glob("*aarch64*")):
        return
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        raise MissingTool("an arm64 phone needs qemu-aarch64-static: install qemu-user-static")
    # F: the kernel opens the emulator now, so that a sandbox without it can use it.
    rule = b":" + NAME.encode() + b":M::" + MAGIC + b":" + MASK + b":" + emulator.encode() + b":F"
    (BINFMT / "register").write_bytes(rule)
