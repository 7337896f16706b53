"""Both networks: their size, their names, one logit for each input."""

from __future__ import annotations

import pytest
import torch

from worker.errors import Rejected
from worker.model.architectures import ARCHITECTURES, build_model


@pytest.mark.parametrize(("architecture", "millions"), [("vgg16", 14.7), ("resnet50", 23.5)])
def test_the_number_of_parameters(architecture, millions):
    count = sum(p.numel() for p in build_model(architecture).parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("side", [64, 96])
def test_one_logit_for_each_input_of_any_side(architecture, side):
    with torch.inference_mode():
        assert build_model(architecture).eval()(torch.zeros(2, 3, side, side)).shape == (2,)


def test_parameters_carry_torchvisions_names():
    assert "layer3.5.conv3.weight" in build_model("resnet50").state_dict()
    assert "features.28.weight" in build_model("vgg16").state_dict()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_stages_in_a_row_are_the_network(architecture):
    torch.manual_seed(1)
    model = build_model(architecture).eval()
    inputs = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        x = inputs
        for stage in model.stages().values():
            x = stage(x)
        assert torch.equal(x.squeeze(1), model(inputs))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_come_with_the_very_same_logits(architecture):
    torch.manual_seed(2)
    model = build_model(architecture).eval()
    inputs = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        features, logits = model.features_and_logits(inputs)
        assert torch.equal(logits, model(inputs))
    assert features.shape == (2, model.feature_count)
    assert features.dtype == torch.float32
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize(("architecture", "channels"), [("resnet50", 2048), ("vgg16", 512)])
def test_class_activation_maps_are_made_of_the_last_convolutions(architecture, channels):
    model = build_model(architecture).eval()
    inputs = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        activations = model.activations(inputs)
        assert torch.equal(model.logits_from(activations), model(inputs))
    side = 64 // (32 if architecture == "resnet50" else 16)
    assert activations.shape == (2, channels, side, side)
    assert activations.min() >= 0


def test_an_unknown_architecture_is_refused_by_name():
    with pytest.raises(Rejected, match="'alexnet'; this installation knows resnet50, vgg16"):
        build_model("alexnet")
