"""Runner packs without an engine: the real supervisor, and a runner made for a test.

What is measured with them means nothing, and that is why a wrong number is recognised.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from harness.runners.pack import RunnerPack
from harness.schema.artifact import Artifact, CheckTensor, ExportedModel, Manifest
from harness.schema.job import Job, Loop, TensorSource
from harness.schema.plan import Plan
from harness.storage.cache import cache_folder
from tests.conftest import require_tool
from tests.fakes.device import OUTPUT
from tests.places import REPOSITORY

_SOURCES = {
    "runner_lite": REPOSITORY / "tests" / "fakes" / "runner.cpp",
    "supervise": REPOSITORY / "runner_core" / "supervise.cpp",
}
_COMPILERS = {"arm64-v8a": "aarch64-linux-gnu-g++"}
_LOOP = Loop(min_iterations=1, min_seconds=0, max_iterations=1, max_seconds=1)


def known_duration_ns(launch: str) -> int:
    """Return the duration that the fake runner reports for a launch of this name."""
    return zlib.crc32(launch.encode()) % 1_000_000 + 1


def fake_runner_pack(kind: Literal["local", "android"] = "android") -> RunnerPack:
    """Return a pack whose runner answers at once."""
    return _pack(_programs(platform.machine()), kind)


def script_pack(
    folder: Path, script: str, shell: str, abi: str, *, launcher: bool = False
) -> RunnerPack:
    """Return a pack whose runner is a shell script; $1 is the job file, $2 the result file.

    With `launcher` it is started through a program of the pack, which is told the pack's folder.
    """
    folder.mkdir(exist_ok=True)
    _write_script(folder / "runner_lite", shell, script)
    shutil.copy2(_programs(abi) / "supervise", folder / "supervise")
    if not launcher:
        return _pack(folder, "android")
    _write_script(folder / "launcher", shell, 'export STARTED_FROM="$1"; shift; exec "$@"')
    return _pack(folder, "android", ("launcher", "@"))


def _write_script(path: Path, shell: str, script: str) -> None:
    path.write_text(f"#!{shell}\n{script}\n")
    path.chmod(0o755)


def _programs(abi: str) -> Path:
    """Return the folder with the supervisor and the fake runner, built when first needed."""
    compiler = require_tool(_COMPILERS.get(abi, "g++"))
    digest = hashlib.sha256(compiler.encode())
    for source in _SOURCES.values():
        digest.update(source.read_bytes())
    folder = cache_folder() / "fake-runner" / digest.hexdigest()[:16]
    for name, source in _SOURCES.items():
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{name}.{os.getpid()}"
            flags = ("-std=c++20", "-O1", "-static", "-s")
            subprocess.run([compiler, *flags, source, "-o", partial], check=True)
            partial.rename(folder / name)
    return folder


def _pack(
    folder: Path, kind: Literal["local", "android"], launcher: tuple[str, ...] = ()
) -> RunnerPack:
    names = ["runner_lite", "supervise", *(word for word in launcher if word != "@")]
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return RunnerPack(
        key=hashlib.sha256("".join(hashes.values()).encode()).hexdigest()[:16],
        engine="lite",
        kind=kind,
        abi=platform.machine(),
        folder=folder,
        engine_version="0",
        compiler="none",
        launcher=launcher,
        sha256=hashes,
    )


def small_job(name: str, model_file: str = "none") -> Job:
    """Return a job that asks for next to nothing."""
    return Job(
        launch=name,
        engine="lite",
        measured_pass="latency",
        model_file=model_file,
        threads=1,
        inputs=(TensorSource(shape=(1,)),),
        warmup=_LOOP,
        steady=_LOOP,
    )


def made_up_model(
    folder: Path, plan: Plan, *, sleep_ms: int = 0, diary: str = "", padding: bytes = b""
) -> ExportedModel:
    """Return the plan's first model as if exported: its file tells the fake runner what to do."""
    model = plan.model[0]
    checks, reference, path = folder / "checks.bin", folder / "reference.npz", folder / "net.ptl"
    checks.write_bytes(bytes(12))
    np.savez(reference, allow_pickle=False, **{"0/0": OUTPUT})
    path.write_bytes(f"{sleep_ms} {diary} \n".encode() + padding)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    artifacts = tuple(
        Artifact(
            variant=variant.id, model=model.name, recipe=variant.recipe, format="ptl",
            options={"container": "zip"}, memory_format="contiguous", status="ok", path=path, min_sqnr_db=60.0,
            manifest=Manifest(
                sha256=sha256, size_bytes=path.stat().st_size, operators=(), details={},
                parameters=1, nonzero_parameters=1, flops=1, torch_version="0", python_version="0",
                recipe=variant.recipe, format="ptl", options={"container": "zip"},
                memory_format="contiguous",
                quantized_engine=None, seed=0, export_seconds=0.0, created_unix=0.0,
            ),
        )
        for variant in plan.variants(model)
    )  # fmt: skip
    return ExportedModel(
        name=model.name,
        status="ok",
        checks_path=checks,
        checks_sha256=hashlib.sha256(bytes(12)).hexdigest(),
        checks=((CheckTensor(shape=(1, 3), dtype="float32", offset_bytes=0),),),
        reference_path=reference,
        artifacts=artifacts,
    )
