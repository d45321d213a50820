"""What becomes of a ready file, for the variants that a plan asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.export.artifacts import ReadyFile, ready_artifact
from harness.export.cache import Store
from harness.export.setting import Setting
from harness.export_worker.formats import FORMATS
from harness.export_worker.messages import Inspected, Inspection
from harness.schema.plan import Variant, make_plan

SEEN = Inspection(12, {"container": "zip"}, ["aten::add"], False, {"bytecode version": 8})
FILE = ReadyFile("net.ptl", "ab", Path("/c/ab.ptl"), 1.0, Inspected(SEEN, "2.13", "3.11"), None, "")
AS_IT_IS = Variant("net", "fp32", "ptl", (("container", "zip"),))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    model = {"name": "net", "source": "net.ptl", "inputs": [{"shape": [1]}]}
    plan = make_plan({"plan": {"name": "x"}, "model": [model]}, "x")
    return Setting(plan, tmp_path, Store(tmp_path), "python", "", False, str, 1.0)


def test_a_ready_file_is_taken_as_it_is(setting: Setting) -> None:
    artifact = ready_artifact(setting, AS_IT_IS, FILE)
    assert (artifact.status, artifact.path, artifact.label) == ("ok", FILE.path, "fp32")
    assert artifact.manifest is not None
    assert artifact.manifest.details == {"bytecode version": 8}
    assert artifact.manifest.quantized_engine is None


def test_one_that_cannot_be_run_here_says_why(setting: Setting) -> None:
    artifact = ready_artifact(setting, AS_IT_IS, replace(FILE, trouble="an operator is missing"))
    assert artifact.manifest is not None
    assert artifact.manifest.notes[0].endswith("torch 2.13 cannot run it: an operator is missing")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"recipe": "int8-dynamic"}, "int8-dynamic"),
        ({"options": (("container", "flatbuffer"),)}, "a flatbuffer container"),
        ({"format": "another"}, "the format another"),
    ],
)
def test_nothing_is_applied_to_it(
    setting: Setting, change: dict[str, object], refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "another", FORMATS["ptl"])
    variant = replace(AS_IT_IS, **change)  # type: ignore[arg-type]
    artifact = ready_artifact(setting, variant, FILE)
    assert artifact.status == "skipped"
    assert artifact.reason == (
        f"net.ptl is a ready zip file, measured as it is: {refused} cannot be applied"
    )
    assert 'recipe = ["fp32"]' in artifact.advice
    assert 'container = ["zip"]' in artifact.advice
