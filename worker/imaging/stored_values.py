"""Containers to stored values: Bits Stored, High Bit and Pixel Representation (PS3.5 8.1.1)."""

from __future__ import annotations

import numpy as np

from worker.imaging.codestreams import Codestream
from worker.imaging.pixel_layout import PixelLayout


def stored_values(
    containers: np.ndarray,
    layout: PixelLayout,
    codestream: Codestream | None = None,
    *,
    lossy: bool = False,
) -> np.ndarray:
    """Return stored values from what a decoder gave.

    Order: bring to width, shift by the high bit, drop (lossless) or clip (lossy) what lies outside
    Bits Stored, give it its sign.

    Args:
        containers: Integers (H, W).
        layout: What the header says of the pixels.
        codestream: What the compressed stream says of itself; None for native and RLE data, which
            keep the whole container.
        lossy: Whether the coding may overshoot.

    Returns:
        Stored values (H, W), uint8, uint16, int8 or int16.
    """
    width = codestream.precision if codestream else layout.bits_allocated
    values = containers.astype(_dtype(layout, signed=containers.dtype.kind == "i"), copy=False)
    if width <= layout.bits_stored:
        return _with_sign(values, layout, width)
    if lossy:
        return _clipped(_with_sign(values, layout, width), layout)
    shift = layout.high_bit + 1 - layout.bits_stored
    unsigned = values.view(layout.container)
    return _with_sign(unsigned >> shift if shift else unsigned, layout, layout.bits_stored)


def _with_sign(values: np.ndarray, layout: PixelLayout, width: int) -> np.ndarray:
    """Return the low `width` bits as unsigned or two's complement, as the header says."""
    unused = layout.bits_allocated - width
    values = values.view(_dtype(layout, signed=layout.signed))
    if unused == 0 or (not layout.signed and _fits(values, width)):
        return values
    # Shifting up drops the unused bits, shifting back repeats the sign (or zero).
    return (values << unused) >> unused


def _fits(values: np.ndarray, width: int) -> bool:
    return values.size == 0 or int(values.max()) < 1 << width


def _clipped(values: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """Lossy coding overshoots at edges; cutting bits would turn white into black there."""
    low = -(1 << (layout.bits_stored - 1)) if layout.signed else 0
    return np.clip(values, low, low + (1 << layout.bits_stored) - 1)


def _dtype(layout: PixelLayout, *, signed: bool) -> np.dtype:
    return np.dtype(f"{'i' if signed else 'u'}{layout.bits_allocated // 8}")
