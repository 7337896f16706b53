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
    header_of,
    predicted,
    refused,
    result_of,
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
    first, second, third = predicted(0.1, number=1), refused(2), predicted(0.9, number=3)
    for given in ((first, second, third), (third, first, second)):
        result = result_of(*given)
        assert result.in_order == (first, second, third)
        assert result.evaluated == (first, third)
        assert result.left_out == (second,)
        assert result.probability == 0.9


def test_the_most_probable_frame_leads_and_the_first_of_equals():
    assert predicted(0.2, 0.7, 0.7).leading_frame.frame_number == 2


def test_a_rejected_study_has_no_probability():
    result = result_of(refused())
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
    return InstanceResult(header=header_of(), frames=(outcome,))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: result_of(verdict=ResultVerdict.REJECTED), "RESULT_WITHOUT_INSTANCE"),
        (
            lambda: result_of(InstanceResult(header=header_of()), verdict=ResultVerdict.REJECTED),
            "RESULT_UNDECIDED",
        ),
        (
            lambda: result_of(
                predicted(0.9), predicted(0.9, number=2, study_instance_uid="1.2.3.4")
            ),
            "RESULT_OF_SEVERAL_STUDIES",
        ),
        (lambda: result_of(predicted(0.9), predicted(0.8)), "RESULT_NAMES_TWICE"),
        (lambda: result_of(frame(math.nan, ResultVerdict.NEGATIVE)), "RESULT_NO_PROBABILITY"),
        (lambda: result_of(frame(1.5, ResultVerdict.POSITIVE)), "RESULT_NO_PROBABILITY"),
        (lambda: result_of(frame(0.9, ResultVerdict.NEGATIVE)), "RESULT_CONTRADICTS_ITSELF"),
        (
            lambda: result_of(predicted(0.9), verdict=ResultVerdict.NEGATIVE),
            "RESULT_CONTRADICTS_ITSELF",
        ),
        (lambda: result_of(refused(), verdict=ResultVerdict.NEGATIVE), "RESULT_CONTRADICTS_ITSELF"),
        (
            lambda: result_of(predicted(0.1), finished_at=WHEN.replace(tzinfo=None)),
            "RESULT_WITHOUT_TIME_ZONE",
        ),
        (
            lambda: result_of(frame(0.1, ResultVerdict.NEGATIVE, WHEN.replace(tzinfo=None))),
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
    assert result_of(frame(at, ResultVerdict.POSITIVE)).verdict is ResultVerdict.POSITIVE
    assert result_of(frame(below, ResultVerdict.NEGATIVE)).verdict is ResultVerdict.NEGATIVE


def test_nothing_personal_is_shown_when_a_value_is_printed():
    item = predicted(0.9, patient_name="PLANTED^NAME", patient_id="PLANTED-ID")
    before = Predecessor(
        sop_instance_uid="9.8.7.6",
        series_instance_uid="9.8.7.5",
        model="m",
        revision=1,
        finished_at=WHEN,
    )
    shown = repr(replace(result_of(item), supersedes=before))
    assert "PLANTED" not in shown
    assert STUDY_UID not in shown
    assert "9.8.7" not in shown
