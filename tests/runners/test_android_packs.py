"""Runner packs for phones: built for real, run for real (arm64 under qemu), and on the command line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import RunnerPackError
from harness.runners import build, pack_for
from harness.runners.android import build_phone
from harness.runners.descriptions import description_file, read_description
from harness.runners.pack import RunnerPack, add_pack, content_key, find_packs, read_own, verify
from harness.runners.synthetic_load import SyntheticLoad
from harness.runners.wheels import Wheel, fetch_wheel, wheel_path
from harness.schema.device import DeviceInfo
from harness.schema.job import Channel, Job, Loop, Probe, TensorSource
from harness.schema.record import LaunchRecord, read_record
from tests.conftest import missing, require_tool
from tests.places import REPOSITORY

SHORT = Loop(min_iterations=2, min_seconds=0, max_iterations=2, max_seconds=60)


@pytest.fixture(scope="module")
def arm64() -> RunnerPack:
    require_tool("aarch64-linux-gnu-g++")
    return build_phone("lite", "arm64-v8a")


@pytest.fixture(scope="module")
def x86_64() -> RunnerPack:
    if os.uname().machine != "x86_64":
        missing("this computer is no x86-64")
    return build_phone("lite", "x86_64")


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(image)
        return logits


class Product(torch.nn.Module):
    def forward(self, left: torch.Tensor) -> torch.Tensor:
        return left @ left.t()


def make_job(folder: Path, model: torch.nn.Module, value: torch.Tensor) -> Job:
    """Export a model for the lite interpreter, and write its job, with that one input."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(`torch\.jit|Lite Interpreter)", DeprecationWarning)
        traced = torch.jit.trace(model.eval(), value)
        traced._save_for_lite_interpreter(str(folder / "model.ptl"))
    (folder / "input.bin").write_bytes(value.numpy().tobytes())
    source = TensorSource(shape=tuple(value.shape), file=str(folder / "input.bin"))
    job = Job(
        launch="a-launch", engine="lite", measured_pass="latency", threads=1,
        model_file=str(folder / "model.ptl"), inputs=(source,), checks=((source,),),
        warmup=SHORT, steady=SHORT,
    )  # fmt: skip
    (folder / "job.json").write_text(job.model_dump_json())
    return job


def launch(pack: RunnerPack, folder: Path, emulator: Sequence[str]) -> LaunchRecord:
    """Run the job in `folder` under the pack's own supervisor, as a phone does."""
    threads = json.loads((folder / "job.json").read_text())["threads"]
    files = [str(folder / "job.json"), str(folder / "result.jsonl")]
    start = [*emulator, str(pack.supervise), str(folder), "--", *emulator]
    subprocess.run(
        [*start, *pack.command_in(str(pack.folder)), *files],
        check=True,
        env={"OMP_NUM_THREADS": str(threads)},
    )
    assert json.loads((folder / "exit").read_text())["exit_code"] == 0
    record = read_record(folder / "result.jsonl")
    assert isinstance(record, LaunchRecord)
    return record


