from __future__ import annotations

from datetime import timedelta

import pytest

from db.engine.clock import now
from db.studies.overview import find_study, overview, parked_studies, study_detail, study_summaries
from db.studies.results import park
from db.vocabulary.enums import Lane, Priority, StudyState, Verdict
from db.vocabulary.errors import AmbiguousStudy
from tests.builders.database import (
    STUDY_UID,
    accept_many,
    accept_one,
    backdate,
    claim_one,
    finish_one,
    make_failure,
    rows,
    uid_of,
)


def park_one(database, number, code):
    key = accept_one(database, uid=uid_of(number)).study_key
    claimed = claim_one(database, key)
    with database.transaction() as session:
        park(session, claimed, make_failure(code=code))
    return key


def test_an_empty_site(database):
    with database.reading() as session:
        glance = overview(session)
    assert (glance.by_state, glance.waiting_by_lane, glance.by_verdict) == ({}, {}, {})
    assert glance.oldest_waiting_seconds is None


def test_a_glance_at_everything(database):
    finish_one(database, uid=uid_of(1))
    waiting = accept_one(database, uid=uid_of(2)).study_key
    accept_one(database, uid=uid_of(3), priority=Priority.STAT)
    claim_one(database, accept_one(database, uid=uid_of(4)).study_key)
    park_one(database, 5, "BUG")
    backdate(database, waiting, "closed_at", 100)

    with database.reading() as session:
        glance = overview(session)

    assert glance.by_state == {
        StudyState.ACCEPTED: 2,
        StudyState.RUNNING: 1,
        StudyState.DONE: 1,
        StudyState.PARKED: 1,
    }
    assert glance.waiting_by_lane == {Lane.STAT: 1, Lane.ROUTINE: 1}
    assert glance.by_verdict == {Verdict.POSITIVE: 1, Verdict.FAILED: 1}
    assert 100 <= glance.oldest_waiting_seconds < 160


def test_parked_studies_by_code(database):
    bug, crash = park_one(database, 1, "BUG"), park_one(database, 2, "CRASHED_WORKER")

    with database.reading() as session:
        assert parked_studies(session) == [bug, crash]
        assert parked_studies(session, code="CRASHED_WORKER") == [crash]
        assert parked_studies(session, since=now(session) - timedelta(days=1)) == [bug, crash]
        assert parked_studies(session, since=now(session) + timedelta(days=1)) == []


@pytest.mark.parametrize("asked", ["key", "prefix", "upper", "uid"])
def test_a_study_is_found_by_what_a_person_has_at_hand(database, asked):
    key = accept_one(database).study_key
    given = {"key": key, "prefix": key[:8], "upper": key[:8].upper(), "uid": STUDY_UID}

    with database.reading() as session:
        assert find_study(session, given[asked]) == key


@pytest.mark.parametrize("asked", ["", "abc", "zzzz", "%%%%", "____", "1.2.3"])
def test_what_is_no_name_for_a_study_finds_none(database, asked):
    accept_many(database, 3)
    with database.reading() as session:
        assert find_study(session, asked) is None


def test_an_ambiguous_beginning_is_refused(database):
    for number, key in enumerate(accept_many(database, 2)):
        rows(
            database,
            "UPDATE study SET study_key = :new WHERE study_key = :key",
            new=f"abcd{number:028d}",
            key=key,
        )
    with database.reading() as session, pytest.raises(AmbiguousStudy, match="Give more"):
        find_study(session, "abcd")


def test_everything_about_one_study(database):
    key = finish_one(database, 1, 2)

    with database.reading() as session:
        detail = study_detail(session, key)

    assert (detail.summary.study_key, detail.summary.model_name) == (key, "resnet50-1.0.0")
    assert [instance.number for instance in detail.instances] == [1, 2]
    assert [len(instance.predictions) for instance in detail.instances] == [1, 1]
    assert [(a.attempt, a.outcome, a.lane) for a in detail.attempts] == [(1, "done", "routine")]
    assert [record.event for record in detail.audit] == [
        "study_accepted",
        "prediction_recorded",
        "prediction_recorded",
        "study_finished",
    ]
    assert detail.audit[0].detail["instances"] == 2
    assert "1.2.826" not in repr(detail)
    assert "SECRET" not in repr(detail)


def test_an_unknown_key_has_no_detail(database):
    with database.reading() as session:
        assert study_detail(session, "0" * 32) is None


def test_summaries_come_in_the_asked_order(database):
    first, second = accept_many(database, 2)
    with database.reading() as session:
        lines = study_summaries(session, [second, "0" * 32, first])
    assert [line.study_key for line in lines] == [second, first]
