"""Exporting for real: workers, recipes, sources, crashes and the cache, on tiny models."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.export.cache import Store
from harness.export.exporter import export_models
from harness.export_worker.messages import Request
from harness.schema.artifact import Artifact, ExportedModel
from harness.schema.plan import make_plan
from harness.storage.files import sha256_of
from tests.conftest import missing
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

MOBILE_PYTHON = "/usr/bin/python3"

MODELS = '''
import ctypes, os, random, sys, time, warnings
import torch
from torch import nn

torch.manual_seed(0)
print("printed by the user's module")


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(),
        nn.Flatten(), nn.Linear(8 * 36, 4),
    )


def scaled():
    model = net()
    with torch.no_grad():
        model[6].weight.mul_(float(open("scale.txt").read()))
    return model


def calibration():
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(1, 1, 8, 8, generator=generator) for _ in range(16))


def test_set():
    model = net().eval()
    for x in calibration():
        yield x, int(model(x).argmax())


def wrong_shape():
    return [torch.rand(1, 1, 8, 9)]


def not_pairs():
    return [torch.rand(1, 1, 8, 8)]


def raises():
    raise ValueError("the weights are missing")


def nothing():
    return None


def segfaults():
    ctypes.string_at(0)


def exits():
    os._exit(3)


def loops():
    while True:
        time.sleep(1)


class CrashesInTrace(nn.Linear):
    def forward(self, x):
        if torch.jit.is_tracing() and type(self.weight) is nn.Parameter and self.weight.dtype == torch.float32:
            os.kill(os.getpid(), 9)
        return super().forward(x)


def crashes_in_trace():
    return CrashesInTrace(8, 2)


class Structured(nn.Module):
    """Takes token numbers and a mask; returns a dict that holds a tuple and None."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(100, 8)

    def forward(self, tokens, mask):
        x = self.words(tokens) * mask[..., None]
        return {"hidden": (x, x.mean(1)), "loss": None, "largest": x.argmax(-1)}


def structured():
    return Structured()


class NotANumber(nn.Module):
    def forward(self, x):
        return x / (x - x)


def not_a_number():
    return NotANumber()


def leaves_a_thread():
    import threading

    threading.Thread(target=time.sleep, args=(600,)).start()
    return net()


def unseeded():
    return nn.Linear(8, int.from_bytes(os.urandom(1), "big") + 2)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a module, a data file, and saved models of every kind."""
    root = tmp_path_factory.mktemp("project")
    (root / "models.py").write_text(MODELS)
    (root / "scale.txt").write_text("2.0")
    save = """
import warnings; warnings.simplefilter("ignore")
import torch, models
model, x = models.net().eval(), torch.rand(1, 1, 8, 8)
torch.export.save(torch.export.export(model, (x,)), "net.pt2")
script = torch.jit.trace(model, x)
script.save("net.pt")
script._save_for_lite_interpreter("net.ptl")
script._save_for_lite_interpreter("flat.ptl", _use_flatbuffer=True)
torch.save(model.state_dict(), "weights.pt")
"""
    subprocess.run([sys.executable, "-c", save], cwd=root, check=True, capture_output=True)
    whole = (root / "net.ptl").read_bytes()
    (root / "truncated.ptl").write_bytes(whole[: len(whole) // 2])
    (root / "empty.ptl").write_bytes(b"")
    (root / "text.ptl").write_text("this is no model at all")
    (root / "script.ptl").write_bytes((root / "net.pt").read_bytes())
    flat = (root / "flat.ptl").read_bytes()
    (root / "flat-truncated.ptl").write_bytes(flat[: len(flat) // 8])
    write_future(root / "net.ptl", root / "future.ptl")
    return root


def write_future(source: Path, target: Path) -> None:
    """Copy a .ptl as if a later torch had written it: its bytecode says version 42."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/bytecode.pkl"):
                assert content[2:4] == b"K\x08", "version 8 comes first"
                content = content[:3] + b"\x2a" + content[4:]
            new.writestr(name, content)


Export = Callable[..., tuple[ExportedModel, ...]]


