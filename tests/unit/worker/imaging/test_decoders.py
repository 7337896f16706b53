"""Decoding: every transfer syntax, bit for bit what pydicom's own plugins give."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, pixel_array
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
    RLELossless,
)

from tests.builders.dicom import (
    ALL_SYNTAXES,
    LOSSLESS_SYNTAXES,
    NATIVE_SYNTAXES,
    chest_like_pixels,
    encode_frame,
    make_instance,
)
from worker.imaging.decoders import DECODERS, decode_frame
from worker.imaging.refusals import RefusedInstance

BIT_DEPTHS = (8, 10, 12, 14, 15, 16)
BITS_OF_LOSSY = {JPEGBaseline8Bit: (8,), JPEGExtended12Bit: (12,)}


def name_of(value: object) -> str:
    return UID(value).name if isinstance(value, str) else str(value)


EXACT = [
    (syntax, bits, signed)
    for syntax in (*NATIVE_SYNTAXES, *LOSSLESS_SYNTAXES)
    for bits in BIT_DEPTHS
    for signed in (0, 1)
]


@pytest.mark.parametrize(("syntax", "bits", "signed"), EXACT, ids=name_of)
def test_lossless_syntaxes_give_back_what_went_in(syntax: UID, bits: int, signed: int) -> None:
    pixels = chest_like_pixels(48, 40, bits_stored=bits).astype(np.int64)
    pixels -= signed << (bits - 1)
    dataset = make_instance(
        pixels=pixels, bits_stored=bits, pixel_representation=signed, transfer_syntax=syntax
    )

    stored, decoder = decode_frame(dataset)

    np.testing.assert_array_equal(stored, pixels)
    assert stored.dtype == np.dtype(f"{'ui'[signed]}{1 if bits == 8 else 2}")
    assert decoder == "native" or decoder.startswith("imagecodecs.")


COMPRESSED = [
    (syntax, bits)
    for syntax in ALL_SYNTAXES
    if syntax not in NATIVE_SYNTAXES and syntax != JPEGExtended12Bit  # no plugin reads 12 bits
    for bits in BITS_OF_LOSSY.get(syntax, (8, 12, 15, 16))
]


@pytest.mark.parametrize(("syntax", "bits"), COMPRESSED, ids=name_of)
def test_every_plugin_of_pydicom_agrees(syntax: UID, bits: int) -> None:
    pixels = chest_like_pixels(48, 40, bits_stored=bits)
    dataset = make_instance(pixels=pixels, bits_stored=bits, transfer_syntax=syntax)
    stored, _ = decode_frame(dataset)

    decoder = get_decoder(syntax)
    plugins = [p for p in decoder.available_plugins if not (p == "pillow" and bits == 15)]
    for plugin in plugins:
        oracle, _ = decoder.as_array(
            dataset, index=0, decoding_plugin=plugin, correct_unused_bits=False
        )
        # Lossy coding overshoots Bits Stored; pydicom leaves that, we clip it.
        np.testing.assert_array_equal(stored, oracle.clip(max=(1 << bits) - 1), err_msg=plugin)


def test_jpeg_extended_12_bit_decodes_where_pydicom_refuses() -> None:
    pixels = chest_like_pixels()
    dataset = make_instance(pixels=pixels, transfer_syntax=JPEGExtended12Bit)

    stored, decoder = decode_frame(dataset)

    assert decoder == "imagecodecs.jpeg8"
    assert np.abs(stored.astype(int) - pixels).max() <= 40  # of 4095, quality 95
    with pytest.raises(Exception, match="12"):
        pixel_array(dataset)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_with_any_predictor(predictor: int) -> None:
    dataset = make_instance(transfer_syntax=JPEGLossless, predictor=predictor)

    np.testing.assert_array_equal(decode_frame(dataset)[0], chest_like_pixels())


@pytest.mark.parametrize(
    "syntax", [*NATIVE_SYNTAXES, RLELossless, JPEGLosslessSV1, JPEG2000Lossless]
)
@pytest.mark.parametrize("bits", [8, 12])
def test_each_frame_of_several_is_its_own(syntax: UID, bits: int) -> None:
    # 5 x 3: an odd number of bytes per 8-bit frame, so that words and frames do not line up.
    frames = np.stack([chest_like_pixels(5, 3, bits_stored=bits, seed=s) for s in range(3)])
    dataset = make_instance(pixels=frames, bits_stored=bits, transfer_syntax=syntax)

    for number in (1, 2, 3):
        np.testing.assert_array_equal(decode_frame(dataset, number)[0], frames[number - 1])
    with pytest.raises(RefusedInstance, match=r"Number of Frames: found 3; expected at least 4"):
        decode_frame(dataset, 4)


def test_big_endian_bytes_in_swapped_words() -> None:
    dataset = make_instance(
        pixels=np.arange(6).reshape(2, 3), bits_stored=8, transfer_syntax="1.2.840.10008.1.2.2"
    )
    dataset.PixelData = bytes([1, 0, 3, 2, 5, 4])
    dataset["PixelData"].VR = "OW"

    np.testing.assert_array_equal(decode_frame(dataset)[0], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_in_several_fragments(syntax: UID) -> None:
    stream = encode_frame(chest_like_pixels(), syntax, bits=12)
    dataset = make_instance(transfer_syntax=syntax)
    dataset.PixelData = encapsulate([stream], fragments_per_frame=3)

    np.testing.assert_array_equal(decode_frame(dataset)[0], chest_like_pixels())


def test_bits_beside_the_stored_ones_are_ignored() -> None:
    # Retired overlays live there (PS3.5 8.1.2).
    dataset = make_instance(pixels=np.array([[0x0ABC, 0x0001]]))
    dataset.PixelData = np.array([[0xFABC, 0x1001]], dtype="<u2").tobytes()

    np.testing.assert_array_equal(decode_frame(dataset)[0], [[0x0ABC, 0x0001]])


@pytest.mark.parametrize(
    ("stream_sign", "header_sign", "expected"),
    [
        pytest.param("u2", 1, [[-2048, -1, 0, 2047]], id="unsigned-stream-signed-header"),
        pytest.param("i2", 1, [[-2048, -1, 0, 2047]], id="signed-stream-signed-header"),
        pytest.param("i2", 0, [[2048, 4095, 0, 2047]], id="signed-stream-unsigned-header"),
    ],
)
def test_jpeg_2000_that_disagrees_about_the_sign(
    stream_sign: str, header_sign: int, expected: list
) -> None:
    values = np.array([[-2048, -1, 0, 2047]]).repeat(8, axis=0)
    coded = (values & 0xFFF if stream_sign == "u2" else values).astype(stream_sign)
    bits = 12 if stream_sign == "u2" else 16
    stream = imagecodecs.jpeg2k_encode(
        coded, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    )
    dataset = make_instance(
        pixels=values, pixel_representation=header_sign, transfer_syntax=JPEG2000Lossless
    )
    dataset.PixelData = encapsulate([bytes(stream)])

    np.testing.assert_array_equal(decode_frame(dataset)[0][:1], expected)


@pytest.mark.parametrize("syntax", [JPEG2000, HTJ2K], ids=name_of)
@pytest.mark.parametrize("bits", [12, 16])
def test_lossy_overshoot_is_clipped_not_wrapped(syntax: UID, bits: int) -> None:
    # Black and white noise overshoots in any lossy coding; 12 bits are stored in 16.
    top = (1 << bits) - 1
    noise = np.where(np.random.default_rng(0).random((64, 64)) > 0.5, top, 0).astype(np.uint16)
    dataset = make_instance(pixels=noise, bits_stored=bits, transfer_syntax=syntax)
    coder = encode_jpeg_2000 if syntax == JPEG2000 else encode_htj2k
    dataset.PixelData = encapsulate([coder(noise)])

    stored, _ = decode_frame(dataset)

    assert (
        np.abs(stored.astype(int) - noise).max() < top / 2
    )  # wrapped around, it would be all of it


def encode_jpeg_2000(pixels: np.ndarray) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level=45, codecformat="j2k", reversible=False, bitspersample=16
        )
    )


def encode_htj2k(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, level=0.002, reversible=False))


def test_header_and_stream_that_disagree_are_refused() -> None:
    dataset = make_instance(transfer_syntax=JPEGLSLossless)
    dataset.Rows = 161
    with pytest.raises(
        RefusedInstance, match=r"found 160 rows, 144 columns .* expected 161 rows"
    ) as e:
        decode_frame(dataset)
    assert e.value.code == "PIXEL_SHAPE_MISMATCH"

    dataset = make_instance(transfer_syntax=JPEG2000Lossless)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    with pytest.raises(RefusedInstance, match="found 12 bits in the compressed stream") as e:
        decode_frame(dataset)
    assert e.value.code == "PIXEL_BITS_MISMATCH"


def test_an_unknown_transfer_syntax_is_refused_by_its_registered_name() -> None:
    dataset = make_instance()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.100")
    with pytest.raises(RefusedInstance, match="found MPEG2 Main Profile") as e:
        decode_frame(dataset)
    assert e.value.code == "TRANSFER_SYNTAX_WITHOUT_DECODER"


def test_no_decoder_falls_back_to_gdcm() -> None:
    # A broken JPEG makes GDCM abort the process: found by fuzzing.
    assert {d.fallback for d in DECODERS.values()} == {
        None,
        "pillow",
        "pyjpegls",
        "pylibjpeg",
        "pydicom",
    }


def test_pydicom_reads_what_imagecodecs_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("PLANTED^NAME")

    monkeypatch.setattr(imagecodecs, "jpegls_decode", broken)

    stored, decoder = decode_frame(make_instance(transfer_syntax=JPEGLSLossless))

    assert decoder == "pydicom.pyjpegls"
    np.testing.assert_array_equal(stored, chest_like_pixels())


def test_many_threads_decode_at_once() -> None:
    datasets = [
        make_instance(transfer_syntax=syntax, bits_stored=8, seed=seed)
        for seed, syntax in enumerate(s for s in ALL_SYNTAXES if s != JPEGExtended12Bit)
    ]
    alone = [decode_frame(dataset)[0] for dataset in datasets]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode_frame, datasets * 8))

    for expected, (stored, _) in zip(alone * 8, together, strict=True):
        np.testing.assert_array_equal(stored, expected)


def test_htj2k_is_read_by_the_decoder_that_refuses_broken_streams() -> None:
    assert decode_frame(make_instance(transfer_syntax=HTJ2KLossless))[1] == "imagecodecs.jpeg2k"
