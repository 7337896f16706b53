"""Our result objects before dicom-validator, which has the tables of the standard."""

from __future__ import annotations

import io
from collections.abc import Callable

import pydicom
import pytest
from dicom_validator.spec_reader.edition_reader import EditionReader
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.error_handler import NullValidationResultHandler
from dicom_validator.validator.iod_validator import IODValidator
from dicom_validator.validator.validation_result import Status
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from tests.builders.results import (
    make_result,
    make_result_settings,
    picture_of_any,
    predicted_instance,
)
from tests.builders.sample_results import RESULTS
from tests.builders.standard_tables import write_standard
from worker.results.build import build_results, to_bytes

# PS3.3 Table C.12-1 has Device UID (0018,1002), type 3, among the attributes of Contributing Equipment
# Sequence (0018,A001). It came after early 2020, of which the tables are (standard_tables.py).
NEWER_THAN_THE_TABLES = {("ContributingEquipmentSequence.DeviceUID", "TagUnexpected")}


@pytest.fixture(scope="module")
def standard(tmp_path_factory) -> DicomInfo:
    """What dicom-validator has read of the standard: modules, types, conditions, enumerated values."""
    folder = tmp_path_factory.mktemp("standard")
    write_standard(folder, [Comprehensive3DSRStorage, SecondaryCaptureImageStorage])
    return EditionReader(folder).dicom_info_for_edition("local")


def faults(dataset: Dataset, standard: DicomInfo) -> set[tuple[str, str]]:
    """What dicom-validator says of a file, as (path of keywords, kind of fault)."""
    read = pydicom.dcmread(io.BytesIO(to_bytes(dataset)))
    said = IODValidator(read, standard, error_handler=NullValidationResultHandler()).validate()
    assert said.status in (Status.Passed, Status.Failed), said.status
    return {
        (
            ".".join(keyword_for_tag(part) for part in [*(tag.parents or []), tag.tag]),
            fault.code.name,
        )
        for of_module in said.module_errors.values()
        for tag, fault in of_module.items()
    }


@pytest.mark.parametrize("name", RESULTS)
def test_dicom_validator_finds_no_error(name, standard):
    datasets = build_results(RESULTS[name](), make_result_settings(), picture_of_any)
    assert len(datasets) >= 2, "a report, and a capture at least"
    for dataset in datasets:
        assert faults(dataset, standard) == NEWER_THAN_THE_TABLES, dataset.Modality


def content_item(report: Dataset, value_type: str) -> Dataset:
    """The first item of that type below the root of a report."""
    items = list(report.ContentSequence)
    while items[0].ValueType != value_type:
        items = [*items[1:], *items[0].get("ContentSequence", [])]
    return items[0]


REPORT, CAPTURE = 0, 1

SPOILT: dict[str, tuple[int, Callable[[Dataset], object], str, str]] = {
    "type 1 missing, report": (
        *(REPORT, lambda report: report.pop("CompletionFlag")),
        *("CompletionFlag", "TagMissing"),
    ),
    "type 1 missing, capture": (
        *(CAPTURE, lambda capture: capture.pop("SamplesPerPixel")),
        *("SamplesPerPixel", "TagMissing"),
    ),
    "type 1 missing, deep in the tree": (
        *(REPORT, lambda report: content_item(report, "CODE").pop("ConceptCodeSequence")),
        *("ConceptCodeSequence", "TagMissing"),
    ),
    "type 1 empty": (
        *(REPORT, lambda report: setattr(report, "VerificationFlag", "")),
        *("VerificationFlag", "TagEmpty"),
    ),
    "type 2 missing": (
        *(REPORT, lambda report: report.pop("StudyID")),
        *("StudyID", "TagMissing"),
    ),
    "type 1C whose condition holds, capture": (
        *(CAPTURE, lambda capture: capture.pop("PlanarConfiguration")),
        *("PlanarConfiguration", "TagMissing"),
    ),
    "type 1C whose condition holds, report": (
        *(REPORT, lambda report: content_item(report, "TEXT").pop("TextValue")),
        *("TextValue", "TagMissing"),
    ),
    "macro of a value type left out": (
        *(REPORT, lambda report: content_item(report, "NUM").pop("MeasuredValueSequence")),
        *("MeasuredValueSequence", "TagMissing"),
    ),
    "macro of another value type": (
        *(
            REPORT,
            lambda report: setattr(content_item(report, "TEXT"), "ContinuityOfContent", "SEPARATE"),
        ),
        *("ContinuityOfContent", "TagUnexpected"),
    ),
    "attribute of another information object, report": (
        *(REPORT, lambda report: setattr(report, "KVP", "80")),
        *("KVP", "TagUnexpected"),
    ),
    "attribute of another information object, capture": (
        *(CAPTURE, lambda capture: setattr(capture, "CompletionFlag", "COMPLETE")),
        *("CompletionFlag", "TagUnexpected"),
    ),
    "no enumerated value": (
        *(REPORT, lambda report: setattr(report, "CompletionFlag", "NEARLY")),
        *("CompletionFlag", "EnumValueNotAllowed"),
    ),
    "no enumerated value, deep in the tree": (
        *(REPORT, lambda report: setattr(content_item(report, "NUM"), "RelationshipType", "KNOWS")),
        *("RelationshipType", "EnumValueNotAllowed"),
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_dicom_validator_would_find_one(name, standard):
    which, spoil, keyword, kind = SPOILT[name]
    dataset = build_results(
        make_result(predicted_instance(0.9)), make_result_settings(), picture_of_any
    )[which]
    spoil(dataset)
    (found,) = faults(dataset, standard) - NEWER_THAN_THE_TABLES
    assert (found[0].split(".")[-1], found[1]) == (keyword, kind)
