"""Model files that do not load are named, with the reason."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.schema.job import Pass
from tests.conftest import missing
from tests.fakes.runner_bench import (
    IMAGE,
    Bench,
    Net,
    deprecated_torchscript,
    export,
    values,
)

pytestmark = pytest.mark.slow


def zip_with(source: str, path: Path, name: str, change: Callable[[bytes], bytes]) -> str:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry.endswith(name) else content)
    return str(path)


def from_the_future(pickle: bytes) -> bytes:
    assert b"K\x08" in pickle[:8]  # the first number is the version
    return pickle.replace(b"K\x08", b"K\x63", 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda good: b"", "is empty"),
        (lambda good: b"a letter to a friend", "is no model of the lite interpreter"),
        (lambda good: good[:100], "is damaged or cut short"),
        (lambda good: good[: len(good) // 2], "is damaged or cut short"),
        (lambda good: good[:-1], "is damaged or cut short"),
        (lambda good: b"\x2c\0\0\0PTMF" + good[:50], "does not load: "),
    ],
)
def test_a_file_that_is_no_whole_model_is_named_with_the_reason(
    bench: Bench, content: Callable[[bytes], bytes], says: str
) -> None:
    path = bench.folder / "bad.ptl"
    path.write_bytes(content(Path(bench.net()).read_bytes()))
    kind, phase, message = bench.fail(model_file=str(path))
    assert (kind, phase) == ("model_load", "cold_load")
    assert message.startswith(f"{path} {says}")
    assert "\n" not in message


def test_an_absent_model_is_named(bench: Bench) -> None:
    kind, _, message = bench.fail(model_file="/no/such.ptl")
    assert (kind, message) == ("model_load", "/no/such.ptl does not exist")


def test_full_torchscript_and_checkpoints_are_told_from_lite_models(bench: Bench) -> None:
    torch.save({"weight": torch.rand(2)}, bench.folder / "checkpoint.pt")
    with deprecated_torchscript():
        torch.jit.script(torch.nn.ReLU()).save(bench.folder / "full.pt")
    for name in ("checkpoint.pt", "full.pt"):
        kind, _, message = bench.fail(model_file=str(bench.folder / name))
        assert kind == "model_load"
        assert "holds no bytecode for the lite interpreter" in message


def test_a_model_of_a_future_bytecode_version_says_both_versions(bench: Bench) -> None:
    path = bench.folder / "future.ptl"
    kind, _, message = bench.fail(
        model_file=zip_with(bench.net(), path, "bytecode.pkl", from_the_future)
    )
    assert kind == "model_load"
    assert "must be between 4 and 9 but the model version is 99" in message


def test_missing_operators_are_listed(bench: Bench) -> None:
    library = torch.library.Library("phonebench_test", "DEF")
    library.define("odd(Tensor x) -> Tensor")
    library.impl("odd", lambda x: x + 1, "CPU")

    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = torch.ops.phonebench_test.odd(x)
            return y

    model = export(Odd(), bench.folder / "odd.ptl", torch.rand(2))
    kind, phase, message = bench.fail(model_file=model)
    assert (kind, phase) == ("missing_operator", "cold_load")
    assert message.endswith("operators that this engine lacks: [phonebench_test::odd]")


PREPACKED = """
import sys, torch
from torch.utils.mobile_optimizer import optimize_for_mobile
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
script = optimize_for_mobile(torch.jit.trace(model, torch.rand(1, 3, 16, 16)))
script._save_for_lite_interpreter(sys.argv[1], _use_flatbuffer=sys.argv[2] == "flatbuffer")
"""


@pytest.mark.parametrize("container", ["zip", "flatbuffer"])
def test_missing_classes_of_operators_are_named_and_not_an_internal_error(
    bench: Bench, container: str
) -> None:
    path = bench.folder / f"prepacked-{container}.ptl"
    other_torch = ["/usr/bin/python3", "-c", PREPACKED, str(path), container]
    if subprocess.run(other_torch, capture_output=True, check=False).returncode != 0:
        missing("/usr/bin/python3 has no torch with XNNPACK (Debian: python3-torch)")
    kind, phase, message = bench.fail(model_file=str(path))
    assert (kind, phase) == ("missing_operator", "cold_load")
    assert message.endswith("this engine lacks: those on [xnnpack.Conv2dOpContext]")


@pytest.mark.parametrize("measured_pass", ["latency", "memory", "profile"])
def test_flatbuffers_run_like_zip_files_in_every_pass(bench: Bench, measured_pass: Pass) -> None:
    def make(path: Path) -> str:
        with deprecated_torchscript():
            traced = torch.jit.trace(Net().eval(), torch.rand(1, 3, 16, 16))
            traced._save_for_lite_interpreter(str(path), _use_flatbuffer=True)
        return str(path)

    flat = bench.model("flat", make)
    checks = ((IMAGE,),)
    record = bench.measure(model_file=flat, measured_pass=measured_pass, checks=checks)
    assert values(record)[0].tobytes() == values(bench.measure(checks=checks))[0].tobytes()
