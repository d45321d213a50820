"""What a runner pack is: a folder with a runner, what it needs, and manifest.json.

The packs of this computer and those built for phones lie in the cache; so do those that were
added by hand, one an engine and ABI at most, which are used instead of the built ones.
Not here: building (`local.py`, `android.py`).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.errors import RunnerPackError
from harness.schema.base import Frozen
from harness.schema.engines import ENGINES
from harness.storage.cache import cache_folder
from harness.storage.files import sha256_of

PACK_FORMAT_VERSION: Literal[2] = 2
MANIFEST = "manifest.json"
SUPERVISE = "supervise"

# ELF's numbers for machines, by Android's names for them.
_MACHINES = {"arm64-v8a": 183, "x86_64": 62}


class Part(Frozen):
    """What some files of a pack, or the code inside them, come from.

    `licence` is an SPDX expression; `text` is the pack's own copy of it, if it has one.
    """

    name: str
    version: str
    licence: str
    files: tuple[str, ...]
    text: str | None = None


class RunnerPack(Frozen):
    """One engine's runner for one ABI.

    `sha256` and `size_bytes` are per file, by its path in `folder`. `key` names the pack on
    devices: for phones it is a function of the files, the same on every host.
    """

    format_version: Literal[2] = PACK_FORMAT_VERSION
    key: str = Field(pattern=r"^[\w.-]+$")
    engine: str
    kind: Literal["local", "android"] = "local"
    abi: str
    folder: Path
    engine_version: str
    compiler: str
    launcher: tuple[str, ...] = ()
    sha256: dict[str, str]
    size_bytes: dict[str, int] = Field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def runner(self) -> Path:
        """The runner: one job file in, one result file out."""
        return self.folder / ENGINES[self.engine].runner

    @property
    def supervise(self) -> Path:
        """The program that starts the runner detached and notes how it ended."""
        return self.folder / SUPERVISE

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(self.size_bytes.values())

    def command_in(self, folder: str) -> tuple[str, ...]:
        """Return the words that start the runner of the copy of this pack that lies in `folder`.

        A word that is a file of the pack means that file; "@" in others means the pack's folder.
        """
        return tuple(
            f"{folder}/{word}" if word in self.sha256 else word.replace("@", folder)
            for word in (*self.launcher, ENGINES[self.engine].runner)
        )


def packs_folder() -> Path:
    """Return where packs lie; it may not exist."""
    return cache_folder() / "packs"


def hash_files(folder: Path, names: Iterable[str]) -> tuple[dict[str, str], dict[str, int]]:
    """Return the sha256 and the sizes of files in a folder, sorted by name."""
    ordered = sorted(names)
    hashes = {name: sha256_of(folder / name) for name in ordered}
    return hashes, {name: (folder / name).stat().st_size for name in ordered}


def content_key(launcher: Iterable[str], sha256: dict[str, str]) -> str:
    """Return the key of a phone's pack: the same files, started the same way, the same key."""
    digest = hashlib.sha256()
    for word in (str(PACK_FORMAT_VERSION), *launcher, *(f"{n}={h}" for n, h in sha256.items())):
        digest.update(f"{word}\0".encode())
    return digest.hexdigest()[:24]


def write_manifest(pack: RunnerPack, folder: Path) -> None:
    """Write a pack's manifest. It does not name the folder: the pack may be copied elsewhere."""
    content = pack.model_dump_json(indent=2, exclude={"folder"})
    (folder / MANIFEST).write_text(content + "\n", encoding="utf-8")


def read_pack(folder: Path) -> RunnerPack | None:
    """Return the pack in `folder`, or None if there is none that this version can read."""
    try:
        content = (folder / MANIFEST).read_bytes()
        # Not `model_validate`: JSON has lists where the model has tuples.
        manifest = RunnerPack.model_validate_json(_with_folder(content, folder))
    except (OSError, ValueError):
        return None
    return manifest if manifest.engine in ENGINES else None


def _with_folder(content: bytes, folder: Path) -> bytes:
    import json

    return json.dumps({**json.loads(content), "folder": str(folder)}).encode()


