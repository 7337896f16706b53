"""What the capture shows is what the network saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.builders.dicom import chest_like_pixels, make_instance
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec, preprocess
from worker.imaging.refusals import RefusedInstance
from worker.model.architectures import build_model
from worker.model.saliency import grad_cam
from worker.results.picture import LONGEST_SIDE, picture_of, resized, shrunk

SPEC = PreprocessingSpec()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build_model("resnet50").eval().requires_grad_(requires_grad=False)


def test_heat_is_that_of_the_very_input_of_the_network(network):
    dataset = make_instance(rows=400, columns=300)
    picture = picture_of(dataset, 1, network, SPEC)
    seen = preprocess(normalise_frame(dataset, SPEC).pixels, SPEC)
    assert np.array_equal(picture.heat, grad_cam(network, seen[None])[0].numpy())
    assert picture.pixels.shape == (400, 300)


def test_the_same_each_time(network):
    one, other = (picture_of(make_instance(seed=4), 1, network, SPEC) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.heat, other.heat)


def test_monochrome1_looks_like_monochrome2(network):
    pixels = chest_like_pixels(bits_stored=12)
    white_high = make_instance(pixels=pixels)
    white_low = make_instance(pixels=4095 - pixels, photometric="MONOCHROME1")
    one, other = (picture_of(d, 1, network, SPEC) for d in (white_high, white_low))
    assert np.allclose(one.pixels, other.pixels, atol=1e-6)
    assert np.allclose(one.heat, other.heat, atol=1e-4)


def test_the_frame_that_was_asked_for_is_shown(network):
    frames = np.stack([chest_like_pixels(seed=seed) for seed in (1, 2)])
    dataset = make_instance(pixels=frames)
    second = picture_of(dataset, 2, network, SPEC)
    assert np.array_equal(second.pixels, normalise_frame(dataset, SPEC, 2).pixels)
    assert not np.array_equal(second.pixels, normalise_frame(dataset, SPEC, 1).pixels)


def test_what_cannot_be_shown_is_refused_with_its_code(network):
    blank = make_instance(pixels=np.full((200, 200), 7, dtype=np.uint16))
    with pytest.raises(RefusedInstance) as caught:
        picture_of(blank, 1, network, SPEC)
    assert caught.value.code == "CONSTANT_IMAGE"


@pytest.mark.parametrize("shape", [(3000, 2500), (1100, 4000), (300, 200), (1024, 1024), (9000, 2)])
def test_shrinking_keeps_proportions_and_never_enlarges(shape):
    small = shrunk(np.random.default_rng(0).random(shape, dtype=np.float32), LONGEST_SIDE)
    assert max(small.shape) == min(LONGEST_SIDE, max(shape))
    assert min(small.shape) >= 1
    assert 0 <= small.min() <= small.max() <= 1


def test_detail_does_not_fold_into_noise():
    stripes = np.tile(np.array([0, 1], dtype=np.float32), (600, 300))
    assert np.abs(resized(stripes, (100, 100)) - 0.5).max() < 0.05
