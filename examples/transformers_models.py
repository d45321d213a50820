"""Two networks of the transformers library, built from their configurations: nothing is downloaded.

They show what phonebench does with models that it has never seen: outputs in a dictionary, token
numbers as inputs, several inputs. Weights are random and seeded.

    phonebench export examples/transformers.toml
"""

from __future__ import annotations

import torch
from torch import nn


def mobilevit() -> nn.Module:
    """Return MobileViT-XXS (convolutions and attention). In: (N, 3, 256, 256)."""
    from transformers import MobileViTConfig, MobileViTForImageClassification

    torch.manual_seed(0)
    config = MobileViTConfig(
        hidden_sizes=[64, 80, 96], neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        expand_ratio=2.0, num_labels=1000,
    )  # fmt: skip
    model: nn.Module = MobileViTForImageClassification(config)
    _scale_like_trained(model, torch.rand(8, 3, 256, 256))
    return model.eval()


def mobilebert() -> nn.Module:
    """Return a MobileBERT of 6 of its 24 layers. In: token numbers and a mask, (N, T) each."""
    from transformers import MobileBertConfig, MobileBertForSequenceClassification

    torch.manual_seed(0)
    model: nn.Module = MobileBertForSequenceClassification(MobileBertConfig(num_hidden_layers=6))
    return model.eval()


def _scale_like_trained(model: nn.Module, images: torch.Tensor) -> None:
    """Give convolutions weights that keep the scale of values, and fit BatchNorm to some images.

    Else random weights shrink every value towards zero, where no comparison means anything.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain average over all batches
    model.train()
    with torch.no_grad():
        model(images)
