"""Recipes: their names, and what each really does to small models."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.export_worker.recipes import (
    min_sqnr_db,
    parse_recipe,
    pruning,
    quantization,
    torchscript,
)
from harness.export_worker.recipes.step import Context, Skip


def names(recipe: str) -> list[tuple[str, int]]:
    return [(chosen.step.name, chosen.percent) for chosen in parse_recipe(recipe)]


def test_a_recipe_is_its_steps_in_order() -> None:
    assert names("prune-channels-50+int8-static") == [("prune-channels-N", 50), ("int8-static", 0)]


def test_a_recipe_without_a_precision_is_fp32() -> None:
    assert names("prune-l1-30") == [("prune-l1-N", 30), ("fp32", 0)]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("int8-statc", "did you mean int8-static"),
        ("prune-channel-50", "did you mean prune-channels-N"),
        ("prune-channels-0", "from 1 to 99"),
        ("prune-channels-100", "from 1 to 99"),
        ("prune-channels", "prune-channels-N"),
        ("", "there is no recipe ''"),
        ("fp32+fp32", "names fp32 twice"),
        ("prune-l1-10+prune-l1-20", "names prune-l1-N twice"),
        ("fp16+int8-dynamic", "a file has one of these precisions"),
        ("int8-static+prune-channels-50", "prune-channels-N must come before int8-static"),
        ("prune-l1-50+prune-channels-50", "prune-channels-N must come before prune-l1-N"),
    ],
)
def test_senseless_recipes_are_refused_with_what_would_be_right(recipe: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_recipe(recipe)


def test_pruned_outputs_are_shown_and_not_judged() -> None:
    assert min_sqnr_db("prune-channels-50+int8-static") is None
    assert min_sqnr_db("int8-static") == 8


class Residual(nn.Module):
    """A depthwise block, added to its input, and a Linear after flattening: all that shares channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.expand = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.hidden = nn.Linear(8 * 4, 6)
        self.scores = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = x + self.narrow(functional.relu6(self.depthwise(self.expand(x))))
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 2), 1)
        scores: torch.Tensor = self.scores(functional.relu(self.hidden(x)))
        return scores


IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def context(
    percent: int = 50, calibration: list[tuple[torch.Tensor, ...]] | None = None
) -> Context:
    return Context((IMAGE,), calibration, "qnnpack", percent)


def silence(layer: nn.Conv2d | nn.Linear, channels: slice) -> None:
    """Make some channels always zero."""
    layer.weight[channels] = 0
    if layer.bias is not None:
        layer.bias[channels] = 0


def test_pruning_silent_channels_changes_no_output() -> None:
    torch.manual_seed(0)
    model = Residual().eval()
    with torch.no_grad():
        for layer, channels in (
            (model.stem, slice(0, 4)), (model.narrow, slice(0, 4)),
            (model.expand, slice(8, 16)), (model.depthwise, slice(8, 16)),
            (model.hidden, slice(2, 5)),
        ):  # fmt: skip
            silence(layer, channels)
        expected = model(IMAGE)
        noted = context()
        pruned = pruning.prune_channels(model, noted)
        torch.testing.assert_close(pruned(IMAGE), expected)
    assert [model.stem.out_channels, model.depthwise.groups, model.hidden.in_features] == [4, 8, 16]
    assert model.norm.num_features == 4
    assert "pruned 3 of 4 channel groups: 30 -> 15 channels" in noted.notes[0]
    assert "left alone: scores (it is an output)" in noted.notes[1]


class Odd(nn.Module):
    """Things that pruning does not understand, around one layer that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.twice = nn.Conv2d(8, 8, 1)
        self.free = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.grouped(self.first(x))
        x = self.twice(self.twice(x))
        x = torch.cat([x[:, :4], x[:, 4:]], 1)
        scores: torch.Tensor = self.last(self.free(x))
        return scores


def test_what_pruning_does_not_understand_it_leaves_alone_and_says_so() -> None:
    model = Odd().eval()
    noted = context()
    pruning.prune_channels(model, noted)
    shapes = [tuple(layer.weight.shape[:2]) for layer in model.children()]  # type: ignore[index]
    assert shapes == [(8, 3), (8, 4), (8, 8), (4, 8), (4, 4)]
    assert "pruned 1 of 3" in noted.notes[0]
    assert "first (grouped is not understood)" in noted.notes[1]


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("step", [pruning.prune_channels, quantization.quantize_static])
def test_a_model_that_fx_cannot_trace_is_skipped_by_the_name_of_its_module(step: object) -> None:
    assert callable(step)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Branching()).eval()
    with pytest.raises(Skip, match=r"FX cannot trace Branching \(test_recipes.py:\d+\)") as caught:
        step(model, context(calibration=[(IMAGE,)]))
    assert "docs/recipes.md" in caught.value.advice


def test_dynamic_quantization_without_a_linear_layer_is_skipped() -> None:
    with pytest.raises(Skip, match="nothing to quantize: none of the 1 layers"):
        quantization.quantize_dynamic(nn.Sequential(nn.Conv2d(3, 4, 1)), context())


def test_static_quantization_without_calibration_data_is_skipped() -> None:
    with pytest.raises(Skip, match="needs calibration data") as caught:
        quantization.quantize_static(nn.Sequential(nn.Conv2d(3, 4, 1)), context())
    assert "calibration =" in caught.value.advice


def test_l1_pruning_zeroes_weights_and_shrinks_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 2))
    noted = context(percent=25)
    pruning.prune_l1(model, noted)
    weight = model[2].weight
    assert isinstance(weight, torch.Tensor)
    assert weight.shape == (2, 256)
    assert int((weight == 0).sum()) == 128
    assert "neither the file nor the time shrinks" in noted.notes[0]


@pytest.mark.parametrize("finish", [torchscript.freeze, torchscript.optimize_for_mobile])
def test_a_file_that_is_not_made_of_torchscript_is_not_finished_as_such(finish: Any) -> None:
    with pytest.raises(Skip, match="works on TorchScript, and files of this format are not"):
        finish(nn.Linear(2, 2), context())
