"""Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2): values that are no picture."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import integer
from worker.imaging.pixel_layout import PixelLayout


def padding_range(dataset: Dataset, layout: PixelLayout) -> tuple[int, int] | None:
    """The least and the greatest stored value that is padding, both inclusive; None without."""
    value = _as_stored(integer(dataset, "PixelPaddingValue"), layout)
    if value is None:
        return None
    limit = _as_stored(integer(dataset, "PixelPaddingRangeLimit"), layout)
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def is_padding(domain: np.ndarray, padding: tuple[int, int] | None) -> np.ndarray:
    """bool, shape of `domain` (stored values): which of them are padding."""
    if padding is None:
        return np.zeros(domain.shape, dtype=bool)
    return (domain >= padding[0]) & (domain <= padding[1])


def _as_stored(value: int | None, layout: PixelLayout) -> int | None:
    """US and SS are mixed up in the wild; Pixel Representation decides what was meant."""
    if value is None:
        return None
    if layout.signed and value > 0x7FFF:
        return value - 0x1_0000
    return value + 0x1_0000 if not layout.signed and value < 0 else value
