"""MobileNetV2 (Sandler et al., 2018) in plain torch, with seeded random weights.

A phone-sized network to measure: its latency, memory and size are those of the real one, because
they do not depend on what the weights say. Its answers mean nothing, so it has no accuracy.
"""

from __future__ import annotations

import torch
from torch import nn

# Rows of table 2 of the paper: expansion, output channels, repeats, stride of the first.
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow; added to its input if it fits."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        layers = [] if expansion == 1 else [_convolution(channels_in, wide, 1)]
        layers.append(_convolution(wide, wide, 3, stride, groups=wide))
        self.last_norm = nn.BatchNorm2d(channels_out)
        narrow = nn.Conv2d(wide, channels_out, 1, bias=False)
        self.layers = nn.Sequential(*layers, narrow, self.last_norm)
        self.fits = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the narrowed features."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.fits else y


class MobileNetV2(nn.Module):
    """In: (N, 3, H, W). Out: (N, classes)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, 32, 3, stride=2)]
        channels = 32
        for expansion, channels_out, repeats, stride in STAGES:
            for index in range(repeats):
                first = stride if index == 0 else 1
                layers.append(Block(channels, channels_out, first, expansion))
                channels = channels_out
        layers.append(_convolution(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = nn.Linear(1280, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one score for each class."""
        features = torch.flatten(self.pool(self.features(images)), 1)
        scores: torch.Tensor = self.scores(features)
        return scores


def random() -> nn.Module:
    """Return the network with random weights, scaled so that its values behave like trained ones.

    BatchNorm is fitted to random images, and residual branches are damped: else rounding errors
    would grow from layer to layer until int8 has nothing left to hold.
    """
    torch.manual_seed(0)
    model = MobileNetV2()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain average over all batches
            nn.init.constant_(layer.bias, 0.5)
        elif isinstance(layer, Block) and layer.fits:
            nn.init.constant_(layer.last_norm.weight, 0.3)
    model.train()
    with torch.no_grad():
        model(torch.cat(calibration()))
    return model.eval()


def calibration() -> list[torch.Tensor]:
    """Return eight seeded images of smooth random colours, one by one."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(8, 3, 7, 7, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(224, 224), mode="bilinear")
    return list(smooth.split(1))


def _convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution, BatchNorm and ReLU6, keeping the size but for the stride."""
    return nn.Sequential(
        nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(),
    )
