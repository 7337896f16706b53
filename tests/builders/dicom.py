"""The smallest valid DICOM, made in code: each test states only the attribute it is about.

make_instance(photometric="MONOCHROME1", bits_stored=12)        a dataset in memory
write_instance(folder / "a.dcm", transfer_syntax=JPEG2000Lossless)
make_study(folder, n_instances=3, patient_name="PLANTED^NAME")   files of one study
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

NATIVE_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
LOSSLESS_SYNTAXES = (
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
)
LOSSY_SYNTAXES = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
ALL_SYNTAXES = NATIVE_SYNTAXES + LOSSLESS_SYNTAXES + LOSSY_SYNTAXES


def chest_like_pixels(
    rows: int = 160, columns: int = 144, *, bits_stored: int = 12, seed: int = 0
) -> np.ndarray:
    """Unsigned stored values (rows, columns), MONOCHROME2 sense: two dark lungs in a bright body.

    Smooth with a little noise, so that codecs have something real to do; `seed` moves everything,
    so that two seeds never give the same picture.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    shift = rng.uniform(-0.05, 0.05, 4)
    body = np.exp(-((x / 0.95) ** 6) - ((y - shift[0]) / 1.1) ** 8)
    lungs = sum(
        np.exp(-(((x - side * 0.42 + shift[1]) / 0.26) ** 4) - ((y - shift[2]) / 0.6) ** 4)
        for side in (-1, 1)
    )
    heart = np.exp(-(((x - 0.15) / 0.3) ** 2) - ((y - 0.35 + shift[3]) / 0.3) ** 2)
    grey = 0.1 + 0.75 * body - 0.5 * lungs + 0.35 * heart + rng.normal(0, 0.01, x.shape)
    top = (1 << bits_stored) - 1
    return (grey.clip(0, 1) * top).round().astype(np.uint8 if bits_stored <= 8 else np.uint16)


def make_instance(
    *,
    pixels: np.ndarray | None = None,
    rows: int = 160,
    columns: int = 144,
    seed: int = 0,
    photometric: str = "MONOCHROME2",
    bits_stored: int = 12,
    bits_allocated: int | None = None,
    high_bit: int | None = None,
    pixel_representation: int = 0,
    number_of_frames: int | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    window: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    voi_lut_function: str | None = None,
    rescale: tuple[float, float] | None = None,
    padding_value: int | None = None,
    padding_range_limit: int | None = None,
    presentation_lut_shape: str | None = None,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    sop_instance_uid: str | None = None,
    sop_class_uid: str = "1.2.840.10008.5.1.4.1.1.1",
    modality: str | None = "CR",
    body_part: str | None = "CHEST",
    view_position: str | None = "PA",
    patient_name: str = "TEST^BUILDER",
    patient_id: str = "BUILDER-1",
    patient_sex: str | None = "F",
    patient_age: str | None = "003Y",
    patient_birth_date: str | None = None,
    accession_number: str = "ACC-1",
    study_date: str | None = "20260102",
    manufacturer: str = "Builder",
    predictor: int = 1,
    **keywords: Any,
) -> Dataset:
    """One chest radiograph (Computed Radiography) that is eligible unless a keyword spoils it.

    `pixels`: stored values (H, W) or (frames, H, W), signed or not; default: chest-like ones.
    `window`: (center, width) or several. `rescale`: (slope, intercept). `predictor`: of JPEG
    Lossless P14. `keywords`: any further DICOM keyword with its value; None leaves an element out.
    """
    if pixels is None:
        pixels = chest_like_pixels(rows, columns, bits_stored=bits_stored, seed=seed)
    allocated = bits_allocated or (8 if bits_stored <= 8 else 16)
    high_bit = bits_stored - 1 if high_bit is None else high_bit
    frames = pixels[None] if pixels.ndim == 2 else pixels

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    elements: dict[str, Any] = {
        "SOPClassUID": sop_class_uid,
        "SOPInstanceUID": sop_instance_uid or generate_uid(),
        "StudyInstanceUID": study_instance_uid or generate_uid(),
        "SeriesInstanceUID": series_instance_uid or generate_uid(),
        "StudyDate": study_date,
        "StudyTime": "120000",
        "AccessionNumber": accession_number,
        "Modality": modality,
        "Manufacturer": manufacturer,
        "ReferringPhysicianName": "",
        "PatientName": patient_name,
        "PatientID": patient_id,
        "PatientBirthDate": patient_birth_date,
        "PatientSex": patient_sex,
        "PatientAge": patient_age,
        "BodyPartExamined": body_part,
        "ViewPosition": view_position,
        "PatientOrientation": ["L", "F"],
        "StudyID": "1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": photometric,
        "NumberOfFrames": number_of_frames or (len(frames) if len(frames) > 1 else None),
        "Rows": frames.shape[1],
        "Columns": frames.shape[2],
        "BitsAllocated": allocated,
        "BitsStored": bits_stored,
        "HighBit": high_bit,
        "PixelRepresentation": pixel_representation,
        "PresentationLUTShape": presentation_lut_shape,
        "VOILUTFunction": voi_lut_function,
        **_window_elements(window),
        **_rescale_elements(rescale),
    }
    for keyword, value in {**elements, **keywords}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    _set_padding(dataset, padding_value, padding_range_limit)
    _set_pixel_data(dataset, frames, predictor)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    return dataset


