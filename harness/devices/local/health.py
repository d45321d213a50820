"""The health of this computer. Not here: what is a reason to worry (`harness/doctor/examine.py`)."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from harness.devices.health import Health, Load, measure_load, parse_clock_cap, parse_offline
from harness.devices.local.device import lock_path, read_conditions
from harness.storage.cache import cache_folder
from harness.storage.locks import is_locked

_SAMPLE_SECONDS = 0.5
_CPU = Path("/sys/devices/system/cpu")
# Files that Docker and Podman leave in every container.
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")


def read_health(device: str, measure_link: bool) -> Health:  # noqa: ARG001 - one device, no link
    """Examine this computer; nothing is changed or taken."""
    cores = [*_CPU.glob("cpu[0-9]*/cpufreq")]
    caps = [f"{_text(c / 'scaling_max_freq')} {_text(c / 'cpuinfo_max_freq')}" for c in cores]
    governors = {_text(core / "scaling_governor") for core in cores} - {""}
    return Health(
        kind="local",
        conditions=read_conditions(),
        holder=_find_holder(),
        virtual_signs=find_virtual_signs(_text(Path("/proc/cpuinfo")), _containers()),
        load=_sample_load(),
        free_bytes=min(_free_bytes(Path.cwd()), _free_bytes(cache_folder())),
        governors=tuple(sorted(governors)) or None,
        clock_cap=parse_clock_cap("\n".join(caps)),
        offline_cores=parse_offline(_text(_CPU / "present"), _text(_CPU / "online")),
        compiler=next((found for name in _compilers() if (found := shutil.which(name))), None),
    )


def find_virtual_signs(cpuinfo: str, containers: tuple[str, ...]) -> str | None:
    """Return what gives a virtual machine or a container away, "" if nothing does."""
    if not cpuinfo:
        return None
    # The kernel's name for the bit that every hypervisor sets (CPUID leaf 1, ECX bit 31).
    hypervisor = re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, flags=re.MULTILINE)
    signs = [*(["the processor tells of a hypervisor"] if hypervisor else [])]
    return " and ".join([*signs, *(f"{name} is there" for name in containers)])


def _containers() -> tuple[str, ...]:
    return tuple(name for name in _CONTAINER_FILES if Path(name).exists())


def _compilers() -> list[str]:
    return [name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name]


def _sample_load() -> Load | None:
    """Watch all processes but this one for a moment."""
    begin, before = time.monotonic(), _stats()
    time.sleep(_SAMPLE_SECONDS)
    seconds = time.monotonic() - begin
    return measure_load(before, _stats(), seconds, frozenset({os.getpgrp()}), {})


def _stats() -> str:
    return "\n".join(_text(path) for path in Path("/proc").glob("[0-9]*/stat"))


def _find_holder() -> str | None:
    """Name the harness that measures on this computer now, "" if none does."""
    path = lock_path()
    try:
        with path.open(encoding="utf-8") as lock:
            if is_locked(lock):
                return lock.read().strip() or "somebody"
    except FileNotFoundError:
        return ""
    except OSError:
        return None
    return ""


def _free_bytes(folder: Path) -> int:
    """Return what is free where a folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
