"""Models that were trained for the phone: distilled, and quantization-aware.

Training is yours, not phonebench's: each function returns the finished model, and so is a model
of its own in a plan (`own_training.toml`), beside the one that it came from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.ao import quantization
from torch.ao.quantization import quantize_fx
from torch.nn import functional

from examples.digits import TEST_COUNT, digits, trained


def distilled() -> nn.Module:
    """Train a network a twentieth the size to give the scores that the large one gives."""
    teacher = trained()
    student = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=4, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 10),
    )  # fmt: skip

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = functional.softmax(teacher(images) / 4, 1)
        scores = student(images)
        soft = functional.kl_div(
            functional.log_softmax(scores / 4, 1), wanted, reduction="batchmean"
        )
        return 16 * soft + functional.cross_entropy(scores, labels)

    _train(student, loss, epochs=20, learning_rate=3e-3)
    return student.eval()


def quantization_aware() -> nn.Module:
    """Train on with int8 rounding in the loop, and return the int8 model itself.

    Its recipe in the plan is `fp32`, which changes nothing: it comes quantized already, for the
    engine that `[export] quantized_engine` names.
    """
    engine = torch.backends.quantized.engine
    mapping = quantization.get_default_qat_qconfig_mapping(engine)
    image = digits()[0][:1]
    model: Any = quantize_fx.prepare_qat_fx(trained().train(), mapping, (image,))

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(images), labels)

    _train(model, loss, epochs=2, learning_rate=3e-4)
    quantized: nn.Module = quantize_fx.convert_fx(model.eval())
    return quantized


def _train(model: nn.Module, loss: Any, epochs: int, learning_rate: float) -> None:
    """Minimise loss(images, labels) over the digits that are not for testing."""
    images, labels = digits()
    images, labels = images[:-TEST_COUNT], labels[:-TEST_COUNT]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss(images[chosen], labels[chosen]).backward()
            optimizer.step()
