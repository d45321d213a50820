"""The room runs where phonebench is not installed: under Python 3.8, with its library and torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.export.worker_process import ROOM

FILES = sorted(ROOM.rglob("*.py"))
NAMES = [str(path.relative_to(ROOM)) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_file_is_in_the_syntax_of_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_file_knows_python_torch_and_its_own_room_alone(path: Path) -> None:
    strangers = {
        name
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "torch"}
    }
    assert strangers == set()


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported anywhere in a file, apart from what is relative to it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_annotations_are_never_evaluated_for_they_may_be_newer(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    annotated = any(
        isinstance(node, ast.AnnAssign | ast.arg | ast.FunctionDef)
        and (getattr(node, "annotation", None) or getattr(node, "returns", None))
        for node in ast.walk(tree)
    )
    if annotated:
        assert "from __future__ import annotations" in path.read_text(encoding="utf-8")


def test_what_the_host_reads_of_the_room_needs_no_torch() -> None:
    code = (
        "import sys; import harness.export.exporter, harness.export.sources;"
        "sys.exit('torch' in sys.modules)"
    )
    root = ROOM.parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
