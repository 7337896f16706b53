"""The demo's studies: one real chest radiograph in every lossless encoding, and some that must be refused.

The files come from the PyPI package `pydicom-data` (NEMA WG-04 samples). Each study gets UIDs of
its own, since one Study Instance UID is one study, however often it is sent.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from db.vocabulary.enums import Priority
from worker.errors import Rejected
from worker.imaging.decoders import decode_frame


@dataclass(frozen=True, kw_only=True)
class DemoStudy:
    """One study to send, and its expected outcome."""

    title: str
    """Name in the table (up to ten characters)."""
    dataset: Dataset = field(repr=False)
    """One instance, ready to send in its own transfer syntax."""
    priority: Priority = Priority.ROUTINE
    """STAT is sent with C-STORE priority HIGH."""
    refusal: str | None = None
    """The code with which it must be refused; None: it must be predicted."""

    @property
    def syntax(self) -> UID:
        """Its transfer syntax."""
        return UID(self.dataset.file_meta.TransferSyntaxUID)

    @property
    def syntax_name(self) -> str:
        """Its transfer syntax in a few words."""
        return SHORT_NAMES.get(self.syntax, self.syntax.name)


SHORT_NAMES = {
    ExplicitVRLittleEndian: "uncompressed",
    RLELossless: "RLE",
    JPEGLosslessSV1: "JPEG Lossless SV1",
    JPEGLSLossless: "JPEG-LS lossless",
    JPEG2000Lossless: "JPEG 2000 lossless",
}
"""Names of up to eighteen characters; the standard's have up to twelve words."""


def demo_studies() -> list[DemoStudy]:
    """Return all of them, in the order of sending. Raises Rejected("DEMO_DATA_MISSING")."""
    chest, tibia, ultrasound = (_sample(f"{name}_UNCR.dcm") for name in ("RG1", "RG3", "US1"))
    return [
        DemoStudy(title="chest RG1", dataset=_renamed(chest)),
        DemoStudy(title="chest RG1", dataset=_renamed(_sample("RG1_J2KR.dcm"))),
        *(
            DemoStudy(title="chest RG1", dataset=_renamed(transcoded(chest, syntax)))
            for syntax in ENCODERS
        ),
        DemoStudy(title="chest STAT", dataset=_renamed(chest), priority=Priority.STAT),
        DemoStudy(title="tibia RG3", dataset=_renamed(tibia), refusal="BODY_PART_NOT_CHEST"),
        DemoStudy(
            title="ultrasound", dataset=_renamed(ultrasound), refusal="SOP_CLASS_NOT_ELIGIBLE"
        ),
        DemoStudy(
            title="cut short",
            dataset=_renamed(with_truncated_pixels(chest)),
            refusal="PIXEL_DATA_TRUNCATED",
        ),
    ]


def transcoded(dataset: Dataset, syntax: UID) -> Dataset:
    """Return a copy of an uncompressed single-frame dataset in another lossless transfer syntax.

    It is decoded again and compared: a demo of equal results must not trust an encoder.
    """
    changed = copy.deepcopy(dataset)
    stored, _ = decode_frame(dataset)
    changed.PixelData = encapsulate([ENCODERS[syntax](dataset, np.ascontiguousarray(stored))])
    changed["PixelData"].VR = "OB"
    changed.file_meta.TransferSyntaxUID = syntax
    decoded, _ = decode_frame(changed)
    if not np.array_equal(decoded, stored):
        raise AssertionError(f"{syntax.name}: the transcoded pixels differ")
    return changed


def with_truncated_pixels(dataset: Dataset) -> Dataset:
    """Return a copy whose pixel data ends after three fifths, as a broken transfer leaves it."""
    changed = copy.deepcopy(dataset)
    length = len(dataset.PixelData) * 3 // 5
    changed.PixelData = dataset.PixelData[: length - length % 2]
    return changed


def _rle(dataset: Dataset, _stored: np.ndarray) -> bytes:
    """Encode as RLE with pydicom (PS3.5 annex G)."""
    changed = copy.deepcopy(dataset)
    changed.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return next(pydicom.encaps.generate_frames(changed.PixelData, number_of_frames=1))


ENCODERS: dict[UID, Callable[[Dataset, np.ndarray], bytes]] = {
    RLELossless: _rle,
    # Selection value 1 is the predictor that this transfer syntax is named for (PS3.5 A.4.2).
    JPEGLosslessSV1: lambda d, stored: bytes(
        imagecodecs.jpeg8_encode(stored, lossless=True, predictor=1, bitspersample=d.BitsStored)
    ),
    JPEGLSLossless: lambda _d, stored: bytes(imagecodecs.jpegls_encode(stored)),
}
"""Transfer syntaxes that the demo writes by itself, with the encoder for each."""

LOSSLESS = (ExplicitVRLittleEndian, JPEG2000Lossless, *ENCODERS)
"""The encodings in which RG1 must give one and the same probability."""


def _sample(name: str) -> Dataset:
    try:
        path = Path(str(files("data_store"))) / "data" / name
        return pydicom.dcmread(path)
    except (ModuleNotFoundError, FileNotFoundError):
        raise Rejected(
            "DEMO_DATA_MISSING",
            f"The sample {name} is not installed. It comes with the extra `demo`: "
            "pip install 'pneumo[demo]', or run `make demo`.",
        ) from None


def _renamed(dataset: Dataset) -> Dataset:
    """Return a copy that is a study of its own."""
    changed = copy.deepcopy(dataset)
    changed.StudyInstanceUID, changed.SeriesInstanceUID, changed.SOPInstanceUID = (
        generate_uid() for _ in range(3)
    )
    changed.file_meta.MediaStorageSOPInstanceUID = changed.SOPInstanceUID
    return changed
