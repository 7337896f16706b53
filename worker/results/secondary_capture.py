"""The result as a picture that any viewer shows: Secondary Capture, one for each predicted image.

A study of which nothing was evaluated gets a notice instead, so that a radiologist who looks for the
result finds out that there is none, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
)

from worker.imaging.header_values import text
from worker.results.capture_drawing import draw
from worker.results.capture_text import CaptureText, image_text, notice_text
from worker.results.codes import SOURCE_IMAGE
from worker.results.common_modules import ObjectPlacement, base_dataset, coded, reference
from worker.results.patient_and_study import valid_element
from worker.results.patient_consistency import fill_missing, header_of_report
from worker.results.picture import Picture
from worker.results.result_settings import ResultSettings
from worker.results.sop_classes import frame_to_reference
from worker.results.study_result import InstanceResult, ResultVerdict, StudyResult
from worker.results.uids import ResultUids

SERIES_NUMBER = 9102
LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K}

PictureOf = Callable[[InstanceResult, int], Picture]
"""Gives the picture of an instance's frame, counted from 1; asked for one at a time."""


def build_captures(
    result: StudyResult, words: ResultSettings, picture_of: PictureOf
) -> Iterator[Dataset]:
    """The captures of one result, in order; of each instance the frame that decides about it.

    There is none of an image whose file has left.
    """
    if not result.evaluated:
        yield _notice(result, words)
    for number, item in enumerate(result.in_order, start=1):
        if item.frames and item.is_here:
            picture = picture_of(item, item.leading_frame.frame_number)
            yield _capture(result, words, item, number, picture)


def _capture(
    result: StudyResult, words: ResultSettings, item: InstanceResult, number: int, picture: Picture
) -> Dataset:
    uid = ResultUids.of(result, words).capture(item.uid)
    marked = item.leading_frame.verdict is ResultVerdict.POSITIVE and bool(picture.heat.any())
    said = image_text(result, item, words, marked=marked)
    source = fill_missing(item.header, result)
    dataset = base_dataset(result, source, words, _place(result, words, uid, number))
    dataset.BodyPartExamined = "CHEST"
    what = "Grad-CAM of {} over the radiograph" if marked else "Radiograph as {} saw it"
    _add_image(dataset, said, what.format(result.model.label))
    _add_source(dataset, item)
    # Heat is relative to its own picture: below the threshold its peak points at a finding that is none.
    shown = picture if marked else replace(picture, heat=np.zeros_like(picture.heat))
    _add_pixels(dataset, draw(said, shown, words.font))
    return dataset


def _notice(result: StudyResult, words: ResultSettings) -> Dataset:
    uid = ResultUids.of(result, words).capture()
    said = notice_text(result, words)
    dataset = base_dataset(result, header_of_report(result), words, _place(result, words, uid, 1))
    _add_image(dataset, said, f"Notice that {result.model.label} evaluated nothing")
    dataset.Laterality = dataset.PatientOrientation = None
    dataset.BurnedInAnnotation = "NO"
    _add_pixels(dataset, draw(said, None, words.font))
    return dataset


def _place(result: StudyResult, words: ResultSettings, uid: str, number: int) -> ObjectPlacement:
    return ObjectPlacement(
        sop_class_uid=SecondaryCaptureImageStorage,
        sop_instance_uid=uid,
        series_instance_uid=ResultUids.of(result, words).capture_series,
        series_number=SERIES_NUMBER,
        series_description=f"Pneumonia, picture of {result.model.label}",
        # Not CR or DX: whatever routes radiographs to us must not send this back to be read.
        modality="OT",
        instance_number=number,
    )


def _add_image(dataset: Dataset, said: CaptureText, derivation: str) -> None:
    """PS3.3 C.7.6.1 General Image, C.8.6.1 SC Equipment, C.8.6.2 SC Image."""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.DateOfSecondaryCapture = dataset.ContentDate
    dataset.TimeOfSecondaryCapture = dataset.ContentTime
    dataset.DerivationDescription = derivation
    dataset.ImageComments = f"{said.headline}. {said.disclaimer}"


def _add_source(dataset: Dataset, item: InstanceResult) -> None:
    """The image that it shows, and what is true of it because it is true of that one."""
    header = item.header
    source = reference(text(header, "SOPClassUID") or "", item.uid)
    frame = frame_to_reference(header, item.leading_frame.frame_number)
    if frame:
        source.ReferencedFrameNumber = frame
    source.PurposeOfReferenceCodeSequence = coded(SOURCE_IMAGE)
    dataset.SourceImageSequence = [source]
    orientation = valid_element(header, "PatientOrientation")
    dataset.PatientOrientation = orientation.value if orientation else None
    burned_in = text(header, "BurnedInAnnotation")
    if burned_in in {"YES", "NO"}:
        dataset.BurnedInAnnotation = burned_in
    _add_loss(dataset, header)


def _add_loss(dataset: Dataset, header: Dataset) -> None:
    """PS3.3 C.7.6.1.1.5: once lossy, always lossy, however it is stored now."""
    syntax = text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
    if text(header, "LossyImageCompression") != "01" and syntax not in LOSSY:
        return
    dataset.LossyImageCompression = "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        element = valid_element(header, keyword)
        if element is not None:
            dataset.add(element)


def _add_pixels(dataset: Dataset, rgb: np.ndarray) -> None:
    """PS3.3 C.7.6.3 Image Pixel. `rgb`: uint8 (H, W, 3)."""
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rgb.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = rgb.tobytes()
    dataset["PixelData"].VR = "OB"
