"""One variant from the eager model to a file that was run, in a format that exists in these tests only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from harness.export_worker import formats
from harness.export_worker.messages import Delivered, Inspection, Refused, Request, VariantSpec
from harness.export_worker.problems import Problem, last_line
from harness.export_worker.samples import Samples
from harness.export_worker.variant import Outcome, VariantWork, guarded

INPUT = (torch.rand(2, 4, generator=torch.Generator().manual_seed(0)),)


class Pickled:
    """A format that is made of the eager model, not of TorchScript."""

    SUFFIX = ".pickled"
    OPTIONS: ClassVar = {"protocol": ("2", "4")}

    def capture(self, model: Any, inputs: Any, memory_format: str, notes: list[str]) -> Any:
        notes.append(f"captured for {len(inputs)} inputs, {memory_format}")
        return model

    def save(self, captured: Any, path: str, options: dict[str, str]) -> None:
        torch.save(captured, path, pickle_protocol=int(options["protocol"]))

    def load(self, path: str) -> Any:
        return torch.load(path, weights_only=False)

    def run(self, program: Any, inputs: Any) -> Any:
        return {"scores": program(*inputs)}

    def read_options(self, path: str) -> dict[str, str]:
        return {"protocol": "4"}

    def inspect(self, path: str) -> Inspection:
        return Inspection(Path(path).stat().st_size, {"protocol": "4"}, ["add"], False, {})

    def check(self, path: str, seen: Inspection) -> None: ...


@pytest.fixture(autouse=True)
def pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.FORMATS, "pickled", Pickled())


def work_on(recipe: str, folder: Path, model: nn.Module) -> Outcome:
    variant = VariantSpec(f"net.{recipe}", recipe, "pickled", {"protocol": "4"}, "contiguous")
    request = Request(
        work="export", root=str(folder), folder=str(folder), source="net:net", inputs=[],
        calibration=None, evaluation=None, seed=0, check_samples=1, quantized_engine="qnnpack",
        has_mobile_python=True,
    )  # fmt: skip
    data = Samples([INPUT], None, [(INPUT, model(*INPUT).argmax(-1).tolist())], "")
    return guarded(variant.id, VariantWork(request, variant, data).from_eager, lambda: model, model)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def test_a_format_is_all_that_it_takes_to_make_other_files(tmp_path: Path) -> None:
    answer = work_on("prune-l1-50", tmp_path, net())
    assert isinstance(answer, Delivered)
    assert answer.path == str(tmp_path / "net.prune-l1-50.pickled")
    assert answer.seen.operators == ["add"]
    assert [[place.shape for place in sample] for sample in answer.outputs.layout] == [[[2, 3]]]
    assert answer.accuracy is not None
    assert answer.accuracy.samples == 2
    assert answer.counts.parameters == 67
    assert answer.notes[-1] == "captured for 1 inputs, contiguous"


@pytest.mark.parametrize("recipe", ["fp32-frozen", "fp32-mobile"])
def test_what_is_done_to_torchscript_alone_is_skipped_with_words(
    recipe: str, tmp_path: Path
) -> None:
    answer = work_on(recipe, tmp_path, net())
    assert isinstance(answer, Refused)
    assert answer.status == "skipped"
    assert "files of this format are not made of it" in answer.reason


def fails() -> Outcome:
    raise Problem("why", "how")


def breaks() -> Outcome:
    raise ValueError("broken")


def test_whatever_a_variant_raises_is_its_own_answer() -> None:
    assert guarded("net.fp32", fails) == Refused("net.fp32", "failed", "why", "how")
    answer = guarded("net.fp32", breaks)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith("ValueError: broken (")
    assert "in breaks)" in answer.reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_error_is_never_placed_in_this_code_but_in_the_users(tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, ValueError), match="none") as caught:
        formats.FORMATS["ptl"].load(str(tmp_path / "none.ptl"))
    assert "formats/ptl.py" not in last_line(caught.value)
    assert "test_variant.py" in last_line(caught.value)
