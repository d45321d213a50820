"""What every format of model files must do, whatever it is: run for all in `FORMATS` by
`pytest tests/contract/test_format.py` (with `-k NAME` for one of them).

A format that is new to the export worker is done when these tests pass.
"""

from __future__ import annotations

import itertools
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.export_worker.formats import FORMATS, Format, format_of, usual_options
from harness.export_worker.problems import Problem
from harness.export_worker.source import SAVED_PROGRAMS
from harness.export_worker.tensors import flatten
from harness.schema.engines import FORMAT_READ
from harness.schema.plan import Matrix, Model
from tests.places import REPOSITORY

# Tracing and the lite interpreter are deprecated, and this torch says so each time.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

IMAGE = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))

WAYS = [
    (name, dict(zip(format.OPTIONS, values, strict=True)))
    for name, format in FORMATS.items()
    for values in itertools.product(*format.OPTIONS.values())
]


@dataclass(frozen=True)
class Saved:
    """A small model as a file of one format, saved in one of its ways."""

    name: str
    options: dict[str, str]
    path: Path
    expected: list[torch.Tensor]

    @property
    def format(self) -> Format:
        return FORMATS[self.name]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: "-".join([way[0], *way[1].values()]))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    name, options = request.param
    path = tmp_path_factory.mktemp(name) / f"net{FORMATS[name].SUFFIX}"
    captured = capture(FORMATS[name])
    FORMATS[name].save(captured, str(path), options)
    return Saved(name, options, path, flatten(net()(IMAGE)))


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def capture(format: Format, notes: list[str] | None = None) -> object:
    with torch.no_grad():
        return format.capture(net(), (IMAGE,), "contiguous", [] if notes is None else notes)


# --- a good file ---------------------------------------------------------------------------------


def test_a_saved_model_loads_and_puts_out_what_it_did_before(saved: Saved) -> None:
    program = saved.format.load(str(saved.path))
    outputs = flatten(saved.format.run(program, (IMAGE,)))
    torch.testing.assert_close(outputs, saved.expected)


def test_a_file_says_how_it_was_saved_and_what_it_computes(saved: Saved) -> None:
    seen = saved.format.inspect(str(saved.path))
    assert seen.options == saved.options
    assert seen.size_bytes == saved.path.stat().st_size
    assert seen.operators == sorted(set(seen.operators))
    assert seen.operators
    assert not seen.is_quantized
    assert all(label and str(value) for label, value in seen.details.items())
    saved.format.check(str(saved.path), seen)


def test_its_options_are_read_without_torch(saved: Saved) -> None:
    code = (
        "import sys; from harness.export_worker.formats import FORMATS;"
        "print(FORMATS[sys.argv[1]].read_options(sys.argv[2])); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, saved.name, str(saved.path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(saved.options)


def test_the_same_model_gives_the_same_file_under_any_name(format: Format, tmp_path: Path) -> None:
    captured, options = capture(format), usual_options(name_of(format))
    paths = [tmp_path / f"{name}{format.SUFFIX}" for name in ("one", "another")]
    for path in paths:
        format.save(captured, str(path), options)
    assert paths[0].read_bytes() == paths[1].read_bytes()


# --- a bad file ----------------------------------------------------------------------------------


def refuses(format: Format, path: Path) -> Problem:
    """Return the problem that a file is refused with, in words that name it and a way out."""
    with pytest.raises(Problem) as caught:
        format.inspect(str(path))
    assert str(path) in caught.value.reason
    assert caught.value.advice
    return caught.value


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: Saved, share: float, tmp_path: Path) -> None:
    whole = saved.path.read_bytes()
    path = tmp_path / saved.path.name
    path.write_bytes(whole[: int(len(whole) * share)])
    refuses(saved.format, path)


def test_an_empty_file_is_refused_as_such(format: Format, tmp_path: Path) -> None:
    path = tmp_path / f"empty{format.SUFFIX}"
    path.write_bytes(b"")
    assert format.read_options(str(path)) == {}
    assert "is empty" in refuses(format, path).reason


def others(format: Format, folder: Path) -> Iterator[Path]:
    """Write files of every other kind, with this format's suffix."""
    for name, other in FORMATS.items():
        if other is not format:
            path = folder / f"{name}{format.SUFFIX}"
            other.save(capture(other), str(path), usual_options(name))
            yield path
    texts = {"text": b"this is no model at all", "pickle": pickle.dumps({"weights": [1.0]})}
    for name, content in texts.items():
        path = folder / f"{name}{format.SUFFIX}"
        path.write_bytes(content)
        yield path
    path = folder / f"script{format.SUFFIX}"
    torch.jit.save(torch.jit.trace(net(), IMAGE), str(path))
    yield path
    path = folder / f"weights{format.SUFFIX}"
    torch.save(net().state_dict(), path)
    yield path


def test_a_file_of_another_kind_is_refused_whatever_its_suffix(
    format: Format, tmp_path: Path
) -> None:
    for path in others(format, tmp_path):
        refuses(format, path)


# --- its place among the others ------------------------------------------------------------------


def name_of(format: Format) -> str:
    return next(name for name, other in FORMATS.items() if other is format)


def test_no_two_formats_share_a_suffix_or_an_option() -> None:
    suffixes = [format.SUFFIX for format in FORMATS.values()] + list(SAVED_PROGRAMS)
    options = [option for format in FORMATS.values() for option in format.OPTIONS]
    assert len(set(suffixes)) == len(suffixes)
    assert len(set(options)) == len(options)
    assert all(suffix.startswith(".") for suffix in suffixes)


def test_a_file_is_known_by_its_suffix(saved: Saved) -> None:
    assert format_of(str(saved.path)) == saved.name


def test_each_engine_that_a_plan_may_name_reads_a_format_that_there_is() -> None:
    assert set(FORMAT_READ.values()) <= set(FORMATS)


def test_the_options_of_a_format_are_keys_of_the_plans_matrix(format: Format) -> None:
    for option, values in format.OPTIONS.items():
        assert getattr(Matrix(), option) == (values[0],)
        assert getattr(Matrix(**{option: values}), option) == values
        assert option in Model.model_fields


def test_nobody_else_knows_what_only_files_of_a_format_have(saved: Saved) -> None:
    """The command line's help may show the name of a file; nothing may depend on it."""
    values = [f"[\"']{v}[\"']" for values in saved.format.OPTIONS.values() for v in values]
    labels = [re.escape(label) for label in saved.format.inspect(str(saved.path)).details]
    known = re.compile("|".join([rf"{re.escape(saved.format.SUFFIX)}\b", *values, *labels]))
    harness = REPOSITORY / "harness"
    at_home = (harness / "export_worker" / "formats", harness / "cli")
    told = [
        f"{path.relative_to(harness)}: {line.strip()}"
        for path in (*harness.rglob("*.py"), *harness.rglob("*.j2"))
        if not any(path.is_relative_to(folder) for folder in at_home)
        for line in path.read_text(encoding="utf-8").splitlines()
        if known.search(line)
    ]
    assert told == []
