"""Changes that imitate another hospital's images and that no radiologist would be misled by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.transforms.v2.functional import gaussian_blur


def _without_border(planes: torch.Tensor) -> torch.Tensor:
    """The outer 10 % of each side painted black."""
    inside = slice(planes.shape[-1] // 10, planes.shape[-1] - planes.shape[-1] // 10)
    inner = torch.zeros_like(planes)
    inner[..., inside, inside] = planes[..., inside, inside]
    return inner


UNCHANGED = "as they are"
PERTURBATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    # planes float32 (N, 1, S, S) in [0, 1] -> the same, deterministic
    UNCHANGED: lambda x: x,
    "blur": lambda x: gaussian_blur(x, [9, 9], [1.5, 1.5]),
    "blacks raised": lambda x: x * (1 - 20 / 255) + 20 / 255,
    "blacks crushed": lambda x: (x - 20 / 255).clamp(min=0) / (1 - 20 / 255),
    "contrast lower": lambda x: (x - 0.5) * 0.7 + 0.5,
    "border erased": _without_border,
    "contrast higher": lambda x: ((x - 0.5) * 1.3 + 0.5).clamp(0, 1),
}
"""Name -> change (blur sigma 1.5, +-20 grey levels, 10 % of border)."""
