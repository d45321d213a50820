"""What the cache knows an export by."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.export.cache import Store
from harness.export.setting import Setting
from harness.export.worker_process import ROOM
from harness.schema.plan import make_plan


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the worker's code, which a test may change."""
    copy = tmp_path / "room"
    shutil.copytree(ROOM, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("harness.export.setting.ROOM", copy)
    return copy


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    plan = make_plan(
        {
            "plan": {"name": "x"},
            "model": [{"name": "a", "source": "a:b", "inputs": [{"shape": [1]}]}],
            "matrix": {"recipe": ["fp32", "fp32-mobile"], "container": ["zip", "flatbuffer"]},
        },
        "x",
    )
    return Setting(plan, tmp_path, Store(tmp_path), "python", "", False, str, 1.0)


def key(setting: Setting) -> str:
    return setting.model_key(setting.plan.model[0])


@pytest.mark.parametrize(
    "name", ["worker.py", "recipes/quantization.py", "formats/ptl.py", "formats/new.py"]
)
def test_a_change_of_the_workers_code_exports_everything_again(
    setting: Setting, room: Path, name: str
) -> None:
    before = key(setting)
    with (room / name).open("a") as file:
        file.write("# a line\n")
    assert key(setting) != before


def test_the_hosts_own_code_is_no_part_of_a_key(setting: Setting, room: Path) -> None:
    hosts = Path(__file__).parents[2] / "harness" / "export" / "exporter.py"
    assert hosts.is_file()
    assert not hosts.is_relative_to(ROOM)
    before = key(setting)
    (room / "notes.txt").write_text("no code")
    assert key(setting) == before


def test_each_variant_has_a_key_of_its_own(setting: Setting) -> None:
    variants = setting.plan.variants(setting.plan.model[0])
    assert len(variants) == 4
    assert len({setting.variant_key(variant) for variant in variants}) == 4


def test_another_mobile_interpreter_touches_only_what_it_finishes(setting: Setting) -> None:
    other = replace(setting, mobile_python="/usr/bin/other")
    variants = setting.plan.variants(setting.plan.model[0])
    changed = {v.recipe for v in variants if setting.variant_key(v) != other.variant_key(v)}
    assert changed == {"fp32-mobile"}
