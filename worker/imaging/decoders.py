"""Transfer syntax -> decoders, imagecodecs first: it frees the interpreter lock while it works.

pydicom's plugins are the fallback for a stream that imagecodecs does not read, and the oracle of
the bit-equality tests. GDCM is an oracle only: a broken JPEG makes it abort the whole process. What
a decoder says when it fails may quote anything, so it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from worker.imaging import codestreams, vocabulary
from worker.imaging.codestreams import Codestream
from worker.imaging.frames import (
    check_frame_number,
    decode_failed,
    encapsulated_frame,
    native_frame,
    truncated,
)
from worker.imaging.jpeg2000_tiles import check_tiles
from worker.imaging.jpeg_scan import check_scan, check_whole
from worker.imaging.pixel_layout import PixelLayout, pixel_layout
from worker.imaging.refusals import RefusedInstance, Step, refused
from worker.imaging.rle import decode_rle
from worker.imaging.signatures import stream_kind, syntax_mismatch
from worker.imaging.stored_values import stored_values

Decode = Callable[[bytes, PixelLayout], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How the frames of one transfer syntax are decoded."""

    name: str
    """What stands in the record, as "imagecodecs.jpeg8"; "native" where nothing is compressed."""
    decode: Decode | None = None
    """One compressed stream -> containers (H, W); None where nothing is compressed."""
    fallback: str | None = None
    """pydicom's plugin to try when `decode` fails; never "gdcm"."""
    lossy: bool = False
    """Whether values may stray: then they are clipped to Bits Stored, not cut to its bits."""
    kind: str | None = None
    """Which compressed stream it reads, as `stream_kind` names them; None for one without a signature."""

    @property
    def has_codestream(self) -> bool:
        """Whether the stream describes itself (all but RLE)."""
        return self.kind is not None


def _jpeg(*, lossy: bool) -> Decoder:
    return Decoder(
        name="imagecodecs.jpeg8",
        kind="JPEG",
        decode=_decode_jpeg,
        fallback="pillow" if lossy else None,
        lossy=lossy,
    )


def _jpeg_ls(*, lossy: bool) -> Decoder:
    return Decoder(
        name="imagecodecs.jpegls",
        kind="JPEG-LS",
        decode=lambda stream, _: imagecodecs.jpegls_decode(stream),
        fallback="pyjpegls",
        lossy=lossy,
    )


def _j2k(*, lossy: bool) -> Decoder:
    return Decoder(
        name="imagecodecs.jpeg2k",
        kind="JPEG 2000",
        decode=_decode_jpeg2000,
        fallback="pylibjpeg",
        lossy=lossy,
    )


def _decode_jpeg(stream: bytes, _: PixelLayout) -> np.ndarray:
    scan = check_scan(stream)
    picture = imagecodecs.jpeg8_decode(stream)
    check_whole(picture, stream, scan, imagecodecs.jpeg8_decode)
    return picture


def _decode_jpeg2000(stream: bytes, _: PixelLayout) -> np.ndarray:
    check_tiles(stream)
    return imagecodecs.jpeg2k_decode(stream, numthreads=1)


NATIVE = Decoder(name="native")
DECODERS: dict[str, Decoder] = {
    "1.2.840.10008.1.2": NATIVE,  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1": NATIVE,  # Explicit VR Little Endian
    "1.2.840.10008.1.2.1.99": NATIVE,  # Deflated: inflated while reading (deflated.py)
    "1.2.840.10008.1.2.2": NATIVE,  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.50": _jpeg(lossy=True),  # JPEG Baseline, 8 bit
    "1.2.840.10008.1.2.4.51": _jpeg(lossy=True),  # JPEG Extended, 12 bit
    "1.2.840.10008.1.2.4.57": _jpeg(lossy=False),  # JPEG Lossless, any predictor
    "1.2.840.10008.1.2.4.70": _jpeg(lossy=False),  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.80": _jpeg_ls(lossy=False),  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": _jpeg_ls(lossy=True),  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": _j2k(lossy=False),  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": _j2k(lossy=True),  # JPEG 2000
    # HTJ2K: OpenJPEG reads it too. OpenJPH (imagecodecs.htj2k_decode) is faster, but its wrapper
    # swallows errors in the middle of a frame, and values wrap around where lossy coding
    # overshoots: white becomes black.
    "1.2.840.10008.1.2.4.201": _j2k(lossy=False),  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202": _j2k(lossy=False),  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203": _j2k(lossy=True),  # HTJ2K
    "1.2.840.10008.1.2.5": Decoder(
        name="imagecodecs.dicomrle", decode=decode_rle, fallback="pydicom"
    ),
}


