"""The numbers of the Image Pixel module (PS3.3 C.7.6.3) that say how stored values are laid out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from worker.imaging import vocabulary
from worker.imaging.header_values import code_string, integer, is_filled, number_of_frames
from worker.imaging.refusals import Step, refused
from worker.imaging.unreadable import UNREADABLE_VALUE


@dataclass(frozen=True, kw_only=True)
class PixelLayout:
    """One grey sample per pixel in 8 or 16 bits; checked when made, so decoders need not ask."""

    rows: int
    """H."""
    columns: int
    """W."""
    bits_allocated: int
    """8 or 16: the size of one container."""
    bits_stored: int
    """How many of them carry the value."""
    high_bit: int
    """The most significant of those, counted from 0."""
    signed: bool
    """Pixel Representation: two's complement or unsigned."""
    photometric_interpretation: str
    """MONOCHROME1 or MONOCHROME2."""
    number_of_frames: int
    """How many frames Pixel Data holds."""

    @property
    def container(self) -> np.dtype:
        """Unsigned dtype of one container in this machine's byte order."""
        return np.dtype(np.uint8 if self.bits_allocated == 8 else np.uint16)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.container.itemsize


_TABLE = (
    # attribute, keyword, tag, what is accepted, as words
    ("rows", "Rows", "(0028,0010) Rows", lambda v, _: v > 0, "a number above 0"),
    ("columns", "Columns", "(0028,0011) Columns", lambda v, _: v > 0, "a number above 0"),
    ("samples", "SamplesPerPixel", "(0028,0002) Samples per Pixel", lambda v, _: v == 1, "1"),
    (
        "bits_allocated", "BitsAllocated", "(0028,0100) Bits Allocated",
        lambda v, _: v in (8, 16), "8 or 16",
    ),
    (
        "bits_stored", "BitsStored", "(0028,0101) Bits Stored",
        lambda v, seen: 1 < v <= seen["bits_allocated"], "2 up to Bits Allocated",
    ),
    (
        "high_bit", "HighBit", "(0028,0102) High Bit",
        lambda v, seen: seen["bits_stored"] - 1 <= v < seen["bits_allocated"],
        "Bits Stored - 1 up to Bits Allocated - 1",
    ),
    (
        "signed", "PixelRepresentation", "(0028,0103) Pixel Representation",
        lambda v, _: v in (0, 1), "0 or 1",
    ),
)  # fmt: skip
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def pixel_layout(dataset: Dataset) -> PixelLayout:
    """Return the layout of a dataset's pixels (PS3.3 C.7.6.3), checked by a table.

    Args:
        dataset: An instance.

    Returns:
        Size, bits, sign, frames and Photometric Interpretation.

    Raises:
        RefusedInstance: PIXEL_HEADER_INVALID names the first element that breaks its rule;
            HEADER_UNREADABLE.
    """
    seen: dict[str, int] = {}
    for name, keyword, tag, accepts, expected in _TABLE:
        value = integer(dataset, keyword)
        if value is None or not accepts(value, seen):
            nothing = UNREADABLE_VALUE if is_filled(dataset, keyword) else vocabulary.ABSENT
            raise _invalid(tag, nothing if value is None else str(value), expected)
        seen[name] = value
    photometric = code_string(dataset, "PhotometricInterpretation")
    if photometric not in _MONOCHROME:
        found = vocabulary.term(photometric, vocabulary.PHOTOMETRIC_INTERPRETATIONS)
        tag = "(0028,0004) Photometric Interpretation"
        raise _invalid(tag, found or vocabulary.ABSENT, " or ".join(_MONOCHROME))
    return PixelLayout(
        rows=seen["rows"],
        columns=seen["columns"],
        bits_allocated=seen["bits_allocated"],
        bits_stored=seen["bits_stored"],
        high_bit=seen["high_bit"],
        signed=bool(seen["signed"]),
        photometric_interpretation=photometric,
        number_of_frames=max(1, number_of_frames(dataset)),
    )


def _invalid(tag: str, found: str, expected: str) -> Exception:
    return refused(
        "PIXEL_HEADER_INVALID",
        step=Step.DECODE,
        tag=tag,
        found=found,
        expected=expected,
        advice="The pixels cannot be read with such a header.",
    )
