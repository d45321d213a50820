"""Files of ours on a phone: the store of models and inputs, by their hashes, and runner packs.

Whatever is under its final name there is whole: it gets that name when its hash on the phone is right.
Not here: what a pack is (`harness/runners/pack.py`), and jobs' own files (`jobs.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.cancellation import Cancellation
from harness.devices.android import facts
from harness.devices.android.adb import longest_push_seconds
from harness.devices.android.lock import FREE_SPACE
from harness.devices.android.scripts import ROOT, program, script
from harness.devices.android.shell import GuardedShell
from harness.errors import CommandFailed, DeviceError, DeviceLost
from harness.runners.pack import RunnerPack

_FREE_MARGIN_BYTES = 64 << 20
_TRANSFER_TRIES = 3
_HASH_WHILE_PUSHING_BYTES = 4 << 20
# Hashing a pack, or removing everything, on a slow phone.
_LONG_SECONDS = 120.0


def pack_folder(pack: RunnerPack) -> str:
    """Return where a pack lies on a phone."""
    return f"{ROOT}/packs/{pack.key}"


class PhoneFiles:
    """The files of ours on one phone."""

    def __init__(self, shell: GuardedShell) -> None:
        self._shell = shell
        self._sizes: dict[str, int] = {}

    def look(self) -> None:
        """Find out which files are in the store."""
        lines = self._shell.try_run(script("files/list_store")).text.splitlines()
        pairs = (line.split() for line in lines)
        self._sizes = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}

    def stage(self, path: Path, sha256: str) -> str:
        """Bring a file to the store, verified there by its hash, unless it is there."""
        remote = f"{ROOT}/store/{sha256}"
        size_bytes = path.stat().st_size
        if self._sizes.get(sha256) != size_bytes:
            self._check_space(size_bytes)
            self._transfer(path, remote, sha256)
            self._sizes[sha256] = size_bytes
        return remote

    def install(self, pack: RunnerPack) -> None:
        """Bring a runner pack, unless it is there; it appears whole."""
        if self._shell.try_run(script("files/find_pack", key=pack.key)).exit_code == 0:
            return
        files = {name: pack.folder / name for name in pack.sha256}
        self._check_space(sum(path.stat().st_size for path in files.values()))
        arrived = self._begin_pack(pack.key, list(files))
        for name, path in files.items():
            if arrived.get(name) != pack.sha256[name]:
                self._transfer(path, f"{pack_folder(pack)}.partial/{name}", pack.sha256[name])
        self._shell.run(script("files/install_pack", key=pack.key))

    def remove_all(self) -> int:
        """Remove everything of ours; return the bytes it held."""
        used = self._shell.run(script("files/used_space")).text.split()
        self._shell.run(script("files/remove_all"), seconds=_LONG_SECONDS)
        return int(used[0]) * 1024

    def _begin_pack(self, key: str, names: Sequence[str]) -> dict[str, str]:
        """Return the hashes of a pack's files that have arrived before."""
        begin = script("files/begin_pack", *names, key=key)
        lines = self._shell.run(begin, seconds=_LONG_SECONDS).text.splitlines()
        pairs = (line.split(maxsplit=1) for line in lines)
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    def _check_space(self, needed_bytes: int) -> None:
        free = facts.parse_free_bytes(self._shell.run(script("files/free_space")).text)
        if free is not None and free < needed_bytes + _FREE_MARGIN_BYTES:
            raise CommandFailed(
                f"{self._shell.serial} has {free >> 20} MB free, and {needed_bytes >> 20} MB must "
                f"be sent (with {_FREE_MARGIN_BYTES >> 20} MB left over)",
                FREE_SPACE,
            )

    def _transfer(self, source: Path, remote: str, sha256: str) -> None:
        """Push a file; it gets its name when its hash on the phone is right, else is sent again."""
        partial = f"{remote}.partial"
        self._shell.run(script("files/remove", remote, partial))
        for _ in range(_TRANSFER_TRIES):
            is_right = self._push(source, partial) == sha256
            accept = script(
                "files/accept", file=remote, partial=partial, sha256="" if is_right else sha256
            )
            if self._shell.try_run(accept, seconds=_LONG_SECONDS).exit_code == 0:
                return
            self._shell.run(script("files/remove", partial))
        raise CommandFailed(
            f"{self._shell.serial}: {source.name} arrives damaged, {_TRANSFER_TRIES} times over",
            "Try another cable or port.",
        )

    def _push(self, source: Path, remote: str) -> str:
        """Push a file; return its hash on the phone, or "" if that has still to be computed."""
        until = self._shell.deadline()
        try:
            return self._push_hashed(source, remote)
        except DeviceLost:
            while self._shell.is_back(until):
                with contextlib.suppress(DeviceLost):
                    self._shell.adb.push(source, remote)
                    return ""
            raise

    def _push_hashed(self, source: Path, remote: str) -> str:
        """Push a new file while the phone hashes what has arrived; return that hash, or ""."""
        adb, size_bytes = self._shell.adb, source.stat().st_size
        if size_bytes < _HASH_WHILE_PUSHING_BYTES:
            adb.push(source, remote)
            return ""
        follow = program(script("files/hash_while_pushing", file=remote, size_bytes=size_bytes))
        seconds = 60.0 + longest_push_seconds(size_bytes)
        with (
            contextlib.closing(Cancellation()) as failed,
            ThreadPoolExecutor(max_workers=1) as pool,
        ):
            hashing = pool.submit(adb.try_shell, follow, seconds, failed)
            try:
                adb.push(source, remote)
            except BaseException:
                failed.set()
                raise
            with contextlib.suppress(DeviceError):
                return hashing.result().text.partition(" ")[0]
        return ""
