"""The phone's read-only system: toybox, mksh and a loader of its own, in Android's tree.

Built once into build/virtual-phone and shared by all phones. The copies are patched to find their
libraries in /system/lib64, so that /lib and /lib64 do not exist inside: what is pushed must bring its own
loader, as on Android. What runs in it is not here: see `sandbox.py`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

BUILD_FOLDER = Path(__file__).parents[2] / "build" / "virtual-phone"
TOOLS = ("bwrap", "toybox", "mksh", "patchelf", "unshare", "nsenter", "cc")
SERVED_COMMANDS = (
    "cmd", "dumpsys", "getenforce", "getprop", "input", "log", "logcat", "perfetto", "reboot",
    "setprop", "settings", "svc", "uname", "wm",
)  # fmt: skip
"""Commands that the system server answers."""
NOT_ON_ANDROID = ("reboot", "uname", "lsmod", "halt", "poweroff", "su", "login", "passwd", "wget")
MOUNT_POINTS = ("data", "dev", "proc", "sys", "storage/emulated/0", "mnt", "apex", "vendor")
PASSWD = "root:x:0:0::/:/system/bin/sh\nsystem:x:1000:1000::/:/\nshell:x:2000:2000::/:/\n"
GROUP = "root:x:0:\nsystem:x:1000:\nshell:x:2000:\n"


class MissingTool(Exception):
    """A program of the host that the phone needs is not installed."""


def missing_tools() -> list[str]:
    """Return the names of the programs that the phone needs and this host lacks."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def system_image() -> Path:
    """Return the folder that phones have as their root, built if it is not there yet."""
    if missing := missing_tools():
        raise MissingTool(f"a virtual phone needs {', '.join(missing)}: install them")
    image = BUILD_FOLDER / f"image-{_inputs_sha256()[:16]}"
    if not image.exists():
        BUILD_FOLDER.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=BUILD_FOLDER, prefix="draft-"))
        try:
            _build(draft)
            draft.chmod(0o755)
            draft.rename(image)
        except OSError:
            if not image.exists():  # else another process was first, with the same image
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return image


def _inputs_sha256() -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(_client_source().read_bytes())
    for tool in ("toybox", "mksh"):
        digest.update(Path(_which(tool)).read_bytes())
    return digest.hexdigest()


def _client_source() -> Path:
    return Path(__file__).with_name("service_client.c")


def _which(tool: str) -> str:
    path = shutil.which(tool)
    assert path is not None, tool
    return path


def _build(root: Path) -> None:
    programs, libraries = root / "system/bin", root / "system/lib64"
    for folder in (programs, libraries, root / "etc", *(root / name for name in MOUNT_POINTS)):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    (root / "sdcard").symlink_to("/storage/emulated/0")
    (root / "bin").symlink_to("/system/bin")
    _copy_program(Path(_which("mksh")), programs / "sh", libraries)
    _copy_program(Path(_which("toybox")), programs / "toybox", libraries)
    names = subprocess.run([_which("toybox")], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        if name not in NOT_ON_ANDROID and name != "toybox":
            (programs / name).symlink_to("toybox")
    client = programs / "service_client"
    subprocess.run(
        ["cc", "-static", "-Os", "-Wall", "-o", str(client), str(_client_source())], check=True
    )
    for name in SERVED_COMMANDS:
        (programs / name).symlink_to("service_client")


def _copy_program(program: Path, copy: Path, libraries: Path) -> None:
    """Copy a dynamic program with its libraries, and let it look for them in /system/lib64."""
    shutil.copy(program.resolve(), copy)
    listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    for path in re.findall(r"(/\S+) \(0x", listing.stdout):
        name = Path(path).name
        target = copy.parent / "linker64" if name.startswith("ld-linux") else libraries / name
        shutil.copy(Path(path).resolve(), target)
    subprocess.run(
        ["patchelf", "--set-interpreter", "/system/bin/linker64", "--set-rpath", "/system/lib64",
         str(copy)],
        check=True, capture_output=True,
    )  # fmt: skip
