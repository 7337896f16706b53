"""The report, read back from its bytes: what a PACS, a viewer and an analyst find in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from tests.builders.dicom import make_instance
from tests.builders.iod_tables import faults
from tests.builders.results import (
    MODEL,
    STUDY_UID,
    make_result,
    make_result_settings,
    predicted_instance,
    read_report_back,
    refused_instance,
)
from worker.results import codes
from worker.results.build import to_bytes
from worker.results.structured_report import build_report, summary_of
from worker.results.study_result import Predecessor
from worker.results.uids import ResultUids, device_uid

BEFORE = Predecessor(
    sop_instance_uid="2.25.11",
    series_instance_uid="2.25.12",
    model="resnet50-9.9.8",
    revision=1,
    finished_at=datetime(2026, 11, 22, 23, 30, tzinfo=UTC),
)


def groups_of(report: Comprehensive3DSR):
    return report.content.get_image_measurement_groups()


def evaluations(group) -> dict[str, str]:
    """Name -> value, both as codes; what kind of algorithm it was is no evaluation."""
    said = {e.name.value: e.value.value for e in group.get_qualitative_evaluations()}
    assert said.pop("111000") == "123110"
    return said


def items_of(container) -> list[tuple[str, str]]:
    """(concept, text or code) of what a container holds directly."""
    return [
        (
            item.ConceptNameCodeSequence[0].CodeMeaning,
            item.get("TextValue") or item.ConceptCodeSequence[0].CodeValue,
        )
        for item in container.ContentSequence
        if item.ValueType in {"TEXT", "CODE"}
    ]


def of_the_study(report) -> list[tuple[str, str]]:
    return items_of(report.ContentSequence[-1])


def comments(container) -> list[str]:
    return [words for concept, words in items_of(container) if concept == "Comment"]


# --- the finding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probability", "presence", "summary"),
    [
        (0.792826, codes.PRESENT, codes.Summary.WITH_FINDINGS),
        (0.4, codes.PRESENT, codes.Summary.WITH_FINDINGS),
        (0.39999999, codes.ABSENT, codes.Summary.WITHOUT_FINDINGS),
        (0.0, codes.ABSENT, codes.Summary.WITHOUT_FINDINGS),
    ],
)
def test_finding_probability_and_summary_are_coded(probability, presence, summary):
    report = read_report_back(make_result(predicted_instance(probability)))
    (group,) = groups_of(report)
    assert group.finding_type == Code("233604007", "SCT", "Pneumonia")
    (measured,) = group.get_measurements(Code("122157", "DCM", "Probability"))
    assert measured.value == probability
    assert measured.unit.value == "1"
    assert evaluations(group) == {
        "233604007": presence.value,
        "111017": summary.value.value,
        "111065": "111222",
    }
    assert ("Pneumonia", presence.value) in of_the_study(report)
    assert ("CAD Processing and Findings Summary", summary.value.value) in of_the_study(report)


def test_the_algorithm_is_named_with_everything_that_gave_the_number():
    (group,) = groups_of(read_report_back(make_result(predicted_instance(0.9))))
    said = items_of(group[0])
    assert ("Algorithm Name", "resnet50") in said
    assert ("Algorithm Version", "9.9.9") in said
    parameters = [value for concept, value in said if concept == "Algorithm Parameters"]
    assert parameters == [
        "threshold=0.4",
        f"bundle_sha256={MODEL.bundle_digest}",
        "preprocessing_version=1",
    ]


def test_the_image_is_referenced_and_stands_in_the_evidence():
    report = read_report_back(make_result(predicted_instance(0.9)))
    (group,) = groups_of(report)
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == f"{STUDY_UID}.3.1"
    assert source.referenced_frame_numbers is None
    assert report.get_evidence() == [
        (STUDY_UID, f"{STUDY_UID}.2", f"{STUDY_UID}.3.1", "1.2.840.10008.5.1.4.1.1.1")
    ]


def test_each_frame_of_several_has_its_own_group():
    item = predicted_instance(0.1, 0.9, sop_class_uid="1.2.840.10008.5.1.4.1.1.7.2")
    groups = groups_of(read_report_back(make_result(item)))
    assert [g.source_images[0].referenced_frame_numbers for g in groups] == [[1], [2]]
    assert [g.get_measurements()[0].value for g in groups] == [0.1, 0.9]
    assert [g.tracking_identifier for g in groups] == ["Image 1, frame 1", "Image 1, frame 2"]
    assert groups[0].tracking_uid != groups[1].tracking_uid


def test_frames_of_a_class_of_single_frames_are_told_apart_by_name_alone():
    """PS3.3 10.3: no Referenced Frame Number there, though such instances exist."""
    groups = groups_of(read_report_back(make_result(predicted_instance(0.1, 0.9))))
    assert [g.source_images[0].referenced_frame_numbers for g in groups] == [None, None]
    assert [g.tracking_identifier for g in groups] == ["Image 1, frame 1", "Image 1, frame 2"]


def test_warnings_go_with_the_score():
    report = read_report_back(
        make_result(predicted_instance(0.9, says=("The patient is older.", "And so on.")))
    )
    assert comments(groups_of(report)[0][0]) == ["The patient is older.", "And so on."]


# --- the procedure ----------------------------------------------------------------------------------


def procedures_of(report) -> list[tuple[str, str, str]]:
    return [
        (c.CodeValue, c.CodingSchemeDesignator, c.CodeMeaning)
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121058"
        for c in item.ConceptCodeSequence
    ]


def code_of(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


TIBIA = ("RXTIB", "99HOSPITAL", "Röntgen Unterschenkel")
GENERAL = ("168537006", "SCT", "Plain radiography")


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([predicted_instance(0.9)], ("399208008", "SCT", "Plain chest X-ray")),
        (
            [refused_instance(1, BodyPartExamined="LEG"), predicted_instance(0.9, number=2)],
            ("399208008", "SCT", "Plain chest X-ray"),
        ),
        ([refused_instance(1, BodyPartExamined="LEG")], GENERAL),
        ([refused_instance(1), refused_instance(2, modality="DX")], GENERAL),
        (
            [refused_instance(1), refused_instance(2, modality="CT")],
            ("363679005", "SCT", "Imaging procedure"),
        ),
        ([refused_instance(1, ProcedureCodeSequence=[code_of(*TIBIA)])], TIBIA),
        ([refused_instance(1, ProcedureCodeSequence=[code_of("", "SCT", "Tibia")])], GENERAL),
        ([refused_instance(1, ProcedureCodeSequence=[code_of("1" * 17, "SCT", "Tibia")])], GENERAL),
        ([refused_instance(1, ProcedureCodeSequence=[Dataset(), code_of(*TIBIA)])], TIBIA),
        ([refused_instance(1, ProcedureCodeSequence=[])], GENERAL),
    ],
)
def test_the_procedure_is_a_chest_radiograph_only_if_one_was_evaluated(instances, expected):
    assert procedures_of(read_report_back(make_result(*instances))) == [expected]


# --- not evaluated ----------------------------------------------------------------------------------


def test_an_image_that_was_not_evaluated_says_so_and_nothing_else():
    report = read_report_back(make_result(refused_instance(1)))
    (group,) = groups_of(report)
    assert group.finding_type is None
    assert group.get_measurements() == []
    assert evaluations(group) == {"111017": "111245", "111065": "111225"}
    (reason,) = comments(group[0])
    assert reason.startswith("Not evaluated: VIEW_NOT_FRONTAL. (0018,5101) View Position: found LL")
    said = of_the_study(report)
    assert ("CAD Processing and Findings Summary", "111245") in said
    assert ("Summary of Analyses", "111225") in said
    assert "Pneumonia" not in dict(said)


@pytest.mark.parametrize(
    ("instances", "summary"),
    [
        ([predicted_instance(0.9, number=1)], "111242"),
        ([predicted_instance(0.1, number=1)], "111241"),
        ([predicted_instance(0.9, number=1), refused_instance(2)], "111244"),
        ([predicted_instance(0.1, number=1), refused_instance(2)], "111243"),
        ([predicted_instance(0.1, number=1), predicted_instance(0.9, number=2)], "111242"),
        ([refused_instance(1), refused_instance(2)], "111245"),
    ],
)
def test_the_studys_summary_tells_all_from_some_from_none(instances, summary):
    assert summary_of(make_result(*instances)).value.value == summary


def test_something_that_is_no_image_is_referenced_as_a_composite_object():
    report_class = "1.2.840.10008.5.1.4.1.1.88.33"
    report = read_report_back(
        make_result(
            refused_instance(1, sop_class_uid=report_class), predicted_instance(0.9, number=2)
        )
    )
    kinds = {
        item.ReferencedSOPSequence[0].ReferencedSOPClassUID: item.ValueType
        for group in groups_of(report)
        for item in group[0].ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert kinds == {report_class: "COMPOSITE", "1.2.840.10008.5.1.4.1.1.1": "IMAGE"}


def test_a_private_sop_class_does_not_stop_it():
    report = read_report_back(make_result(refused_instance(1, sop_class_uid="1.3.12.2.1107.5.9.1")))
    assert report.get_evidence()[0][3] == "1.3.12.2.1107.5.9.1"


# --- the document -----------------------------------------------------------------------------------


def test_the_document_is_what_it_claims_to_be():
    report = read_report_back(make_result(predicted_instance(0.9)))
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.file_meta.MediaStorageSOPInstanceUID == report.SOPInstanceUID
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.StudyInstanceUID == STUDY_UID
    assert report.SeriesInstanceUID != f"{STUDY_UID}.2"
    assert faults(report) == []


def test_the_device_is_the_model():
    report = read_report_back(
        make_result(predicted_instance(0.9)), manufacturer="Hospital AI", device_name="Chest"
    )
    assert (report.Manufacturer, report.ManufacturerModelName) == ("Hospital AI", "Chest")
    assert report.DeviceSerialNumber == MODEL.bundle_digest
    assert report.SoftwareVersions[0] == "resnet50-9.9.9"
    (observer,) = report.content.get_observer_contexts()
    attributes = observer.observer_identifying_attributes
    assert attributes.uid == device_uid(MODEL)
    assert attributes.model_name == "resnet50-9.9.9"
    assert report.ContributingEquipmentSequence[0].DeviceUID == device_uid(MODEL)


def test_missing_type_2_elements_do_not_stop_it():
    bare = make_instance(study_instance_uid=STUDY_UID)
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                    "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        del bare[keyword]
    report = read_report_back(make_result(replace(predicted_instance(0.9), header=bare)))
    assert faults(report) == []
    assert report.PatientName == ""


def test_the_disclaimer_stands_in_it():
    report = read_report_back(make_result(predicted_instance(0.9)), disclaimer="For research only.")
    assert comments(report.ContentSequence[-1]) == ["For research only."]


def test_a_superseding_report_says_so_to_machines_and_to_people():
    result = replace(make_result(predicted_instance(0.9)), supersedes=BEFORE)
    report = read_report_back(result)
    (study,) = report.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == STUDY_UID
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.12"
    (document,) = series.ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == "2.25.11"
    assert document.ReferencedSOPClassUID == report.SOPClassUID
    assert comments(report.ContentSequence[-1])[1] == (
        "Replaces the result of 2026-11-22 23:30 UTC (resnet50-9.9.8, revision 1 of the study)."
    )
    assert faults(report) == []


def test_a_report_in_other_words_names_those_that_may_have_arrived_before_it():
    """Also once it is itself among them: the same at each try (PS3.5 9.1)."""
    result = make_result(predicted_instance(0.9))
    own = replace(BEFORE, sop_instance_uid=ResultUids.of(result, make_result_settings()).report)
    former, later = (replace(BEFORE, sop_instance_uid=f"2.25.{n}") for n in (21, 22))
    first = replace(result, earlier_forms=(former,), supersedes=BEFORE)
    again = replace(first, earlier_forms=(former, own, later))
    report = read_report_back(first)
    (study,) = report.PredecessorDocumentsSequence
    named = [
        document.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for document in series.ReferencedSOPSequence
    ]
    assert named == ["2.25.11", "2.25.21"]
    assert comments(report.ContentSequence[-1])[-1] == (
        "Replaces the same result in other words, which may have been sent before."
    )
    built = [to_bytes(build_report(each, make_result_settings())) for each in (first, again)]
    assert built[0] == built[1]
    alone = replace(result, earlier_forms=(own, later))
    assert "PredecessorDocumentsSequence" not in read_report_back(alone)
    assert faults(report) == []


def test_the_first_report_has_no_predecessor():
    assert "PredecessorDocumentsSequence" not in read_report_back(
        make_result(predicted_instance(0.9))
    )


# --- moments ----------------------------------------------------------------------------------------
