"""A failed study is retried when it is due, or waits for a person."""

from __future__ import annotations

from datetime import timedelta

from db.studies.intake import receive_instance
from db.studies.results import retry_parked
from db.vocabulary.enums import Lane, RunOutcome, StudyState, Verdict
from tests.builders.database import (
    accept_one,
    backdate,
    claim_one,
    crash_worker,
    ensure_model,
    events_of,
    make_study,
    one,
    park_study,
    positive_outcome,
    postpone_study,
    read_study,
    runs_of,
    store,
)


def test_a_retry_waits_until_it_is_due(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)

    postpone_study(database, claimed, delay_s=60)

    study = read_study(database, key)
    assert (study.state, study.retries, study.error_code) == (StudyState.ACCEPTED, 1, "DISK_AWAY")
    ended = one(database, "SELECT count(*) FROM inference_run WHERE ended_at IS NOT NULL")
    assert ended == 1
    assert timedelta(seconds=50) < study.due_at - study.started_at < timedelta(seconds=70)
    assert runs_of(database, key) == [RunOutcome.RETRY]
    assert claim_one(database, key) is None  # a doubled message must not shorten the wait

    backdate(database, key, "due_at", 1)
    again = claim_one(database, key)
    assert (again.token, again.retries) == (2, 1)


def test_a_success_forgets_the_failure_before(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    postpone_study(database, claim_one(database, key), delay_s=0)
    claimed = claim_one(database, key)

    store(database, claimed, positive_outcome(claimed, model))

    study = read_study(database, key)
    assert (study.error_code, study.error_sentence, study.error_kind) == (None, None, None)


def test_a_parked_study_waits_for_a_person(database):
    key = accept_one(database).study_key
    park_study(database, claim_one(database, key))

    study = read_study(database, key)
    assert (study.state, study.verdict) == (StudyState.PARKED, Verdict.FAILED)
    assert (study.error_code, study.error_sentence) == ("BUG", "Look it up.")
    assert study.traceback_reference == "t-1"
    assert study.turnaround_seconds >= 0
    assert claim_one(database, key) is None
    assert events_of(database, key)[-1] == "study_parked"


def test_a_study_to_which_images_came_meanwhile_is_not_parked_with_them(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    accept_one(database, 1, 2)

    park_study(database, claimed)

    study = read_study(database, key)
    assert (study.state, study.verdict, study.retries) == (StudyState.ACCEPTED, None, 0)
    assert study.error_code == "BUG"  # why it takes so long
    assert runs_of(database, key) == [RunOutcome.RETRY]
    assert "study_parked" not in events_of(database, key)
    again = claim_one(database, key)
    store(database, again, positive_outcome(again, model))
    assert read_study(database, key).verdict is Verdict.POSITIVE


def test_one_that_came_by_itself_waits_for_its_window_then(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    with database.transaction() as session:
        receive_instance(session, make_study(2), idle_window_s=60)

    park_study(database, claimed)

    assert read_study(database, key).state is StudyState.RECEIVING


def test_a_person_sends_a_parked_study_round_again(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    for _ in range(4):
        crash_worker(database, key)

    with database.transaction() as session:
        assert retry_parked(session, key, actor="operator:ada")

    study = read_study(database, key)
    assert (study.state, study.lane, study.verdict) == (StudyState.ACCEPTED, Lane.ROUTINE, None)
    assert (study.crashes, study.crashes_alone, study.retries) == (0, 0, 0)
    assert (study.error_code, study.finished_at) == (None, None)
    actor = one(database, "SELECT actor FROM audit_record WHERE event = 'study_retried'")
    assert actor == "operator:ada"
    claimed = claim_one(database, key)
    assert claimed.token == 5  # tokens never come back
    store(database, claimed, positive_outcome(claimed, model))
    assert read_study(database, key).verdict is Verdict.POSITIVE


def test_only_parked_studies_are_sent_round_again(database):
    key = accept_one(database).study_key
    with database.transaction() as session:
        assert not retry_parked(session, key, actor="operator:ada")
        assert not retry_parked(session, "0" * 32, actor="operator:ada")
    assert events_of(database, key) == ["study_accepted"]
