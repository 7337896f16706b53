from __future__ import annotations

import json

import pytest

from db.studies.overview import study_detail
from db.values import InstanceOutcome, StudyOutcome
from db.vocabulary.enums import InstanceState, StudyState, Verdict
from db.vocabulary.errors import StaleClaim
from tests.builders.database import (
    THRESHOLD,
    accept_one,
    claim_one,
    digest,
    ensure_model,
    events_of,
    finish_one,
    make_instance,
    make_prediction,
    make_refusal,
    one,
    positive_outcome,
    read_study,
    rejected_outcome,
    rows,
    store,
    uid_of,
)


def test_a_result_is_written_whole(database):
    key = finish_one(database, 1, probability=0.9)

    study = read_study(database, key)
    assert (study.state, study.verdict) == (StudyState.DONE, Verdict.POSITIVE)
    assert (study.probability, study.threshold) == (0.9, THRESHOLD)
    assert study.turnaround_seconds == (study.finished_at - study.received_at).total_seconds()
    assert study.waiting_seconds == (study.started_at - study.closed_at).total_seconds()
    assert events_of(database, key) == ["study_accepted", "prediction_recorded", "study_finished"]
    ((state, attempts),) = rows(
        database, "SELECT outcome, attempt FROM inference_run WHERE ended_at IS NOT NULL"
    )
    assert (state, attempts) == ("done", 1)


def test_the_attempt_says_where_the_time_went(database):
    key = finish_one(database)

    with database.reading() as session:
        (attempt,) = study_detail(session, key).attempts

    seconds = (attempt.read_seconds, attempt.normalise_seconds, attempt.inference_seconds)
    assert seconds == (0.1, 0.2, 0.3)
    assert 0 <= attempt.store_seconds < 5
    assert attempt.total_seconds == (attempt.ended_at - attempt.started_at).total_seconds()


def test_the_audit_record_of_a_prediction_can_be_traced_and_holds_nothing_personal(database):
    finish_one(database)

    detail = json.loads(
        one(database, "SELECT detail FROM audit_record WHERE event = 'prediction_recorded'")
    )

    assert len(detail.pop("row_sha256")) == 64
    assert detail == {
        "attempt": 1,
        "device": "cpu",
        "distance": None,
        "file_sha256": make_instance(1).file_sha256,
        "frame": 1,
        "logit": 2.5,
        "model": "resnet50-1.0.0",
        "preprocessing": "1",
        "probability": 0.9,
        "threshold": THRESHOLD,
        "verdict": "positive",
    }


def test_a_refused_study_is_rejected_which_is_a_result(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)

    store(database, claimed, rejected_outcome(claimed))

    study = read_study(database, key)
    assert (study.state, study.verdict) == (StudyState.DONE, Verdict.REJECTED)
    assert (study.probability, study.model_version_id) == (None, None)
    with database.reading() as session:
        (instance,) = study_detail(session, key).instances
    assert instance.state is InstanceState.REFUSED
    assert instance.refusal == make_refusal()
    assert events_of(database, key) == ["study_accepted", "instance_refused", "study_finished"]


def test_storing_twice_is_refused_and_leaves_one_prediction(database):
    model = ensure_model(database)
    claimed = claim_one(database, accept_one(database).study_key)
    outcome = positive_outcome(claimed, model)
    store(database, claimed, outcome)

    with pytest.raises(StaleClaim):
        store(database, claimed, outcome)

    assert one(database, "SELECT count(*) FROM prediction") == 1
    recorded = "SELECT count(*) FROM audit_record WHERE event = 'prediction_recorded'"
    assert one(database, recorded) == 1


def test_a_prediction_that_exists_is_not_made_again(database):
    """A later attempt may predict an old image anew; its row and its record stay as they were."""
    model = ensure_model(database)
    key = finish_one(database, 1, probability=0.9)
    accept_one(database, 2)
    claimed = claim_one(database, key)

    store(database, claimed, positive_outcome(claimed, model, probability=0.7))

    found = rows(database, "SELECT probability FROM prediction ORDER BY id")
    assert found == [(0.9,), (0.7,)]
    recorded = "SELECT count(*) FROM audit_record WHERE event = 'prediction_recorded'"
    assert one(database, recorded) == 2


def test_another_model_version_makes_another_prediction(database):
    key = finish_one(database, 1)
    accept_one(database, 2)
    newer = ensure_model(database, "resnet50-1.1.0")
    claimed = claim_one(database, key)

    store(database, claimed, positive_outcome(claimed, newer))

    assert one(database, "SELECT count(*) FROM prediction") == 3
    assert read_study(database, key).model_version_id == newer.id


def test_frames_are_predictions_of_their_own(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    frames = tuple(make_prediction(model, 0.5, frame_number=number) for number in (1, 2, 3))
    outcome = StudyOutcome(
        verdict=Verdict.POSITIVE,
        probability=0.5,
        threshold=THRESHOLD,
        model_version_id=model.id,
        instances=(InstanceOutcome(instance_id=claimed.instances[0].id, predictions=frames),),
    )

    store(database, claimed, outcome)

    assert rows(database, "SELECT frame_number FROM prediction ORDER BY id") == [(1,), (2,), (3,)]


def test_an_instance_refused_again_for_the_same_reason_is_told_once(database):
    key = accept_one(database, 1).study_key
    first = claim_one(database, key)
    store(database, first, rejected_outcome(first))
    accept_one(database, 2)
    second = claim_one(database, key)

    store(database, second, rejected_outcome(second))

    assert events_of(database, key).count("instance_refused") == 2


def test_results_of_another_study_are_refused(database):
    model = ensure_model(database)
    mine = claim_one(database, accept_one(database, uid=uid_of(1)).study_key)
    other = claim_one(database, accept_one(database, uid=uid_of(2)).study_key)

    with pytest.raises(ValueError, match="does not belong to the claimed study"):
        store(database, mine, positive_outcome(other, model))

    assert one(database, "SELECT count(*) FROM prediction") == 0


def test_a_probability_that_is_no_number_is_not_stored(database):
    """A non-finite output is a failure; the canonical JSON of the audit trail has no NaN either."""
    model = ensure_model(database)
    key = accept_one(database).study_key
    claimed = claim_one(database, key)

    with pytest.raises(Exception, match=r"(?i)check constraint|not null|JSON compliant"):
        store(database, claimed, positive_outcome(claimed, model, probability=float("nan")))

    assert one(database, "SELECT count(*) FROM prediction") == 0
    assert read_study(database, key).state is StudyState.RUNNING


def test_what_was_done_to_the_pixels_stands_with_the_prediction(database):
    key = finish_one(database)

    with database.reading() as session:
        (prediction,) = study_detail(session, key).instances[0].predictions

    assert prediction.normalisation == {"voi": "window", "inverted": True}
    assert prediction.warnings == ("AGE_OUTSIDE_POPULATION",)
    assert prediction.model_name == "resnet50-1.0.0"
    assert prediction.recorded_at.tzinfo is not None


def test_digests_are_what_they_say():
    assert len(digest("x")) == 64
