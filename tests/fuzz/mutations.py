"""One case: a real encoding of a radiograph, with one to three changes that know the form of a DICOM file."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from functools import cache

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from tests.builders.dicom import ALL_SYNTAXES, NATIVE_SYNTAXES, make_instance
from tests.builders.spoiled_elements import LONG_LENGTHS, SPOILINGS
from worker.imaging import reading

EXTREMES = [0, 1, 2, 7, 8, 255, 256, 4095, 12_000, 32_767, 32_768, 65_535]
NUMBERS_OF_PIXELS = [
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    "SamplesPerPixel",
]
KEYWORDS = [*dict.fromkeys([*reading.HEADER_KEYWORDS, *NUMBERS_OF_PIXELS, "PixelData"])]
UNIQUE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def make_case(seed: int) -> bytes:
    """Return the file of this number; the same number always gives the same file."""
    draw = random.Random(seed)
    syntax = draw.choice(ALL_SYNTAXES)
    dataset = whole_dataset(syntax)
    for keyword, last in zip(UNIQUE, ("", ".1", ".2"), strict=True):
        setattr(dataset, keyword, f"1.2.826.0.1.3680043.8.498.6.{seed}{last}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if draw.random() < 0.5:
        in_dataset = [change_number, change_stream, change_fragments]
        native = [change_number, change_values]
        draw.choice(native if syntax in NATIVE_SYNTAXES else in_dataset)(dataset, draw)
    content = written(dataset)
    for _ in range(draw.choice([0, 1, 1, 2]) if draw.random() < 0.7 else 0):
        explicit = syntax not in NATIVE_SYNTAXES or syntax == ExplicitVRLittleEndian
        content = (spoil_element if explicit and draw.random() < 0.6 else change_bytes)(
            content, draw
        )
    return content


def whole_dataset(syntax: str) -> Dataset:
    """Return an eligible radiograph in this transfer syntax, of this case alone."""
    return pydicom.dcmread(io.BytesIO(_encoded(syntax)))


@cache
def _encoded(syntax: str) -> bytes:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    return written(
        make_instance(
            rows=64, columns=80, bits_stored=bits, transfer_syntax=syntax, window=(2048, 4096),
            rescale=(1, 0), PixelSpacing=["0.1", "0.1"], patient_name="PLANTED^NAME",
        )
    )  # fmt: skip


def written(dataset: Dataset) -> bytes:
    """Return the dataset as a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# -- changes of the dataset ---------------------------------------------------------------
def change_number(dataset: Dataset, draw: random.Random) -> None:
    """Let the header describe other pixels than there are."""
    if draw.random() < 0.2:
        dataset.NumberOfFrames = draw.choice([0, 2, 3, 1000, 2**31 - 1])
    else:
        setattr(dataset, draw.choice(NUMBERS_OF_PIXELS), draw.choice(EXTREMES))


