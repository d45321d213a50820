"""The packs there are on this computer, and those that could be built.

Not here: showing them (`harness/cli/runners.py`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import RunnerPackError
from harness.runners.android import PHONE_ABIS, phone_folder
from harness.runners.local import find_toolchain, local_folder
from harness.runners.pack import RunnerPack, find_packs, is_own, is_whole
from harness.schema.engines import ENGINES


@dataclass(frozen=True)
class InventoryItem:
    """One pack, or one that is not there.

    ready: it is what a run would use; own: added by hand, and used instead of a built one; old:
    built from other sources, tools or libraries than there are now; not built: `note` says how;
    not here: `note` says what is missing.
    """

    state: Literal["ready", "own", "old", "not built", "not here"]
    engine: str
    kind: Literal["local", "android"]
    abi: str
    note: str = ""
    pack: RunnerPack | None = None


def take_inventory() -> list[InventoryItem]:
    """Return every pack on this computer, and a row for each that is missing."""
    rows: list[InventoryItem] = []
    packs = find_packs()
    for engine in ENGINES:
        for kind, abi, find_folder in _wanted(engine):
            own = [
                pack for pack in packs if (pack.engine, pack.kind, pack.abi) == (engine, kind, abi)
            ]
            rows += _rows(engine, kind, abi, own, find_folder)
    return rows


def _wanted(engine: str) -> list[tuple[Literal["local", "android"], str, Callable[[], Path]]]:
    """Return every kind of pack that this version knows how to build."""
    here = platform.machine()
    return [
        ("local", here, lambda: local_folder(engine, find_toolchain(engine))),
        *(("android", abi, lambda abi=abi: phone_folder(engine, abi)) for abi in PHONE_ABIS),
    ]


def _rows(
    engine: str,
    kind: Literal["local", "android"],
    abi: str,
    packs: list[RunnerPack],
    find_folder: Callable[[], Path],
) -> list[InventoryItem]:
    current, missing = None, ""
    try:
        current = find_folder()
    except RunnerPackError as error:
        missing = f"{error.message}. {error.advice}"
    rows = []
    for pack in packs:
        ready = pack.folder == current and is_whole(pack)
        state: Literal["ready", "own", "old"] = (
            "own" if is_own(pack) else "ready" if ready else "old"
        )
        rows.append(InventoryItem(state, engine, kind, abi, "", pack))
    if not any(row.state in ("ready", "own") for row in rows):
        how = f"phonebench runners build --abi {abi if kind == 'android' else 'local'}"
        how += f" --engine {engine}"
        rows.append(
            InventoryItem("not here" if missing else "not built", engine, kind, abi, missing or how)
        )
    return sorted(rows, key=lambda row: row.state == "old")
