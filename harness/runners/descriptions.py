"""How a phone's runner pack is built, as `android_runner/packs/ABI.toml` describes it.

Not here: doing it (`android.py`).
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from re import Pattern
from typing import Self

from pydantic import ValidationError, model_validator

from harness.errors import RunnerPackError
from harness.runners import build
from harness.runners.libraries import LibrarySource
from harness.schema.base import Frozen
from harness.storage.shipped import shipped_folder


class CrossCompiler(Frozen):
    """A compiler for other machines than this, and Debian's package of it."""

    builds_for: str
    program: str
    package: str


class PartOrigin(Frozen):
    """What libraries come from whose names begin with the pattern; `licence` is an SPDX expression."""

    libraries: Pattern[str]
    name: str
    licence: str


class PackDescription(Frozen):
    """One kind of phone. Without `compiler`: this computer's own."""

    machine: str
    loader: str
    toolchain: str
    compiler: CrossCompiler | None = None
    libraries: dict[str, LibrarySource]
    parts: tuple[PartOrigin, ...]

    @model_validator(mode="after")
    def _every_library_is_part_of_something(self) -> Self:
        if not self.parts or self.parts[-1].libraries.pattern != "":
            raise ValueError("the last of the parts must be of all other libraries: libraries = ''")
        return self

    @property
    def toolchain_file(self) -> Path:
        """CMake's toolchain file."""
        return shipped_folder("android_runner") / "cmake" / self.toolchain

    def find_compiler(self) -> Path:
        """Return the C++ compiler. Raises RunnerPackError, naming what to install."""
        if self.compiler is None:
            return build.find_compiler()
        if found := shutil.which(self.compiler.program):
            return Path(found)
        raise RunnerPackError(
            f"there is no cross compiler for {self.compiler.builds_for}: {self.compiler.program} is not "
            "installed",
            f"Install it (Debian: `apt-get install {self.compiler.package}`), or add a pack that "
            "was built elsewhere: `phonebench runners add FOLDER`.",
        )

    def origin_of(self, library: str) -> PartOrigin:
        """Return what a library is part of."""
        return next(part for part in self.parts if part.libraries.match(library))

    def licence_of(self, name: str) -> str:
        """Return the licence of a part."""
        return next(part.licence for part in self.parts if part.name == name)


def description_file(abi: str) -> Path:
    """Return the file that describes the pack for an ABI of Android's."""
    return shipped_folder("android_runner") / "packs" / f"{abi}.toml"


def read_description(path: Path) -> PackDescription:
    """Return what a file describes. Raises RunnerPackError, naming the file and the key."""
    try:
        return PackDescription.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        wrong = str(error)
    except OSError as error:
        wrong = error.strerror or str(error)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        wrong = f"{key}: {first['msg'].removeprefix('Value error, ')}"
    raise RunnerPackError(
        f"{path} does not describe a runner pack: {wrong}",
        "Mend it, or install phonebench again.",
    )
