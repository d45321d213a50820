"""Small things for tests of the virtual phone itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.virtual_android import PhoneSpec, VirtualPhone

SMALL = PhoneSpec(data_bytes=64 * 1024**2, boot_seconds=0.3, boot_completed_seconds=0.3)
Shell = Callable[[VirtualPhone, str], subprocess.CompletedProcess[bytes]]


def random_file(path: Path, size_bytes: int) -> Path:
    path.write_bytes(os.urandom(size_bytes))
    return path


COUNT = (
    "cd /data/local/tmp; setsid nohup sh -c "
    "'while :; do echo $$ >> count; sleep 0.05; done' >/dev/null 2>&1 </dev/null &"
)
GAUGE = "/sys/class/power_supply/battery"
