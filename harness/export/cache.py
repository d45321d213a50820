"""The cache of exports: files by the hash of their content, records by what was asked for.

    objects/SHA256.SUFFIX        artifacts, check inputs, reference outputs
    records/MODEL/model.json     what a model depended on when it was last built
    records/MODEL/VARIANT.json   what one variant became, and from which build of the model

Every file is written whole, flushed and renamed, so that several processes may export at once and
a crash leaves nothing half-made behind. Not here: what the files mean.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import StorageError
from harness.storage.files import sha256_of
from harness.storage.locks import lock_folder

Record = TypeVar("Record", bound=BaseModel)


class Store:
    """A cache folder; it is made when something is first put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """Make a folder for half-made files, on the same file system, and remove it afterwards.

        So are those of processes that were killed: nobody holds their lock any more.
        """
        parent = self.folder / "work"
        with ExitStack() as held:
            with _writing(parent):
                parent.mkdir(parents=True, exist_ok=True)
                with lock_folder(parent, wait=True):
                    for other in parent.iterdir():
                        _remove_abandoned(other)
                    name = held.enter_context(tempfile.TemporaryDirectory(dir=parent))
                    held.enter_context(lock_folder(Path(name), wait=True))
            yield Path(name)

    def object_path(self, sha256: str, suffix: str) -> Path:
        """Return where the file with this content is or would be."""
        return self.folder / "objects" / f"{sha256}{suffix}"

    def keep_file(self, path: Path, suffix: str) -> tuple[str, Path]:
        """Move a file into the store. Returns its sha256 and its new place."""
        sha256 = sha256_of(path)
        target = self.object_path(sha256, suffix)
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(target)
        return sha256, target

    def holds(self, sha256: str, suffix: str) -> bool:
        """Tell whether that content is here and undamaged (it is read whole)."""
        path = self.object_path(sha256, suffix)
        return path.is_file() and sha256_of(path) == sha256

    def write_record(self, model_key: str, name: str, record: BaseModel) -> None:
        """Write one record, replacing an older one."""
        target = self._record_path(model_key, name)
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
                file.write(record.model_dump_json(indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(target)

    def read_record(self, kind: type[Record], model_key: str, name: str) -> Record | None:
        """Return a record; None if it is not there or cannot be read."""
        try:
            return kind.model_validate_json(self._record_path(model_key, name).read_bytes())
        except (OSError, ValidationError):
            return None

    def _record_path(self, model_key: str, name: str) -> Path:
        return self.folder / "records" / model_key / f"{name}.json"


def are_unchanged(dependencies: dict[str, str]) -> bool:
    """Tell whether every file still has the content it had (an empty hash never matches)."""
    return all(
        Path(path).is_file() and sha256_of(Path(path)) == sha256
        for path, sha256 in dependencies.items()
    )


def _remove_abandoned(folder: Path) -> None:
    with suppress(BlockingIOError), lock_folder(folder, wait=False):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            "Free some space or fix the permissions; $PHONEBENCH_CACHE names another cache folder.",
        ) from error