def decode_frame(dataset: Dataset, frame_number: int = 1) -> tuple[np.ndarray, str]:
    """Decode one frame to its stored values. Safe in many threads at once.

    Args:
        dataset: An instance with Pixel Data, from `read_dataset`.
        frame_number: Which frame, counted from 1.

    Returns:
        Stored values (H, W), dtype uint8, uint16, int8 or int16 as Bits Allocated and Pixel
        Representation say, high bit and unused bits dealt with; and the name of the decoder.

    Raises:
        RefusedInstance: TRANSFER_SYNTAX_WITHOUT_DECODER, PIXEL_HEADER_INVALID, FRAME_MISSING,
            PIXEL_DATA_TRUNCATED, PIXEL_SHAPE_MISMATCH, PIXEL_BITS_MISMATCH, DECODE_FAILED,
            TRANSFER_SYNTAX_MISMATCH.
    """
    decoder = decoder_for(dataset.file_meta.TransferSyntaxUID)
    layout = pixel_layout(dataset)
    check_frame_number(layout, frame_number)
    if decoder.decode is None:
        containers = native_frame(dataset, layout, frame_number)
        return stored_values(containers, layout), decoder.name
    stream = encapsulated_frame(dataset, layout, frame_number)
    kind = stream_kind(stream)
    if kind not in {None, decoder.kind}:
        raise syntax_mismatch(f"a {kind} stream", f"a stream of {decoder.kind or 'RLE'}")
    codestream = _checked_codestream(stream, layout) if decoder.has_codestream else None
    decoded, name = _attempt(decoder.decode, stream, layout), decoder.name
    if decoded is None:
        decoded, name = _fall_back(dataset, frame_number, decoder.fallback)
    containers = _shaped(decoded, layout)
    return stored_values(containers, layout, codestream, lossy=decoder.lossy), name


def decoder_for(transfer_syntax_uid: str) -> Decoder:
    """Return the table's entry; raises RefusedInstance TRANSFER_SYNTAX_WITHOUT_DECODER."""
    if transfer_syntax_uid in DECODERS:
        return DECODERS[transfer_syntax_uid]
    raise refused(
        "TRANSFER_SYNTAX_WITHOUT_DECODER",
        step=Step.DECODE,
        tag="(0002,0010) Transfer Syntax UID",
        found=vocabulary.uid_name(transfer_syntax_uid, "transfer syntax"),
        expected="a transfer syntax with a decoder",
        advice="Send it uncompressed or in a lossless JPEG encoding.",
    )


def _checked_codestream(stream: bytes, layout: PixelLayout) -> Codestream:
    """Header and stream must agree before anything is unpacked."""
    codestream = codestreams.describe(stream)
    if codestream is None:
        raise decode_failed("a stream that its transfer syntax does not describe")
    if not codestreams.is_complete(stream):
        raise truncated("a compressed stream without its end marker", "a complete stream")
    found = (codestream.rows, codestream.columns, codestream.samples)
    _check_shape(found, (layout.rows, layout.columns, 1))
    if codestream.precision > layout.bits_allocated:
        raise refused(
            "PIXEL_BITS_MISMATCH",
            step=Step.DECODE,
            tag="(0028,0100) Bits Allocated",
            found=f"{codestream.precision} bits in the compressed stream",
            expected=f"at most {layout.bits_allocated}, as the header says",
            advice="Header and pixels contradict each other; its source must be set right.",
        )
    return codestream


def _attempt(decode: Decode, stream: bytes, layout: PixelLayout) -> np.ndarray | None:
    """Return the decoder's containers, or None if it cannot read the stream."""
    try:
        return decode(stream, layout)
    except (MemoryError, RefusedInstance):
        raise
    except Exception:  # noqa: BLE001  every library has errors of its own
        return None


def _shaped(containers: np.ndarray, layout: PixelLayout) -> np.ndarray:
    if containers.size == layout.rows * layout.columns:
        return containers.reshape(layout.rows, layout.columns)
    raise _shape_mismatch(f"{containers.size} values", f"{layout.rows * layout.columns} values")


def _fall_back(dataset: Dataset, frame_number: int, plugin: str | None) -> tuple[np.ndarray, str]:
    """Containers as pydicom's plugin gives them, without pydicom's corrections: ours follow."""
    unreadable = decode_failed("a compressed stream that no decoder can read")
    if plugin is None:
        raise unreadable
    try:
        containers, _ = get_decoder(UID(dataset.file_meta.TransferSyntaxUID)).as_array(
            dataset,
            index=frame_number - 1,
            raw=True,
            decoding_plugin=plugin,
            apply_j2k_sign_correction=False,
            apply_jls_sign_correction=False,
            correct_unused_bits=False,
        )
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  every plugin has errors of its own
        raise unreadable from None
    return containers, f"pydicom.{plugin}"


def _check_shape(found: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    if found != expected:
        words = "{} rows, {} columns and {} sample(s) per pixel"
        raise _shape_mismatch(words.format(*found) + " in the stream", words.format(*expected))


def _shape_mismatch(found: str, expected: str) -> RefusedInstance:
    return refused(
        "PIXEL_SHAPE_MISMATCH",
        step=Step.DECODE,
        tag="(0028,0010) Rows, (0028,0011) Columns",
        found=found,
        expected=f"{expected}, as the header says",
        advice="Header and pixels contradict each other; its source must be set right.",
    )
