"""Results that came about before a destination was named, owed to it by a person's order."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from time import monotonic, sleep

import pytest

from db.deliveries.past_results import enqueue_past_results
from db.deliveries.publication import due_for_delivery
from db.engine.clock import now
from db.engine.session import Database
from db.studies.retention import mark_removed, removable_studies
from db.values.deliveries import Urgency
from tests.builders.database import (
    accept_one,
    backdate,
    claim_one,
    ensure_model,
    events_of,
    finish_one,
    one,
    positive_outcome,
    rejected_outcome,
    rows,
    store,
    uid_of,
)
from tests.builders.deliveries import (
    activate_destinations,
    claim_one_delivery,
    delivery_states,
    send_one_delivery,
)
from tests.builders.waiting import scaled

DAY_S = 86_400.0


def owe(database, destination="web", *, days=(-1, 1), **values):
    """Owe what was finished between these days from now; what became of each study, by its key."""
    with database.transaction() as session:
        moment = now(session)
        begins, ends = (moment + timedelta(days=day) for day in days)
        examined = enqueue_past_results(
            session, destination, begins=begins, ends=ends, actor="operator:me", **values
        )
    return {study.study_key: study.outcome.value for study in examined}


def test_what_was_finished_before_is_owed_once_counted_and_audited(database):
    key = finish_one(database)
    activate_destinations(database, "web")
    assert delivery_states(database) == []

    assert owe(database, dry_run=True) == {key: "owed"}
    assert delivery_states(database) == []
    assert owe(database) == {key: "owed"}
    assert owe(database) == {key: "owed_before"}

    assert delivery_states(database) == ["waiting"]
    assert events_of(database, key).count("result_owed") == 1
    assert (
        one(database, "SELECT actor FROM audit_record WHERE event = 'result_owed'") == "operator:me"
    )
    send_one_delivery(database, claim_one_delivery(database))
    assert owe(database) == {key: "owed_before"}
    assert delivery_states(database) == ["sent"]


def test_only_the_days_that_were_named(database):
    early, late = finish_one(database, uid=uid_of(1)), finish_one(database, uid=uid_of(2))
    backdate(database, early, "finished_at", 5 * DAY_S)
    activate_destinations(database, "web")
    assert owe(database, days=(-6, -4)) == {early: "owed"}
    assert owe(database, days=(-1, 1)) == {late: "owed"}


def test_it_goes_on_after_the_last_one(database):
    keys = [finish_one(database, uid=uid_of(number)) for number in range(3)]
    activate_destinations(database, "web")
    assert list(owe(database, limit=2)) == keys[:2]
    last = one(database, "SELECT id FROM study WHERE study_key = :key", key=keys[1])
    assert list(owe(database, after_id=last)) == keys[2:]


def test_only_the_result_that_counts_now(database):
    key = finish_one(database)
    accept_one(database, 1, 2)
    activate_destinations(database, "web")
    assert owe(database) == {}, "it is being read again: the next result is owed by itself"
    again = claim_one(database, key)
    activate_destinations(database, "archive")
    store(database, again, positive_outcome(again, ensure_model(database)))
    activate_destinations(database, "archive", "web")
    assert owe(database) == {key: "owed"}
    assert rows(database, "SELECT destination, revision FROM result_delivery ORDER BY id") == [
        ("archive", 2), ("web", 2),
    ]  # fmt: skip


def test_one_that_an_older_result_waited_for_is_owed_the_newer_one_by_itself(database):
    activate_destinations(database, "web")
    key = finish_one(database)
    activate_destinations(database, "archive")
    accept_one(database, 1, 2)
    again = claim_one(database, key)
    store(database, again, positive_outcome(again, ensure_model(database)))
    activate_destinations(database, "web")
    assert owe(database) == {key: "owed_before"}
    found = "SELECT revision, state FROM result_delivery WHERE destination = 'web' ORDER BY id"
    assert rows(database, found) == [(1, "superseded"), (2, "waiting")]


@pytest.mark.parametrize("revised", [False, True])
def test_it_says_what_the_same_result_said_to_others(database, revised):
    """One UID has one content (PS3.5 9.1): it must not name the very same result as its predecessor."""
    activate_destinations(database, "archive")
    key = finish_one(database)
    send_one_delivery(database, claim_one_delivery(database), "first")
    if revised:
        accept_one(database, 1, 2)
        again = claim_one(database, key)
        store(database, again, positive_outcome(again, ensure_model(database)))
        send_one_delivery(database, claim_one_delivery(database), "second")
    activate_destinations(database, "web")
    owe(database)
    said = [p for (p,) in rows(database, "SELECT predecessor_id FROM result_delivery ORDER BY id")]
    assert said == ([None, 1, 1] if revised else [None, None])


def test_one_whose_files_left_is_told_and_not_owed(database):
    key = finish_one(database)
    with database.transaction() as session:
        (study_id,) = removable_studies(session, keep_days=0, limit=9)
        assert mark_removed(session, study_id, keep_days=0, actor="test")
    activate_destinations(database, "web")
    assert owe(database) == {key: "files_gone"}
    assert delivery_states(database) == []


def test_files_of_one_that_is_owed_stay(database):
    finish_one(database)
    activate_destinations(database, "web")
    owe(database)
    with database.reading() as session:
        assert removable_studies(session, keep_days=0, limit=9) == []


def test_files_do_not_leave_beside_an_order_that_comes_first(postgresql_url):
    """The retention rule waits for the study's lock, and must look again once it has it."""
    database = Database(postgresql_url)
    key = finish_one(database)
    activate_destinations(database, "web")
    study_id = one(database, "SELECT id FROM study WHERE study_key = :key", key=key)
    left = []

    def leave():
        with database.transaction() as session:
            left.append(mark_removed(session, study_id, keep_days=0, actor="test"))

    leaving = Thread(target=leave)
    with database.transaction() as session:
        moment = now(session)
        begins = moment - timedelta(days=1)
        (study,) = enqueue_past_results(
            session, "web", begins=begins, ends=moment, actor="operator:me"
        )
        leaving.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        until = monotonic() + 30
        while not one(database, waiting) and monotonic() < until:
            sleep(0.01)
    leaving.join(timeout=scaled(30))
    database.dispose()
    assert (study.outcome, left) == ("owed", [None])


@pytest.mark.parametrize(("takes_rejected", "became"), [(True, "owed"), (False, "not_wanted")])
def test_where_nothing_was_evaluated_it_is_told_if_the_site_wants(database, takes_rejected, became):
    model = ensure_model(database)
    study = claim_one(database, accept_one(database).study_key)
    outcome = rejected_outcome(study)
    store(database, study, type(outcome)(**(outcome.__dict__ | {"model_version_id": model.id})))
    activate_destinations(database, "web", takes_rejected=takes_rejected)
    assert list(owe(database).values()) == [became]


def test_it_goes_after_all_others(database):
    old = finish_one(database, uid=uid_of(1))
    backdate(database, old, "finished_at", DAY_S / 2)
    activate_destinations(database, "web")
    owe(database)
    finish_one(database, uid=uid_of(2))
    with database.reading() as session:
        found = due_for_delivery(session, limit=9, requeue_after_s=60)
    assert [item.urgency for item in found] == [Urgency.ROUTINE, Urgency.PAST_RESULT]