def write_instance(path: Path, **keywords: Any) -> Path:
    """Write `make_instance(**keywords)` as a DICOM file; gives the path back."""
    dataset = make_instance(**keywords)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def make_study(
    folder: Path, n_instances: int = 3, *, study_instance_uid: str | None = None, **keywords: Any
) -> list[Path]:
    """Write the files of one study and one series, each with a picture of its own."""
    study = study_instance_uid or generate_uid()
    series = keywords.pop("series_instance_uid", None) or generate_uid()
    seed = keywords.pop("seed", 0)
    return [
        write_instance(
            folder / f"{number}.dcm",
            study_instance_uid=study,
            series_instance_uid=series,
            InstanceNumber=number,
            seed=seed * 1000 + number,
            **keywords,
        )
        for number in range(1, n_instances + 1)
    ]


def lut_item(entries: Sequence[int], *, first_mapped: int = 0, bits: int = 16) -> Dataset:
    """One item for Modality LUT Sequence or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first_mapped < 0 else "US",
                 [len(entries) % 65_536, first_mapped, bits])  # fmt: skip
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return item


def _window_elements(window: Any) -> dict[str, Any]:
    if window is None:
        return {}
    pairs = window if isinstance(window[0], Sequence) else [window]
    centers, widths = zip(*pairs, strict=True)
    return {"WindowCenter": list(centers), "WindowWidth": list(widths)}


def _rescale_elements(rescale: tuple[float, float] | None) -> dict[str, Any]:
    if rescale is None:
        return {}
    return {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1], "RescaleType": "US"}


def _set_padding(dataset: Dataset, value: int | None, limit: int | None) -> None:
    vr = "SS" if dataset.get("PixelRepresentation") else "US"
    for keyword, number in (("PixelPaddingValue", value), ("PixelPaddingRangeLimit", limit)):
        if number is not None:
            dataset.add_new(keyword, vr, number)


def _set_pixel_data(dataset: Dataset, frames: np.ndarray, predictor: int) -> None:
    """Encode (frames, H, W) stored values; the value sits below High Bit in its container."""
    syntax = dataset.file_meta.TransferSyntaxUID
    allocated, stored = dataset.BitsAllocated, dataset.BitsStored
    container = np.uint8 if allocated == 8 else np.uint16
    shift = dataset.HighBit + 1 - stored
    mask = (1 << stored) - 1
    placed = ((frames.astype(np.int64) & mask) << shift).astype(container)
    if syntax.is_encapsulated:
        streams = [encode_frame(f, syntax, bits=stored, predictor=predictor) for f in placed]
        dataset.PixelData = encapsulate(streams)
        dataset["PixelData"].VR = "OB"
        return
    dtype = placed.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    data = placed.astype(dtype).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"


def encode_frame(
    containers: np.ndarray, transfer_syntax: str, *, bits: int, predictor: int = 1
) -> bytes:
    """One compressed stream of unsigned containers (H, W) that use `bits` bits each."""
    encode = _ENCODERS.get(UID(transfer_syntax))
    if encode is None:
        raise ValueError(f"no encoder for {UID(transfer_syntax).name}")
    return bytes(encode(containers, bits, predictor))


def _encode_rle(containers: np.ndarray) -> bytes:
    bits = containers.dtype.itemsize * 8
    return get_encoder(RLELossless).encode(
        containers.tobytes(), encoding_plugin="pydicom", number_of_frames=1, index=0,
        rows=containers.shape[0], columns=containers.shape[1], samples_per_pixel=1,
        bits_allocated=bits, bits_stored=bits, pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )  # fmt: skip


def _encode_jpeg2k(containers: np.ndarray, bits: int, *, lossless: bool) -> bytes:
    stream = imagecodecs.jpeg2k_encode(
        containers, level=0 if lossless else 50, codecformat="j2k",
        reversible=lossless, bitspersample=bits,
    )  # fmt: skip
    return bytes(stream)


def _jpeg_lossless(containers: np.ndarray, bits: int, predictor: int) -> bytes:
    return imagecodecs.jpeg8_encode(
        containers, lossless=True, predictor=predictor, bitspersample=bits
    )


_ENCODERS: dict[str, Callable[[np.ndarray, int, int], bytes]] = {
    # transfer syntax: (containers, bits, predictor) -> stream
    RLELossless: lambda c, _b, _p: _encode_rle(c),
    JPEGLosslessSV1: lambda c, b, _p: _jpeg_lossless(c, b, 1),
    JPEGLossless: _jpeg_lossless,
    JPEGBaseline8Bit: lambda c, _b, _p: imagecodecs.jpeg8_encode(c, level=95),
    JPEGExtended12Bit: lambda c, _b, _p: imagecodecs.jpeg8_encode(c, level=95, bitspersample=12),
    JPEGLSLossless: lambda c, _b, _p: imagecodecs.jpegls_encode(c),
    JPEGLSNearLossless: lambda c, _b, _p: imagecodecs.jpegls_encode(c, level=2),
    JPEG2000Lossless: lambda c, b, _p: _encode_jpeg2k(c, b, lossless=True),
    JPEG2000: lambda c, b, _p: _encode_jpeg2k(c, b, lossless=False),
    HTJ2KLossless: lambda c, _b, _p: imagecodecs.htj2k_encode(c, reversible=True),
    HTJ2KLosslessRPCL: lambda c, _b, _p: imagecodecs.htj2k_encode(c, reversible=True),
    HTJ2K: lambda c, _b, _p: imagecodecs.htj2k_encode(c, level=0.001, reversible=False),
}
