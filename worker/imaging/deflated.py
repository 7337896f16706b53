"""Deflated data sets (PS3.5 A.5), inflated only so far as they are read, and never beyond a limit.

pydicom inflates such a file whole, at once, whatever it becomes: 400 kB of zeros are 400 MB of picture.
Here a header costs what stands before the pixels, and pixels cost what the header says of them.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import _at_pixel_data, _read_file_meta_info, read_dataset, read_preamble
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from worker.imaging.header_values import integer
from worker.imaging.refusals import RefusedInstance, Step, refused

HEADER_LIMIT = 16 * 1024 * 1024
"""Bytes before the pixels, once inflated. A header has some thousand, with overlays a few million."""
PIXEL_LIMIT = 1024 * 1024 * 1024
"""Bytes of pixels, whatever the header says; the largest radiograph (`max_side`) has 288 million."""
_PIECE, _READ = 256 * 1024, 64 * 1024
"""Bytes inflated and read at a time."""

_ReadDataset = Callable[..., Dataset]


def is_deflated(file: BinaryIO) -> bool:
    """Return whether pydicom would inflate the rest of this file. The position stays."""
    start = file.tell()
    try:
        return _file_meta(file)[1].get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    finally:
        file.seek(start)


def read_deflated(
    file: BinaryIO, *, stop_before_pixels: bool = False, specific_tags: Any = None
) -> FileDataset:
    """Read a deflated file as `pydicom.dcmread` would, without inflating more than the header
    allows.

    Args:
        file: A binary file, positioned at its start.
        stop_before_pixels: Whether to leave out Pixel Data and what follows.
        specific_tags: Keywords or tags to read; None: all.

    Returns:
        The data set with its file meta information.

    Raises:
        RefusedInstance: DEFLATED_TOO_LARGE.
        OSError: The file cannot be read. What pydicom raises of a broken data set passes as it is.
    """
    preamble, file_meta = _file_meta(file)
    start = file.tell()

    def inflate(limit: int, expected: str, stop_when: Any, tags: Any) -> Dataset:
        file.seek(start)
        return _read(Inflating(file, limit), expected, stop_when, tags)

    tags = [Tag(tag) for tag in specific_tags] if specific_tags else None
    header = inflate(HEADER_LIMIT, "a header", _at_pixel_data, tags)
    if not stop_before_pixels:
        pixels = min(_pixel_bytes(header), PIXEL_LIMIT)
        limit = HEADER_LIMIT + pixels
        header = inflate(limit, f"{pixels} bytes of pixels, as the header says,", None, None)
    whole = FileDataset(
        "", header, preamble, file_meta, is_implicit_VR=False, is_little_endian=True
    )
    whole.set_original_encoding(False, True, header._character_set)  # noqa: SLF001  as pydicom does
    return whole


class Inflating(io.RawIOBase):
    """The inflated bytes of a file from its position on, made when they are read.

    pydicom turns what is raised while it reads into other errors, so what went wrong is kept in
    `trouble`, and the file ends there.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        super().__init__()
        self._file, self._limit = file, limit
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._made, self._position = bytearray(), 0
        self.too_large = False
        """Whether more was asked for than the limit."""
        self.trouble: Exception | None = None
        """Of the file, or of the stream in it."""

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes; fewer at the end."""
        until = self._limit + 1 if size < 0 else self._position + size
        self._make(until)
        piece = bytes(memoryview(self._made)[self._position : until])
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there; what lies between is made only when something behind it is read."""
        self._position = offset + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def _make(self, until: int) -> None:
        try:
            while len(self._made) < until and not (self._inflate.eof or self.too_large):
                source = self._inflate.unconsumed_tail or self._file.read(_READ)
                piece = self._inflate.decompress(source, _PIECE)
                if not (source or piece):  # cut short; without source it gives what it held back
                    return
                self._made += piece
                self.too_large = len(self._made) > self._limit
        except (zlib.error, OSError) as error:
            self.trouble = error


def _read(inflating: Inflating, expected: str, stop_when: Any, tags: Any) -> Dataset:
    trouble: Exception | None = None
    dataset = Dataset()
    try:
        dataset = cast(_ReadDataset, read_dataset)(
            inflating, False, True, stop_when=stop_when, specific_tags=tags
        )
    except Exception as error:  # noqa: BLE001  what the end of the file led to is not what is wrong
        trouble = error
    if inflating.too_large:
        raise _too_large(expected)
    if trouble := inflating.trouble or trouble:
        raise trouble
    return dataset


def _file_meta(file: BinaryIO) -> tuple[bytes | None, FileMetaDataset]:
    return read_preamble(file, force=True), _read_file_meta_info(file)


def _pixel_bytes(header: Dataset) -> int:
    """Return what the Image Pixel module says, without judging it (`pixel_layout` does)."""
    size = 1
    for keyword, absent in (
        ("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("NumberOfFrames", 1),
    ):  # fmt: skip
        size *= max(integer(header, keyword) or absent, 0)
    return size * max(integer(header, "BitsAllocated") or 0, 8) // 8


def _too_large(expected: str) -> RefusedInstance:
    return refused(
        "DEFLATED_TOO_LARGE",
        step=Step.HEADER,
        found="a deflated data set that goes on and on once it is inflated",
        expected=f"{expected} and at most {HEADER_LIMIT} bytes beside",
        advice="Send the instance in another transfer syntax, e.g. Explicit VR Little Endian.",
    )