@pytest.mark.slow
def test_the_arm64_runner_gives_the_eager_models_outputs(arm64: RunnerPack, tmp_path: Path) -> None:
    qemu = require_tool("qemu-aarch64-static")
    net, image = Net(), torch.rand(1, 1, 8, 8)
    make_job(tmp_path, net, image)
    record = launch(arm64, tmp_path, [qemu])
    assert record.header.engine.version == "2.1.2"
    assert record.header.device.machine == "aarch64"
    (output,) = record.outputs
    np.testing.assert_allclose(output.values(), net(image).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_thread_on_arm64_is_one_thread_in_its_matrix_library_too(
    arm64: RunnerPack, tmp_path: Path
) -> None:
    qemu = require_tool("qemu-aarch64-static")
    make_job(tmp_path, Product(), torch.rand(384, 384))
    record = launch(arm64, tmp_path, [qemu])
    counters = record.samples["steady"].counters
    assert counters is not None
    assert counters.cpu_ns < 1.3 * counters.wall_ns


@pytest.mark.slow
def test_the_known_load_needs_no_library_and_is_sampled_on_arm64_too(tmp_path: Path) -> None:
    require_tool("aarch64-linux-gnu-g++")
    qemu = require_tool("qemu-aarch64-static")
    pack = build_phone("synthetic", "arm64-v8a")
    assert pack.command_in("there") == ("there/runner_synthetic",)
    assert {"runner_synthetic", "supervise"} <= set(pack.sha256)
    assert not [name for name in pack.sha256 if name.startswith("lib/")]
    assert {"phonebench", "glibc", "gcc"} <= {part.name for part in pack.parts}
    channel = Channel(name="rss", unit="byte", after="VmRSS:", scale=1024)
    job = Job(
        launch="a-launch", engine="synthetic", measured_pass="energy", threads=1,
        model_file=str(SyntheticLoad(allocate_bytes=64 << 20).write(tmp_path / "load.json")),
        inputs=(TensorSource(shape=(1,)),), warmup=SHORT, steady=SHORT, baseline_seconds=0.2,
        probes=(Probe(file="/proc/@PID/status", period_seconds=0.01, channels=(channel,)),),
    )  # fmt: skip
    (tmp_path / "job.json").write_text(job.model_dump_json())
    record = launch(pack, tmp_path, [qemu])
    assert record.header.device.machine == "aarch64"
    trace = record.trace("rss")
    assert trace is not None
    assert max(trace.values) - min(trace.values) > 60 << 20
    assert record.sampling is not None
    assert record.sampling.failures == ()


@pytest.mark.slow
def test_the_x86_64_runner_needs_nothing_but_its_pack(x86_64: RunnerPack, tmp_path: Path) -> None:
    bwrap = require_tool("bwrap")
    net, image = Net(), torch.rand(1, 1, 8, 8)
    make_job(tmp_path, net, image)
    bare = [bwrap, "--ro-bind", str(x86_64.folder), str(x86_64.folder), "--dev", "/dev"]
    bare += ["--proc", "/proc", "--bind", str(tmp_path), str(tmp_path), str(x86_64.supervise)]
    files = [str(tmp_path / "job.json"), str(tmp_path / "result.jsonl")]
    subprocess.run(
        [*bare, str(tmp_path), "--", *x86_64.command_in(str(x86_64.folder)), *files],
        check=True,
        env={},
    )
    installed = bytes(Path(torch.__file__).parents[1])
    assert installed not in x86_64.runner.read_bytes(), "it finds its libraries through its loader"
    record = read_record(tmp_path / "result.jsonl")
    assert isinstance(record, LaunchRecord)
    assert record.header.engine.version == torch.__version__.partition("+")[0]
    (output,) = record.outputs
    np.testing.assert_allclose(output.values(), net(image).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_every_library_of_the_arm64_runner_comes_from_the_pack(arm64: RunnerPack) -> None:
    qemu = require_tool("qemu-aarch64-static")
    loader, *rest = arm64.command_in(str(arm64.folder))
    listed = subprocess.run(
        [qemu, loader, "--list", *rest], capture_output=True, text=True, check=True
    )
    paths = [line.split("=>")[1].split()[0] for line in listed.stdout.splitlines() if "=>" in line]
    assert len(paths) > 10
    assert {Path(path).parent for path in paths} == {arm64.folder / "lib"}


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes_wherever_they_are_built(
    arm64: RunnerPack, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "elsewhere" / "sources"
    shutil.copytree(REPOSITORY / "runner_core", sources)
    monkeypatch.setattr(build, "find_sources", lambda: sources)
    wheels = arm64.folder.parent.parent / "wheels"
    own_cache.mkdir()
    (own_cache / "wheels").symlink_to(wheels)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # with a warm cache nothing is asked of the network
    again = build_phone("lite", "arm64-v8a")
    assert again.folder != arm64.folder
    assert again.key == arm64.key
    for name in [*arm64.sha256, "manifest.json"]:
        assert (again.folder / name).read_bytes() == (arm64.folder / name).read_bytes(), name
    for trace in (b"building-", bytes(REPOSITORY), bytes(own_cache)):
        assert trace not in again.runner.read_bytes()
        assert trace not in again.supervise.read_bytes()


@pytest.mark.slow
def test_a_manifest_names_every_file_with_its_hash_size_origin_and_licence(
    arm64: RunnerPack, x86_64: RunnerPack
) -> None:
    for pack in (arm64, x86_64):
        files = {
            p.relative_to(pack.folder).as_posix() for p in pack.folder.rglob("*") if p.is_file()
        }
        assert files == {*pack.sha256, "manifest.json"}
        assert {n: (pack.folder / n).stat().st_size for n in pack.sha256} == pack.size_bytes
        verify(pack)
        texts = {part.text for part in pack.parts if part.text}
        assert {name for part in pack.parts for name in part.files} | texts == set(pack.sha256)
        licences = {part.name: part.licence for part in pack.parts}
        assert licences["torch"] == "BSD-3-Clause"
        assert licences["glibc"] == "LGPL-2.1-or-later"
        assert licences["nlohmann-json"] == "MIT"
        assert "GCC-exception" in licences["gcc"]
        assert pack.key == content_key(pack.launcher, pack.sha256)
    wheel = read_description(description_file("arm64-v8a")).libraries["torch"].wheel
    assert wheel is not None
    assert arm64.engine_version == wheel.version


def test_without_a_cross_compiler_the_error_names_the_package(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(own_cache))
    with pytest.raises(RunnerPackError, match="no cross compiler for arm64") as caught:
        build_phone("lite", "arm64-v8a")
    assert "apt-get install g++-aarch64-linux-gnu" in caught.value.advice


def test_a_full_disk_is_found_out_before_the_build(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tool("aarch64-linux-gnu-g++")
    full = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(RunnerPackError, match=r"disk is full.*1024 MB are needed") as caught:
        build_phone("lite", "arm64-v8a")
    assert "PHONEBENCH_CACHE" in caught.value.advice


# --- wheels --------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A small wheel for another machine, which pip finds in a folder instead of an index."""
    offered = tmp_path / "offered"
    offered.mkdir()
    path = offered / "toy-1.0-cp311-cp311-manylinux2014_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"
        )
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered))
    return Wheel(
        project="toy", version="1.0", python="3.11", platform="manylinux2014_aarch64",
        filename=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), megabytes=1,
    )  # fmt: skip


