"""Cached activations are what the frozen stages say, lie on disk, and leave nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from training.fit.activations import cached_activations
from training.fit.augmentation import Augmentation, augment
from training.fit.device import TrainingDevice
from worker.errors import Resource
from worker.imaging.preprocessing import PreprocessingSpec, standardise

CPU = TrainingDevice(device=torch.device("cpu"))
SPEC = PreprocessingSpec(size=64)
PLANES = np.random.default_rng(0).integers(0, 256, (40, 64, 64)).astype(np.uint8)


def cache(prefix, folder, planes=PLANES):
    return cached_activations(
        prefix,
        planes,
        side=32,
        spec=SPEC,
        augmentation=Augmentation(),
        seed=3,
        device=CPU,
        folder=folder,
    )


def test_they_are_what_the_stages_say_of_one_view_of_each_image(tmp_path):
    prefix = nn.Sequential(nn.Conv2d(3, 4, 3))
    with cache(prefix, tmp_path) as found:
        assert found.shape == (40, 4, 30, 30)
        assert found.dtype == torch.bfloat16
        draw = torch.Generator().manual_seed(3)
        view = augment(torch.from_numpy(PLANES[:32])[:, None], draw, Augmentation(), 32)
        with torch.no_grad():
            expected = prefix(standardise(view, SPEC))
        assert torch.allclose(found[:32].float(), expected, atol=0.05)
    assert not list(tmp_path.iterdir())


def test_they_are_removed_when_the_training_is_ended(tmp_path):
    with pytest.raises(KeyboardInterrupt), cache(nn.Sequential(nn.Identity()), tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_no_space_is_one_sentence(tmp_path):
    (tmp_path / "activations-0.bf16").symlink_to("/dev/full")
    with (
        pytest.raises(Resource, match=r"could not be reserved .* or set cached = false"),
        cache(nn.Sequential(nn.Identity()), tmp_path),
    ):
        pass
