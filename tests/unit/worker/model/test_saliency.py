"""Grad-CAM points at what made the network speak."""

from __future__ import annotations

import pytest
import torch

from worker.model.architectures import ARCHITECTURES, build_model
from worker.model.saliency import grad_cam


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_maps_have_the_inputs_size_lie_in_0_to_1_and_leave_the_network_as_it_was(architecture):
    torch.manual_seed(0)
    model = build_model(architecture).eval().requires_grad_(requires_grad=False)
    maps = grad_cam(model, torch.randn(2, 3, 64, 64))
    assert maps.shape == (2, 64, 64)
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert all(p.grad is None for p in model.parameters())
    assert not model.cam_layer()._forward_hooks


class Spot(torch.nn.Module):
    """A network whose logit is the brightness of its only feature map: it looks at bright places."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1, bias=False)
        torch.nn.init.constant_(self.layer.weight, sign)

    def cam_layer(self) -> torch.nn.Module:
        return self.layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).mean(dim=(1, 2, 3))


def spot_at(row: int, column: int) -> torch.Tensor:
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., row : row + 4, column : column + 4] = 1
    return picture


def test_the_map_is_bright_where_the_evidence_is():
    found = grad_cam(Spot(1.0), spot_at(8, 20))[0]
    assert found[8:12, 20:24].min() == 1
    assert found.sum() == 16


def test_nothing_that_speaks_for_it_is_an_empty_map():
    assert grad_cam(Spot(0.0), spot_at(8, 20)).sum() == 0
