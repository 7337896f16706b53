"""Make radiographs look as other hospitals' would: one vectorised pass over a batch.

Strong on purpose. On this set contrast, sharpness and black level alone nearly tell the classes
apart, so the network must see each class in every look. No flips (the heart has its side) and
no elastic warps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad
from torchvision.io import decode_jpeg, encode_jpeg


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far each change may go. Intervals are drawn from uniformly, anew for each image."""

    crop_area: tuple[float, float] = (0.25, 1.0)
    """Share of the area kept: stronger cropping is what moved specificity on this set."""
    crop_ratio: tuple[float, float] = (0.75, 1.33)
    """Width over height of the crop, drawn on a log scale."""
    rotation_degrees: float = 10.0
    """Patients are held and lie a little askew."""
    shear_degrees: float = 5.0
    """Tube and detector are seldom quite parallel."""
    shift: float = 0.06
    """Of the side, on top of where the crop lies."""
    brightness: float = 0.3
    """Added, plus or minus half of it in units of the full range."""
    contrast: float = 0.3
    """Times 1 plus or minus this, about the image's mean."""
    gamma: tuple[float, float] = (0.7, 1.4)
    """Characteristic curves of films and detectors differ."""
    pedestal: float = 0.15
    """Highest black level: the set's normals are blacker in the corners than its pneumonias."""
    blur_sigma: tuple[float, float] = (0.4, 2.0)
    """Pixels at side 224: detectors and compression blur; the set's normals are sharper."""
    sharpening: float = 1.5
    """Largest gain of the unsharp mask: vendors' edge enhancement."""
    coarse_side: tuple[float, float] = (0.45, 0.9)
    """Share of the side to which some images are reduced before they are enlarged again."""
    jpeg_quality: tuple[int, int] = (30, 90)
    """Of the lossy round trip that some images take."""
    noise: float = 0.04
    """Largest standard deviation of added Gaussian noise (low dose)."""
    border: float = 0.10
    """Widest border strip painted over: frames, letters and collimation lie there."""


SHARE = 0.3
"""Probability of each of the rarer changes (coarse, JPEG, noise, border, pedestal)."""