def change_values(dataset: Dataset, draw: random.Random) -> None:
    """Shorten or lengthen native pixel data."""
    length = len(dataset.PixelData)
    kept = draw.choice([0, 2, length // 2 * 2, length - 2, length * 2])
    dataset.PixelData = (dataset.PixelData * 2)[:kept]


def change_stream(dataset: Dataset, draw: random.Random) -> None:
    """Change the compressed stream as somebody does who knows its markers and segments."""
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    changed = draw.choice(STREAM_CHANGES)(bytearray(stream), draw)
    _set_fragments(dataset, [bytes(changed)])


def change_fragments(dataset: Dataset, draw: random.Random) -> None:
    """Cut the stream into fragments, lose, double or mix them, or leave none."""
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    cuts = sorted(draw.sample(range(len(stream)), draw.randint(1, 4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    what = draw.randrange(5)
    if what == 0:
        draw.shuffle(pieces)
    elif what == 1:
        pieces = pieces[:-1]
    elif what == 2:
        pieces += pieces
    elif what == 3:
        pieces = []
    _set_fragments(dataset, pieces)


def _set_fragments(dataset: Dataset, pieces: list[bytes]) -> None:
    even = [piece + b"\0" * (len(piece) % 2) for piece in pieces]
    items = [struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece for piece in even]
    dataset.PixelData = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + b"".join(items)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


# -- changes of a compressed stream -------------------------------------------------------
def _marker(stream: bytearray, draw: random.Random) -> int:
    """Return the place of a byte 0xFF that begins something, 0 if there is none."""
    places = [n for n in range(len(stream) - 1) if stream[n] == 0xFF and stream[n + 1] >= 0x30]
    return draw.choice(places) if places else 0


def _cut(stream: bytearray, draw: random.Random) -> bytearray:
    return stream[: draw.randrange(len(stream))]


def _other_marker(stream: bytearray, draw: random.Random) -> bytearray:
    stream[_marker(stream, draw) + 1] = draw.randrange(256)
    return stream


def _other_length(stream: bytearray, draw: random.Random) -> bytearray:
    place = _marker(stream, draw) + 2
    stream[place : place + 2] = struct.pack(">H", draw.choice(EXTREMES))
    return stream


def _other_parameter(stream: bytearray, draw: random.Random) -> bytearray:
    """Change one of the first values of a segment: precision, size, components, tables, tiles."""
    place = _marker(stream, draw) + draw.randint(4, 40)
    value = draw.choice([0, 1, 255, draw.randrange(256)])
    stream[place : place + 1] = bytes([value])
    return stream


def _without_segment(stream: bytearray, draw: random.Random) -> bytearray:
    a, b = sorted((_marker(stream, draw), _marker(stream, draw)))
    return stream[:a] + stream[b:]


def _doubled_segment(stream: bytearray, draw: random.Random) -> bytearray:
    a, b = sorted((_marker(stream, draw), _marker(stream, draw)))
    return stream[:b] + stream[a:b] * draw.choice([1, 100]) + stream[b:]


def _flipped(stream: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice([1, 4, 32])):
        stream[draw.randrange(len(stream))] ^= 1 << draw.randrange(8)
    return stream


STREAM_CHANGES: list[Callable[[bytearray, random.Random], bytearray]] = [
    _cut, _other_marker, _other_length, _other_parameter, _without_segment, _doubled_segment, _flipped,
]  # fmt: skip


# -- changes of the file ------------------------------------------------------------------
def elements_of(content: bytes) -> dict[int, tuple[int, int]]:
    """Return tag -> (begin, end) of the elements of defined length in Explicit VR Little Endian."""
    place = 144 + int.from_bytes(content[140:144], "little")
    found: dict[int, tuple[int, int]] = {}
    while place + 8 <= len(content):
        group, element, vr, short = struct.unpack_from("<HH2sH", content, place)
        long = vr.decode("latin-1") in LONG_LENGTHS
        if long and place + 12 > len(content):
            break
        length = struct.unpack_from("<I", content, place + 8)[0] if long else short
        begin, head = place, 12 if long else 8
        place += head + length
        if length == 0xFFFFFFFF or place > len(content):
            found[group << 16 | element] = (begin, len(content))
            break
        found[group << 16 | element] = (begin, place)
    return found


def spoil_element(content: bytes, draw: random.Random) -> bytes:
    """Put a spoilt form in the place of an element, or in its place in the order of tags."""
    keyword = draw.choice(KEYWORDS)
    tag = tag_for_keyword(keyword)
    spoilt = SPOILINGS[draw.choice([*SPOILINGS])](keyword, dictionary_VR(keyword).split(" or ")[0])
    found = elements_of(content)
    begin, end = found.get(tag, (None, None))
    if begin is None:
        later = [b for other, (b, _) in found.items() if other > tag]
        begin = end = min(later, default=len(content))
    return content[:begin] + spoilt + content[end:]


def change_bytes(content: bytes, draw: random.Random) -> bytes:
    """Cut, flip, repeat, insert or blank bytes behind the preamble."""
    changed = bytearray(content)
    a = draw.randrange(128, max(len(changed), 129))
    b = min(len(changed), a + draw.choice([1, 2, 8, 100, 2000]))
    match draw.randrange(6):
        case 0:
            del changed[a:]
        case 1:
            for _ in range(draw.choice([1, 4, 32])):
                changed[draw.randrange(128, len(changed))] ^= 1 << draw.randrange(8)
        case 2:
            changed[b:b] = changed[a:b] * draw.choice([1, 2, 50])
        case 3:
            changed[a:a] = draw.randbytes(draw.choice([1, 2, 8, 100]))
        case 4:
            changed[a:b] = bytes(b - a)
        case 5:
            changed[a : a + 4] = struct.pack("<I", draw.choice([0, 0xFFFFFFFF, 0xFFFFFFFE, 2**31]))
    return bytes(changed)
