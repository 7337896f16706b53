"""Our objects belong to the patient and study of the source, in the source's own letters."""

from __future__ import annotations

import io
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.builders.results import (
    make_header,
    make_result,
    make_result_settings,
    predicted_instance,
)
from worker.results.build import to_bytes
from worker.results.character_set import character_set_for
from worker.results.patient_and_study import TYPE_2, copy_patient_and_study
from worker.results.structured_report import build_report


def copied(source: Dataset) -> Dataset:
    target = Dataset()
    copy_patient_and_study(source, target)
    return target


def through_a_file(dataset: Dataset) -> Dataset:
    return pydicom.dcmread(io.BytesIO(to_bytes(dataset)))


def test_the_modules_are_copied_and_nothing_else():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399208008", "SCT", "Chest"
    source = make_header(
        patient_name="Doe^Jane",
        patient_id="ID-7",
        patient_birth_date="20200229",
        patient_sex="F",
        accession_number="A-1",
        study_date="20261123",
        IssuerOfPatientID="HOSPITAL",
        StudyDescription="Thorax",
        ProcedureCodeSequence=[code],
        ReferringPhysicianName="Who^Doctor",
        DetectorID="not of these modules",
        InstitutionName="nor this",
    )
    target = copied(source)
    for keyword in (*TYPE_2, "IssuerOfPatientID", "StudyDescription", "PatientAge"):
        assert target[keyword].value == source[keyword].value, keyword
    assert target.StudyInstanceUID == source.StudyInstanceUID
    assert target.ProcedureCodeSequence[0].CodeValue == "399208008"
    for keyword in ("DetectorID", "InstitutionName", "PixelData", "SeriesInstanceUID", "Modality"):
        assert keyword not in target


@pytest.mark.parametrize("keyword", TYPE_2)
def test_what_is_missing_is_present_and_empty(keyword):
    source = make_header()
    if keyword in source:
        del source[keyword]
    assert copied(source)[keyword].is_empty


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientBirthDate", "2020.02.29", False),
        ("PatientBirthDate", "20200229", True),
        ("StudyDate", "20261341", False),
        ("StudyTime", "9:50", False),
        ("StudyTime", "095007.25", True),
        ("PatientSex", "U", False),
        ("PatientSex", "O", True),
        ("PatientAge", "3", False),
        ("PatientWeight", "12.5", True),
        ("PatientID", "no form at all / \u00e9", True),
        ("AccessionNumber", "longer than sixteen letters", True),
        ("StudyDescription", "", False),
    ],
)
def test_malformed_values_stay_behind_but_identifying_text_never(keyword, value, kept):
    source = make_header(patient_age=None)
    with pydicom.config.disable_value_validation():
        setattr(source, keyword, value)
    target = copied(source)
    assert (keyword in target and not target[keyword].is_empty) is kept


def test_an_element_that_cannot_be_parsed_is_left_behind():
    source = make_header()
    raw = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag("PatientSize"), "DS", 4, b"tall", 0, False, True
    )
    source[raw.tag] = raw
    assert "PatientSize" not in copied(source)


def test_a_clinical_trial_comes_as_a_whole_or_not_at_all():
    trial = {"ClinicalTrialProtocolID": "P-1", "ClinicalTrialSubjectID": "S-1"}
    assert "ClinicalTrialSubjectID" not in copied(make_header(**trial))
    whole = copied(make_header(ClinicalTrialSponsorName="Sponsor", **trial))
    assert (whole.ClinicalTrialSponsorName, whole.ClinicalTrialSubjectID) == ("Sponsor", "S-1")


def test_the_source_is_not_changed():
    source = make_header()
    before = to_bytes(source)
    copied(source).PatientName = "Somebody^Else"
    assert to_bytes(source) == before


# --- letters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 101", "Wałęsa^Łucja"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东="),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_a_name_reaches_the_pacs_in_the_bytes_that_it_knows(terms, name):
    source = through_a_file(make_header(SpecificCharacterSet=terms, patient_name=name))
    item = replace(predicted_instance(0.9), header=source)
    read = through_a_file(build_report(make_result(item), make_result_settings()))
    assert read.SpecificCharacterSet == source.SpecificCharacterSet
    assert str(read.PatientName) == name.rstrip("=")
    written, known = to_bytes(read), to_bytes(source)
    tag = b"\x10\x00\x10\x00PN"
    at, there = written.index(tag), known.index(tag)
    length = 8 + known[there + 6]
    assert written[at : at + length] == known[there : there + length]


def test_undeclared_letters_stay_undeclared_and_the_same_bytes():
    """The PACS reads them as it read the image's; guessing would make another name."""
    source = make_header(patient_name="Doe^Jane")
    del source.SpecificCharacterSet
    latin = to_bytes(source).replace(b"Doe^Jane", b"Do\xe9^Jan\xe9")
    item = replace(predicted_instance(0.9), header=pydicom.dcmread(io.BytesIO(latin)))
    report = build_report(make_result(item), make_result_settings())
    assert "SpecificCharacterSet" not in report
    assert b"Do\xe9^Jan\xe9" in to_bytes(report)


@pytest.mark.parametrize("terms", ["ISO_IR 999", "latin1", ["ISO_IR 100", "ISO_IR 144"]])
def test_letters_that_the_standard_does_not_know_become_unicode(terms):
    source = make_header(patient_name="Doe^Jane", SpecificCharacterSet=terms)
    assert character_set_for(source) == ("ISO_IR 192",)


@pytest.mark.parametrize(
    ("terms", "ours", "expected"),
    [
        ("ISO_IR 100", "Nur für Forschung", ("ISO_IR 100",)),
        ("ISO_IR 144", "Nur für Forschung", ("ISO_IR 192",)),
        ("ISO_IR 6", "ASCII", ()),
        (None, "Nur für Forschung", ("ISO_IR 192",)),
        (None, "ASCII", ()),
        (["", "ISO 2022 IR 87"], "研究用", ("", "ISO 2022 IR 87")),
    ],
)
def test_our_own_words_decide_only_where_they_do_not_fit(terms, ours, expected):
    source = make_header(SpecificCharacterSet=terms)
    if terms is None:
        source.pop("SpecificCharacterSet", None)
    assert character_set_for(source, ours) == expected


def test_a_disclaimer_that_does_not_fit_makes_it_unicode_and_the_name_stays_the_same():
    source = through_a_file(
        make_header(SpecificCharacterSet="ISO_IR 144", patient_name="Люкceмбypг")
    )
    item = replace(predicted_instance(0.9), header=source)
    read = through_a_file(
        build_report(make_result(item), make_result_settings(disclaimer="Nur für Forschung"))
    )
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert str(read.PatientName) == "Люкceмбypг"
    assert "Nur für Forschung".encode() in to_bytes(read)
