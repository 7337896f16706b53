"""Make radiographs look like those of other hospitals: one vectorised pass over a batch.

Strong on purpose. On this set contrast, sharpness and black level alone nearly separate the
classes, so the network must see each class with every appearance. No flips (the heart has its side) and
no elastic warps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far each change may go. Intervals are drawn from uniformly, anew for each image."""

    crop_area: tuple[float, float] = (0.25, 1.0)
    """Share of the area kept: stronger cropping is what moved specificity on this set."""
    crop_ratio: tuple[float, float] = (0.75, 1.33)
    """Width over height of the crop, drawn on a log scale."""
    rotation_degrees: float = 10.0
    """Patients are held, and lie a little askew."""
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
    tone_exchange: tuple[float, float] = (0.3, 1.0)
    """How far some images take over the grey-level histogram of another image of the batch, of
    either class: tone curve and black level then carry no information about the class."""
    noise: float = 0.04
    """Largest standard deviation of added Gaussian noise (low dose)."""
    border: float = 0.10
    """Widest border strip painted over: frames, letters and collimation are there."""


SHARE = 0.3
"""Probability of each of the rarer changes (tone exchange, coarse, JPEG, noise, border, pedestal)."""


def augment(
    planes: torch.Tensor, draw: torch.Generator, limits: Augmentation, side: int | None = None
) -> torch.Tensor:
    """uint8 (N, 1, S, S) -> float32 (N, 1, side, side) in [0, 1], each image changed on its own.

    All on the generator's device. The same generator state gives the same result. `side`: a
    multiple of 8, S unless given.
    """
    images = planes.to(draw.device).float() / 255
    images = _warp(images, draw, limits, side or planes.shape[-1])
    images = _exchange_tones(images, draw, limits)
    images = _change_sharpness(images, draw, limits)
    images = _make_coarse(images, draw, limits)
    images = _change_tones(images, draw, limits)
    images = _add_noise(images, draw, limits)
    images = _compress(images, draw, limits)
    return _paint_border(images, draw, limits)


def _uniform(n: int, draw: torch.Generator, low: float, high: float) -> torch.Tensor:
    """(n,) float32 in [low, high)."""
    return torch.rand(n, generator=draw, device=draw.device) * (high - low) + low


def _per_image(values: torch.Tensor) -> torch.Tensor:
    """(n,) -> (n, 1, 1, 1), to be broadcast over images."""
    return values.view(-1, 1, 1, 1)


def _some(n: int, draw: torch.Generator) -> torch.Tensor:
    """bool (n,), each True with probability SHARE."""
    return _uniform(n, draw, 0, 1) < SHARE


def _warp(
    images: torch.Tensor, draw: torch.Generator, limits: Augmentation, side: int
) -> torch.Tensor:
    """Random resized crop, rotation, shear and shift in one resampling."""
    n = len(images)
    area = _uniform(n, draw, *limits.crop_area)
    ratio = _uniform(n, draw, *(math.log(r) for r in limits.crop_ratio)).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    angle = torch.deg2rad(_uniform(n, draw, -limits.rotation_degrees, limits.rotation_degrees))
    shear = torch.deg2rad(_uniform(n, draw, -limits.shear_degrees, limits.shear_degrees)).tan()
    # Where the crop's centre lies, in [-1, 1] coordinates of the source image.
    x = _uniform(n, draw, -1, 1) * (1 - width) + _uniform(n, draw, -limits.shift, limits.shift) * 2
    y = _uniform(n, draw, -1, 1) * (1 - height) + _uniform(n, draw, -limits.shift, limits.shift) * 2
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([cos * width, (shear * cos - sin) * height, x], dim=1),
        torch.stack([sin * width, (shear * sin + cos) * height, y], dim=1),
    ]
    shape = [n, 1, side, side]
    grid = affine_grid(torch.stack(rows, dim=1), shape, align_corners=False)
    return grid_sample(images, grid, mode="bilinear", align_corners=False)


def _exchange_tones(
    images: torch.Tensor, draw: torch.Generator, limits: Augmentation
) -> torch.Tensor:
    """Some images get the histogram of a random partner: rank by rank, partly or wholly."""
    n = len(images)
    chosen = _some(n, draw).nonzero().flatten()
    partner = torch.randperm(n, generator=draw, device=draw.device)[chosen]
    flat = images.flatten(1)
    order = flat[chosen].argsort(dim=1)
    matched = torch.empty_like(flat[chosen]).scatter_(1, order, flat[partner].sort(dim=1).values)
    share = _uniform(n, draw, *limits.tone_exchange)[chosen, None]
    changed = flat[chosen].lerp(matched, share).view(-1, *images.shape[1:])
    return images.index_copy(0, chosen, changed)


def _change_sharpness(
    images: torch.Tensor, draw: torch.Generator, limits: Augmentation
) -> torch.Tensor:
    """A third blurred, a third sharpened by an unsharp mask, a third left alone."""
    n = len(images)
    smooth = blur(images, _uniform(n, draw, *limits.blur_sigma))
    choice = torch.randint(3, (n,), generator=draw, device=draw.device)
    gain = _uniform(n, draw, 0, limits.sharpening)
    gain = torch.where(choice == 0, -1.0, torch.where(choice == 1, gain, 0.0))
    return (images + _per_image(gain) * (images - smooth)).clamp(0, 1)


def blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of (N, 1, S, S) with a sigma (N,) in pixels for each image."""
    n, radius = len(images), 6
    offsets = torch.arange(-radius, radius + 1, device=images.device).float()
    kernel = torch.exp(-0.5 * (offsets / sigma.view(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (N, 13)
    lanes = pad(images.transpose(0, 1), [radius] * 4, mode="reflect")  # images as channels
    lanes = conv2d(lanes, kernel.view(n, 1, 1, -1), groups=n)
    return conv2d(lanes, kernel.view(n, 1, -1, 1), groups=n).transpose(0, 1)


def _make_coarse(images: torch.Tensor, draw: torch.Generator, limits: Augmentation) -> torch.Tensor:
    """Some images down to a coarser grid and up again (one grid a batch, to stay vectorised)."""
    side = images.shape[-1]
    small = int(side * _uniform(1, draw, *limits.coarse_side).item())
    down = interpolate(images, size=(small, small), mode="bilinear", antialias=True)
    coarse = interpolate(down, size=(side, side), mode="bilinear")
    return torch.where(_per_image(_some(len(images), draw)), coarse, images)


def _change_tones(
    images: torch.Tensor, draw: torch.Generator, limits: Augmentation
) -> torch.Tensor:
    """Gamma, contrast about the mean, brightness, black level."""
    n = len(images)
    images = images.clamp(min=1e-4) ** _per_image(_uniform(n, draw, *limits.gamma))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    factor = _per_image(1 + _uniform(n, draw, -limits.contrast, limits.contrast))
    offset = _per_image(_uniform(n, draw, -limits.brightness, limits.brightness)) / 2
    images = ((images - mean) * factor + mean + offset).clamp(0, 1)
    black = _per_image(_uniform(n, draw, 0, limits.pedestal) * _some(n, draw))
    return black + (1 - black) * images


def _add_noise(images: torch.Tensor, draw: torch.Generator, limits: Augmentation) -> torch.Tensor:
    n = len(images)
    deviation = _per_image(_uniform(n, draw, 0, limits.noise) * _some(n, draw))
    noise = torch.empty_like(images).normal_(generator=draw)
    return (images + noise * deviation).clamp(0, 1)


def _compress(images: torch.Tensor, draw: torch.Generator, limits: Augmentation) -> torch.Tensor:
    """Some images through what JPEG does to grey values: quantised cosines of 8 x 8 blocks."""
    chosen = _some(len(images), draw).nonzero().flatten()
    quality = _uniform(len(images), draw, *limits.jpeg_quality)[chosen]
    return images.index_copy(0, chosen, jpeg_round_trip(images[chosen], quality))


def jpeg_round_trip(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """(n, 1, S, S) in [0, 1], each with the loss of JPEG at its quality (n,) in [1, 100].

    Vectorised and on any device, which a JPEG library is not; entropy coding, which loses nothing,
    is left out. Table: ISO/IEC 10918-1 Annex K.1; scaling by quality: libjpeg's.
    """
    n, side, blocks = len(images), images.shape[-1], images.shape[-1] // 8
    cosines = _cosines().to(images.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1, 1, 1)
    steps = (_LUMINANCE.to(images.device) * scale / 100 + 0.5).floor().clamp(1, 255)
    grey = (images * 255 - 128).view(n, blocks, 8, blocks, 8).transpose(2, 3)  # (n, b, b, 8, 8)
    quantised = (cosines @ grey @ cosines.T / steps).round() * steps
    back = (cosines.T @ quantised @ cosines).transpose(2, 3).reshape(n, 1, side, side)
    return ((back + 128) / 255).clamp(0, 1)


def _cosines() -> torch.Tensor:
    """The orthonormal discrete cosine transform of 8 values, (8, 8)."""
    k, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    table = torch.cos(math.pi * (2 * x + 1) * k / 16) / 2
    table[0] /= math.sqrt(2)
    return table


_LUMINANCE = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=torch.float32,
)


def _paint_border(
    images: torch.Tensor, draw: torch.Generator, limits: Augmentation
) -> torch.Tensor:
    """Some images get a strip of one grey along each edge, of its own width each."""
    n, side = len(images), images.shape[-1]
    widths = _uniform(4 * n, draw, 0, limits.border).view(n, 4, 1) * side
    along = torch.arange(side, device=draw.device).float()
    outside_rows = (along < widths[:, 0]) | (along >= side - widths[:, 1])  # (n, S)
    outside_columns = (along < widths[:, 2]) | (along >= side - widths[:, 3])
    strip = outside_rows[:, None, :, None] | outside_columns[:, None, None, :]
    grey = _per_image(_uniform(n, draw, 0, 1) * (_uniform(n, draw, 0, 1) < 0.5))
    return torch.where(strip & _per_image(_some(n, draw)), grey, images)
