"""Build Secondary Captures, which any viewer can show: one for each predicted image.

A study of which nothing was evaluated gets a notice instead, which tells the radiologist that there
is no result, and why.
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
)

from worker.imaging.header_values import code_string, text
from worker.imaging.orientation import patient_orientation, reorientation_of
from worker.results.capture_drawing import draw
from worker.results.capture_text import CaptureText, image_text, notice_text
from worker.results.codes import SOURCE_IMAGE
from worker.results.common_modules import ObjectKind, base_dataset, coded, reference
from worker.results.patient_and_study import valid_element
from worker.results.patient_consistency import fill_missing, header_of_report
from worker.results.picture import Picture
from worker.results.result_settings import ResultSettings
from worker.results.sop_classes import frame_to_reference
from worker.results.study_result import InstanceResult, ResultVerdict, StudyResult
from worker.results.uids import ResultUids

LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K}

PictureOf = Callable[[InstanceResult, int], Picture]
"""Return the picture of an instance's frame, counted from 1; called for one at a time."""


def build_captures(
    result: StudyResult, settings: ResultSettings, picture_of: PictureOf
) -> Iterator[Dataset]:
    """Yield the captures of one result in order: of each instance the frame that decides its result.

    There is none of an image whose file was removed.
    """
    if not result.evaluated:
        yield _notice(result, settings)
    for number, item in enumerate(result.in_order, start=1):
        if item.frames and item.is_here:
            picture = picture_of(item, item.leading_frame.frame_number)
            yield _capture(result, settings, item, number, picture)


def _capture(
    result: StudyResult,
    settings: ResultSettings,
    item: InstanceResult,
    number: int,
    picture: Picture,
) -> Dataset:
    uid = ResultUids.of(result, settings).capture(item.uid)
    marked = item.leading_frame.verdict is ResultVerdict.POSITIVE and bool(picture.heat.any())
    content = image_text(result, item, settings, marked=marked)
    source = fill_missing(item.header, result)
    dataset = base_dataset(result, source, settings, ObjectKind.CAPTURE, uid, number)
    dataset.BodyPartExamined = "CHEST"
    what = "Grad-CAM of {} over the radiograph" if marked else "Radiograph as {} saw it"
    _add_image(dataset, content, what.format(result.model.label))
    _add_source(dataset, item)
    # Heat is relative to its picture: below the threshold its peak would suggest a finding.
    shown = picture if marked else replace(picture, heat=np.zeros_like(picture.heat))
    _add_pixels(dataset, draw(content, shown, settings.font))
    return dataset


def _notice(result: StudyResult, settings: ResultSettings) -> Dataset:
    uid = ResultUids.of(result, settings).capture()
    content = notice_text(result, settings)
    dataset = base_dataset(result, header_of_report(result), settings, ObjectKind.CAPTURE, uid)
    _add_image(dataset, content, f"Notice that {result.model.label} evaluated nothing")
    dataset.Laterality = dataset.PatientOrientation = None
    dataset.BurnedInAnnotation = "NO"
    _add_pixels(dataset, draw(content, None, settings.font))
    return dataset


def _add_image(dataset: Dataset, content: CaptureText, derivation: str) -> None:
    """PS3.3 C.7.6.1 General Image, C.8.6.1 SC Equipment, C.8.6.2 SC Image."""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "WSD"
    dataset.DateOfSecondaryCapture = dataset.ContentDate
    dataset.TimeOfSecondaryCapture = dataset.ContentTime
    dataset.DerivationDescription = derivation
    dataset.ImageComments = f"{content.headline}. {content.disclaimer}"


def _add_source(dataset: Dataset, item: InstanceResult) -> None:
    """Reference the image that the capture shows, and copy what holds for both."""
    header = item.header
    source = reference(text(header, "SOPClassUID") or "", item.uid)
    frame = frame_to_reference(header, item.leading_frame.frame_number)
    if frame:
        source.ReferencedFrameNumber = frame
    source.PurposeOfReferenceCodeSequence = coded(SOURCE_IMAGE)
    dataset.SourceImageSequence = [source]
    dataset.PatientOrientation = _orientation(header)
    burned_in = code_string(header, "BurnedInAnnotation")
    if burned_in in {"YES", "NO"}:
        dataset.BurnedInAnnotation = burned_in
    _add_loss(dataset, header)


def _orientation(header: Dataset) -> list[str] | None:
    """Patient Orientation of the radiograph as it is shown: turned as it was for the network."""
    stored = patient_orientation(header)
    return reorientation_of(stored).of_directions(stored).split("\\") if stored else None


def _add_loss(dataset: Dataset, header: Dataset) -> None:
    """PS3.3 C.7.6.1.1.5: once lossy, always lossy, however it is stored later."""
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