def test_a_wheel_is_fetched_once_and_again_when_it_was_damaged(
    toy: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    path = fetch_wheel(toy, said.append)
    content = path.read_bytes()
    assert said == [f"fetching {toy.filename} (1 MB, once)"]
    assert fetch_wheel(toy, said.append) == path
    assert len(said) == 1
    path.write_bytes(content[:-1])
    assert fetch_wheel(toy, said.append).read_bytes() == content
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert fetch_wheel(toy) == path


def test_a_wheel_of_another_hash_is_refused(toy: Wheel) -> None:
    pinned = Wheel(**{**vars(toy), "sha256": "0" * 64})
    with pytest.raises(RunnerPackError, match=f"is not the file that is pinned.*{toy.sha256}"):
        fetch_wheel(pinned)
    assert not wheel_path(pinned).exists()


def test_a_wheel_that_cannot_be_downloaded_is_named_with_the_place_to_put_it(
    toy: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(RunnerPackError, match=f"cannot download {toy.filename}: ") as caught:
        fetch_wheel(toy)
    assert str(wheel_path(toy)) in caught.value.advice


# --- packs of one's own, and the command line ----------------------------------------------------


@pytest.fixture
def own_runner(tmp_path: Path) -> Path:
    """A folder as a person has it: a runner, a supervisor, and a library below."""
    folder = tmp_path / "mine"
    (folder / "lib").mkdir(parents=True)
    for name in ("runner_lite", "supervise", "lib/engine.so"):
        (folder / name).write_text(f"#!/system/bin/sh\n# {name}\n")
    return folder


def phonebench(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "harness", "runners", *arguments],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def phone(abi: str) -> DeviceInfo:
    return DeviceInfo(
        id="a-phone", name="p", kind="android", fingerprint="f", system="s", abi=abi, cpu="c",
        cores=1, memory_total_bytes=1,
    )  # fmt: skip


def test_a_runner_of_ones_own_takes_the_place_of_the_built_one(
    own_cache: Path, own_runner: Path
) -> None:
    pack = add_pack(own_runner, "lite", "arm64-v8a", "2.1.0 (NDK)")
    said: list[str] = []
    assert pack_for("lite", phone("arm64-v8a"), progress=said.append) == pack
    assert said == [f"a-phone: using the runner pack {pack.key}, which was added by hand"]
    assert pack.command_in("there") == ("there/runner_lite",)
    assert sorted(pack.sha256) == ["lib/engine.so", "runner_lite", "supervise"]
    verify(pack)


def test_a_pack_that_is_copied_keeps_its_key_and_its_manifest(
    own_cache: Path, own_runner: Path, tmp_path: Path
) -> None:
    first = add_pack(own_runner, "lite", "arm64-v8a", "2.1.0")
    copied = Path(shutil.copytree(first.folder, tmp_path / "copied"))
    shutil.rmtree(first.folder)
    again = add_pack(copied, "lite", "x86_64", "ignored: the manifest knows")
    assert again == first
    assert read_own("lite", "arm64-v8a") == first


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "supervise").unlink(), "has no supervise"),
        (
            lambda folder: shutil.copy(sys.executable, folder / "runner_lite"),
            "is not a program for",
        ),
    ],
)
def test_a_folder_that_cannot_be_a_pack_is_refused(
    own_cache: Path, own_runner: Path, spoil: object, message: str
) -> None:
    assert callable(spoil)
    spoil(own_runner)
    other = "arm64-v8a" if os.uname().machine == "x86_64" else "x86_64"
    with pytest.raises(RunnerPackError, match=message):
        add_pack(own_runner, "lite", other, "own")
    assert find_packs() == []


