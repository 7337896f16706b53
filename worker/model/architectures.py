"""The two networks, each ending in one logit: the only place that knows their heads.

The parameter names are torchvision's, so that any ImageNet file in its layout loads; only the head
(`fc` of ResNet50, `classifier` of VGG16) is ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models import vgg16
from torchvision.models.resnet import Bottleneck, ResNet

from worker.errors import Rejected


class ResNet50(ResNet):
    """torchvision's ResNet-50 with dropout and one logit in the place of its 1000 classes."""

    feature_count = 256 + 512 + 1024 + 2048
    """F, how many pooled features there are."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=1)
        self.fc = nn.Sequential(nn.Dropout(0.3), nn.Linear(2048, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) standardised -> logits (N,)."""
        return self.logits_from(self.activations(x))

    def activations(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) standardised -> what the last convolutional block gives, (N, C, h, w)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x

    def logits_from(self, activations: torch.Tensor) -> torch.Tensor:
        """What `activations` gave, (N, C, h, w) -> logits (N,): the rest of `forward`."""
        return self.fc(torch.flatten(self.avgpool(activations), 1)).squeeze(1)

    def features_and_logits(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, S, S) standardised -> pooled features float32 (N, F) and logits (N,), in one pass.

        The logits are those of `forward`, to the bit.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        pooled = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            pooled.append(_pooled(x))
        return torch.cat(pooled, dim=1), self.logits_from(x)

    def stages(self) -> dict[str, nn.Module]:
        """Return the network as a chain of named stages, sharing this model's parameters."""
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool)
        body = {f"layer{i}": getattr(self, f"layer{i}") for i in (1, 2, 3, 4)}
        return {"stem": stem, **body, "head": nn.Sequential(self.avgpool, nn.Flatten(1), self.fc)}


LAST_POOLING = 30
"""Place of the max pooling that ends VGG16's features, after the last rectified convolution."""


class VGG16(nn.Module):
    """torchvision's VGG16 features, global average pooling, dropout and one logit.

    The three dense layers of the original (124 of its 138 million parameters) are left out: pooling
    takes their place, so 14.7 million remain and any input side that is a multiple of 32 fits.
    """

    feature_count = 16 * (128 + 256 + 512)
    """F, how many pooled features there are: of blocks 2 to 4, in 16 fields."""

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16(weights=None).features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) standardised -> logits (N,)."""
        return self.logits_from(self.activations(x))

    def activations(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) standardised -> what the last convolution gives, rectified, (N, 512, h, w)."""
        return self.features[:LAST_POOLING](x)

    def logits_from(self, activations: torch.Tensor) -> torch.Tensor:
        """What `activations` gave, (N, 512, h, w) -> logits (N,): the rest of `forward`."""
        pooled = self.pool(self.features[LAST_POOLING](activations)).flatten(1)  # (N, 512)
        return self.classifier(pooled).squeeze(1)

    def features_and_logits(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, S, S) standardised -> pooled features float32 (N, F) and logits (N,), in one pass.

        Logarithms of field means: without batch norm a channel's mean spans decades, and only where
        it is active tells a turned radiograph from an upright one (docs/results.md). The logits are
        those of `forward`, to the bit.
        """
        pooled = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in (9, 16, 23):  # the max poolings that end blocks 2, 3 and 4
                pooled.append(torch.log(adaptive_avg_pool2d(x.float(), 4).flatten(1) + 0.1))
        logits = self.classifier(self.pool(x).flatten(1)).squeeze(1)
        return torch.cat(pooled, dim=1), logits

    def stages(self) -> dict[str, nn.Module]:
        """Return the network as a chain of named stages, sharing this model's parameters."""
        ends = (0, 5, 10, 17, 24, 31)  # each block ends with its max pooling
        blocks = {f"block{i}": self.features[ends[i - 1] : ends[i]] for i in range(1, 6)}
        return {**blocks, "head": nn.Sequential(self.pool, nn.Flatten(1), self.classifier)}


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """Activations (N, C, H, W) -> their means over the picture, float32 (N, C)."""
    return x.float().mean((2, 3))


Network = ResNet50 | VGG16
"""What `build_model` gives: an nn.Module with `stages()`, `features_and_logits()`, and `forward` in two
parts, `activations()` and `logits_from()`."""

BUILDERS: dict[str, Callable[[], Network]] = {"resnet50": ResNet50, "vgg16": VGG16}

ARCHITECTURES: tuple[str, ...] = tuple(BUILDERS)
"""Every architecture that a bundle may name."""


def build_model(architecture: str) -> Network:
    """Return the network with random weights, in training mode: (N, 3, S, S) float -> logits (N,).

    The logit is that of class PNEUMONIA before calibration. Raises Rejected("ARCHITECTURE_UNKNOWN").
    """
    if architecture not in BUILDERS:
        raise Rejected(
            "ARCHITECTURE_UNKNOWN",
            f"The architecture is {architecture!r}; this installation knows "
            f"{', '.join(ARCHITECTURES)}.",
        )
    return BUILDERS[architecture]()
