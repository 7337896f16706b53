"""Pixel Data to the bytes of one frame, checked for completeness."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from worker.imaging.pixel_layout import PixelLayout
from worker.imaging.refusals import RefusedInstance, Step, refused
from worker.imaging.signatures import is_encapsulated, stream_kind, syntax_mismatch

_PIXEL_DATA = "(7FE0,0010) Pixel Data"


def check_frame_number(layout: PixelLayout, frame_number: int) -> None:
    """Raise RefusedInstance FRAME_MISSING unless 1 <= frame_number <= Number of Frames."""
    if not 1 <= frame_number <= layout.number_of_frames:
        raise refused(
            "FRAME_MISSING",
            step=Step.DECODE,
            tag="(0028,0008) Number of Frames",
            found=str(layout.number_of_frames),
            expected=f"at least {frame_number}",
            advice="There is no such frame.",
        )


def truncated(found: str, expected: str) -> RefusedInstance:
    """Return the refusal of pixel data that ends too early."""
    return refused(
        "PIXEL_DATA_TRUNCATED",
        step=Step.DECODE,
        tag=_PIXEL_DATA,
        found=found,
        expected=expected,
        advice="Send the instance again.",
    )


def decode_failed(found: str) -> RefusedInstance:
    """Return the refusal of a stream that cannot be decoded."""
    return refused(
        "DECODE_FAILED",
        step=Step.DECODE,
        tag=_PIXEL_DATA,
        found=found,
        expected="pixel data in its transfer syntax",
        advice="Send the instance again, or uncompressed.",
    )


def native_frame(dataset: Dataset, layout: PixelLayout, frame_number: int) -> np.ndarray:
    """Containers (H, W), uint8 or uint16 in this machine's byte order, of uncompressed data."""
    data = _pixel_bytes(dataset)
    start = (frame_number - 1) * layout.frame_bytes
    if len(data) < start + layout.frame_bytes:
        kind = stream_kind(data)
        if kind or is_encapsulated(data):
            found = f"a {kind} stream" if kind else "fragments of a compressed stream"
            raise syntax_mismatch(found, "uncompressed values")
        needed = layout.frame_bytes * layout.number_of_frames
        raise truncated(f"{len(data)} bytes", f"{needed} bytes")
    big_endian = dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2"
    if big_endian and layout.bits_allocated == 8 and dataset["PixelData"].VR == "OW":
        # PS3.5 A.3: 8-bit samples travel in swapped 16-bit words.
        data, start = _swapped(data[start // 2 * 2 :]), start % 2
    dtype = layout.container.newbyteorder(">" if big_endian else "<")
    count = layout.rows * layout.columns
    flat = np.frombuffer(data, dtype=dtype, count=count, offset=start)
    return flat.astype(layout.container, copy=False).reshape(layout.rows, layout.columns)


def encapsulated_frame(dataset: Dataset, layout: PixelLayout, frame_number: int) -> bytes:
    """Return the compressed stream of one frame, its fragments joined (PS3.5 A.4).

    Args:
        dataset: An instance with encapsulated Pixel Data.
        layout: Of its pixels; Number of Frames says how fragments are shared out.
        frame_number: Which frame, counted from 1.

    Returns:
        The stream, with whatever padding ends its last fragment.

    Raises:
        RefusedInstance: PIXEL_DATA_TRUNCATED if the fragments do not add up to the frames,
            TRANSFER_SYNTAX_MISMATCH if there are none.
    """
    data = _pixel_bytes(dataset)
    if data and not is_encapsulated(data):
        raise syntax_mismatch("values without fragments", "fragments of a compressed stream")
    try:
        return get_frame(
            data,
            frame_number - 1,
            number_of_frames=layout.number_of_frames,
            extended_offsets=_extended_offsets(dataset),
        )
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  struct, EOF, value and key errors, each with bytes in its text
        raise truncated(
            "fragments that do not add up", f"{layout.number_of_frames} complete frame(s)"
        ) from None


def _pixel_bytes(dataset: Dataset) -> bytes:
    try:
        data = dataset.PixelData
    except Exception:  # noqa: BLE001  pydicom parses on access and quotes the value in its text
        data = None
    if isinstance(data, bytes):
        return data
    raise decode_failed("an element that cannot be parsed")


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    if "ExtendedOffsetTable" not in dataset or "ExtendedOffsetTableLengths" not in dataset:
        return None
    return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths


def _swapped(data: bytes) -> bytes:
    even = data[: len(data) // 2 * 2]
    return np.frombuffer(even, dtype=">u2").astype("<u2").tobytes()
