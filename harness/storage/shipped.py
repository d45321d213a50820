"""Folders that travel with the package: beside it in a checkout, inside it when it was installed.

Not here: what is in them (`runner_core/`, `android_runner/`).
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import StorageError


def shipped_folder(name: str) -> Path:
    """Return the folder of that name at the top of the repository. Raises StorageError."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / name, package / f"_{name}"):
        if folder.is_dir():
            return folder
    raise StorageError(
        f"{name}/ is missing from this installation",
        "Install phonebench again, from a wheel or a checkout.",
    )
