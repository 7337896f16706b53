from __future__ import annotations

import pytest
from sqlalchemy import text

from db.engine.session import Database
from db.studies.publication import due_for_publication, mark_published
from db.vocabulary.enums import Lane, Priority, StudyState
from tests.builders.database import (
    accept_many,
    accept_one,
    backdate,
    claim_one,
    finish_one,
    read_study,
    uid_of,
)

REQUEUE_S = 60


def due(database, *, limit=100, wiped=False, waiting=None):
    with database.transaction() as session:
        found = due_for_publication(
            session,
            limit=limit,
            requeue_after_s=REQUEUE_S,
            broker_was_wiped=wiped,
            waiting_in_broker=waiting or {},
        )
    return [key for key, _ in found]


def publish(database, *keys):
    with database.transaction() as session:
        mark_published(session, list(keys))


def test_what_is_accepted_is_due_and_then_queued(database):
    key = accept_one(database).study_key
    assert due(database) == [key]

    publish(database, key)

    study = read_study(database, key)
    assert study.state is StudyState.QUEUED
    assert study.published_at is not None
    assert due(database) == []


def test_stat_goes_first_then_the_longest_waiting(database):
    routine = accept_one(database, uid=uid_of(1)).study_key
    later = accept_one(database, uid=uid_of(2)).study_key
    stat = accept_one(database, uid=uid_of(3), priority=Priority.STAT).study_key

    assert due(database) == [stat, routine, later]
    assert due(database, limit=2) == [stat, routine]


@pytest.mark.parametrize(
    ("age_s", "waiting", "expected"),
    [
        pytest.param(30, {}, False, id="young"),
        pytest.param(90, {}, True, id="overdue"),
        pytest.param(90, {Lane.ROUTINE: 5}, False, id="its message may still wait in its lane"),
        pytest.param(90, {Lane.STAT: 5, Lane.ROUTINE: 0}, True, id="only another lane is long"),
        pytest.param(700, {Lane.ROUTINE: 5}, True, id="ten times overdue: the message is lost"),
    ],
)
def test_a_message_that_nobody_claimed_is_sent_again(database, age_s, waiting, expected):
    key = accept_one(database).study_key
    publish(database, key)
    backdate(database, key, "published_at", age_s)

    assert due(database, waiting=waiting) == ([key] if expected else [])


def test_after_a_wipe_everything_that_waits_is_sent_again_once(database):
    keys = accept_many(database, 5)
    publish(database, *keys)

    first = due(database, wiped=True, limit=3)
    publish(database, *first)
    rest = due(database, limit=3)
    publish(database, *rest)

    assert sorted(first + rest) == sorted(keys)
    assert due(database) == []


def test_running_and_finished_studies_are_never_due(database):
    running = accept_one(database, uid=uid_of(1)).study_key
    claim_one(database, running)
    finish_one(database, uid=uid_of(2))

    assert due(database, wiped=True) == []


def test_marking_does_not_touch_what_was_claimed_meanwhile(database):
    key = accept_one(database).study_key
    claim_one(database, key)

    publish(database, key)

    assert read_study(database, key).state is StudyState.RUNNING


def test_marking_does_not_shorten_a_retry(database):
    key = accept_one(database).study_key
    backdate(database, key, "due_at", -60)

    publish(database, key)

    assert read_study(database, key).state is StudyState.ACCEPTED


def test_marking_nothing_is_nothing(database):
    key = accept_one(database).study_key
    publish(database)
    assert due(database) == [key]


def test_two_relays_on_postgresql_share_the_work(postgresql_url):
    """What one relay holds in its transaction the other skips, instead of waiting or doubling."""
    one, other = Database(postgresql_url), Database(postgresql_url)
    keys = accept_many(one, 4)

    with one.transaction() as session:
        first = due_for_publication(session, limit=2, requeue_after_s=REQUEUE_S)
        with other.transaction() as second_session:
            second_session.execute(text("SET lock_timeout = '2s'"))
            second = due_for_publication(second_session, limit=4, requeue_after_s=REQUEUE_S)

    assert sorted(key for key, _ in first + second) == sorted(keys)
    one.dispose()
    other.dispose()
