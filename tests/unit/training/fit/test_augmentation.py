"""Augmented images are images: in range, finite, repeatable, each changed on its own."""

from __future__ import annotations

import pytest
import torch
from torchvision.io import decode_jpeg, encode_jpeg

from training.evaluate.perturbations import PERTURBATIONS
from training.fit.augmentation import Augmentation, _exchange_tones, augment, jpeg_round_trip


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


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_stressed_image_is_an_image(name):
    before = planes().float() / 255
    after = PERTURBATIONS[name](before)
    assert after.shape == before.shape
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.equal(after, before) == (name == "as they are")


def test_the_side_of_use_may_be_another():
    assert augment(planes(), seeded(0), Augmentation(), 32).shape == (6, 1, 32, 32)


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_the_vectorised_loss_is_that_of_a_jpeg_library(quality):
    draw = torch.Generator().manual_seed(4)
    coarse = torch.rand(1, 1, 9, 9, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    noisy = (smooth + torch.randn(smooth.shape, generator=draw) * 0.05).clamp(0, 1)
    grey = (noisy * 255).round().to(torch.uint8)
    library = decode_jpeg(encode_jpeg(grey[0], quality)).float() / 255
    ours = jpeg_round_trip(grey.float() / 255, torch.tensor([float(quality)]))[0]
    ours = (ours * 255).round() / 255  # as the library hands it out
    lost = (library - grey[0].float() / 255).abs().mean()
    assert (ours - library).abs().mean() < 0.15 * lost


def test_a_borrowed_histogram_is_the_partners():
    dark, bright = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.8)
    images = torch.cat([dark, bright] * 20)
    wholly = Augmentation(tone_exchange=(1.0, 1.0))
    after = _exchange_tones(images, seeded(1), wholly).mean(dim=(1, 2, 3))
    changed = (after - images.mean(dim=(1, 2, 3))).abs() > 0.1
    assert 0 < changed.sum() < len(images), "some, not all"
    assert torch.allclose(after[changed], 1 - images[changed, 0, 0, 0], atol=1e-6)


def test_a_borrowed_histogram_keeps_what_is_where():
    images = torch.rand(8, 1, 16, 16, generator=seeded(2))
    after = _exchange_tones(images, seeded(3), Augmentation(tone_exchange=(1.0, 1.0)))
    assert torch.equal(images.flatten(1).argsort(dim=1), after.flatten(1).argsort(dim=1))
