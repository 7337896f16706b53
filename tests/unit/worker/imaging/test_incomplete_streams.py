"""Streams that end as they should and lack part of their picture: refused, whatever decoders make up."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.builders.dicom import chest_like_pixels, encode_frame, make_instance
from worker.imaging.decoders import decode_frame
from worker.imaging.refusals import RefusedInstance

END = b"\xff\xd9"
JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K)
ROWS, COLUMNS = 123, 141
HUGE = 12_000
TILED = chest_like_pixels(128, 192, bits_stored=8)


def bits_of(syntax: UID) -> int:
    return 8 if syntax == JPEGBaseline8Bit else 12


def stream_of(syntax: UID, pixels: np.ndarray | None = None) -> bytes:
    bits = bits_of(syntax)
    if pixels is None:
        pixels = chest_like_pixels(ROWS, COLUMNS, bits_stored=bits)
    return encode_frame(pixels, syntax, bits=bits)


def decoded(stream: bytes, syntax: UID, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    dataset = make_instance(rows=8, columns=8, bits_stored=bits_of(syntax))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PixelData = encapsulate([stream])
    return decode_frame(dataset)[0]


def code_of_refusal(stream: bytes, syntax: UID, **size: int) -> str:
    with pytest.raises(RefusedInstance) as refusal:
        decoded(stream, syntax, **size)
    return refusal.value.code


def with_size(stream: bytes, size: int) -> bytes:
    """The stream whose own header says size x size."""
    changed = bytearray(stream)
    if stream.startswith(b"\xff\x4f"):
        changed[8:16] = struct.pack(">II", size, size)
        return bytes(changed)
    sof = next(p for p in range(len(stream)) if stream[p] == 0xFF and stream[p + 1] in
               {0xC0, 0xC1, 0xC3, 0xF7})  # fmt: skip
    changed[sof + 5 : sof + 9] = struct.pack(">HH", size, size)
    return bytes(changed)


@pytest.mark.parametrize("syntax", [*JPEG, *JPEG_LS, *JPEG_2000], ids=lambda u: u.name)
def test_a_small_stream_whose_headers_claim_a_huge_picture(syntax: UID) -> None:
    huge = with_size(stream_of(syntax), HUGE)
    assert len(huge) < 30_000
    code = code_of_refusal(huge, syntax, rows=HUGE, columns=HUGE)
    assert code == ("DECODE_FAILED" if syntax in JPEG_LS else "PIXEL_DATA_TRUNCATED")


@pytest.mark.parametrize("syntax", JPEG, ids=lambda u: u.name)
def test_a_huge_jpeg_is_refused_before_it_is_decoded(
    syntax: UID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagecodecs.jpeg8_decode", lambda _: pytest.fail("it was decoded"))
    huge = with_size(stream_of(syntax), HUGE)
    with pytest.raises(RefusedInstance, match=r"bytes of a scan .*expected at least \d+ bytes"):
        decoded(huge, syntax, rows=HUGE, columns=HUGE)


@pytest.mark.parametrize("syntax", [*JPEG, *JPEG_LS, *JPEG_2000], ids=lambda u: u.name)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.9, 0.95])
def test_a_stream_cut_short_with_an_end_marker_behind(syntax: UID, share: float) -> None:
    stream = stream_of(syntax)
    cut = stream[: int(len(stream) * share)] + END
    assert code_of_refusal(cut, syntax) in {"PIXEL_DATA_TRUNCATED", "DECODE_FAILED"}
    decoded(stream, syntax)


@pytest.mark.parametrize("syntax", JPEG, ids=lambda u: u.name)
def test_a_picture_that_ends_in_middle_grey_is_whole(syntax: UID) -> None:
    """It looks as if libjpeg had filled it up, and it was drawn so."""
    bits = bits_of(syntax)
    pixels = chest_like_pixels(ROWS, COLUMNS, bits_stored=bits)
    pixels[-24:] = 1 << (bits - 1)
    found = decoded(stream_of(syntax, pixels), syntax)
    assert (found[-8:] == 1 << (bits - 1)).all()
    assert np.abs(found.astype(int) - pixels).max() <= (0 if "Lossless" in syntax.name else 60)


def with_restarts(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, restart_marker_rows=1)
    return buffer.getvalue()


def test_a_jpeg_with_restart_intervals() -> None:
    pixels = chest_like_pixels(ROWS, COLUMNS, bits_stored=8)
    stream = with_restarts(pixels)
    parts = [p for p in range(len(stream)) if stream[p] == 0xFF and 0xD0 <= stream[p + 1] <= 0xD7]
    assert len(parts) == -(-ROWS // 8) - 1
    found = decoded(stream, JPEGBaseline8Bit)
    assert np.abs(found.astype(int) - pixels).max() < 20

    dropped = stream[: parts[-1]] + END
    with pytest.raises(RefusedInstance, match=r"a scan of 15 restart interval.*expected 16"):
        decoded(dropped, JPEGBaseline8Bit)
    hollow = stream[: parts[3] + 2] + stream[parts[4] :]
    with pytest.raises(RefusedInstance, match=r"found 0 bytes of a scan") as refusal:
        decoded(hollow, JPEGBaseline8Bit)
    assert refusal.value.code == "PIXEL_DATA_TRUNCATED"


@pytest.mark.parametrize("marker", [b"\xff\xd3", b"\xff\xda", b"\xff\xc4", b"\xff\xe0"])
def test_a_scan_that_another_marker_breaks_off(marker: bytes) -> None:
    stream = stream_of(JPEGLosslessSV1)
    middle = len(stream) // 2
    while stream[middle - 1] == 0xFF:
        middle += 1
    broken = stream[:middle] + marker + stream[middle:]
    assert code_of_refusal(broken, JPEGLosslessSV1) in {"PIXEL_DATA_TRUNCATED", "DECODE_FAILED"}


def test_a_process_that_no_syntax_has_is_refused() -> None:
    buffer = io.BytesIO()
    pixels = chest_like_pixels(ROWS, COLUMNS, bits_stored=8)
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=True)
    with pytest.raises(RefusedInstance, match="a JPEG process that") as refusal:
        decoded(buffer.getvalue(), JPEGBaseline8Bit)
    assert refusal.value.code == "DECODE_FAILED"


def tiled(syntax: UID) -> tuple[bytes, list[bytes]]:
    """Main header and the tile-parts of a lossless stream of 2 x 3 tiles."""
    if syntax == HTJ2KLossless:
        stream = bytes(imagecodecs.htj2k_encode(TILED, reversible=True, tile=(64, 64)))
    else:
        buffer = io.BytesIO()
        Image.fromarray(TILED).save(buffer, "JPEG2000", tile_size=(64, 64), no_jp2=True)
        stream = buffer.getvalue()
    position = first = stream.index(b"\xff\x90")
    parts = []
    while stream[position : position + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", stream, position + 6)
        parts.append(stream[position : position + length])
        position += length
    return stream[:first], parts


def shortened(part: bytes, length: int) -> bytes:
    """A tile-part cut to so many bytes, and its Psot with it."""
    return part[:6] + struct.pack(">I", length) + part[10:length]


LACKING: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "only the first tile": lambda parts: parts[:1],
    "all but the last tile": lambda parts: parts[:-1],
    "all but one in the middle": lambda parts: parts[:4] + parts[5:],
    "one tile twice": lambda parts: [*parts[:-1], parts[0]],
    "a tile without packets": lambda parts: [shortened(parts[0], 14), *parts[1:]],
    "a tile cut within its packets": lambda parts: [
        shortened(parts[0], len(parts[0]) - 40), *parts[1:],
    ],
    "a tile of which a part is announced": lambda parts: [
        parts[0][:11] + b"\x02" + parts[0][12:], *parts[1:],
    ],
    "no tile": lambda _: [],
}  # fmt: skip


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless], ids=lambda u: u.name)
@pytest.mark.parametrize("lacking", LACKING)
def test_jpeg_2000_tiles_that_are_missing(lacking: str, syntax: UID) -> None:
    main, parts = tiled(syntax)
    assert len(parts) == 6
    whole = decoded(main + b"".join(parts) + END, syntax, *TILED.shape)
    assert np.array_equal(whole, TILED)

    stream = main + b"".join(LACKING[lacking](parts)) + END
    code = code_of_refusal(stream, syntax, rows=TILED.shape[0], columns=TILED.shape[1])
    assert code == ("DECODE_FAILED" if "cut" in lacking else "PIXEL_DATA_TRUNCATED")


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless], ids=lambda u: u.name)
def test_the_last_tile_may_leave_its_length_open(syntax: UID) -> None:
    main, parts = tiled(syntax)
    parts[-1] = parts[-1][:6] + bytes(4) + parts[-1][10:]
    whole = decoded(main + b"".join(parts) + END, syntax, *TILED.shape)
    assert np.array_equal(whole, TILED)


def packed(raw: bytes) -> bytes:
    """PackBits of literal runs."""
    runs = [raw[i : i + 128] for i in range(0, len(raw), 128)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def rle(*segments: bytes) -> bytes:
    padded = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = [64 + sum(map(len, padded[:i])) for i in range(len(padded))]
    header = [len(padded), *offsets]
    return struct.pack("<16I", *header, *[0] * (16 - len(header))) + b"".join(padded)


def test_rle_segments_of_another_length() -> None:
    pixels = chest_like_pixels(128, 128)
    high, low = (pixels >> 8).astype(np.uint8).tobytes(), (pixels & 0xFF).astype(np.uint8).tobytes()
    size = {"rows": 128, "columns": 128}
    for whole in (rle(packed(high), packed(low)), rle(packed(high + high), packed(low))):
        assert np.array_equal(decoded(whole, RLELossless, **size), pixels)
    for segments in (
        (packed(high[:-128]), packed(low)),
        (packed(high), packed(low[:-128])),
        (packed(high), packed(low[:128])),
        (packed(high + high[:128]), packed(low[:-128])),
        (packed(high[:-128]), packed(low + low[:128])),
    ):
        code = code_of_refusal(rle(*segments), RLELossless, **size)
        assert code in {"PIXEL_DATA_TRUNCATED", "DECODE_FAILED"}
