"""Augmented images are images: in range, finite, repeatable, each changed on its own."""

from __future__ import annotations

import pytest
import torch

from training.augmentation import Augmentation, augment
from training.stress import STRESSES


def planes(count: int = 6) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 64, 64), generator=draw, dtype=torch.uint8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_float32_finite_and_in_range(seed):
    images = augment(planes(), seeded(seed), Augmentation())
    assert images.dtype == torch.float32
    assert images.shape == (6, 1, 64, 64)
    assert torch.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_same_seed_gives_the_same_images_and_another_gives_others():
    first, again, other = (augment(planes(), seeded(s), Augmentation()) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_equal_images_become_different_ones():
    same = planes(1).expand(4, -1, -1, -1)
    images = augment(same, seeded(0), Augmentation())
    assert all(not torch.equal(images[0], other) for other in images[1:])


@pytest.mark.parametrize("name", STRESSES)
def test_a_stressed_image_is_an_image(name):
    before = planes().float() / 255
    after = STRESSES[name](before)
    assert after.shape == before.shape
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.equal(after, before) == (name == "as they are")
