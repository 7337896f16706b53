"""The overlay: a tint and a contour where the picture indicates pneumonia, over grey anatomy."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from worker.results.picture import resized

Colour = tuple[int, int, int]

MAX_OPACITY = 0.45
"""Share of colour at the hottest place: the anatomy remains visible below it."""
STARTS, FULL = 0.35, 0.95
"""Heat at which the tint begins, and at which it is strongest."""
CONTOUR = 0.6
"""Heat that the contour follows: lower, it runs around half of the chest."""
_GRID = 7
"""Side of the network's last map; bicubic interpolation from there is smooth and adds no detail."""
_LEVELS = 32
"""Number of distinct heat levels. Another processor sums in another order, and the last digits of a
map must not change the pixels of an object whose UID stays the same (PS3.5 9.1)."""


def with_heat(pixels: np.ndarray, heat: np.ndarray, colour: Colour) -> np.ndarray:
    """Tint grey float32 (H, W) by heat float32 (S, S); all in [0, 1]. Returns RGB (H, W, 3)."""
    grey = np.repeat(pixels[:, :, None], 3, axis=2)
    if not heat.any():
        return grey
    smooth = _smooth(heat, pixels.shape)
    tint = np.asarray(colour, dtype=np.float32) / 255
    share = MAX_OPACITY * _ramp(smooth, STARTS, FULL)
    share = np.maximum(share, _contour(smooth))
    return grey + (tint - grey) * share[:, :, None]


def _smooth(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    plane = torch.as_tensor(heat, dtype=torch.float32)[None, None]  # (1, 1, S, S)
    coarse = adaptive_avg_pool2d(plane, min(_GRID, *heat.shape))[0, 0].numpy()
    return resized((coarse * _LEVELS).round() / _LEVELS, size)


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 up to `low`, 1 from `high`, and a smooth transition in between."""
    t = ((values - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _contour(smooth: np.ndarray) -> np.ndarray:
    """Return a soft line, three pixels wide, along CONTOUR: distance is difference over slope."""
    down, right = np.gradient(smooth)
    slope = np.hypot(down, right)
    distance = np.abs(smooth - CONTOUR) / np.maximum(slope, 1e-4)
    return (2.0 - distance).clip(0, 1)
