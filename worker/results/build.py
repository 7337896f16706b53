"""From a result to the objects that go to the PACS, and to their bytes."""

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
    words: ResultSettings,
    picture_of: PictureOf,
    *,
    report: bool = True,
    captures: bool = True,
) -> list[Dataset]:
    """The structured report, then the captures; the same result gives the same bytes each time.

    `picture_of` is asked for the deciding frame of each predicted instance, one after another; what
    it raises (RefusedInstance, OSError) comes through. Without `report` or `captures` the others
    come out as they are with it. Raises Rejected RESULT_PATIENTS_DIFFER.
    """
    check_one_patient(result)
    return [
        *([build_report(result, words)] if report else []),
        *(build_captures(result, words, picture_of) if captures else []),
    ]


def to_bytes(dataset: Dataset) -> bytes:
    """One of our objects as a DICOM file (PS3.10)."""
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
