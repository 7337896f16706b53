"""Files to headers and datasets: headers first, pixels only for what is eligible.

Nothing of a file's content, and nothing that pydicom says about it, reaches an error's text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import ReadableBuffer
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from worker.errors import Rejected
from worker.imaging import vocabulary
from worker.imaging.header import InstanceHeader
from worker.imaging.header_values import (
    age_years,
    integer,
    printable,
    snomed_code,
    text,
)
from worker.imaging.plausibility import looks_like_dicom
from worker.imaging.refusals import Step, refused

__all__ = ["InstanceHeader", "Studies", "group_by_study", "read_dataset", "read_header"]

Source = Path | str | BinaryIO

_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_REQUIRED_UIDS = {
    "StudyInstanceUID": ("STUDY_UID", "(0020,000D) Study Instance UID"),
    "SeriesInstanceUID": ("SERIES_UID", "(0020,000E) Series Instance UID"),
    "SOPInstanceUID": ("SOP_INSTANCE_UID", "(0008,0018) SOP Instance UID"),
    "SOPClassUID": ("SOP_CLASS_UID", "(0008,0016) SOP Class UID"),
}
_UID = re.compile(r"[0-9.]{1,64}")
_HEADER_KEYWORDS = [
    *_REQUIRED_UIDS,
    "SpecificCharacterSet", "PatientID", "AccessionNumber", "PatientSex", "PatientAge",
    "PatientBirthDate", "StudyDate", "Modality", "BodyPartExamined", "AnatomicRegionSequence",
    "ViewPosition", "ViewCodeSequence", "PatientOrientation", "PhotometricInterpretation",
    "PresentationIntentType", "BurnedInAnnotation", "Manufacturer", "SamplesPerPixel",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "Rows", "Columns",
    "NumberOfFrames",
]  # fmt: skip


class Studies(NamedTuple):
    """What a heap of files turned out to be."""

    by_study: dict[str, list[tuple[Path, InstanceHeader]]]
    """Study Instance UID -> its readable files, in the order given."""
    refused: list[tuple[Path, Rejected]]
    """The files that are no DICOM instance, each with the reason."""


def read_header(source: Source) -> InstanceHeader:
    """The header of one instance; reading stops before the pixels.

    `source`: a path, or a binary file positioned at its start. Raises RefusedInstance
    (NOT_DICOM, HEADER_UNREADABLE, DICOMDIR, ..._UID_MISSING, ..._UID_INVALID) and OSError.
    """
    dataset = _read(source, stop_before_pixels=True, specific_tags=_HEADER_KEYWORDS)
    uids = _required_uids(dataset)
    return InstanceHeader(
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID,
        patient_id=text(dataset, "PatientID"),
        accession_number=text(dataset, "AccessionNumber"),
        patient_sex=_sex(dataset),
        patient_age_years=age_years(dataset),
        manufacturer=printable(text(dataset, "Manufacturer")),
        anatomic_region=_anatomic_region(dataset),
        view_code=_view_code(dataset),
        patient_orientation=_orientation(dataset),
        **_terms(dataset),
        samples_per_pixel=integer(dataset, "SamplesPerPixel"),
        bits_allocated=integer(dataset, "BitsAllocated"),
        bits_stored=integer(dataset, "BitsStored"),
        high_bit=integer(dataset, "HighBit"),
        pixel_representation=integer(dataset, "PixelRepresentation"),
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        number_of_frames=_frames(dataset),
    )


def read_dataset(source: Source) -> Dataset:
    """The whole instance with its pixel data, ready for `normalise_frame`.

    Raises RefusedInstance (those of `read_header`, FILE_TRUNCATED, PIXEL_DATA_MISSING), OSError.
    """
    dataset = _read(source)
    # pydicom swallows the end of the file inside an element and gives an empty dataset.
    if len(dataset) == 0:
        raise refused(
            "FILE_TRUNCATED",
            step=Step.DECODE,
            found="a file that ends in the middle of an element",
            expected="a complete file",
            advice="Send the instance again.",
        )
    _required_uids(dataset)
    if "PixelData" not in dataset:
        raise refused(
            "PIXEL_DATA_MISSING",
            step=Step.DECODE,
            tag="(7FE0,0010) Pixel Data",
            found="no such element",
            expected="stored values as whole numbers",
            advice="The file may have been cut short: send the instance again.",
        )
    return dataset


def group_by_study(paths: Iterable[Path]) -> Studies:
    """Read every header and sort the files by study; unreadable ones come with their reason."""
    by_study: dict[str, list[tuple[Path, InstanceHeader]]] = defaultdict(list)
    refusals: list[tuple[Path, Rejected]] = []
    for path in paths:
        try:
            header = read_header(path)
        except Rejected as reason:
            refusals.append((path, reason))
        else:
            by_study[header.study_instance_uid].append((path, header))
    return Studies(dict(by_study), refusals)


def _read(source: Source, **options: object) -> FileDataset:
    if isinstance(source, (str, Path)):
        with open(source, "rb") as file:
            return _read_file(file, **options)
    return _read_file(source, **options)


def _read_file(file: BinaryIO | ReadableBuffer, **options: object) -> FileDataset:
    """As pydicom advises: force=True only where the file looks like DICOM without preamble."""
    if not looks_like_dicom(file):
        raise refused(
            "NOT_DICOM",
            step=Step.HEADER,
            found="neither a DICOM preamble nor a first element that could be one",
            expected="a DICOM file (PS3.10)",
            advice="Only DICOM instances can be predicted.",
        )
    try:
        dataset = pydicom.dcmread(file, force=True, **options)  # type: ignore[arg-type]
        return _with_transfer_syntax(dataset)
    except (OSError, MemoryError):
        raise
    except (InvalidDicomError, Exception):
        raise refused(
            "HEADER_UNREADABLE",
            step=Step.HEADER,
            found="elements that cannot be parsed",
            expected="a DICOM file (PS3.10)",
            advice="Send the instance again; if it stays so, its source writes broken files.",
        ) from None  # pydicom's text may quote a value


def _with_transfer_syntax(dataset: FileDataset) -> FileDataset:
    """Fill in the transfer syntax that pydicom found by looking, when no file meta names it."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _required_uids(dataset: FileDataset) -> dict[str, str]:
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _MEDIA_STORAGE_DIRECTORY:
        raise refused(
            "DICOMDIR",
            step=Step.HEADER,
            found="a directory of other files (DICOMDIR)",
            expected="an instance",
            advice="Give the files or the folder themselves.",
        )
    return {keyword: _uid(dataset, keyword) for keyword in _REQUIRED_UIDS}


