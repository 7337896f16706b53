"""RLE Lossless (PS3.5 annex G): the header is checked here, since the decoder trusts it."""

from __future__ import annotations

import struct
from itertools import pairwise

import imagecodecs
import numpy as np

from worker.imaging.frames import decode_failed
from worker.imaging.pixel_layout import PixelLayout

_HEADER = struct.Struct("<16I")


def decode_rle(stream: bytes, layout: PixelLayout) -> np.ndarray:
    """Containers, flat, of one RLE frame; raises RefusedInstance DECODE_FAILED.

    imagecodecs follows segment offsets without looking: a wrong one ends the whole process.
    """
    if not _header_fits(stream, layout):
        raise decode_failed("an RLE header that contradicts its frame")
    dtype = layout.container.newbyteorder("<")
    room = bytearray(layout.frame_bytes)
    return np.frombuffer(imagecodecs.dicomrle_decode(stream, dtype, out=room), dtype)


def _header_fits(stream: bytes, layout: PixelLayout) -> bool:
    """One segment per byte of a sample, the first behind the header, each behind the last (G.3)."""
    if len(stream) <= _HEADER.size:
        return False
    segments, *offsets = _HEADER.unpack_from(stream)
    if segments != layout.container.itemsize:
        return False
    bounds = [*offsets[:segments], len(stream)]
    return bounds[0] == _HEADER.size and all(start < end for start, end in pairwise(bounds))
