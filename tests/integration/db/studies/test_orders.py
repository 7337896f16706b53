"""Ordered studies: what an order, an arrival and a fetch do to the row, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from db.studies.completeness import close_if_complete, open_studies
from db.studies.intake import close_idle_studies, receive_instance
from db.studies.orders import (
    known_studies,
    outstanding_orders,
    place_order,
    record_fetch,
    unfetched_orders,
)
from db.studies.overview import archived_study_statuses
from db.studies.publication import age_routine, due_for_publication, sweep_expired_leases
from db.studies.results import schedule_retry
from db.values import StudyOrder
from db.vocabulary.enums import (
    ClosedBy,
    Lane,
    Priority,
    RetrieveWay,
    RunOutcome,
    Source,
    StudyState,
)
from db.vocabulary.errors import FetchedContentDiffers, StaleClaim
from tests.builders.database import (
    STUDY_UID,
    accept_one,
    backdate,
    claim_one,
    digest,
    ensure_model,
    events_of,
    expire_lease,
    finish_one,
    make_failure,
    make_instance,
    make_study,
    one,
    positive_outcome,
    read_study,
    rejected_outcome,
    rows,
    runs_of,
    store,
    uid_of,
)


def order_one(database, uid=STUDY_UID, **values):
    wanted = {"way": RetrieveWay.C_GET, "peer": "pacs"} | values
    with database.transaction() as session:
        return place_order(session, StudyOrder(study_instance_uid=uid, **wanted))


def receive(database, number):
    with database.transaction() as session:
        return receive_instance(session, make_study(number), idle_window_s=60)


def fetch(database, claimed, *numbers, expected=None, absent=(), **values):
    received = make_study(*numbers, **values) if numbers or values else None
    with database.transaction() as session:
        return record_fetch(session, claimed, received, expected=expected, absent=absent)


def due(database):
    with database.transaction() as session:
        return due_for_publication(session, limit=9, requeue_after_s=60)


# --- ordering -------------------------------------------------------------------------------------


def test_an_order_is_a_study_that_is_due_and_has_no_images(database):
    ordered = order_one(database)
    assert ordered.is_new
    assert due(database) == [(ordered.study_key, Lane.ROUTINE)]
    study = read_study(database, ordered.study_key)
    assert (study.state, study.source, study.closed_at) == (StudyState.ACCEPTED, Source.PULL, None)
    assert events_of(database, ordered.study_key) == ["study_ordered"]
    claimed = claim_one(database, ordered.study_key)
    assert (claimed.source, claimed.instances) == (Source.PULL, ())


def test_a_known_study_is_not_ordered_again(database):
    key = finish_one(database)
    again = order_one(database)
    assert (again.study_key, again.is_new, again.state) == (key, False, StudyState.DONE)
    assert rows(database, "SELECT study_id FROM study_origin") == []
    assert due(database) == []


def test_ordered_as_stat_it_is_raised(database):
    key = order_one(database).study_key
    order_one(database, priority=Priority.STAT)
    assert due(database) == [(key, Lane.STAT)]
    assert events_of(database, key) == ["study_ordered", "study_raised_to_stat"]


def test_of_many_who_order_at_once_one_does(database):
    with ThreadPoolExecutor(4) as many:
        answers = list(many.map(lambda _: order_one(database), range(8)))
    assert sum(answer.is_new for answer in answers) == 1
    assert len({answer.study_key for answer in answers}) == 1
    assert one(database, "SELECT count(*) FROM study_origin") == 1


def test_what_was_not_fetched_yet_does_not_move_to_the_stat_lane(database):
    """A night's backfill must not go before what is new, however long the archive is away."""
    key = order_one(database).study_key
    backdate(database, key, "received_at", 99_999)
    with database.transaction() as session:
        assert age_routine(session, after_s=1) == 0


def test_orders_are_counted_until_they_come_to_something(database):
    keys = [order_one(database, uid_of(n), peer="pacs").study_key for n in (1, 2)]
    order_one(database, uid_of(3), peer=None, base_url="https://x", way=RetrieveWay.WADO_RS)
    with database.reading() as session:
        assert outstanding_orders(session) == 3
        assert unfetched_orders(session) == {"pacs": 2, "an address": 1}
        assert known_studies(session, [uid_of(1), uid_of(9)]) == {uid_of(1)}
    claimed = claim_one(database, keys[0])
    fetch(database, claimed, 1, uid=uid_of(1))
    with database.reading() as session:
        assert (outstanding_orders(session), unfetched_orders(session)["pacs"]) == (3, 1)
    instances = claim_one_again(database, keys[0], claimed)
    store(database, instances, positive_outcome(instances, ensure_model(database)))
    with database.reading() as session:
        assert outstanding_orders(session) == 2