@pytest.fixture(scope="module")
def export(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Export models, given as the plan's tables; a model's inputs are one 8x8 image by default."""
    cache = tmp_path_factory.mktemp("cache")

    def run(*models: dict[str, Any], **options: Any) -> tuple[ExportedModel, ...]:
        image = [{"shape": [1, 1, 8, 8]}]
        tables = [
            {"name": model["source"].replace(":", "-"), "inputs": image, **model}
            for model in models
        ]
        plan = {"plan": {"name": "test"}, "model": tables, **options.pop("plan", {})}
        return export_models(
            make_plan(plan, "test"), **{"root": project, "cache": cache, **options}
        )

    return run


@pytest.fixture(scope="module")
def every_recipe(export: Export) -> ExportedModel:
    recipes = [
        "fp32", "fp32-frozen", "fp32-mobile", "int8-dynamic", "int8-static", "fp16", "bf16",
        "prune-channels-50", "prune-l1-50", "prune-channels-50+int8-static",
    ]  # fmt: skip
    data = {"calibration": "models:calibration", "evaluation": "models:test_set"}
    (model,) = export({"source": "models:net", "recipe": recipes, **data})
    return model


def by_recipe(model: ExportedModel) -> dict[str, Artifact]:
    return {artifact.recipe: artifact for artifact in model.artifacts}


def test_every_recipe_gives_a_file_that_runs(every_recipe: ExportedModel) -> None:
    assert every_recipe.status == "ok"
    for recipe, artifact in by_recipe(every_recipe).items():
        if recipe == "fp32-mobile":
            continue
        assert (recipe, artifact.status, artifact.reason) == (recipe, "ok", "")
        assert artifact.path is not None
        assert artifact.manifest is not None
        assert sha256_of(artifact.path) == artifact.manifest.sha256
        assert artifact.manifest.details["bytecode version"] in range(4, 10)
        assert artifact.manifest.operators
        assert artifact.accuracy is not None
        assert artifact.accuracy.samples == 16


def test_a_torch_without_xnnpack_skips_fp32_mobile_and_says_which_has_it(
    every_recipe: ExportedModel,
) -> None:
    artifact = by_recipe(every_recipe)["fp32-mobile"]
    if artifact.status == "ok":
        pytest.skip("this torch has XNNPACK")
    assert artifact.status == "skipped"
    assert "torch 2.12 and older have it" in artifact.reason
    assert "--mobile-python" in artifact.advice


def test_each_recipe_stays_as_close_to_the_eager_model_as_it_should(
    every_recipe: ExportedModel,
) -> None:
    artifacts = by_recipe(every_recipe)
    sqnr = {r: a.fidelity.sqnr_db for r, a in artifacts.items() if a.fidelity is not None}
    plain = artifacts["fp32"].fidelity
    assert plain is not None
    assert plain.exact
    frozen, half, int8 = sqnr["fp32-frozen"], sqnr["fp16"], sqnr["int8-static"]
    assert frozen is None or frozen > 100
    assert half is not None
    assert half > 50
    # 30 dB need QNNPACK's ReLU6 to be fused: its own clamp mixes up channels_last tensors.
    assert int8 is not None
    assert int8 > 30
    assert every_recipe.eager_accuracy is not None
    assert every_recipe.eager_accuracy.top1 == 1.0


def test_pruned_channels_are_gone_and_zeroed_weights_are_not(every_recipe: ExportedModel) -> None:
    manifests = {r: a.manifest for r, a in by_recipe(every_recipe).items() if a.manifest}
    plain, channels, zeroed = (manifests[r] for r in ("fp32", "prune-channels-50", "prune-l1-50"))
    assert plain.parameters is not None
    assert channels.parameters is not None
    assert plain.flops is not None
    assert channels.flops is not None
    assert zeroed.nonzero_parameters is not None
    assert channels.parameters < 0.6 * plain.parameters
    assert channels.flops < 0.6 * plain.flops
    assert zeroed.parameters == plain.parameters
    assert zeroed.nonzero_parameters < 0.6 * plain.parameters
    both = manifests["prune-channels-50+int8-static"]
    assert both.parameters == channels.parameters
    assert any(operator.startswith("quantized::") for operator in both.operators)
    assert both.quantized_engine == "qnnpack"


def test_checks_and_reference_lie_where_the_model_says(every_recipe: ExportedModel) -> None:
    assert every_recipe.inputs_are_real
    assert len(every_recipe.checks) == 8
    assert every_recipe.checks_path is not None
    assert every_recipe.reference_path is not None
    raw = every_recipe.checks_path.read_bytes()
    (place,) = every_recipe.checks[7]
    values = np.frombuffer(raw, place.dtype, 64, place.offset_bytes)
    assert place.shape == (1, 1, 8, 8)
    assert 0 <= values.min() < values.max() < 1
    with np.load(every_recipe.reference_path) as reference:
        assert sorted(reference.files) == [f"{sample}/0" for sample in range(8)]
        assert reference["0/0"].dtype == np.float32


def test_containers_and_memory_formats_are_options_of_any_recipe(export: Export) -> None:
    (model,) = export(
        {
            "source": "models:net",
            "container": ["zip", "flatbuffer"],
            "memory_format": ["contiguous", "channels_last"],
        }
    )
    assert [(a.variant, a.status) for a in model.artifacts] == [
        ("models-net.fp32", "ok"),
        ("models-net.fp32.channels_last", "ok"),
        ("models-net.fp32.flatbuffer", "ok"),
        ("models-net.fp32.flatbuffer.channels_last", "ok"),
    ]
    heads = [artifact.path.read_bytes()[:8] for artifact in model.artifacts if artifact.path]
    assert [head[:2] for head in heads[:2]] == [b"PK", b"PK"]
    assert [head[4:] for head in heads[2:]] == [b"PTMF", b"PTMF"]


def test_dicts_tuples_and_several_integer_inputs_are_flattened_in_order(export: Export) -> None:
    tokens = {"shape": [2, 5], "dtype": "int64", "high": 100}
    mask = {"shape": [2, 5], "dtype": "int64", "high": 2}
    (model,) = export({"source": "models:structured", "inputs": [tokens, mask]})
    assert model.reference_path is not None
    with np.load(model.reference_path) as reference:
        assert [reference[f"0/{n}"].shape for n in range(3)] == [(2, 5, 8), (2, 8), (2, 5)]
        assert reference["0/2"].dtype == np.int64
    assert not model.inputs_are_real
    assert model.artifacts[0].fidelity is not None
    assert model.artifacts[0].fidelity.exact


def test_saved_programs_scripts_and_ready_files_are_sources_too(export: Export) -> None:
    models = export({"source": "net.pt2"}, {"source": "net.pt"}, {"source": "net.ptl"})
    assert [m.artifacts[0].status for m in models] == ["ok", "ok", "ok"]
    assert [m.reference_is_eager for m in models] == [True, True, False]


def test_int8_static_is_not_claimed_of_a_program_in_which_it_found_nothing(export: Export) -> None:
    data = {"calibration": "models:calibration"}
    (model,) = export({"source": "net.pt2", "recipe": ["int8-static"], **data})
    assert model.artifacts[0].status == "skipped"
    assert "nothing to quantize" in model.artifacts[0].reason
    assert "(.pt2)" in model.artifacts[0].advice


def test_a_ready_file_is_measured_as_it_is(export: Export, project: Path) -> None:
    (model,) = export({"source": "net.ptl", "recipe": ["fp32", "int8-dynamic"]})
    ready, other = model.artifacts
    assert ready.path is not None
    assert ready.path.read_bytes() == (project / "net.ptl").read_bytes()
    assert (other.status, "measured as it is" in other.reason) == ("skipped", True)


# --- bad sources -------------------------------------------------------------------------------

BAD_SOURCES = {
    "nowhere:net": "there is no module nowhere in",
    "models:nat": "has no attribute 'nat'",
    "models:raises": r"raised ValueError: the weights are missing \(models.py:\d+, in raises\)",
    "models:nothing": "models:nothing returned None, which is no torch.nn.Module",
    "models:segfaults": "killed by SIGSEGV.*, while building the model from models:segfaults",
    "models:exits": "ended with exit code 3 before it answered",
    "missing.pt2": "'missing.pt2' of missing.pt2 does not exist",
    "net.onnx": "neither a callable nor a known file",
    "weights.pt": r"cannot be loaded as TorchScript \(.pt\)",
    "truncated.ptl": "is truncated or damaged",
    "empty.ptl": "empty.ptl is empty",
    "text.ptl": "is no .ptl file",
    "script.ptl": "not for the lite interpreter",
    "future.ptl": "bytecode version 42; known are 3 to 9",
    "flat-truncated.ptl": "is truncated or damaged",
}


@pytest.fixture(scope="module")
def bad(export: Export) -> dict[str, ExportedModel]:
    sources = [*BAD_SOURCES, "models:net"]
    models = export(*({"name": source, "source": source} for source in sources))
    return dict(zip(sources, models, strict=True))


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_a_bad_source_fails_by_name_with_a_way_out(
    bad: dict[str, ExportedModel], source: str
) -> None:
    model = bad[source]
    assert model.status == "failed"
    assert model.artifacts == ()
    assert re.search(BAD_SOURCES[source], model.reason), model.reason
    assert "site-packages/torch" not in model.reason
    if source not in ("models:raises", "text.ptl"):
        assert model.advice


def test_the_other_models_of_the_plan_go_on(bad: dict[str, ExportedModel]) -> None:
    assert bad["models:net"].artifacts[0].status == "ok"


def test_inputs_that_the_model_does_not_take_are_named(export: Export) -> None:
    (model,) = export({"source": "models:net", "inputs": [{"shape": [1, 1, 9, 9]}]})
    assert model.status == "failed"
    assert "raised on inputs of float32 [1, 1, 9, 9]: RuntimeError: mat1 and mat2" in model.reason


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"calibration": "models:wrong_shape"},
         "item 1 gives float32 [1, 1, 8, 9]; the plan says float32 [1, 1, 8, 8]"),
        ({"evaluation": "models:not_pairs"}, "is a Tensor, not a pair of an input and its label"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit_the_plan_is_refused(
    export: Export, data: dict[str, str], message: str
) -> None:
    (model,) = export({"source": "models:net", **data})
    assert model.status == "failed"
    assert message in model.reason


def test_outputs_that_are_no_numbers_are_a_failure(export: Export) -> None:
    (model,) = export({"source": "models:not_a_number"})
    assert model.artifacts[0].status == "failed"
    assert "NaN or infinity" in model.artifacts[0].reason


# --- workers that die --------------------------------------------------------------------------


def test_a_crash_fails_its_recipe_only_and_a_new_worker_does_the_rest(export: Export) -> None:
    recipes = ["fp32", "int8-dynamic", "fp16"]
    inputs = [{"shape": [1, 8]}]
    (model,) = export({"source": "models:crashes_in_trace", "inputs": inputs, "recipe": recipes})
    artifacts = by_recipe(model)
    assert artifacts["fp32"].status == "failed"
    assert "killed by SIGKILL (the system may be short of memory)" in artifacts["fp32"].reason
    assert artifacts["int8-dynamic"].status == "skipped"
    assert artifacts["fp16"].status == "ok"


def test_a_model_that_never_returns_is_stopped(export: Export) -> None:
    (model,) = export({"source": "models:loops"}, timeout_seconds=16)
    assert model.status == "failed"
    assert "was stopped after 16 s without an answer" in model.reason
    assert "while building the model from models:loops" in model.reason


def test_a_thread_that_the_models_code_leaves_behind_keeps_nobody_waiting(export: Export) -> None:
    (model,) = export({"source": "models:leaves_a_thread"}, timeout_seconds=120)
    assert (model.status, model.artifacts[0].status) == ("ok", "ok")


def test_a_worker_ends_with_the_process_that_started_it(project: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from harness.export.exporter import export_models
from harness.schema.plan import make_plan
model = {{"name": "m", "source": "models:loops", "inputs": [{{"shape": [1, 8]}}]}}
plan = make_plan({{"plan": {{"name": "p"}}, "model": [model]}}, "p")
export_models(plan, root=Path({str(project)!r}), cache=Path({str(tmp_path / "cache")!r}))
"""
    host = subprocess.Popen([sys.executable, "-c", code])
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children")
    while not (workers := children.read_text().split()):
        assert host.poll() is None
        time.sleep(0.02)
    while b"export_worker" not in Path(f"/proc/{workers[0]}/cmdline").read_bytes():
        time.sleep(0.02)
    time.sleep(1)  # it has asked the kernel by then
    host.kill()
    host.wait()
    _wait_until_gone(int(workers[0]))


def _wait_until_gone(pid: int) -> None:
    """Wait until a process has ended; whoever adopted it may not have noticed yet."""
    while True:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
        except (FileNotFoundError, ProcessLookupError):
            return
        if status[0] == "Z":
            return
        time.sleep(0.02)


def test_what_the_users_code_prints_is_passed_on(export: Export) -> None:
    lines: list[str] = []
    export({"source": "models:net"}, fresh=True, progress=lines.append)
    assert "models-net: printed by the user's module" in lines
    assert not any("deprecated" in line for line in lines)


def test_an_interpreter_that_does_not_exist_is_named(export: Export) -> None:
    (model,) = export({"source": "models:net"}, python="/nowhere/python")
    assert "cannot start the interpreter /nowhere/python" in model.reason


# --- the cache ---------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The work that was given to workers since the test began."""
    from harness.export import worker_process

    works: list[str] = []
    real = worker_process.run_worker

    def counted(python: str, request: Request, *rest: Any, **options: Any) -> Any:
        works.append(request.work)
        return real(python, request, *rest, **options)

    monkeypatch.setattr(worker_process, "run_worker", counted)
    return works


def test_what_is_cached_starts_no_worker_and_gives_the_same(
    export: Export, started: list[str]
) -> None:
    model = {"source": "models:net", "recipe": ["fp32", "fp32-mobile"]}
    (first,) = export(model)
    started.clear()
    (again,) = export(model)
    assert started == []
    assert all(artifact.cached for artifact in again.artifacts)
    uncached = tuple(a.model_copy(update={"cached": False}) for a in again.artifacts)
    expected = tuple(a.model_copy(update={"cached": False}) for a in first.artifacts)
    assert uncached == expected
    assert again.reference_path == first.reference_path


def test_a_changed_file_that_the_model_reads_exports_it_again(
    export: Export, project: Path, started: list[str]
) -> None:
    model = {"source": "models:scaled"}
    (first,) = export(model)
    (project / "scale.txt").write_text("3.0")
    (second,) = export(model)
    (project / "scale.txt").write_text("2.0")
    (third,) = export(model)
    assert started == ["export"] * 3
    hashes = [m.artifacts[0].manifest.sha256 for m in (first, second, third)]  # type: ignore[union-attr]
    assert hashes[0] == hashes[2] != hashes[1]


def test_another_seed_is_another_export(export: Export, started: list[str]) -> None:
    model = {"source": "models:net"}
    export(model)
    started.clear()
    export(model, plan={"plan": {"name": "test", "seed": 5}})
    assert started == ["export"]


def test_a_damaged_cached_file_is_noticed_and_made_again(
    export: Export, started: list[str]
) -> None:
    model = {"source": "models:net", "recipe": ["fp32-frozen"]}
    (first,) = export(model)
    started.clear()
    path = first.artifacts[0].path
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (again,) = export(model)
    assert started == ["export"]
    assert again.artifacts[0].path == path
    assert sha256_of(path) == again.artifacts[0].manifest.sha256  # type: ignore[union-attr]


def test_a_model_that_is_not_seeded_never_mixes_two_builds(export: Export) -> None:
    model = {"source": "models:unseeded", "inputs": [{"shape": [1, 8]}]}
    export({**model, "recipe": ["fp32"]})
    (both,) = export({**model, "recipe": ["fp32", "fp32-frozen"]})
    assert [artifact.status for artifact in both.artifacts] == ["ok", "ok"]


def test_a_cache_that_cannot_be_written_is_a_storage_error(export: Export, tmp_path: Path) -> None:
    from harness.errors import StorageError

    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"cannot write .*cache"):
        export({"source": "models:net"}, cache=tmp_path / "cache")