def test_the_command_line_adds_lists_verifies_and_removes(
    own_cache: Path, own_runner: Path
) -> None:
    added = json.loads(phonebench("add", str(own_runner), "--json").stdout)
    rows = json.loads(phonebench("list", "--json").stdout)
    (row,) = [row for row in rows if row["key"] == added["key"]]
    assert (row["state"], row["abi"]) == ("own", "arm64-v8a")
    assert added["key"] in phonebench("list").stdout
    (whole,) = json.loads(phonebench("verify", "--json").stdout)
    assert whole["damage"] == {}

    library = Path(row["folder"], "lib", "engine.so")
    library.write_text("changed")
    damaged = phonebench("verify", code=3)
    assert f"{library} was changed after it was built" in damaged.stderr
    (report,) = json.loads(phonebench("verify", "--json", code=3).stdout)
    assert list(report["damage"]) == ["lib/engine.so"]

    phonebench("remove", added["key"])
    assert json.loads(phonebench("verify", "--json").stdout) == []


def test_the_list_says_what_could_be_built_and_what_is_missing(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(own_cache))
    rows = json.loads(phonebench("list", "--json").stdout)
    notes = {(row["kind"], row["abi"]): row["note"] for row in rows}
    assert {row["state"] for row in rows} == {"not here"}
    assert "g++-aarch64-linux-gnu" in notes["android", "arm64-v8a"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "--abi", "armeabi-v7a"], "Choose from: arm64-v8a, x86_64, local"),
        (["build", "--engine", "abacus"], "Choose from: lite"),
        (["add", "/no/such/folder"], "/no/such/folder is not a folder"),
        (["remove", "nothing"], "there is no runner pack nothing"),
        (["remove"], "no pack is named"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_what_would_be_right(
    own_cache: Path, arguments: list[str], words: str
) -> None:
    assert words in phonebench(*arguments, code=2).stderr


@pytest.mark.parametrize("verb", ["list", "build", "verify", "add", "remove"])
def test_every_verb_teaches_with_an_example(verb: str) -> None:
    assert f"phonebench runners {verb}" in phonebench(verb, "--help").stdout
