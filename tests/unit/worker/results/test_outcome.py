"""What a result may say, and what it must not."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

import pytest

from tests.builders.results import (
    MODEL,
    STUDY_UID,
    WHEN,
    make_header,
    make_result,
    predicted_instance,
    refused_instance,
)
from worker.errors import Bug
from worker.model.bundle import default_bundle
from worker.model.manifest import read_manifest
from worker.results.study_result import (
    FrameResult,
    InstanceResult,
    ModelUsed,
    Predecessor,
    ResultVerdict,
)


def test_instances_stand_in_their_own_order_whatever_order_rows_come_in():
    first, second, third = (
        predicted_instance(0.1, number=1),
        refused_instance(2),
        predicted_instance(0.9, number=3),
    )
    for given in ((first, second, third), (third, first, second)):
        result = make_result(*given)
        assert result.in_order == (first, second, third)
        assert result.evaluated == (first, third)
        assert result.left_out == (second,)
        assert result.probability == 0.9


def test_the_most_probable_frame_leads_and_the_first_of_equals():
    assert predicted_instance(0.2, 0.7, 0.7).leading_frame.frame_number == 2


def test_a_rejected_study_has_no_probability():
    result = make_result(refused_instance())
    assert result.verdict is ResultVerdict.REJECTED
    assert result.probability is None


def test_the_model_is_that_of_the_manifest():
    manifest = read_manifest(default_bundle())
    model = ModelUsed.of(manifest)
    assert model.label == default_bundle().name
    assert (model.bundle_digest, model.threshold) == (manifest.digest, manifest.threshold)


def frame(probability: float, verdict: ResultVerdict, when: datetime = WHEN) -> InstanceResult:
    outcome = FrameResult(
        frame_number=1, probability=probability, verdict=verdict, predicted_at=when
    )
    return InstanceResult(header=make_header(), frames=(outcome,))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: make_result(verdict=ResultVerdict.REJECTED), "RESULT_WITHOUT_INSTANCE"),
        (
            lambda: make_result(
                InstanceResult(header=make_header()), verdict=ResultVerdict.REJECTED
            ),
            "RESULT_UNDECIDED",
        ),
        (
            lambda: make_result(
                predicted_instance(0.9),
                predicted_instance(0.9, number=2, study_instance_uid="1.2.3.4"),
            ),
            "RESULT_OF_SEVERAL_STUDIES",
        ),
        (
            lambda: make_result(predicted_instance(0.9), predicted_instance(0.8)),
            "RESULT_NAMES_TWICE",
        ),
        (lambda: make_result(frame(math.nan, ResultVerdict.NEGATIVE)), "RESULT_NO_PROBABILITY"),
        (lambda: make_result(frame(1.5, ResultVerdict.POSITIVE)), "RESULT_NO_PROBABILITY"),
        (lambda: make_result(frame(0.9, ResultVerdict.NEGATIVE)), "RESULT_CONTRADICTS_ITSELF"),
        (
            lambda: make_result(predicted_instance(0.9), verdict=ResultVerdict.NEGATIVE),
            "RESULT_CONTRADICTS_ITSELF",
        ),
        (
            lambda: make_result(refused_instance(), verdict=ResultVerdict.NEGATIVE),
            "RESULT_CONTRADICTS_ITSELF",
        ),
        (
            lambda: make_result(predicted_instance(0.1), finished_at=WHEN.replace(tzinfo=None)),
            "RESULT_WITHOUT_TIME_ZONE",
        ),
        (
            lambda: make_result(frame(0.1, ResultVerdict.NEGATIVE, WHEN.replace(tzinfo=None))),
            "RESULT_WITHOUT_TIME_ZONE",
        ),
    ],
)
def test_what_cannot_be_true_is_refused_by_name(make, code):
    with pytest.raises(Bug) as caught:
        make()
    assert caught.value.code == code


def test_exactly_the_threshold_is_positive():
    at, below = MODEL.threshold, math.nextafter(MODEL.threshold, 0)
    assert make_result(frame(at, ResultVerdict.POSITIVE)).verdict is ResultVerdict.POSITIVE
    assert make_result(frame(below, ResultVerdict.NEGATIVE)).verdict is ResultVerdict.NEGATIVE


def test_nothing_personal_is_shown_when_a_value_is_printed():
    item = predicted_instance(0.9, patient_name="PLANTED^NAME", patient_id="PLANTED-ID")
    before = Predecessor(
        sop_instance_uid="9.8.7.6",
        series_instance_uid="9.8.7.5",
        model="m",
        revision=1,
        finished_at=WHEN,
    )
    shown = repr(replace(make_result(item), supersedes=before))
    assert "PLANTED" not in shown
    assert STUDY_UID not in shown
    assert "9.8.7" not in shown