def test_exporting_from_the_cache_never_imports_torch(export: Export, project: Path) -> None:
    code = (
        "import sys; import harness.cli, harness.export.exporter, harness.schema.plan;"
        "harness.schema.plan.make_plan({'plan': {'name': 'x'}, 'model': [{'name': 'a', 'source': 'a:b',"
        " 'inputs': [{'shape': [1]}]}]}, 'x');"
        "sys.exit('torch' in sys.modules)"
    )
    root = REPOSITORY
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# --- another interpreter -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobile_python() -> str:
    """An interpreter whose torch has XNNPACK, such as Debian's python3-torch."""
    code = "import torch; print(torch.__version__); assert tuple(map(int, torch.__version__.split('.')[:2])) < (2, 13)"
    ran = subprocess.run([MOBILE_PYTHON, "-c", code], capture_output=True, check=False)
    if ran.returncode != 0:
        missing(f"{MOBILE_PYTHON} has no torch <= 2.12 (Debian: python3-torch)")
    return MOBILE_PYTHON


def test_fp32_mobile_is_finished_by_the_interpreter_that_has_xnnpack(
    export: Export, mobile_python: str, started: list[str]
) -> None:
    model = {
        "source": "models:net",
        "recipe": ["fp32", "fp32-mobile", "prune-channels-50+fp32-mobile"],
        "evaluation": "models:test_set",
    }
    (exported,) = export(model, mobile_python=mobile_python)
    artifact = by_recipe(exported)["fp32-mobile"]
    assert (artifact.status, artifact.reason) == ("ok", "")
    assert artifact.manifest is not None
    assert "prepacked::conv2d_clamp_run" in artifact.manifest.operators
    assert not artifact.manifest.torch_version.startswith("2.13")
    assert artifact.fidelity is not None
    assert artifact.fidelity.sqnr_db is None or artifact.fidelity.sqnr_db > 100
    assert artifact.accuracy is not None
    assert artifact.accuracy.top1 == 1.0
    assert by_recipe(exported)["prune-channels-50+fp32-mobile"].status == "ok"
    assert started == ["export", "finish"]
    export(model, mobile_python=mobile_python)
    assert started == ["export", "finish"]


