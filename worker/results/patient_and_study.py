"""Copy the patient and study modules of the source into our objects.

Names, ids and descriptions are copied unchanged, since a PACS files by them. Values whose form the
standard defines (dates, sexes, codes) are copied only if they have that form; otherwise the PACS
would refuse our object for a fault of the modality.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.dataset import Dataset

TYPE_2 = (
    # PS3.3 C.7.1.1 Patient, C.7.2.1 General Study: always present, empty if unknown
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
OPTIONAL = (
    # C.7.1.1 Patient
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    *("PatientBirthTime", "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup"),
    *("PatientComments", "QualityControlSubject", "ReferencedPatientSequence"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    # C.7.2.1 General Study
    *("StudyDescription", "IssuerOfAccessionNumberSequence", "PhysiciansOfRecord"),
    *("NameOfPhysiciansReadingStudy", "ProcedureCodeSequence", "ReferencedStudySequence"),
    *("RequestingService", "ConsultingPhysicianName"),
    # C.7.2.2 Patient Study
    *("AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight"),
    *("Occupation", "AdmissionID", "IssuerOfAdmissionIDSequence", "ReasonForVisit"),
)
CLINICAL_TRIAL = (
    # C.7.1.3 and C.7.2.3 together: their required elements are meaningless without the sponsor
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID"),
    "ClinicalTrialTimePointDescription",
)

_FORMS: dict[str, re.Pattern[str]] = {
    # VR: what PS3.5 6.2 requires of a value
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{1,16}"),
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "UI": re.compile(r"[0-9.]{1,64}"),
}
_TERMS: dict[str, frozenset[str]] = {
    # keyword: its enumerated values
    "PatientSex": frozenset({"M", "F", "O"}),
    "PatientIdentityRemoved": frozenset({"YES", "NO"}),
    "QualityControlSubject": frozenset({"YES", "NO"}),
}


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy the modules; type 2 elements that are missing or malformed become empty."""
    target.StudyInstanceUID = source.StudyInstanceUID
    for keyword in TYPE_2:
        target.add(valid_element(source, keyword) or _empty(keyword))
    trial = CLINICAL_TRIAL if valid_element(source, "ClinicalTrialSponsorName") else ()
    for keyword in (*OPTIONAL, *trial):
        element = valid_element(source, keyword)
        if element is not None:
            target.add(element)


def valid_element(source: Dataset, keyword: str) -> DataElement | None:
    """Return a copy of the element if it has a value of the required form; None otherwise."""
    try:
        element = deepcopy(source[keyword])
        _read_to_the_end(element)
        sound = not element.is_empty and _has_form(element, keyword)
    except Exception:  # noqa: BLE001  pydicom parses on access, raises of every kind, quotes values
        return None
    return element if sound else None


def _read_to_the_end(element: DataElement) -> None:
    """Parse the contents of a sequence now, while its own character set is known."""
    if element.VR == "SQ":
        for item in element.value:
            for inner in item:
                _read_to_the_end(inner)


def _has_form(element: DataElement, keyword: str) -> bool:
    values = element.value if element.VM > 1 else [element.value]
    terms, form = _TERMS.get(keyword), _FORMS.get(element.VR)
    checks: tuple[Callable[[str], bool], ...] = (
        lambda value: terms is None or value in terms,
        lambda value: form is None or form.fullmatch(value) is not None,
    )
    if element.VR == "SQ":
        return True
    return all(check(_as_text(value)) for check in checks for value in values)


def _as_text(value: object) -> str:
    """Return the value as text; numbers as the source wrote them."""
    return str(getattr(value, "original_string", value)).strip()


def _empty(keyword: str) -> DataElement:
    vr = dictionary_VR(keyword)
    return DataElement(tag_for_keyword(keyword) or 0, vr, empty_value_for_VR(vr))
