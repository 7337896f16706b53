"""A result is enqueued for each destination in the transaction of its verdict, and supersedes the earlier one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from db.deliveries.claims import finish_delivery
from db.vocabulary.enums import Verdict
from tests.builders.database import (
    accept_one,
    claim_one,
    ensure_model,
    finish_one,
    make_failure,
    one,
    rejected_outcome,
    rows,
    store,
    uid_of,
)
from tests.builders.deliveries import (
    DELIVERY_TO,
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    delivery_states,
    postpone_one_delivery,
    publish_due_deliveries,
    result_objects,
    revise_study,
    send_one_delivery,
)


def test_a_result_is_owed_to_each_destination_once_and_without_one_to_nobody(database):
    finish_one(database, uid=uid_of(1))
    assert rows(database, "SELECT * FROM result_delivery") == []

    activate_destinations(database, "archive", "web")
    key = finish_one(database, uid=uid_of(2))

    owed = "SELECT destination, study_key, revision, verdict FROM result_delivery ORDER BY id"
    assert rows(database, owed) == [
        ("archive", key, 1, "positive"), ("web", key, 1, "positive"),
    ]  # fmt: skip


def test_a_destination_that_went_gets_nothing_further_and_keeps_what_it_is_owed(database):
    activate_destinations(database, "archive")
    finish_one(database, uid=uid_of(1))
    activate_destinations(database, "web")
    finish_one(database, uid=uid_of(2))

    assert publish_due_deliveries(database) == [one(database, DELIVERY_TO, name="web")]
    activate_destinations(database, "archive")
    assert publish_due_deliveries(database) == [one(database, DELIVERY_TO, name="archive")]


@pytest.mark.parametrize(("takes_rejected", "count"), [(True, 1), (False, 0)])
def test_a_study_of_which_nothing_was_evaluated_is_told_if_the_site_wants(
    database, takes_rejected, count
):
    activate_destinations(database, takes_rejected=takes_rejected)
    model = ensure_model(database)
    study = claim_one(database, accept_one(database).study_key)
    outcome = rejected_outcome(study)
    store(database, study, type(outcome)(**(outcome.__dict__ | {"model_version_id": model.id})))
    assert len(delivery_states(database)) == count


def test_a_parked_study_owes_nothing(database):
    from db.studies.results import park

    activate_destinations(database)
    study = claim_one(database, accept_one(database).study_key)
    with database.transaction() as session:
        park(session, study, make_failure())
    assert delivery_states(database) == []


def test_a_newer_result_takes_the_place_of_one_that_was_not_sent(database):
    activate_destinations(database)
    key = finish_one(database)
    revise_study(database, key)

    assert delivery_states(database) == ["superseded", "waiting"]
    claim = claim_one_delivery(database)
    assert (claim.revision, claim.predecessor) == (2, None)


def test_a_newer_result_names_the_one_that_was_sent(database):
    activate_destinations(database)
    key = finish_one(database)
    send_one_delivery(database, claim_one_delivery(database), "first")
    revise_study(database, key)

    assert delivery_states(database) == ["sent", "waiting"]
    links = "SELECT superseded_by IS NOT NULL FROM result_delivery ORDER BY id"
    assert [bool(x) for (x,) in rows(database, links)] == [True, False]
    before = claim_one_delivery(database).predecessor
    assert (before.revision, before.model_name) == (1, "resnet50-1.0.0")
    assert list(before.objects) == result_objects("first")


def test_one_that_may_have_arrived_is_named_to_every_destination_alike(database):
    """All of them get the same objects, so what these say must not differ (PS3.5 9.1)."""
    activate_destinations(database, "archive", "web")
    key = finish_one(database)
    first = claim_one_delivery(database, one(database, DELIVERY_TO, name="archive"))
    begin_one_delivery(database, first)
    postpone_one_delivery(database, first)
    revise_study(database, key)

    newer = "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'"
    named = [claim_one_delivery(database, k).predecessor for (k,) in rows(database, newer)]
    assert len(named) == 2
    assert named[0] == named[1] is not None


def find_nothing(database, key):
    """A further image, after which the study as a whole is not evaluated."""
    accept_one(database, 1, 2)
    model, study = ensure_model(database), claim_one(database, key)
    store(database, study, replace(rejected_outcome(study), model_version_id=model.id))


def test_what_is_true_no_more_is_not_sent_to_one_that_wants_no_rejected(database):
    activate_destinations(database, takes_rejected=False)
    key = finish_one(database)
    (delivery,) = publish_due_deliveries(database)
    find_nothing(database, key)
    assert delivery_states(database) == ["superseded"]
    assert claim_one_delivery(database, delivery) is None


@pytest.mark.parametrize("finished", [True, False])
def test_one_that_may_hold_what_is_true_no_more_is_told_whatever_it_wants(database, finished):
    activate_destinations(database, takes_rejected=False)
    key = finish_one(database)
    first = claim_one_delivery(database)
    assert begin_one_delivery(database, first)
    if finished:
        with database.transaction() as session:
            finish_delivery(session, first)
    else:
        postpone_one_delivery(database, first)
    find_nothing(database, key)
    assert delivery_states(database) == ["sent" if finished else "superseded", "waiting"]
    claim = claim_one_delivery(database)
    assert (claim.verdict, claim.predecessor.revision) == (Verdict.REJECTED, 1)


@pytest.mark.parametrize("is_sent", [True, False])
def test_one_that_comes_back_gets_what_is_true_by_then(database, is_sent):
    activate_destinations(database, "archive")
    key = finish_one(database)
    if is_sent:
        send_one_delivery(database, claim_one_delivery(database))
    activate_destinations(database, "other")
    revise_study(database, key)
    finish_one(database, uid=uid_of(7))
    activate_destinations(database, "archive", "other")

    owed = "SELECT revision, state FROM result_delivery WHERE destination = 'archive' ORDER BY id"
    assert rows(database, owed) == [(1, "sent" if is_sent else "superseded"), (2, "waiting")]
    current = one(database, DELIVERY_TO + " AND state = 'waiting'", name="archive")
    assert current in publish_due_deliveries(database)
    assert (claim_one_delivery(database, current).predecessor is not None) == is_sent
