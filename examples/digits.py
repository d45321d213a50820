"""A small CNN, trained in seconds on scikit-learn's handwritten digits: real data, offline.

This is all that phonebench asks of a model of yours: a function without arguments that returns it,
one that returns typical inputs (for int8), and one that returns inputs with labels (for accuracy).
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

TEST_COUNT = 360  # a fifth of the set, never trained on


class DigitsNet(nn.Module):
    """Three convolutions with BatchNorm, then one Linear layer. In: (N, 1, 32, 32). Out: (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.hidden = nn.Linear(64 * 4 * 4, 64)
        self.scores = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score for each digit."""
        features = torch.flatten(self.features(images), 1)
        scores: torch.Tensor = self.scores(functional.relu(self.hidden(features)))
        return scores


def trained() -> nn.Module:
    """Train the network: about 97 to 99 of 100 unseen digits are right."""
    torch.manual_seed(0)
    images, labels = digits()
    images, labels = images[:-TEST_COUNT], labels[:-TEST_COUNT]
    model = DigitsNet()
    epochs, batch = 8, 64
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    return model.eval()


def calibration() -> list[torch.Tensor]:
    """Return 64 training images, one by one: what int8 takes its ranges from."""
    return [image[None] for image in digits()[0][:64]]


def test_set() -> list[tuple[torch.Tensor, int]]:
    """Return the images that were not trained on, with their labels."""
    images, labels = digits()
    return [
        (image[None], int(label))
        for image, label in zip(images[-TEST_COUNT:], labels[-TEST_COUNT:], strict=True)
    ]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all 1797 digits in a seeded order, 32x32 pixels from 0 to 1, and their labels."""
    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], torch.tensor(digits.target)[order]
