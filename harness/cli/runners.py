"""The verbs of `phonebench runners`: list, build, verify, add and remove runner packs.

Not here: what a pack is (`harness/runners/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import Json, examples
from harness.cli.output import INCOMPLETE, print_json, say
from harness.errors import PlanError

if TYPE_CHECKING:
    from harness.runners.inventory import InventoryItem
    from harness.runners.pack import RunnerPack

_LOCAL = "local"

app = typer.Typer(
    help="The native runners: what is built for this computer and for phones.",
    short_help="List, build, check, add and remove native runners.",
    epilog=examples(
        "phonebench runners list",
        "phonebench runners build --abi arm64-v8a",
        "phonebench runners verify",
    ),
    no_args_is_help=True,
)

_Engine = Annotated[str, typer.Option(metavar="NAME", help="The engine.")]


@app.command(
    name="list",
    short_help="List the runner packs there are, and those that could be.",
    epilog=examples("phonebench runners list", "phonebench runners list --json"),
)
def list_packs(as_json: Json = False) -> None:
    """List the runner packs on this computer, and those that could be built.

    ready: used by the next run; own: added by hand, used instead of a built one; old: made of
    other sources or tools than there are now (`runners remove --old` deletes these).
    """
    from harness.runners.inventory import take_inventory

    rows = take_inventory()
    if as_json:
        print_json([_row(found) for found in rows])
        return
    from harness.cli.terminal import runners_table, show
    from harness.runners.pack import packs_folder

    show(runners_table(rows))
    print(f"\npacks lie in {packs_folder()}")


@app.command(
    short_help="Build runner packs beforehand.",
    epilog=examples(
        "phonebench runners build", "phonebench runners build --abi arm64-v8a --rebuild"
    ),
)
def build(
    abi: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ABI", help="arm64-v8a, x86_64 (emulators), or local; may be repeated."
        ),
    ] = None,
    engine: _Engine = "lite",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build though there is one.")] = False,
    as_json: Json = False,
) -> None:
    """Build runner packs: without --abi, those for phones. Needs a minute and 84 MB, once.

    A run builds what it needs by itself; this is for doing it beforehand. The same inputs give the
    same bytes, wherever a pack is built.
    """
    from harness.runners.android import PHONE_ABIS, build_phone
    from harness.runners.local import build_local
    from harness.schema.engines import ENGINES

    wanted = abi or list(PHONE_ABIS)
    _check_choice("engine", [engine], ENGINES)
    _check_choice("ABI", wanted, (*PHONE_ABIS, _LOCAL))
    packs = [
        build_local(engine, rebuild=rebuild, progress=say)
        if one == _LOCAL
        else build_phone(engine, one, rebuild=rebuild, progress=say)
        for one in wanted
    ]
    if as_json:
        print_json([_describe(pack) for pack in packs])
        return
    for pack in packs:
        print(pack.folder)


@app.command(
    short_help="Compare every byte of every pack with its manifest.",
    epilog=examples("phonebench runners verify", "phonebench runners verify --json"),
)
def verify(as_json: Json = False) -> None:
    """Read every byte of every pack, and compare it with its manifest. Exit code 3: damaged."""
    from harness.runners.pack import find_damage, find_packs

    damage = [(pack, find_damage(pack)) for pack in find_packs()]
    if as_json:
        print_json([{**_describe(pack), "damage": wrong} for pack, wrong in damage])
    else:
        for pack, wrong in damage:
            _tell(pack, wrong)
    if any(wrong for _, wrong in damage):
        raise typer.Exit(INCOMPLETE)


def _tell(pack: RunnerPack, damage: dict[str, str]) -> None:
    for name, wrong in damage.items():
        say(f"error: {pack.folder / name} {wrong}")
    if damage:
        say(f"       Remove the pack: phonebench runners remove {pack.key}")
    else:
        print(f"whole: {pack.key} {_name(pack)}")


@app.command(
    short_help="Use a runner of your own, or one built elsewhere.",
    epilog=examples("phonebench runners add ./my-pack --abi arm64-v8a"),
)
def add(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A pack, or a folder to make one of.")
    ],
    abi: Annotated[str, typer.Option(metavar="ABI", help="The phones' ABI.")] = "arm64-v8a",
    engine: _Engine = "lite",
    engine_version: Annotated[
        str,
        typer.Option(metavar="NAME", help="What to call the engine's version, without a manifest."),
    ] = "own",
    as_json: Json = False,
) -> None:
    """Use a runner of your own, or a pack that another computer built, for phones of an ABI.

    The folder is copied. It must hold supervise, and runner_lite (for another
    engine X: runner_X); with a manifest.json it is checked against it.
    docs/runner-packs.md says what the runner has to do.
    """
    from harness.runners.android import PHONE_ABIS
    from harness.runners.pack import add_pack
    from harness.schema.engines import ENGINES

    _check_choice("engine", [engine], ENGINES)
    _check_choice("ABI", [abi], PHONE_ABIS)
    if not folder.is_dir():
        raise PlanError(f"{folder} is not a folder", "Name the folder that holds the runner.")
    pack = add_pack(folder, engine, abi, engine_version)
    if as_json:
        print_json(_describe(pack))
    else:
        say(f"{_name(pack)} {pack.key} is used from now on; to undo: "
             f"phonebench runners remove {pack.key}")  # fmt: skip


@app.command(
    short_help="Delete runner packs from this computer.",
    epilog=examples(
        "phonebench runners remove --old", "phonebench runners remove 3aeb6d79192a5db3"
    ),
)
def remove(
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Keys of packs.")] = None,
    old: Annotated[bool, typer.Option("--old", help="All that are old.")] = False,
) -> None:
    """Delete runner packs from this computer. A run builds what it needs again."""
    import shutil

    from harness.runners.inventory import take_inventory

    if not keys and not old:
        raise PlanError("no pack is named", "`phonebench runners list` shows their keys.")
    found = [row for row in take_inventory() if row.pack]
    chosen = [row.pack for row in found if row.pack and old and row.state == "old"]
    for key in keys or []:
        named = [row.pack for row in found if row.pack and row.pack.key == key]
        if not named:
            raise PlanError(
                f"there is no runner pack {key}", "`phonebench runners list` shows their keys."
            )
        chosen += named
    for pack in chosen:
        shutil.rmtree(pack.folder)
        say(f"removed {_name(pack)} {pack.key}")


def _check_choice(what: str, given: list[str], known: Any) -> None:
    for value in given:
        if value not in known:
            raise PlanError(f"there is no runner pack for the {what} {value!r}",
                            f"Choose from: {', '.join(known)}.")  # fmt: skip


def _name(pack: RunnerPack) -> str:
    place = "this computer" if pack.kind == "local" else pack.abi
    return f"{pack.engine} {pack.engine_version} for {place}"


def _describe(pack: RunnerPack) -> dict[str, Any]:
    content = pack.model_dump(mode="json")
    return {**content, "total_bytes": pack.total_bytes}


def _row(found: InventoryItem) -> dict[str, Any]:
    pack = found.pack
    return {
        "state": found.state,
        "engine": found.engine,
        "kind": found.kind,
        "abi": found.abi,
        "note": found.note,
        "engine_version": pack.engine_version if pack else None,
        "total_bytes": pack.total_bytes if pack else None,
        "key": pack.key if pack else None,
        "folder": str(pack.folder) if pack else None,
    }