def claim_one_again(database, key, claimed):
    """The next attempt at a study, after a passing failure."""
    fail(database, claimed)
    return claim_one(database, key)


def fail(database, claimed, **values):
    with database.transaction() as session:
        schedule_retry(session, claimed, make_failure("transient", **values), delay_s=0)


# --- fetching -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "closed_by"), [(None, ClosedBy.SENDER), (2, ClosedBy.PACS_COUNT)]
)
def test_a_fetch_brings_images_patient_and_closing_rule(database, expected, closed_by):
    key = order_one(database).study_key
    claimed = claim_one(database, key)
    instances = fetch(database, claimed, 1, 2, expected=expected, patient_sex="F")
    assert len(instances) == 2
    study = read_study(database, key)
    assert (study.state, study.closed_by, study.revision) == (StudyState.RUNNING, closed_by, 1)
    assert (study.patient_sex, study.closed_at) == ("F", study.received_at)
    assert one(database, "SELECT patient_id FROM study_identity") == "PAT-77-SECRET"
    assert events_of(database, key) == ["study_ordered", "study_accepted", "study_fetched"]


def test_a_fetch_that_lost_its_claim_writes_nothing(database):
    key = order_one(database).study_key
    claimed = claim_one(database, key)
    expire_lease(database, key)
    with database.transaction() as session:
        sweep_expired_leases(session)
    claim_one(database, key)
    with pytest.raises(StaleClaim):
        fetch(database, claimed, 1)
    assert rows(database, "SELECT id FROM instance") == []


def test_fetching_again_adds_what_is_new_and_keeps_what_is_here(database):
    key = order_one(database).study_key
    claimed = claim_one(database, key)
    first = fetch(database, claimed, 1)
    again = claim_one_again(database, key, claimed)
    other = make_instance(1, content="second")
    second = fetch(database, again, instances=[other, make_instance(2)])
    assert [i.file_name for i in second] == [first[0].file_name, make_instance(2).file_name]
    assert one(
        database, "SELECT min(file_sha256) FROM instance WHERE id = :id", id=first[0].id
    ) == (make_instance(1).file_sha256)


def test_only_what_is_gone_is_replaced_and_only_before_it_was_judged(database):
    key = order_one(database).study_key
    claimed = claim_one(database, key)
    first = fetch(database, claimed, 1)
    other = make_instance(1, content="second", file_name="cd/other.dcm")
    (replaced,) = fetch(database, claimed, instances=[other], absent={first[0].file_name})
    assert (replaced.id, replaced.file_name) == (first[0].id, "cd/other.dcm")
    rows(database, "UPDATE instance SET state = 'predicted'")
    with pytest.raises(FetchedContentDiffers):
        fetch(database, claimed, 1, absent={"cd/other.dcm"})
    assert one(database, "SELECT file_name FROM instance") == "cd/other.dcm"


@pytest.mark.parametrize("judged", [False, True])
def test_the_same_content_in_another_wrapping_takes_the_place_of_what_is_gone(database, judged):
    """An archive that was upgraded writes another file meta (PS3.10 7.1)."""
    content = digest("data set")
    first = make_instance(1, content="meta of old", content_sha256=content)
    claimed = claim_one(database, order_one(database).study_key)
    fetch(database, claimed, instances=[first])
    if judged:
        rows(database, "UPDATE instance SET state = 'predicted'")
    wrapped = replace(
        first, file_sha256=digest("meta of new"), file_name="cd/new.dcm", file_bytes=99
    )
    (fetched,) = fetch(database, claimed, instances=[wrapped], absent={first.file_name})
    assert fetched.file_name == "cd/new.dcm"
    assert rows(database, "SELECT file_sha256, content_sha256, file_bytes FROM instance") == [
        (wrapped.file_sha256, content, 99)
    ]

    # Without a content of its own, as in version 0.2.0, the file's digest speaks for it.
    rows(database, "UPDATE instance SET content_sha256 = NULL, file_sha256 = :c", c=content)
    (again,) = fetch(database, claimed, instances=[first], absent={"cd/new.dcm"})
    assert again.file_name == first.file_name


