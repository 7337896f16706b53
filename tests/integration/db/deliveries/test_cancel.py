"""A cancelled delivery is not sent, needs no files, and no answer brings it back."""

from __future__ import annotations

import pytest

from db.deliveries.cancel import (
    cancel_deliveries,
    cancel_study_deliveries,
    cancel_updates,
    outstanding_deliveries,
)
from db.deliveries.past_results import PastResultOutcome, enqueue_past_results
from db.deliveries.publication import sweep_deliveries
from db.engine.clock import now
from db.ledger.identity import erase_identity
from db.studies.retention import count_kept_as_outstanding, removable_studies
from db.values.deliveries import CommitmentOutcome
from db.vocabulary.errors import StaleClaim
from tests.builders.database import events_of, finish_one, one, rows
from tests.builders.deliveries import (
    RESULT_UIDS,
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    delivery_awaiting_commitment,
    delivery_states,
    moment_in_the_past,
    publish_due_deliveries,
    report_commitment,
    revise_study,
    send_one_delivery,
)


def let_go(database, **which):
    with database.transaction() as session:
        keys = [item.delivery_key for item in outstanding_deliveries(session, **which)]
        return cancel_deliveries(session, keys, "operator:ada")


def may_leave(database):
    with database.reading() as session:
        kept = count_kept_as_outstanding(session, keep_days=0)
        return len(removable_studies(session, keep_days=0, limit=10)), kept.studies, kept.files


def test_what_is_let_go_is_not_sent_and_needs_no_files(database):
    activate_destinations(database, "archive", "web")
    key = finish_one(database)
    assert may_leave(database) == (0, 1, 1)
    assert let_go(database, destination="web") == 1
    assert let_go(database, destination="web") == 0
    assert may_leave(database) == (0, 1, 1)
    assert let_go(database, keys=[key[:8]]) == 1
    assert may_leave(database) == (1, 0, 0)
    assert delivery_states(database) == ["forgone", "forgone"]
    assert publish_due_deliveries(database) == []
    assert events_of(database, key)[-2:] == ["result_forgone", "result_forgone"]


def test_whoever_sends_it_just_then_stops(database):
    activate_destinations(database)
    finish_one(database)
    claim = claim_one_delivery(database)
    assert let_go(database) == 1
    with pytest.raises(StaleClaim):
        begin_one_delivery(database, claim)
    with database.transaction() as session:
        assert sweep_deliveries(session) == []


def test_no_answer_brings_back_what_was_let_go(database):
    delivery_awaiting_commitment(database)
    assert let_go(database) == 1
    assert (
        report_commitment(database, kept=[], failed={RESULT_UIDS[0]: 0x0112})
        is CommitmentOutcome.UNKNOWN
    )
    assert delivery_states(database) == ["forgone"]


@pytest.mark.parametrize("let_it_go", [True, False])
def test_a_destination_that_was_let_go_is_told_nothing_until_it_is_back(database, let_it_go):
    activate_destinations(database, "archive")
    key = finish_one(database)
    send_one_delivery(database, claim_one_delivery(database))
    with database.transaction() as session:
        assert not cancel_updates(session, "archive"), "it stands in the file"
    activate_destinations(database, "other")
    if let_it_go:
        with database.transaction() as session:
            assert cancel_updates(session, "archive")
    revise_study(database, key)
    newest = "SELECT destination FROM result_delivery WHERE revision = 2 ORDER BY 1"
    assert rows(database, newest) == [("other",)] if let_it_go else [("archive",), ("other",)]
    activate_destinations(database, "archive")
    assert one(database, "SELECT forgone_at FROM result_destination WHERE is_active") is None


def test_what_came_in_the_moment_of_an_erasure_is_not_sent(database):
    """The verdict's transaction may not see an erasure that commits at the same time."""
    activate_destinations(database)
    key = finish_one(database)
    claim = claim_one_delivery(database)
    with database.transaction() as session:
        assert erase_identity(session, key, "operator:ada")
    assert not begin_one_delivery(database, claim)
    assert rows(database, "SELECT state, begun_at FROM result_delivery") == [("forgone", None)]
    assert events_of(database, key)[-2:] == ["identity_erased", "result_forgone"]


def test_nothing_more_is_owed_of_a_person_who_was_erased(database):
    activate_destinations(database)
    key = finish_one(database, 1)
    with database.transaction() as session:
        assert cancel_study_deliveries(session, key, "operator:ada") == 1
        assert erase_identity(session, key, "operator:ada")
    revise_study(database, key)
    assert delivery_states(database) == ["forgone"]
    activate_destinations(database, "web")
    begins = moment_in_the_past(database)
    with database.transaction() as session:
        (study,) = enqueue_past_results(
            session, "web", begins=begins, ends=now(session), actor="operator:ada"
        )
    assert study.outcome is PastResultOutcome.ERASED
    assert delivery_states(database) == ["forgone"]
