"""What a compressed frame says about itself, read from its first bytes before it is decoded.

So a wrong header is refused at once, and a stream that claims a gigantic picture is never unpacked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_END_OF_IMAGE = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS, EOC of JPEG 2000: the same two bytes."""
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""SOF markers of JPEG (ITU-T T.81 table B.1), less DHT, JPG and DAC; F7 is JPEG-LS' SOF55."""
_JPEG_START = b"\xff\xd8"
START_OF_JPEG_2000 = b"\xff\x4f\xff\x51"
"""SOC and SIZ; in a JP2 file they stand in a box."""
_JP2_CODESTREAM_BOX = b"jp2c"


@dataclass(frozen=True, kw_only=True)
class Codestream:
    """Size and depth as the compressed stream itself declares them."""

    rows: int
    """H."""
    columns: int
    """W."""
    samples: int
    """Components per pixel."""
    precision: int
    """Bits per sample, 1 to 16 (38 in JPEG 2000)."""
    signed: bool
    """Only JPEG 2000 can say so; elsewhere False."""


def is_complete(stream: bytes) -> bool:
    """Return whether the stream ends with its end marker (then padding, which PS3.5 A.4 allows).

    libjpeg and OpenJPH fill up what is missing with grey and say nothing, so we look ourselves.
    """
    return stream[-64:].rstrip(b"\x00\xff").endswith(_END_OF_IMAGE) or (
        stream[-64:].rstrip(b"\x00").endswith(_END_OF_IMAGE)
    )


def describe(stream: bytes) -> Codestream | None:
    """Return the stream's own header, or None if it is neither JPEG, JPEG-LS nor JPEG 2000."""
    try:
        if stream.startswith(_JPEG_START):
            return _describe_jpeg(stream)
        start = stream.find(START_OF_JPEG_2000, 0, 4096)
        if start == 0 or _JP2_CODESTREAM_BOX in stream[: max(start, 0)]:
            return _describe_j2k(stream, start)
    except (struct.error, IndexError):
        return None
    return None


def _describe_jpeg(stream: bytes) -> Codestream | None:
    """Walk the marker segments up to the frame header (T.81 B.2.2)."""
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker >> 8 != 0xFF:
            return None
        if marker == 0xFFFF:  # fill byte before a marker (B.1.1.2)
            position += 1
            continue
        if marker & 0xFF in _FRAME_HEADERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", stream, position + 4)
            return Codestream(
                rows=rows, columns=columns, samples=samples, precision=precision, signed=False
            )
        position += 2 + length


def _describe_j2k(stream: bytes, start: int) -> Codestream:
    """Return the SIZ segment (ITU-T T.800 A.5.1)."""
    x_size, y_size, x_offset, y_offset = struct.unpack_from(">4I", stream, start + 8)
    (samples,) = struct.unpack_from(">H", stream, start + 40)
    depth = stream[start + 42]
    return Codestream(
        rows=y_size - y_offset,
        columns=x_size - x_offset,
        samples=samples,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
    )