def augment(planes: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    """uint8 (N, 1, S, S) -> float32 (N, 1, S, S) in [0, 1], each image changed on its own.

    The same generator state gives the same result.
    """
    images = planes.float() / 255
    images = _warp(images, draw, how)
    images = _change_sharpness(images, draw, how)
    images = _make_coarse(images, draw, how)
    images = _change_tones(images, draw, how)
    images = _add_noise(images, draw, how)
    images = _compress(images, draw, how)
    return _paint_border(images, draw, how)


def _uniform(n: int, draw: torch.Generator, low: float, high: float) -> torch.Tensor:
    """(n,) float32 in [low, high)."""
    return torch.rand(n, generator=draw) * (high - low) + low


def _per_image(values: torch.Tensor) -> torch.Tensor:
    """(n,) -> (n, 1, 1, 1), to be broadcast over images."""
    return values.view(-1, 1, 1, 1)


def _some(n: int, draw: torch.Generator) -> torch.Tensor:
    """bool (n,), each True with probability SHARE."""
    return torch.rand(n, generator=draw) < SHARE


def _warp(images: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    """Random resized crop, rotation, shear and shift in one resampling."""
    n = len(images)
    area = _uniform(n, draw, *how.crop_area)
    ratio = _uniform(n, draw, *(math.log(r) for r in how.crop_ratio)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    turn = torch.deg2rad(_uniform(n, draw, -how.rotation_degrees, how.rotation_degrees))
    shear = torch.deg2rad(_uniform(n, draw, -how.shear_degrees, how.shear_degrees)).tan()
    # Where the crop's centre lies, in [-1, 1] coordinates of the source image.
    x = _uniform(n, draw, -1, 1) * (1 - width) + _uniform(n, draw, -how.shift, how.shift) * 2
    y = _uniform(n, draw, -1, 1) * (1 - height) + _uniform(n, draw, -how.shift, how.shift) * 2
    cos, sin = turn.cos(), turn.sin()
    rows = [
        torch.stack([cos * width, (shear * cos - sin) * height, x], dim=1),
        torch.stack([sin * width, (shear * sin + cos) * height, y], dim=1),
    ]
    grid = affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", align_corners=False)


def _change_sharpness(
    images: torch.Tensor, draw: torch.Generator, how: Augmentation
) -> torch.Tensor:
    """A third blurred, a third sharpened by an unsharp mask, a third left alone."""
    n = len(images)
    smooth = blur(images, _uniform(n, draw, *how.blur_sigma))
    choice = torch.randint(3, (n,), generator=draw)
    gain = torch.rand(n, generator=draw) * how.sharpening
    gain = torch.where(choice == 0, -1.0, torch.where(choice == 1, gain, 0.0))
    return (images + _per_image(gain) * (images - smooth)).clamp(0, 1)


def blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of (N, 1, S, S) with a sigma (N,) in pixels for each image."""
    n, radius = len(images), 6
    offsets = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-0.5 * (offsets / sigma.view(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (N, 13)
    lanes = pad(images.transpose(0, 1), [radius] * 4, mode="reflect")  # images as channels
    lanes = conv2d(lanes, kernel.view(n, 1, 1, -1), groups=n)
    return conv2d(lanes, kernel.view(n, 1, -1, 1), groups=n).transpose(0, 1)


def _make_coarse(images: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    """Some images down to a coarser grid and up again (one grid a batch, to stay vectorised)."""
    side = images.shape[-1]
    small = int(side * _uniform(1, draw, *how.coarse_side).item())
    down = interpolate(images, size=(small, small), mode="bilinear", antialias=True)
    coarse = interpolate(down, size=(side, side), mode="bilinear")
    return torch.where(_per_image(_some(len(images), draw)), coarse, images)


def _change_tones(images: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    """Gamma, contrast about the mean, brightness, black level."""
    n = len(images)
    images = images.clamp(min=1e-4) ** _per_image(_uniform(n, draw, *how.gamma))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    factor = _per_image(1 + _uniform(n, draw, -how.contrast, how.contrast))
    offset = _per_image(_uniform(n, draw, -how.brightness, how.brightness)) / 2
    images = ((images - mean) * factor + mean + offset).clamp(0, 1)
    black = _per_image(_uniform(n, draw, 0, how.pedestal) * _some(n, draw))
    return black + (1 - black) * images


def _add_noise(images: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    n = len(images)
    deviation = _per_image(_uniform(n, draw, 0, how.noise) * _some(n, draw))
    noise = torch.empty_like(images).normal_(generator=draw)
    return (images + noise * deviation).clamp(0, 1)


def _compress(images: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    """Some images through lossy JPEG; libjpeg takes them one by one."""
    low, high = how.jpeg_quality
    quality = torch.randint(low, high + 1, (len(images),), generator=draw)
    for row in _some(len(images), draw).nonzero().flatten().tolist():
        grey = (images[row] * 255).round().to(torch.uint8)
        images[row] = decode_jpeg(encode_jpeg(grey, int(quality[row]))).float() / 255
    return images


def _paint_border(images: torch.Tensor, draw: torch.Generator, how: Augmentation) -> torch.Tensor:
    """Some images get a strip of one grey along each edge, of its own width each."""
    n, side = len(images), images.shape[-1]
    widths = _uniform(4 * n, draw, 0, how.border).view(n, 4, 1) * side
    along = torch.arange(side).float()
    outside_rows = (along < widths[:, 0]) | (along >= side - widths[:, 1])  # (n, S)
    outside_columns = (along < widths[:, 2]) | (along >= side - widths[:, 3])
    strip = outside_rows[:, None, :, None] | outside_columns[:, None, None, :]
    grey = _per_image(torch.rand(n, generator=draw) * (torch.rand(n, generator=draw) < 0.5))
    return torch.where(strip & _per_image(_some(n, draw)), grey, images)
