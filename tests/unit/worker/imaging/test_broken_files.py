"""What is cut short or spoiled is refused by a code; nothing crashes, nothing is made up."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit

from tests.builders.dicom import (
    ALL_SYNTAXES,
    NATIVE_SYNTAXES,
    chest_like_pixels,
    encode_frame,
    make_instance,
    write_instance,
)
from worker.imaging.decoders import decode_frame
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance

# The worker ignores pydicom's warnings (worker/imaging/quiet.py); pytest would make them errors.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")

ENCAPSULATED = [s for s in ALL_SYNTAXES if s not in NATIVE_SYNTAXES]
FILES = {}


def file_of(syntax: UID) -> bytes:
    """One file per syntax, made once."""
    if syntax not in FILES:
        buffer = io.BytesIO()
        bits = 8 if syntax == JPEGBaseline8Bit else 12
        dataset = make_instance(rows=40, columns=32, transfer_syntax=syntax, bits_stored=bits)
        dataset.save_as(buffer, enforce_file_format=True)
        FILES[syntax] = buffer.getvalue()
    return FILES[syntax]


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda u: u.name)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_stream_cut_short(syntax: UID, share: float) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    stream = encode_frame(chest_like_pixels(bits_stored=bits), syntax, bits=bits)
    dataset = make_instance(transfer_syntax=syntax, bits_stored=bits)
    dataset.PixelData = encapsulate([stream[: int(len(stream) * share)]])

    with pytest.raises(RefusedInstance) as refusal:
        decode_frame(dataset)
    # RLE has no end marker: what is missing shows while decoding.
    assert refusal.value.code in {"PIXEL_DATA_TRUNCATED", "DECODE_FAILED", "PIXEL_SHAPE_MISMATCH"}
    assert refusal.value.code == "PIXEL_DATA_TRUNCATED" or "RLE" in syntax.name


@pytest.mark.parametrize("syntax", [s for s in NATIVE_SYNTAXES if not s.is_deflated], ids=str)
def test_uncompressed_pixels_cut_short(syntax: UID) -> None:
    cut = file_of(syntax)[:-1000]

    with pytest.raises(RefusedInstance, match="found 1560 bytes; expected 2560 bytes") as refusal:
        decode_frame(read_dataset(io.BytesIO(cut)))
    assert refusal.value.code == "PIXEL_DATA_TRUNCATED"


def test_a_compressed_file_cut_short() -> None:
    cut = file_of(UID("1.2.840.10008.1.2.4.70"))[:-500]

    assert read_header(io.BytesIO(cut)).rows == 40  # the header is still whole
    with pytest.raises(RefusedInstance, match="ends in the middle of an element") as refusal:
        read_dataset(io.BytesIO(cut))
    assert refusal.value.code == "FILE_TRUNCATED"


def test_a_file_without_pixels(tmp_path: Path) -> None:
    dataset = make_instance()
    del dataset.PixelData
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)

    with pytest.raises(
        RefusedInstance, match=r"\(7FE0,0010\) Pixel Data: found no such"
    ) as refusal:
        read_dataset(tmp_path / "a.dcm")
    assert refusal.value.code == "PIXEL_DATA_MISSING"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        pytest.param({"pixels": np.full((8, 8), 7)}, "stored value", id="constant"),
        pytest.param(
            {"pixels": np.array([[0, 7], [7, 7]]), "padding_value": 0},
            "stored value",
            id="constant-but-for-padding",
        ),
        pytest.param({"window": (60000, 10), "bits_stored": 12}, "VOI", id="window-that-misses"),
    ],
)
def test_constant_pictures(header: dict, found: str, spec: PreprocessingSpec) -> None:
    with pytest.raises(RefusedInstance, match=found) as refusal:
        normalise_frame(make_instance(**header), spec)
    assert refusal.value.code == "CONSTANT_IMAGE"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"Rows": 0}, r"\(0028,0010\) Rows: found 0"),
        ({"BitsAllocated": 32}, r"Bits Allocated: found 32; expected 8 or 16"),
        ({"BitsStored": 17}, r"Bits Stored: found 17"),
        ({"HighBit": 3}, r"High Bit: found 3"),
        ({"PixelRepresentation": 2}, r"Pixel Representation: found 2; expected 0 or 1"),
        ({"SamplesPerPixel": 3}, r"Samples per Pixel: found 3"),
        ({"PhotometricInterpretation": "RGB"}, r"Photometric Interpretation: found RGB"),
        (
            {"PhotometricInterpretation": "DOE^JANE"},
            r"Photometric Interpretation: found a value of 8 characters",
        ),
    ],
)
def test_headers_that_pixels_cannot_be_read_with(spoil: dict, words: str) -> None:
    dataset = make_instance()
    for keyword, value in spoil.items():
        setattr(dataset, keyword, value)

    with pytest.raises(RefusedInstance, match=words) as refusal:
        decode_frame(dataset)
    assert refusal.value.code == "PIXEL_HEADER_INVALID"


def test_a_rescale_that_means_nothing(spec: PreprocessingSpec) -> None:
    with pytest.raises(RefusedInstance, match=r"\(0028,1053\) Rescale Slope") as refusal:
        normalise_frame(make_instance(rescale=(0, 5)), spec)
    assert refusal.value.code == "MODALITY_LUT_INVALID"


def test_memory_and_disk_trouble_is_not_the_datas_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "absent.dcm")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    syntax=st.sampled_from([s for s in ALL_SYNTAXES if s != JPEGExtended12Bit]),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    keep=st.floats(0.05, 1.0),
)
def test_a_spoiled_file_is_refused_or_gives_a_picture(
    syntax: UID, flips: list[tuple[int, int]], keep: float
) -> None:
    content = bytearray(file_of(syntax))
    for position, byte in flips:
        content[position % len(content)] = byte
    spoiled = bytes(content[: int(len(content) * keep)])

    with contextlib.suppress(RefusedInstance):  # any other exception is a fault of ours
        read_header(io.BytesIO(spoiled))
        pixels = normalise_frame(read_dataset(io.BytesIO(spoiled)), PreprocessingSpec()).pixels
        assert np.isfinite(pixels).all()
        assert pixels.min() >= 0
        assert pixels.max() <= 1


def test_one_file_is_enough_to_write(tmp_path: Path) -> None:
    assert read_header(write_instance(tmp_path / "a.dcm")).rows == 160
