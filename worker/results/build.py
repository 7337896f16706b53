"""Build the objects of a result for the PACS, and their bytes."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset

from worker.results.patient_consistency import check_one_patient
from worker.results.result_settings import ResultSettings
from worker.results.secondary_capture import PictureOf, build_captures
from worker.results.structured_report import build_report
from worker.results.study_result import StudyResult


def build_results(
    result: StudyResult,
    settings: ResultSettings,
    picture_of: PictureOf,
    *,
    report: bool = True,
    captures: bool = True,
) -> list[Dataset]:
    """Build the structured report, then the captures; the same result always gives the same bytes.

    Args:
        result: The result of one revision of a study.
        settings: The site's choices for its objects.
        picture_of: Called for the deciding frame of each predicted instance, one after another;
            what it raises (RefusedInstance, OSError) is passed on.
        report: Whether to build the report; the captures are the same without it.
        captures: Whether to build the captures; the report is the same without them.

    Raises:
        Rejected: RESULT_PATIENTS_DIFFER.
    """
    check_one_patient(result)
    return [
        *([build_report(result, settings)] if report else []),
        *(build_captures(result, settings, picture_of) if captures else []),
    ]


def to_bytes(dataset: Dataset) -> bytes:
    """Return one of our objects as a DICOM file (PS3.10)."""
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
