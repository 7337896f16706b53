"""Files to headers and datasets: headers first, pixels only for what is eligible.

Nothing of a file's content, and nothing that pydicom says about it, reaches an error's text.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from worker.errors import Rejected
from worker.imaging import lexicon, vocabulary
from worker.imaging.ages_and_dates import read_age
from worker.imaging.console_text import console_text
from worker.imaging.descriptions import (
    DESCRIPTION_KEYWORDS,
    describes_lateral,
    describes_post_mortem,
)
from worker.imaging.dicom_files import Source, open_dataset
from worker.imaging.header import InstanceHeader, PixelSize
from worker.imaging.header_values import (
    ElementState,
    code_string,
    codes,
    integer,
    is_filled,
    is_unreadable,
    number_of_frames,
    printable,
    read_numbers,
    snomed_code,
    text,
)
from worker.imaging.identifiers import REQUIRED_KEYWORDS, required_uids
from worker.imaging.orientation import is_orientation_unreadable, patient_orientation
from worker.imaging.refusals import Step, refused
from worker.imaging.subject import SUBJECT_KEYWORDS, read_subject, unknown_terms
from worker.imaging.unreadable import refuses_the_unforeseen

__all__ = ["InstanceHeader", "Studies", "group_by_study", "read_dataset", "read_header"]

_NUMBERS = {
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "high_bit": "HighBit",
    "pixel_representation": "PixelRepresentation",
    "rows": "Rows",
    "columns": "Columns",
}
_Quote = Callable[[str | None, frozenset[str]], str | None]
_TERMS: dict[str, tuple[str, _Quote, frozenset[str]]] = {
    # field: keyword, how its value is read, which words may be quoted
    "modality": ("Modality", vocabulary.term, vocabulary.MODALITIES),
    "photometric_interpretation": (
        "PhotometricInterpretation",
        vocabulary.term,
        vocabulary.PHOTOMETRIC_INTERPRETATIONS,
    ),
    "presentation_intent_type": (
        "PresentationIntentType",
        vocabulary.term,
        vocabulary.PRESENTATION_INTENTS,
    ),
    "burned_in_annotation": ("BurnedInAnnotation", vocabulary.term, vocabulary.YES_NO),
}
_PHRASES = {"body_part_examined": "BodyPartExamined", "view_position": "ViewPosition"}
_PIXEL_SIZES = {
    # PS3.3 C.7.6.3.1.7, C.8.7.10.1.1 and 10.7.1, C.8.6.2.1.1: row to row first, then column to column
    "PixelAspectRatio": "Pixel Aspect Ratio",
    "ImagerPixelSpacing": "Imager Pixel Spacing",
    "PixelSpacing": "Pixel Spacing",
    "NominalScannedPixelSpacing": "Nominal Scanned Pixel Spacing",
}
HEADER_KEYWORDS = [
    *REQUIRED_KEYWORDS,
    *_NUMBERS.values(),
    *(keyword for keyword, _, _ in _TERMS.values()),
    *_PHRASES.values(),
    *(
        "SpecificCharacterSet",
        "PatientID",
        "IssuerOfPatientID",
        "AccessionNumber",
        "PatientSex",
        "PatientAge",
    ),
    *("PatientBirthDate", "StudyDate", "AnatomicRegionSequence", "ViewCodeSequence"),
    *("ProcedureCodeSequence", "PatientOrientation", "Manufacturer", "NumberOfFrames"),
    *_PIXEL_SIZES,
    "SoftwareVersions",
    *DESCRIPTION_KEYWORDS,
    *SUBJECT_KEYWORDS,
]


class Studies(NamedTuple):
    """What a heap of files turned out to be."""

    by_study: dict[str, list[tuple[Path, InstanceHeader]]]
    """Study Instance UID -> its readable files, in the order given."""
    refused: list[tuple[Path, Rejected]]
    """The files that are no DICOM instance, each with the reason."""


@refuses_the_unforeseen(Step.HEADER)
def read_header(source: Source) -> InstanceHeader:
    """Read the header of one instance; reading stops before the pixels.

    Args:
        source: A path, or a binary file positioned at its start.

    Returns:
        What eligibility, intake and results need to know of the instance.

    Raises:
        RefusedInstance: NOT_DICOM, ARCHIVE_NOT_UNPACKED, HEADER_UNREADABLE, DEFLATED_TOO_LARGE,
            DICOMDIR, ..._UID_MISSING, ..._UID_INVALID.
        OSError: The file cannot be opened or read.

    Example:
        >>> read_header(Path("a.dcm")).sop_class_uid
        '1.2.840.10008.5.1.4.1.1.1.1'
    """
    dataset = open_dataset(source, stop_before_pixels=True, specific_tags=HEADER_KEYWORDS)
    uids = required_uids(dataset)
    age = read_age(dataset)
    return InstanceHeader(
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        transfer_syntax_uid=uids["TransferSyntaxUID"],
        patient_id=text(dataset, "PatientID"),
        issuer_of_patient_id=text(dataset, "IssuerOfPatientID"),
        accession_number=text(dataset, "AccessionNumber"),
        patient_sex=_sex(dataset),
        patient_age_years=age.years,
        is_age_unreadable=age.state is ElementState.UNREADABLE,
        manufacturer=printable(text(dataset, "Manufacturer")),
        series_description=text(dataset, "SeriesDescription"),
        software_versions=text(dataset, "SoftwareVersions"),
        anatomic_region=_anatomic_region(dataset),
        view_code=_view_code(dataset),
        patient_orientation=patient_orientation(dataset),
        pixel_sizes=tuple(_pixel_sizes(dataset)),
        number_of_frames=number_of_frames(dataset),
        subject=read_subject(dataset),
        describes_lateral=describes_lateral(dataset),
        describes_post_mortem=describes_post_mortem(dataset),
        unreadable=frozenset(_unreadable(dataset)),
        decimal_commas=frozenset(
            keyword for keyword in _PIXEL_SIZES if read_numbers(dataset, keyword).has_decimal_comma
        ),
        **_numbers_and_terms(dataset),
    )


@refuses_the_unforeseen(Step.DECODE)
def read_dataset(source: Source) -> Dataset:
    """Read the whole instance with its pixel data, ready for `normalise_frame`.

    Args:
        source: A path, or a binary file positioned at its start.

    Returns:
        The data set with its file meta information.

    Raises:
        RefusedInstance: Those of `read_header`, FILE_TRUNCATED, PIXEL_DATA_MISSING.
        OSError: The file cannot be opened or read.
    """
    dataset = open_dataset(source)
    # pydicom swallows the end of the file inside an element and gives an empty dataset.
    if len(dataset) == 0:
        raise refused(
            "FILE_TRUNCATED",
            step=Step.DECODE,
            found="a file that ends in the middle of an element",
            expected="a complete file",
            advice="Send the instance again.",
        )
    required_uids(dataset)
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
    unreadable: list[tuple[Path, Rejected]] = []
    for path in paths:
        try:
            header = read_header(path)
        except Rejected as reason:
            unreadable.append((path, reason))
        else:
            by_study[header.study_instance_uid].append((path, header))
    return Studies(dict(by_study), unreadable)


def _numbers_and_terms(dataset: Dataset) -> dict[str, Any]:
    whole = {name: integer(dataset, keyword) for name, keyword in _NUMBERS.items()}
    terms = {name: read(text(dataset, kw), words) for name, (kw, read, words) in _TERMS.items()}
    phrases = {name: lexicon.phrase(console_text(dataset, kw)) for name, kw in _PHRASES.items()}
    return {**whole, **terms, **phrases}


def _sex(dataset: Dataset) -> str | None:
    value = code_string(dataset, "PatientSex")
    return value if value in {"M", "F", "O"} else None


def _unreadable(dataset: Dataset) -> Iterator[str]:
    """The keywords of elements with a value that means nothing; rules and cautions judge them."""
    for keyword in HEADER_KEYWORDS:
        if is_unreadable(dataset, keyword):
            yield keyword
    for keyword in _NUMBERS.values():
        if integer(dataset, keyword) is None and is_filled(dataset, keyword):
            yield keyword
    for keyword in _PIXEL_SIZES:
        if read_numbers(dataset, keyword).state is not ElementState.ABSENT and (
            _pixel_size(dataset, keyword) is None
        ):
            yield keyword
    if is_orientation_unreadable(dataset):
        yield "PatientOrientation"
    intent = code_string(dataset, "PresentationIntentType")
    if intent and intent not in vocabulary.PRESENTATION_INTENTS:
        yield "PresentationIntentType"
    yield from unknown_terms(dataset)


def _pixel_sizes(dataset: Dataset) -> Iterator[PixelSize]:
    for keyword, element in _PIXEL_SIZES.items():
        size = _pixel_size(dataset, keyword)
        if size and any(size):
            yield PixelSize(element=element, height=size[0], width=size[1])


def _pixel_size(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Height and width, both 0 where a console knows none; None if they cannot be those of a pixel."""
    values = read_numbers(dataset, keyword).values
    if len(values) != 2 or not all(map(math.isfinite, values)):
        return None
    height, width = values
    is_size = (height > 0 and width > 0) or (height, width) == (0, 0)
    return (height, width) if is_size else None


def _view_code(dataset: Dataset) -> str | None:
    code = snomed_code(dataset, "ViewCodeSequence")
    return vocabulary.VIEW_CODES.get(code, "OTHER") if code else None


def _anatomic_region(dataset: Dataset) -> str | None:
    """What the region's code says; without one, the procedure's, which can only say chest."""
    code = snomed_code(dataset, "AnatomicRegionSequence")
    if code:
        return "CHEST" if code in vocabulary.CHEST_CODES else "NOT CHEST"
    procedures = codes(dataset, "ProcedureCodeSequence")
    are_of_chest = procedures and all(c in vocabulary.CHEST_PROCEDURES for c in procedures)
    return "CHEST" if are_of_chest else None
