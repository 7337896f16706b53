"""Choose the patient of a result when the images of a study differ about the patient.

A patient who arrives unnamed gets a temporary id; the RIS corrects it, and an image that is taken
later has the new one under the same Study Instance UID. No program can know which of them is right.
"""

from __future__ import annotations

from copy import deepcopy

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from worker.errors import Rejected
from worker.imaging.header_values import text
from worker.results.patient_and_study import TYPE_2, valid_element
from worker.results.study_result import StudyResult

_NAMES = ("PatientID", "IssuerOfPatientID")
"""By which a PACS distinguishes patients (PS3.3 C.7.1.1)."""
_PERSON = (*_NAMES, "PatientName", "PatientBirthDate", "PatientSex")
_FILLED = (*TYPE_2, "IssuerOfPatientID")


def check_one_patient(result: StudyResult) -> None:
    """Refuse a result about several patients, since a PACS would file it under one of them.

    Spaces around an id are padding, case matters (PS3.5 6.2, LO); images without an id agree with
    every other. Raises Rejected RESULT_PATIENTS_DIFFER.
    """
    headers = [item.header for item in result.instances]
    for keyword in _NAMES:
        found = {text(header, keyword) for header in headers} - {None}
        if len(found) > 1:
            tag = "(0010,0020) Patient ID" if keyword == "PatientID" else "(0010,0021) its issuer"
            raise Rejected(
                "RESULT_PATIENTS_DIFFER",
                f"{tag}: found {len(found)} different values in the {len(headers)} images of the "
                "study; expected one. Nothing was sent, since the archive would file it under a wrong "
                "patient. Correct the images in the archive and send all of them again.",
            )


def header_of_report(result: StudyResult) -> Dataset:
    """Return the header whose patient and study the report and the notice get.

    It comes from an image whose file is here, preferably one with a Patient ID, then preferably an
    evaluated one.
    """
    items = sorted(
        result.in_order,
        key=lambda item: (
            not item.is_here,
            text(item.header, "PatientID") is None,
            not item.frames,
        ),
    )
    return fill_missing(items[0].header, result)


def fill_missing(header: Dataset, result: StudyResult) -> Dataset:
    """Return the header with its empty patient and study elements filled in from the other images.

    Only images about the same person are used, and only values that its character set can encode.
    """
    whole = deepcopy(header)
    for other in (item.header for item in result.in_order):
        if _may_be_one_person(whole, other):
            for keyword in _FILLED:
                element = None if valid_element(whole, keyword) else valid_element(other, keyword)
                if element is not None and _is_writable(element, other, header):
                    whole[keyword] = element
    return whole


def _may_be_one_person(one: Dataset, other: Dataset) -> bool:
    """Return whether no element that both of them have differs."""
    said = ((text(one, keyword), text(other, keyword)) for keyword in _PERSON)
    return all(a is None or b is None or a == b for a, b in said)


def _is_writable(element: DataElement, source: Dataset, target: Dataset) -> bool:
    """Return whether the target can hold the value; beyond ASCII by its source's character set."""
    sets = [text(dataset, "SpecificCharacterSet") for dataset in (source, target)]
    return sets[0] == sets[1] or str(element.value).isascii()