def is_whole(pack: RunnerPack) -> bool:
    """Tell whether a pack's files are there, without reading them."""
    return all((pack.folder / name).is_file() for name in pack.sha256)


def find_packs() -> list[RunnerPack]:
    """Return every pack on this computer, phones' after this computer's own."""
    folders = [*packs_folder().glob(f"*/{MANIFEST}"), *_own_folder().glob(f"*/{MANIFEST}")]
    packs = [pack for path in folders if (pack := read_pack(path.parent))]
    return sorted(packs, key=lambda p: (p.kind != "local", p.engine, p.abi, p.key))


def find_damage(pack: RunnerPack) -> dict[str, str]:
    """Return what is wrong with a pack's files, by their names. Reads every byte."""
    return {
        name: wrong
        for name, expected in pack.sha256.items()
        if (wrong := _find_wrong(pack.folder / name, expected))
    }


def _find_wrong(path: Path, expected: str) -> str:
    try:
        return "" if sha256_of(path) == expected else "was changed after it was built"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def verify(pack: RunnerPack) -> None:
    """Check that every file of a pack is what was built. Raises RunnerPackError."""
    for name, wrong in find_damage(pack).items():
        raise RunnerPackError(
            f"{pack.folder / name} {wrong}",
            f"Remove the pack: `phonebench runners remove {pack.key}`; the next run builds it.",
        )


# --- packs added by hand -----------------------------------------------------------------------


def _own_folder() -> Path:
    return packs_folder() / "own"


def read_own(engine: str, abi: str) -> RunnerPack | None:
    """Return the pack that was added by hand for a phone's ABI, if there is one."""
    return read_pack(_own_folder() / f"{engine}-{abi}")


def is_own(pack: RunnerPack) -> bool:
    """Tell whether a pack was added by hand."""
    return pack.folder.parent == _own_folder()


def add_pack(folder: Path, engine: str, abi: str, engine_version: str) -> RunnerPack:
    """Take a copy of a folder as the pack for an engine and a phone's ABI.

    A folder with a manifest (a pack built elsewhere) must agree with it; for any other folder the
    manifest is made from what is in it. Raises RunnerPackError.
    """
    pack = read_pack(folder)
    if pack is None:
        pack = _describe(folder, engine, abi, engine_version)
    elif pack.kind != "android":
        raise RunnerPackError(
            f"{folder} is a pack for a computer, not for a phone", "Add one that is for a phone."
        )
    verify(pack)
    _check_programs(pack)
    place = _own_folder() / f"{pack.engine}-{pack.abi}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="adding-") as temporary:
            ready = Path(temporary, "ready")
            for name in pack.sha256:
                (ready / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(folder / name, ready / name)
            write_manifest(pack, ready)
            if place.exists():
                place.rename(Path(temporary, "old"))
            ready.rename(place)
    except OSError as error:
        raise RunnerPackError(f"cannot copy {folder} to {place}: {error.strerror}") from error
    return pack.model_copy(update={"folder": place})


def _describe(folder: Path, engine: str, abi: str, engine_version: str) -> RunnerPack:
    names = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    ]
    for needed in (ENGINES[engine].runner, SUPERVISE):
        if needed not in names:
            raise RunnerPackError(
                f"{folder} has no {needed}",
                "docs/runner-packs.md says what a pack must hold, and how to build it.",
            )
    sha256, size_bytes = hash_files(folder, names)
    return RunnerPack(
        key=content_key((), sha256),
        engine=engine,
        kind="android",
        abi=abi,
        folder=folder,
        engine_version=engine_version,
        compiler="not known: added by hand",
        sha256=sha256,
        size_bytes=size_bytes,
    )


def _check_programs(pack: RunnerPack) -> None:
    """Refuse programs for another machine: on the phone they would only fail to start."""
    for path in (pack.runner, pack.supervise):
        with path.open("rb") as file:
            start = file.read(20)
        machine = int.from_bytes(start[18:20], "little")
        if start.startswith(b"\x7fELF") and machine != _MACHINES[pack.abi]:
            raise RunnerPackError(
                f"{path} is not a program for {pack.abi}",
                "Build it for that ABI, or name the right one with --abi.",
            )
