"""Runner packs: engine x device -> a folder with a runner, what it needs, and a manifest.

    pack.py          what a pack is; reading, verifying, listing, adding, removing
    build.py         what every build needs: sources, compilers, CMake, a lock
    local.py         the pack for this computer
    android.py       packs for phones
    descriptions.py  how those are built, from the files that say it
    libraries.py     where an engine's library comes from
    wheels.py        pinned wheels, fetched once
    inventory.py     the packs there are, and those that could be built

Not here: bringing a pack to a device, and running it (`devices/`).
"""

from __future__ import annotations

from harness.runners.android import build_phone
from harness.runners.build import Progress
from harness.runners.local import build_local
from harness.runners.pack import RunnerPack, read_own
from harness.schema.device import DeviceInfo


def pack_for(engine: str, info: DeviceInfo, *, progress: Progress | None = None) -> RunnerPack:
    """Return the runner pack of an engine for a device, building it if there is none yet.

    Every device that is not this computer takes a phone's pack, by its ABI: one that was added by
    hand (`phonebench runners add`) goes before the one that would be built. `progress` is called
    with one line at a time. Raises RunnerPackError.
    """
    if not info.is_phone:
        return build_local(engine, progress=progress)
    own = read_own(engine, info.abi)
    if own is None:
        return build_phone(engine, info.abi, progress=progress)
    if progress:
        progress(f"{info.id}: using the runner pack {own.key}, which was added by hand")
    return own