def test_a_ready_file_with_operators_that_this_torch_lacks_is_still_an_artifact(
    export: Export, mobile_python: str, project: Path
) -> None:
    (made,) = export(
        {"source": "models:net", "recipe": ["fp32-mobile"]}, mobile_python=mobile_python
    )
    path = made.artifacts[0].path
    assert path is not None
    (project / "mobile.ptl").write_bytes(path.read_bytes())
    (model,) = export({"source": "mobile.ptl"})
    assert model.status == "ok"
    assert model.reference_path is None
    (artifact,) = model.artifacts
    assert artifact.status == "ok"
    assert artifact.fidelity is None
    assert artifact.manifest is not None
    assert "cannot run it" in artifact.manifest.notes[0]
    assert "prepacked::conv2d_clamp_run" in artifact.manifest.operators


def test_a_mobile_interpreter_without_torch_fails_that_recipe_only(
    export: Export, tmp_path: Path
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    (model,) = export(
        {"source": "models:net", "recipe": ["fp32", "fp32-mobile"]}, mobile_python=str(bare)
    )
    assert by_recipe(model)["fp32"].status == "ok"
    failed = by_recipe(model)["fp32-mobile"]
    assert failed.status == "failed"
    assert "cannot import torch" in failed.reason


# --- two at once -------------------------------------------------------------------------------


def test_half_made_files_of_killed_processes_are_removed_and_those_in_use_are_not(
    tmp_path: Path,
) -> None:
    cache = Store(tmp_path)
    abandoned = tmp_path / "work" / "abandoned"
    abandoned.mkdir(parents=True)
    (abandoned / "half.ptl").write_bytes(b"half")
    with cache.work_folder() as mine, cache.work_folder() as other:
        assert set((tmp_path / "work").iterdir()) == {mine, other}
    assert list((tmp_path / "work").iterdir()) == []


def test_two_processes_may_export_the_same_at_once_and_one_may_be_killed(
    project: Path, tmp_path: Path
) -> None:
    code = f"""
import sys
from pathlib import Path
from harness.export.exporter import export_models
from harness.schema.plan import make_plan
plan = make_plan({{"plan": {{"name": "x"}}, "model": [{{"name": "a", "source": "models:net",
    "inputs": [{{"shape": [1, 1, 8, 8]}}]}}]}}, "x")
(model,) = export_models(plan, root=Path({str(project)!r}), cache=Path({str(tmp_path)!r}))
print(model.model_dump_json())
"""
    root = REPOSITORY

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code]
        return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)

    killed, first, second = start(), start(), start()
    os.kill(killed.pid, signal.SIGKILL)
    results = [json.loads(worker_process.communicate()[0]) for worker_process in (first, second)]
    killed.communicate()
    assert [result["artifacts"][0]["status"] for result in results] == ["ok", "ok"]
    hashes = {result["artifacts"][0]["manifest"]["sha256"] for result in results}
    assert len(hashes) == 1
