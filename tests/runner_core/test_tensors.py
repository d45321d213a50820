"""Inputs reach the model as they were asked for, and outputs come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.schema.job import Dtype, TensorSource
from tests.fakes.inputs import generate
from tests.fakes.runner_bench import (
    Bench,
    Net,
    export,
    values,
)

pytestmark = pytest.mark.slow


class Clones(torch.nn.Module):
    def forward(
        self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return a.clone(), b.clone(), c.clone(), d.clone()


class Nested(torch.nn.Module):
    def forward(
        self, x: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], list[torch.Tensor], tuple[torch.Tensor, int]]:
        q = torch.quantize_per_tensor(x, 0.25, 0, torch.qint8)
        return {"z": x + 1, "a": x + 2}, [x + 3, x.half()], (q, 7)


class Embeds(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(50, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.table(tokens)
        return y


def test_outputs_equal_the_eager_models(bench: Bench) -> None:
    sources = [TensorSource(shape=(1, 3, 16, 16), seed=seed, low=-1) for seed in (5, 6)]
    record = bench.measure(checks=tuple((source,) for source in sources))
    for sample, source in enumerate(sources):
        with torch.inference_mode():
            eager = Net().eval()(torch.from_numpy(generate(source))).numpy()
        np.testing.assert_allclose(values(record, sample)[0], eager, rtol=1e-5, atol=1e-6)


def test_seeded_inputs_reach_the_model_as_the_same_bits_that_python_makes(bench: Bench) -> None:
    dtypes: tuple[Dtype, ...] = ("float32", "float16", "int64", "bool")
    shapes = ((3,), (2, 2), (5, 1, 2), (7,))
    inputs = tuple(
        TensorSource(shape=shape, dtype=dtype, seed=2**63 + n, low=-3, high=1000)
        for n, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    )
    examples = [torch.from_numpy(generate(source)) for source in inputs]
    model = bench.model("clones", lambda path: export(Clones(), path, *examples))
    outputs = values(bench.measure(model_file=model, inputs=inputs, checks=(inputs,)))
    for output, source in zip(outputs, inputs, strict=True):
        made = generate(source)
        wide = made.astype(np.float32) if source.dtype == "float16" else made
        assert output.dtype == wide.dtype
        assert output.shape == source.shape
        assert output.tobytes() == wide.tobytes()


def test_bfloat16_inputs_are_rounded_as_torch_rounds_them(bench: Bench) -> None:
    source = TensorSource(shape=(999,), dtype="bfloat16", seed=4, low=-5, high=5)
    fine = generate(source.model_copy(update={"dtype": "float32"}))
    rounded = torch.from_numpy(fine).bfloat16()
    assert generate(source).tobytes() == rounded.view(torch.uint16).numpy().tobytes()
    model = bench.model("relu", lambda path: export(torch.nn.Identity(), path))
    (output,) = values(bench.measure(model_file=model, inputs=(source,), checks=((source,),)))
    assert output.tobytes() == rounded.float().numpy().tobytes()


def test_half_precision_inputs_are_rounded_as_numpy_rounds_them_over_the_whole_range(
    bench: Bench,
) -> None:
    model = bench.model("relu", lambda path: export(torch.nn.Identity(), path))
    for high in (1e-7, 6e-5, 1.0, 65519.0, 66000.0):
        source = TensorSource(shape=(500,), dtype="float16", seed=4, low=-high, high=high)
        with np.errstate(over="ignore"):
            made = generate(source).astype(np.float32)
        (output,) = values(bench.measure(model_file=model, inputs=(source,), checks=((source,),)))
        assert output.tobytes() == made.tobytes()


def test_inputs_come_from_a_file_at_an_offset(bench: Bench) -> None:
    image = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    path = bench.folder / "inputs.bin"
    path.write_bytes(b"\0" * 12 + image.tobytes())
    source = TensorSource(shape=image.shape, file=str(path), offset_bytes=12)
    (output,) = values(bench.measure(inputs=(source,), checks=((source,),)))
    with torch.inference_mode():
        eager = Net().eval()(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(output, eager, rtol=1e-5, atol=1e-6)


def test_token_ids_run_an_embedding(bench: Bench) -> None:
    tokens = TensorSource(shape=(1, 6), dtype="int64", seed=2, low=0, high=50)
    model = bench.model(
        "embeds", lambda path: export(Embeds(), path, torch.zeros(1, 6, dtype=torch.long))
    )
    (output,) = values(bench.measure(model_file=model, inputs=(tokens,), checks=((tokens,),)))
    with torch.inference_mode():
        eager = Embeds()(torch.from_numpy(generate(tokens))).numpy()
    assert output.tobytes() == eager.tobytes()


def test_nested_outputs_are_flattened_in_order_and_made_plain(bench: Bench) -> None:
    source = TensorSource(shape=(4,), seed=9)
    model = bench.model("nested", lambda path: export(Nested(), path))
    outputs = values(bench.measure(model_file=model, inputs=(source,), checks=((source,),)))
    x = generate(source)
    expected = [x + 1, x + 2, x + 3, x.astype(np.float16), np.round(x / 0.25) * 0.25, np.int64(7)]
    assert [o.dtype for o in outputs] == [np.float32] * 5 + [np.int64]
    for output, right in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(output, right)
