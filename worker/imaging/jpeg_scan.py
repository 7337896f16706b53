"""Whether the one scan of a JPEG holds a whole picture; libjpeg fills up what is missing and says nothing.

Three looks, cheap ones first. Before decoding: restart markers are counted, and each interval has to be as
long as the shortest codes make it, so that a small file cannot claim a large picture. After decoding: a
picture that ends in libjpeg's filling is decoded once more with other bytes behind the scan; they change
nothing where the scan was whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from worker.imaging.frames import decode_failed, truncated

_DCT, _LOSSLESS = frozenset({0xC0, 0xC1}), 0xC3
"""SOF markers of the sequential Huffman processes (T.81 table B.1), as PS3.5 8.2.1 has them."""
_SOF = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}
_DHT, _DRI, _SOS = 0xC4, 0xDD, 0xDA
_RESTARTS, _END_OF_IMAGE = range(0xD0, 0xD8), 0xD9
_PROBE = bytes(range(0x11, 0xEF, 0x12)) * 256 + b"\xff\xd9"
"""Bytes that no scan ends with by chance, and EOI."""

Picture = Callable[[bytes], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The scan of a JPEG of one component, and what its headers say of it."""

    lossless: bool
    """Process 14 (SOF3); otherwise sequential DCT."""
    precision: int
    """P, bits per sample."""
    rows: int
    """H."""
    columns: int
    """W."""
    least_bits: int
    """Of one MCU: its shortest possible codes."""
    restart_interval: int
    """MCUs between two restart markers; 0: there are none."""
    intervals: tuple[tuple[int, int], ...]
    """Where the entropy-coded data between restart markers begin and end, in bytes."""

    @property
    def mcus(self) -> int:
        """A sample in the lossless process, else a block of 8 x 8 (A.2.2: one component)."""
        return (
            self.rows * self.columns
            if self.lossless
            else -(-self.rows // 8) * -(-self.columns // 8)
        )

    @property
    def end(self) -> int:
        """Behind the last byte of the scan."""
        return self.intervals[-1][1]


def check_scan(stream: bytes) -> Scan:
    """Find the scan of a JPEG stream and hold its length against the picture in its header.

    Args:
        stream: The compressed stream of one frame.

    Returns:
        The scan, with its restart intervals.

    Raises:
        RefusedInstance: PIXEL_DATA_TRUNCATED if restart intervals lack or are shorter than any
            picture of this size can be, DECODE_FAILED if the headers do not add up.
    """
    try:
        scan = _scan_of(stream)
    except (struct.error, IndexError):
        raise decode_failed("JPEG headers that do not add up") from None
    every = scan.restart_interval or scan.mcus
    expected = max(1, -(-scan.mcus // every))
    unannounced = len(scan.intervals) > 1 and not scan.restart_interval
    if len(scan.intervals) < expected or unannounced:
        raise truncated(
            f"a scan of {len(scan.intervals)} restart interval(s)",
            f"{expected}, as its header says",
        )
    for number, (start, end) in enumerate(scan.intervals[:expected]):
        mcus = min(every, scan.mcus - number * every)
        if (end - start) * 8 < mcus * scan.least_bits:
            raise truncated(
                f"{end - start} bytes of a scan or of one of its restart intervals",
                f"at least {-(-mcus * scan.least_bits // 8)} bytes for the picture in its header",
            )
    return scan


def check_whole(picture: np.ndarray, stream: bytes, scan: Scan, decode: Picture) -> None:
    """Raise RefusedInstance PIXEL_DATA_TRUNCATED if the end of a decoded picture was made up.

    `picture`: (H, W) as `decode` gave it of `stream`.
    """
    if not _ends_in_filling(picture, scan):
        return
    try:
        probed = decode(stream[: scan.end] + _PROBE)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  the decoder went on into the probe, and stumbled there
        probed = None
    if probed is None or not np.array_equal(probed, picture):
        raise truncated("a scan that ends within the picture", "a scan of the whole picture")


def _ends_in_filling(picture: np.ndarray, scan: Scan) -> bool:
    """libjpeg's filling is the middle grey: rows of it (lossless), or blocks."""
    grey = 1 << (scan.precision - 1)
    if scan.lossless:
        return bool((picture[-1] == grey).all())
    block = picture[-(scan.rows % 8 or 8) :, -(scan.columns % 8 or 8) :]
    return bool((block == grey).all())


def _scan_of(stream: bytes) -> Scan:
    """Walk the marker segments up to the scan (B.2), then its markers."""
    position, interval = 2, 0
    frame: tuple[int, int, int, int, int] | None = None
    shortest: dict[int, int] = {}
    while True:
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker == 0xFFFF:  # fill byte before a marker (B.1.1.2)
            position += 1
            continue
        if marker >> 8 != 0xFF:
            raise decode_failed("JPEG headers that do not add up")
        marker &= 0xFF
        body = stream[position + 4 : position + 2 + length]
        position += 2 + length
        if marker in _SOF:
            frame = (marker, *struct.unpack_from(">BHHB", body))
        elif marker == _DHT:
            _note_shortest(body, shortest)
        elif marker == _DRI:
            (interval,) = struct.unpack_from(">H", body)
        elif marker == _SOS:
            break
    if frame is None or (frame[0] not in _DCT and frame[0] != _LOSSLESS) or frame[4] != 1:
        raise decode_failed("a JPEG process that its transfer syntax does not have")
    process, precision, rows, columns, _ = frame
    lossless = process == _LOSSLESS
    dc, ac = shortest.get(0, 1), shortest.get(1, 1)
    return Scan(
        lossless=lossless,
        precision=precision,
        rows=rows,
        columns=columns,
        least_bits=dc if lossless else dc + ac,  # a block has a DC code and at least an EOB
        restart_interval=interval,
        intervals=tuple(_intervals(stream, position)),
    )


def _note_shortest(tables: bytes, shortest: dict[int, int]) -> None:
    """Class of table (0: DC and lossless, 1: AC) -> length of its shortest code (B.2.4.2)."""
    position = 0
    while position < len(tables):
        counts = tables[position + 1 : position + 17]
        found = next((bits for bits, count in enumerate(counts, start=1) if count), 16)
        table_class = tables[position] >> 4
        shortest[table_class] = min(found, shortest.get(table_class, 16))
        position += 17 + sum(counts)


def _intervals(stream: bytes, start: int) -> list[tuple[int, int]]:
    """From `start` to EOI, cut at restart markers; any other marker ends the scan too early."""
    begin = start
    found = []
    for position, marker in _markers(stream, start):
        found.append((begin, position))
        if marker == _END_OF_IMAGE:
            return found
        if marker not in _RESTARTS:
            raise truncated("a scan that another marker breaks off", "a scan up to its end marker")
        begin = position + 2
    raise truncated("a scan without an end marker", "a complete scan")


def _markers(stream: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where markers stand from `start` on, and their codes.

    Within a scan 0xFF is followed by 0 where it is data (B.1.1.5), by itself where it is filling. By numpy:
    one byte of 256 is such a 0xFF, and the scan has millions.
    """
    data = np.frombuffer(stream, np.uint8, offset=start)
    places = np.flatnonzero(data[:-1] == 0xFF)
    codes = data[places + 1]
    markers = (codes != 0) & (codes != 0xFF)
    yield from zip((places[markers] + start).tolist(), codes[markers].tolist(), strict=True)
