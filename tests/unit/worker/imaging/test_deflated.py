"""Deflated files: read as far as is asked, and what would burst is refused by a code."""

from __future__ import annotations

import io
import zlib

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.builders.dicom import make_instance
from worker.imaging import deflated
from worker.imaging.decoders import decode_frame
from worker.imaging.dicom_files import open_dataset
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance

PIXELS = b"\xe0\x7f\x10\x00OW\0\0"
"""Tag and VR of Pixel Data in Explicit VR Little Endian."""
MEGABYTE = 1 << 20


def deflated_file(**values) -> bytes:
    buffer = io.BytesIO()
    dataset = make_instance(transfer_syntax=DeflatedExplicitVRLittleEndian, **values)
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def deflated_again(content: bytes, change) -> bytes:
    """The file with its inflated data set changed."""
    start = 144 + int.from_bytes(content[140:144], "little")
    inflated = change(zlib.decompress(content[start:], -zlib.MAX_WBITS))
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return content[:start] + deflate.compress(inflated) + deflate.flush()


def with_pixels_of(length: int):
    """Pixel Data becomes so long, whatever the header says."""
    return lambda data: (
        data[: data.index(PIXELS) + 8] + length.to_bytes(4, "little") + bytes(length)
    )


def with_private_element_of(length: int):
    """One before the Study Instance UID, so that whoever wants that has to go past it."""
    private = b"\x11\x00\x10\x10OB\0\0" + length.to_bytes(4, "little") + bytes(length)

    def change(data: bytes) -> bytes:
        place = data.index(b"\x20\x00\x0d\x00")
        return data[:place] + private + data[place:]

    return change


def test_it_is_read_as_pydicom_reads_it() -> None:
    content = deflated_file()

    read = open_dataset(io.BytesIO(content))

    assert read == dcmread(io.BytesIO(content))
    assert read.file_meta == dcmread(io.BytesIO(content)).file_meta
    assert read.original_encoding == (False, True)


def test_a_header_costs_what_stands_before_the_pixels(monkeypatch) -> None:
    made = []
    make = deflated.Inflating._make

    def count(self, until):
        make(self, until)
        made.append(len(self._made))

    monkeypatch.setattr(deflated.Inflating, "_make", count)
    content = deflated_again(deflated_file(), with_pixels_of(64 * MEGABYTE))

    assert read_header(io.BytesIO(content)).rows == 160

    assert max(made) < MEGABYTE


@pytest.mark.parametrize("read", [read_header, read_dataset])
def test_a_header_that_bursts_is_refused(read) -> None:
    content = deflated_again(deflated_file(), with_private_element_of(64 * MEGABYTE))
    with pytest.raises(RefusedInstance, match="found a deflated data set that goes on") as refusal:
        read(io.BytesIO(content))
    assert refusal.value.code == "DEFLATED_TOO_LARGE"


def test_pixels_that_are_far_more_than_the_header_says_are_refused() -> None:
    content = deflated_again(deflated_file(), with_pixels_of(64 * MEGABYTE))
    with pytest.raises(
        RefusedInstance, match="46080 bytes of pixels, as the header says"
    ) as refusal:
        read_dataset(io.BytesIO(content))
    assert refusal.value.code == "DEFLATED_TOO_LARGE"


def test_a_header_that_promises_pixels_without_end_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(deflated, "PIXEL_LIMIT", MEGABYTE)
    content = deflated_again(
        deflated_file(number_of_frames=1_000_000), with_pixels_of(64 * MEGABYTE)
    )
    with pytest.raises(RefusedInstance) as refusal:
        read_dataset(io.BytesIO(content))
    assert refusal.value.code == "DEFLATED_TOO_LARGE"


def test_one_cut_short_or_spoiled_is_refused_where_that_shows() -> None:
    content = deflated_file(rows=400, columns=400)
    cut = content[: len(content) // 2]
    assert read_header(io.BytesIO(cut)).rows == 400  # the header is still whole
    with pytest.raises(RefusedInstance) as refusal:
        decode_frame(read_dataset(io.BytesIO(cut)))
    assert refusal.value.code == "PIXEL_DATA_TRUNCATED"

    start = 144 + int.from_bytes(content[140:144], "little")
    with pytest.raises(RefusedInstance) as refusal:
        read_header(io.BytesIO(content[:start] + b"\xff" * 400))
    assert refusal.value.code == "HEADER_UNREADABLE"


def test_a_sequence_that_cannot_be_parsed_is_the_files_fault_and_not_the_disks() -> None:
    buffer = io.BytesIO()
    dataset = make_instance()
    dataset.ViewCodeSequence = [Dataset()]
    dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    sequence = content.index(b"\x54\x00\x20\x02SQ")
    cut = content[: sequence + 8] + b"\xff\xff\xff\xff" + b"\xfe\xff"
    with pytest.raises(RefusedInstance) as refusal:
        read_header(io.BytesIO(cut))
    assert refusal.value.code == "HEADER_UNREADABLE"