def _uid(dataset: Dataset, keyword: str) -> str:
    code, tag = _REQUIRED_UIDS[keyword]
    value = text(dataset, keyword)
    if value is not None and _UID.fullmatch(value):
        return value
    raise refused(
        f"{code}_MISSING" if value is None else f"{code}_INVALID",
        step=Step.HEADER,
        tag=tag,
        found=vocabulary.ABSENT if value is None else f"{len(value)} characters that are no UID",
        expected="at most 64 digits and dots",
        advice="Without it the instance cannot be told from others; its source must write it.",
    )


def _terms(dataset: Dataset) -> dict[str, str | None]:
    """The text elements that rules look at, each as a term that may be quoted."""
    readers: dict[
        str, tuple[str, Callable[[str | None, frozenset[str]], str | None], frozenset[str]]
    ]
    readers = {
        "modality": ("Modality", vocabulary.term, vocabulary.MODALITIES),
        "body_part_examined": ("BodyPartExamined", vocabulary.phrase, vocabulary.BODY_PART_WORDS),
        "view_position": ("ViewPosition", vocabulary.phrase, vocabulary.VIEW_WORDS),
        "photometric_interpretation": (
            "PhotometricInterpretation", vocabulary.term, vocabulary.PHOTOMETRIC_INTERPRETATIONS,
        ),
        "presentation_intent_type": (
            "PresentationIntentType", vocabulary.term, vocabulary.PRESENTATION_INTENTS,
        ),
        "burned_in_annotation": ("BurnedInAnnotation", vocabulary.term, vocabulary.YES_NO),
    }  # fmt: skip
    return {name: read(text(dataset, kw), terms) for name, (kw, read, terms) in readers.items()}


def _sex(dataset: Dataset) -> str | None:
    value = (text(dataset, "PatientSex") or "").upper()
    return value if value in {"M", "F", "O"} else None


def _frames(dataset: Dataset) -> int:
    return integer(dataset, "NumberOfFrames") or 1


def _orientation(dataset: Dataset) -> str | None:
    value = (text(dataset, "PatientOrientation") or "").upper()
    return value if re.fullmatch(r"[APLRHF]{1,3}\\[APLRHF]{1,3}", value) else None


def _view_code(dataset: Dataset) -> str | None:
    code = snomed_code(dataset, "ViewCodeSequence")
    return vocabulary.VIEW_CODES.get(code, "OTHER") if code else None


def _anatomic_region(dataset: Dataset) -> str | None:
    code = snomed_code(dataset, "AnatomicRegionSequence")
    return ("CHEST" if code in vocabulary.CHEST_CODES else "NOT CHEST") if code else None
