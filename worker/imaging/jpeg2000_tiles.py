"""Whether a JPEG 2000 code stream has all of its tiles; OpenJPEG leaves missing ones black in silence.

Within a tile OpenJPEG is strict: packets that break off are an error of the decoder.
"""

from __future__ import annotations

import struct
from collections import defaultdict

from worker.imaging.codestreams import START_OF_JPEG_2000
from worker.imaging.frames import decode_failed, truncated

_SOT, _EOC = 0xFF90, 0xFFD9
_MOST_TILES = 65_535
"""Isot has 16 bits (ITU-T T.800 A.4.2)."""
_HEADER = 14
"""Bytes of an SOT segment and of SOD: no part is shorter."""


def check_tiles(stream: bytes) -> None:
    """Hold the tile-parts of a code stream, or of the one in a JP2 file, against its SIZ segment.

    Args:
        stream: The compressed stream of one frame.

    Raises:
        RefusedInstance: PIXEL_DATA_TRUNCATED if a tile lacks or is cut short, DECODE_FAILED if the
            headers contradict each other.
    """
    try:
        expected, first = _grid(stream, max(stream.find(START_OF_JPEG_2000), 0))
        parts = _tile_parts(stream, first)
    except (struct.error, ValueError, ZeroDivisionError):
        raise decode_failed("JPEG 2000 headers that do not add up") from None
    if len(parts) < expected:
        raise truncated(f"{len(parts)} of the tiles", f"{expected} tiles, as SIZ says")
    for numbers, announced, packets in parts.values():
        if packets < 1:  # an empty packet is a byte, too (B.10.3)
            raise truncated("a tile without packets", "packets in every tile")
        if numbers != list(range(len(numbers))) or (announced and len(numbers) != announced):
            raise truncated(
                f"{len(numbers)} part(s) of a tile", f"{announced or 'parts in one row'} of them"
            )


def _grid(stream: bytes, start: int) -> tuple[int, int]:
    """Return how many tiles SIZ declares (B.3), and where the first tile-part begins."""
    x_size, y_size, _, _, width, height, left, top = struct.unpack_from(">8I", stream, start + 8)
    tiles = -(-(x_size - left) // width) * -(-(y_size - top) // height)
    if not 0 < tiles <= _MOST_TILES:
        raise decode_failed("a JPEG 2000 grid with more tiles than can be counted")
    position = start + 2
    while True:
        (marker,) = struct.unpack_from(">H", stream, position)
        if marker == _SOT:
            return tiles, position
        if marker == _EOC:
            raise truncated("no tiles", f"{tiles} tiles, as SIZ says")
        (length,) = struct.unpack_from(">H", stream, position + 2)
        if marker >> 8 != 0xFF or length < 2:
            raise decode_failed("JPEG 2000 headers that do not add up")
        position += 2 + length


def _tile_parts(stream: bytes, position: int) -> dict[int, tuple[list[int], int, int]]:
    """Tile -> the numbers of its parts in their order, how many it announces (0: it does not), and bytes
    behind the part's header.

    Each part lies whole in the stream and holds data; the last may leave its length open (Psot 0).
    """
    parts: dict[int, tuple[list[int], int, int]] = defaultdict(lambda: ([], 0, 0))
    while True:
        (marker,) = struct.unpack_from(">H", stream, position)
        if marker == _EOC:
            return dict(parts)
        if marker != _SOT:
            raise truncated("tiles that break off", "tile after tile up to the end marker")
        tile, length, number, announced = struct.unpack_from(">HIBB", stream, position + 4)
        end = position + length if length else stream.rindex(b"\xff\xd9")
        if end > len(stream) - 2 or end < position + _HEADER:
            raise truncated("a tile that is longer than the stream", "complete tiles")
        numbers, before, packets = parts[tile]
        packets += end - position - _HEADER
        parts[tile] = ([*numbers, number], announced or before, packets)
        position = end
