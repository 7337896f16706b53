"""Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2): values that are no picture."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging.header_values import integer, is_filled
from worker.imaging.pixel_layout import PixelLayout
from worker.imaging.refusals import Step
from worker.imaging.unreadable import element_unreadable


def padding_range(dataset: Dataset, layout: PixelLayout) -> tuple[int, int] | None:
    """The least and the greatest stored value that is padding, both inclusive; None without.

    Raises RefusedInstance ELEMENT_UNREADABLE: padding that is taken for picture spoils extremes and stretch.
    """
    value = _as_stored(_deciding_integer(dataset, "PixelPaddingValue"), layout)
    if value is None:
        return None
    limit = _as_stored(_deciding_integer(dataset, "PixelPaddingRangeLimit"), layout)
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def is_padding(domain: np.ndarray, padding: tuple[int, int] | None) -> np.ndarray:
    """bool, shape of `domain` (stored values): which of them are padding."""
    if padding is None:
        return np.zeros(domain.shape, dtype=bool)
    return (domain >= padding[0]) & (domain <= padding[1])


def _deciding_integer(dataset: Dataset, keyword: str) -> int | None:
    value = integer(dataset, keyword)
    if value is None and is_filled(dataset, keyword):
        raise element_unreadable(
            keyword, expected="one whole number, or no value", step=Step.NORMALISE
        )
    return value


def _as_stored(value: int | None, layout: PixelLayout) -> int | None:
    """US and SS are mixed up in the wild; Pixel Representation decides what was meant."""
    if value is None:
        return None
    if layout.signed and value > 0x7FFF:
        return value - 0x1_0000
    return value + 0x1_0000 if not layout.signed and value < 0 else value
