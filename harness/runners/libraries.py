"""Where the library that an engine's runner is linked to comes from: what is installed here, or a pinned wheel.

Which engine has which library stands in `schema/engines.py`; a new one is a table in each pack's
description (`android_runner/packs/`). Not here: fetching wheels (`wheels.py`), and linking.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import files as package_files
from pathlib import Path
from re import Pattern

from harness.runners import build
from harness.runners.build import Progress
from harness.runners.wheels import Wheel, fetch_wheel
from harness.schema.base import Frozen


@dataclass(frozen=True)
class Library:
    """A library that lies ready: its package's folder, the folders of its files, what its headers want."""

    package: Path
    folders: tuple[Path, ...]
    version: str
    licences: tuple[Path, ...]
    cxx_standard: int
    cxx_flags: str

    @property
    def name(self) -> str:
        """The package that holds it."""
        return self.package.name


class LibrarySource(Frozen):
    """Where a library for one kind of phone comes from. Without `wheel`: the package installed here.

    `unpack`: what names of files to be taken out of the wheel begin with; `folders`: where libraries
    lie, beside the package's own folder or in it.
    """

    wheel: Wheel | None = None
    unpack: tuple[Pattern[str], ...] = ()
    folders: tuple[str, ...]
    cxx_standard: int
    cxx_flags: str = ""

    def state(self, name: str) -> str:
        """Return what tells this library from another one, without reading it."""
        if self.wheel:
            return self.wheel.sha256
        folder = build.package_folder(name).parent / self.folders[0]
        files = sorted(path for path in folder.iterdir() if path.suffix == ".so")
        return "\n".join(build.file_state(path) for path in files)

    @contextmanager
    def lay_out(self, name: str, folder: Path, progress: Progress | None) -> Iterator[Library]:
        """Lay out the library; what is unpacked of a wheel into `folder` goes away afterwards."""
        if self.wheel is None:
            packages = build.package_folder(name).parent
            version, licences = build.installed_version(name), licences_of(name)
            yield self._library(name, packages, version, licences)
            return
        with zipfile.ZipFile(fetch_wheel(self.wheel, progress)) as archive:
            wanted = re.compile("|".join(f"(?:{pattern.pattern})" for pattern in self.unpack))
            archive.extractall(folder, [n for n in archive.namelist() if wanted.match(n)])
        try:
            licences = tuple(sorted(folder.glob("*.dist-info/*")))
            yield self._library(name, folder, self.wheel.version, licences)
        finally:
            shutil.rmtree(folder)

    def _library(
        self, name: str, packages: Path, version: str, licences: tuple[Path, ...]
    ) -> Library:
        folders = tuple(packages / folder for folder in self.folders)
        return Library(
            packages / name, folders, version, licences, self.cxx_standard, self.cxx_flags
        )


def licences_of(package: str) -> tuple[Path, ...]:
    """Return the licence texts at the top of an installed distribution's own metadata."""
    listed = [file for file in package_files(package) or () if file.parent.name == "licenses"]
    top = [file for file in listed if file.name in ("LICENSE", "NOTICE", "LICENSE.MIT")]
    return tuple(sorted(Path(str(file.locate())) for file in top))
