"""Grad-CAM points at what made the network speak."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from worker.model.architectures import ARCHITECTURES, Network, build_model
from worker.model.saliency import grad_cam


def seeing(architecture: str) -> Network:
    """A seeded network for which every activation speaks, so that its maps are not empty."""
    torch.manual_seed(0)
    model = build_model(architecture).eval().requires_grad_(requires_grad=False)
    head = model.fc if architecture == "resnet50" else model.classifier
    head[1].weight.abs_()
    return model


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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eight_threads_that_share_a_network_get_what_one_thread_gets(architecture):
    model = seeing(architecture)
    inputs = [torch.randn(1, 3, 64, 64) for _ in range(24)]
    alone = [grad_cam(model, each) for each in inputs]
    assert not torch.equal(alone[0], alone[1])
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda each: grad_cam(model, each), inputs))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_is_not_disturbed_by_threads_that_predict(architecture):
    model = seeing(architecture)
    inputs = torch.randn(1, 3, 64, 64)
    alone = grad_cam(model, inputs)

    def predict(_: int) -> torch.Tensor:
        with torch.inference_mode():
            return model(inputs)

    with ThreadPoolExecutor(8) as threads:
        logits = threads.map(predict, range(24))
        maps = [grad_cam(model, inputs) for _ in range(8)]
    assert all(torch.equal(found, alone) for found in maps)
    assert len({logit.item() for logit in logits}) == 1


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_callers_grad_mode_makes_no_difference(mode):
    model = seeing("vgg16")
    inputs = torch.randn(1, 3, 64, 64)
    alone = grad_cam(model, inputs)
    with mode():
        assert torch.equal(grad_cam(model, inputs.clone()), alone)


class Spot(torch.nn.Module):
    """A network whose logit is the brightness of its only feature map: it looks at bright places."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1, bias=False)
        torch.nn.init.constant_(self.layer.weight, sign)

    def activations(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def logits_from(self, activations: torch.Tensor) -> torch.Tensor:
        return activations.mean(dim=(1, 2, 3))


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
