"""Several images, one patient: whose result it is, and when there is none to be given."""

from __future__ import annotations

import io

import pydicom
import pytest

from tests.builders.results import (
    make_result,
    make_result_settings,
    picture_of_any,
    predicted_instance,
    refused_instance,
)
from worker.errors import Rejected
from worker.results.build import build_results, to_bytes

ALPHA = {"patient_id": "TEMP-1", "patient_name": "Alpha^One"}
BETA = {"patient_id": "REAL-2", "patient_name": "Beta^Two"}
NOBODY = {"patient_id": None, "patient_name": None, "accession_number": None}


def made(*instances):
    """Report and captures, read back from their bytes."""
    built = build_results(make_result(*instances), make_result_settings(), picture_of_any)
    return [pydicom.dcmread(io.BytesIO(to_bytes(dataset))) for dataset in built]


def patients(datasets) -> list[tuple[str, str]]:
    return [(d.PatientID, str(d.PatientName)) for d in datasets]


@pytest.mark.parametrize(
    "instances",
    [
        (predicted_instance(0.9, **ALPHA), predicted_instance(0.1, number=2, **BETA)),
        (refused_instance(1, **ALPHA), predicted_instance(0.1, number=2, **BETA)),
        (refused_instance(1, **ALPHA), refused_instance(2, **BETA)),
        (
            predicted_instance(0.9, **ALPHA),
            predicted_instance(0.1, number=2, **{**ALPHA, "patient_id": "temp-1"}),
        ),
        (
            predicted_instance(0.9, IssuerOfPatientID="NORTH"),
            predicted_instance(0.9, number=2, IssuerOfPatientID="SOUTH"),
        ),
    ],
    ids=["both evaluated", "one", "none", "capitals", "issuers"],
)
def test_two_patients_in_a_study_get_no_objects(instances):
    with pytest.raises(Rejected) as caught:
        made(*instances)
    assert caught.value.code == "RESULT_PATIENTS_DIFFER"
    assert "found 2 different values in the 2 images" in caught.value.sentence
    assert "send all of them again" in caught.value.sentence
    for personal in ("TEMP", "REAL", "Alpha", "Beta", "NORTH", "temp"):
        assert personal not in caught.value.sentence


@pytest.mark.parametrize("padded", [" TEMP-1", "TEMP-1 ", "  TEMP-1\0"])
def test_blanks_around_an_id_are_padding(padded):
    objects = made(
        predicted_instance(0.9, **ALPHA),
        predicted_instance(0.1, number=2, **{**ALPHA, "patient_id": padded}),
    )
    assert {d.PatientID.strip(" \0") for d in objects} == {"TEMP-1"}


def test_a_name_spelt_in_two_ways_is_no_second_patient():
    """A name is corrected while the id stays: each capture has that of its own image."""
    objects = made(
        predicted_instance(0.9, **ALPHA),
        predicted_instance(0.1, number=2, **{**ALPHA, "patient_name": "Alpha^Eins"}),
    )
    assert patients(objects) == [
        ("TEMP-1", "Alpha^One"),
        ("TEMP-1", "Alpha^One"),
        ("TEMP-1", "Alpha^Eins"),
    ]


@pytest.mark.parametrize(
    "first",
    [refused_instance(1, **NOBODY), predicted_instance(0.1, **NOBODY)],
    ids=["refused", "evaluated"],
)
def test_what_one_image_leaves_empty_is_filled_from_the_others(first):
    objects = made(first, predicted_instance(0.9, number=2, IssuerOfPatientID="NORTH", **BETA))
    assert set(patients(objects)) == {("REAL-2", "Beta^Two")}
    assert {d.AccessionNumber for d in objects} == {"ACC-1"}
    assert {d.IssuerOfPatientID for d in objects} == {"NORTH"}


def test_an_id_is_not_given_to_somebody_of_another_name():
    unknown = predicted_instance(0.9, **{**ALPHA, "patient_id": None})
    report, first, second = made(unknown, predicted_instance(0.1, number=2, **BETA))
    assert patients([report, second]) == [("REAL-2", "Beta^Two")] * 2
    assert patients([first]) == [("", "Alpha^One")]


def test_of_an_evaluated_image_rather_than_of_another():
    study = made(
        refused_instance(1, StudyDescription="Tibia"),
        predicted_instance(0.9, number=2, StudyDescription="Thorax"),
    )
    assert {d.StudyDescription for d in study} == {"Thorax"}


def test_letters_of_another_character_set_stay_where_they_are():
    latin = {"SpecificCharacterSet": "ISO_IR 100", "patient_name": "Müller^Jörg"}
    bare = {"SpecificCharacterSet": "ISO_IR 144", "patient_name": None}
    _, first, second = made(
        predicted_instance(0.9, **bare), predicted_instance(0.9, number=2, **latin)
    )
    assert (str(first.PatientName), str(second.PatientName)) == ("", "Müller^Jörg")
