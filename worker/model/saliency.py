"""Where a network looked: Grad-CAM (Selvaraju et al. 2017) at its last convolutional layer."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from worker.model.architectures import Network


def grad_cam(model: Network, inputs: torch.Tensor) -> torch.Tensor:
    """Standardised inputs float32 (N, 3, S, S) -> maps float32 (N, S, S) in [0, 1].

    Bright where the picture spoke for PNEUMONIA; each map's greatest value is 1, or the map is 0
    all over where nothing spoke for it. The model must be in evaluation mode; its parameters need
    no gradients and get none.
    """
    kept: list[torch.Tensor] = []
    handle = model.cam_layer().register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        with torch.enable_grad():
            logits = model(inputs.detach().clone().requires_grad_())
            (slopes,) = torch.autograd.grad(logits.sum(), kept)
    finally:
        handle.remove()
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    maps = (weights * kept[0]).sum(dim=1, keepdim=True).relu().detach()
    size = (inputs.shape[-2], inputs.shape[-1])
    large = interpolate(maps, size=size, mode="bilinear", align_corners=False)[:, 0]
    highest = large.amax(dim=(1, 2), keepdim=True)
    return large / highest.clamp(min=1e-12) * (highest > 0)
