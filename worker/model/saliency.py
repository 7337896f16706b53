"""Where a network looked: Grad-CAM (Selvaraju et al. 2017) at its last convolutional layer."""

from __future__ import annotations

from typing import Protocol

import torch
from torch.nn.functional import interpolate


class Splittable(Protocol):
    """A network whose forward pass is known in two parts, so that nothing need listen in on it."""

    def activations(self, x: torch.Tensor) -> torch.Tensor:
        """Standardised inputs (N, 3, S, S) -> activations (N, C, h, w)."""

    def logits_from(self, activations: torch.Tensor) -> torch.Tensor:
        """Activations (N, C, h, w) -> logits (N,)."""


def grad_cam(model: Splittable, inputs: torch.Tensor) -> torch.Tensor:
    """Show where the picture spoke for PNEUMONIA (Grad-CAM).

    A function of network and input alone: it leaves nothing on the network, so that many threads
    may share one, and does not depend on the caller's grad mode.

    Args:
        model: In evaluation mode; its parameters need no gradients and get none.
        inputs: Standardised, float32 (N, 3, S, S).

    Returns:
        Maps float32 (N, S, S) in [0, 1]; each map's greatest value is 1, or the map is 0 all over
        where nothing spoke for it.
    """
    with torch.inference_mode(mode=False):
        with torch.no_grad():
            activations = model.activations(inputs.clone())  # a copy is no inference tensor
        with torch.enable_grad():
            logits = model.logits_from(activations.requires_grad_())
            (slopes,) = torch.autograd.grad(logits.sum(), activations)
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        maps = (weights * activations.detach()).sum(dim=1, keepdim=True).relu()
    size = (inputs.shape[-2], inputs.shape[-1])
    large = interpolate(maps, size=size, mode="bilinear", align_corners=False)[:, 0]
    highest = large.amax(dim=(1, 2), keepdim=True)
    return large / highest.clamp(min=1e-12) * (highest > 0)
