"""RLE Lossless (PS3.5 annex G): the header is checked here, since the decoder trusts it."""

from __future__ import annotations

import struct
from itertools import pairwise

import imagecodecs
import numpy as np

from worker.imaging.frames import decode_failed, truncated
from worker.imaging.pixel_layout import PixelLayout

_HEADER = struct.Struct("<16I")


def decode_rle(stream: bytes, layout: PixelLayout) -> np.ndarray:
    """Containers, flat, of one RLE frame.

    Raises RefusedInstance DECODE_FAILED, PIXEL_DATA_TRUNCATED. imagecodecs follows segment offsets without
    looking, and a wrong one ends the whole process; and it lets one segment make up for another. So
    each is decoded alone.
    """
    bounds = _segments(stream, layout)
    pixels = layout.rows * layout.columns
    planes = np.empty(
        (pixels, len(bounds)), np.uint8
    )  # (pixels, bytes of a sample), low byte first
    for plane, (start, end) in zip(reversed(range(len(bounds))), bounds, strict=True):
        planes[:, plane] = _plane(stream[start:end], pixels)
    return planes.view(layout.container.newbyteorder("<"))[:, 0]


def _plane(segment: bytes, pixels: int) -> np.ndarray:
    """Return one byte of every sample, uint8 (pixels,)."""
    alone = _HEADER.pack(1, _HEADER.size, *[0] * 14) + segment
    plane = imagecodecs.dicomrle_decode(alone, np.dtype(np.uint8), out=bytearray(pixels))
    if len(plane) != pixels:
        raise truncated(f"an RLE segment of {len(plane)} bytes once decoded", f"{pixels} bytes")
    return np.frombuffer(plane, np.uint8)


def _segments(stream: bytes, layout: PixelLayout) -> list[tuple[int, int]]:
    """Return one per byte of a sample, the first behind the header, each behind the last (G.3)."""
    if len(stream) > _HEADER.size:
        count, *offsets = _HEADER.unpack_from(stream)
        bounds = list(pairwise([*offsets[: layout.container.itemsize], len(stream)]))
        in_order = bounds[0][0] == _HEADER.size and all(start < end for start, end in bounds)
        if count == layout.container.itemsize and in_order:
            return bounds
    raise decode_failed("an RLE header that contradicts its frame")