@pytest.mark.parametrize("judged", [False, True])
def test_a_content_that_another_took_the_place_of_is_not_what_is_gone(database, judged):
    """The archive has an older version than the one that was sent here since."""
    claimed = claim_one(database, order_one(database).study_key)
    fetch(database, claimed, 1)
    changed = make_instance(1, content="changed", file_name="cd/changed.dcm")
    accept_one(database, instances=[changed])
    if judged:
        rows(database, "UPDATE instance SET state = 'predicted'")
    with pytest.raises(FetchedContentDiffers):
        fetch(database, claimed, 1, absent={"cd/changed.dcm"})
    assert one(database, "SELECT file_name FROM instance WHERE replaced_in_revision IS NULL") == (
        "cd/changed.dcm"
    )


# --- what comes by C-STORE while it is fetched (C-MOVE) -------------------------------------------


def test_what_comes_through_the_listener_is_no_revision(database):
    key = order_one(database, way=RetrieveWay.C_MOVE).study_key
    claimed = claim_one(database, key)
    receive(database, 1)
    receive(database, 2)
    assert one(database, "SELECT patient_id FROM study_identity") == "PAT-77-SECRET"
    instances = fetch(database, claimed, expected=2)
    assert len(instances) == 2
    study = read_study(database, key)
    assert (study.revision, study.closed_by) == (1, ClosedBy.PACS_COUNT)
    receive(database, 3)
    assert read_study(database, key).revision == 2, "what comes afterwards is one"


def test_a_move_that_failed_is_received_on_and_then_asked_for_again(database):
    key = order_one(database, way=RetrieveWay.C_MOVE).study_key
    claimed = claim_one(database, key)
    receive(database, 1)
    fail(database, claimed)
    assert read_study(database, key).state is StudyState.RECEIVING
    backdate(database, key, "due_at", 1)
    with database.transaction() as session:
        assert close_idle_studies(session) == [key]
    again = claim_one(database, key)
    assert (len(again.instances), again.revision) == (1, 1)


def test_a_move_that_brought_nothing_stays_an_order(database):
    key = order_one(database, way=RetrieveWay.C_MOVE).study_key
    fail(database, claim_one(database, key))
    assert due(database) == [(key, Lane.ROUTINE)]


def test_waiting_for_an_archive_does_not_count_as_a_retry(database):
    key = order_one(database).study_key
    fail(database, claim_one(database, key), retry_after_s=60)
    assert read_study(database, key).retries == 0
    fail(database, claim_one(database, key))
    assert read_study(database, key).retries == 1
    assert runs_of(database, key) == [RunOutcome.RETRY, RunOutcome.RETRY]


# --- the archive's count --------------------------------------------------------------------------


def still_open(database, quiet_s=0.0):
    with database.reading() as session:
        return [
            (study.study_instance_uid, study.instances, study.site_ae_title)
            for study in open_studies(session, quiet_s=quiet_s, limit=9)
        ]


def close_at(database, key, count):
    with database.transaction() as session:
        return close_if_complete(session, key, count)


def test_a_study_that_is_still_being_sent_is_not_asked_for(database):
    receive(database, 1)
    assert still_open(database, quiet_s=60) == []
    assert still_open(database) == [(STUDY_UID, 1, None)]
    accept_one(database, uid=uid_of(2))
    assert still_open(database) == [(STUDY_UID, 1, None)], "nor one that is closed"


@pytest.mark.parametrize(("count", "closed"), [(3, False), (2, True), (1, True), (0, False)])
def test_a_count_closes_what_is_complete(database, count, closed):
    receive(database, 1)
    key = receive(database, 2).study_key
    assert close_at(database, key, count) is closed
    study = read_study(database, key)
    expected = (
        (StudyState.ACCEPTED, ClosedBy.PACS_COUNT) if closed else (StudyState.RECEIVING, None)
    )
    assert (study.state, study.closed_by) == expected
    assert events_of(database, key) == (["study_accepted"] if closed else [])
    assert close_at(database, key, count) is False, "once"


# --- coverage -------------------------------------------------------------------------------------


def test_what_has_become_of_studies(database):
    finish_one(database, 1, uid=uid_of(1))
    refused = accept_one(database, 1, 2, uid=uid_of(2)).study_key
    claimed = claim_one(database, refused)
    store(database, claimed, rejected_outcome(claimed, "VIEW_NOT_FRONTAL"))
    order_one(database, uid_of(3))
    with database.reading() as session:
        found = archived_study_statuses(session, [uid_of(n) for n in range(1, 1200)])
    assert {uid: (it.state.value, it.code) for uid, it in found.items()} == {
        uid_of(1): ("done", None),
        uid_of(2): ("done", "VIEW_NOT_FRONTAL"),
        uid_of(3): ("accepted", None),
    }
