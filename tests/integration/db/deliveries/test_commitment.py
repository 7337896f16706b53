"""Storage commitment (PS3.4 J): every report, every silence, and what is sent again."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from db.deliveries.commitment import (
    cancel_commitment,
    delete_obsolete_requests,
    postpone_commitment,
    record_commitment_report,
    request_commitment,
)
from db.deliveries.overview import parked_deliveries
from db.deliveries.rows import REQUESTS_KEPT
from db.engine.clock import now
from db.ledger.conditions import active_conditions
from db.models import ResultDelivery
from db.values import Backoff
from db.values.deliveries import CommitmentOutcome
from db.vocabulary.enums import DeliveryState
from tests.builders.database import make_failure, one, rows
from tests.builders.deliveries import (
    RESULT_UIDS,
    claim_one_delivery,
    delivery_awaiting_commitment,
    delivery_states,
    moment_in_the_past,
    publish_due_deliveries,
    report_commitment,
    send_one_delivery,
    update_delivery,
)


def test_a_report_that_names_every_object_commits_once(database):
    delivery_awaiting_commitment(database)
    assert delivery_states(database) == ["awaiting_commitment"]
    assert (
        report_commitment(database, uid="2.25.999", kept=RESULT_UIDS) is CommitmentOutcome.UNKNOWN
    )
    assert report_commitment(database, kept=RESULT_UIDS) is CommitmentOutcome.COMMITTED
    assert delivery_states(database) == ["committed"]
    assert report_commitment(database, kept=RESULT_UIDS) is CommitmentOutcome.UNKNOWN
    assert one(database, "SELECT count(*) FROM audit_record WHERE event = 'result_committed'") == 1


@pytest.mark.parametrize(
    ("kept", "failed"),
    [
        (RESULT_UIDS[:1], {RESULT_UIDS[1]: 0x0112}),
        (RESULT_UIDS[:1], {}),
        (RESULT_UIDS, {"2.25.3": 1}),
    ],
)
def test_what_is_not_kept_is_sent_again_and_parked_if_that_goes_on(database, kept, failed):
    key = delivery_awaiting_commitment(database)
    assert (
        report_commitment(database, kept=kept, failed=failed, most=2)
        is CommitmentOutcome.SEND_AGAIN
    )
    send_one_delivery(database, claim_one_delivery(database, key), transaction_uid="2.25.2")
    assert report_commitment(database, "2.25.2", kept, failed, most=2) is CommitmentOutcome.PARKED
    with database.reading() as session:
        assert parked_deliveries(session)[0].error_code == "COMMITMENT_FAILED"


def ask(database, key, uid="2.25.2"):
    with database.transaction() as session:
        return request_commitment(session, key, transaction_uid=uid, repeat_after_s=3600)


def test_a_destination_that_says_nothing_is_asked_again(database):
    key = delivery_awaiting_commitment(database)
    assert publish_due_deliveries(database) == []
    assert ask(database, key) is None
    update_delivery(database, key, due_at=moment_in_the_past(database))
    assert publish_due_deliveries(database) == [key]

    request = ask(database, key)
    assert [item.sop_instance_uid for item in request.objects] == RESULT_UIDS
    assert ask(database, key) is None, "a doubled message asks once"
    assert report_commitment(database, "2.25.2", RESULT_UIDS) is CommitmentOutcome.COMMITTED


def asked_again(database, key, times):
    """Asked so often, each time without an answer; the pause after the last, in seconds."""
    for number in range(2, 2 + times):
        update_delivery(database, key, due_at=moment_in_the_past(database))
        assert ask(database, key, f"2.25.{number}")
    with database.reading() as session:
        row = session.scalars(select(ResultDelivery)).one()
        return (row.due_at - now(session)).total_seconds()


def silent(database):
    with database.reading() as session:
        return [c.code for c in active_conditions(session)]


def test_an_answer_to_an_earlier_question_counts(database):
    key = delivery_awaiting_commitment(database)
    asked_again(database, key, 3)
    assert report_commitment(database, "2.25.1", RESULT_UIDS) is CommitmentOutcome.COMMITTED
    assert delivery_states(database) == ["committed"]


def test_one_that_is_silent_is_asked_less_and_less_often_and_told_of(database):
    key = delivery_awaiting_commitment(database)
    assert asked_again(database, key, 3) == pytest.approx(3600 * 8, abs=100)
    assert silent(database) == []
    assert asked_again(database, key, 0) > 0
    update_delivery(database, key, due_at=moment_in_the_past(database))
    assert ask(database, key, "2.25.8").unanswered == 4
    assert silent(database) == ["COMMITMENT_SILENT"]
    assert report_commitment(database, "2.25.1", RESULT_UIDS) is CommitmentOutcome.COMMITTED
    assert silent(database) == []


ASKED = "SELECT transaction_uid FROM commitment_asked ORDER BY asked_at, transaction_uid"


def forgotten(database):
    with database.transaction() as session:
        return delete_obsolete_requests(session)


def test_questions_about_what_has_ended_are_forgotten(database):
    delivery_awaiting_commitment(database)
    assert forgotten(database) == 0, "an answer may still come"
    report_commitment(database, kept=RESULT_UIDS)
    assert forgotten(database) == 1
    assert rows(database, ASKED) == []


@pytest.mark.parametrize("state", DeliveryState)
def test_only_what_nobody_waits_for_any_more_has_ended(database, state):
    update_delivery(database, delivery_awaiting_commitment(database), state=state)
    ended = {"sent", "committed", "superseded", "forgone"}
    assert forgotten(database) == (state in ended)


def test_of_many_questions_the_last_are_kept_and_those_not_taken_go_first(database):
    """An archive that is away for a week is asked each hour, for each result."""
    key = delivery_awaiting_commitment(database)
    for number in range(2, 2 + REQUESTS_KEPT):
        update_delivery(database, key, due_at=moment_in_the_past(database))
        assert ask(database, key, f"2.25.{number}")
        with database.transaction() as session:
            postpone_commitment(
                session, f"2.25.{number}", make_failure("rejected", "NO"), delay_s=0
            )
    kept = {uid for (uid,) in rows(database, ASKED)}
    assert kept == {"2.25.1", *(f"2.25.{number}" for number in range(3, 2 + REQUESTS_KEPT))}
    assert report_commitment(database, "2.25.1", RESULT_UIDS) is CommitmentOutcome.COMMITTED


def test_a_failure_reported_of_an_earlier_sending_is_no_news(database):
    key = delivery_awaiting_commitment(database)
    assert (
        report_commitment(database, kept=[], failed={RESULT_UIDS[0]: 0x0112})
        is CommitmentOutcome.SEND_AGAIN
    )
    send_one_delivery(database, claim_one_delivery(database, key), transaction_uid="2.25.2")
    assert (
        report_commitment(database, kept=[], failed={RESULT_UIDS[0]: 0x0112})
        is CommitmentOutcome.UNKNOWN
    )
    assert report_commitment(database, kept=RESULT_UIDS) is CommitmentOutcome.COMMITTED


def test_what_is_not_kept_yet_is_not_sent_again_at_once(database):
    key = delivery_awaiting_commitment(database)
    with database.transaction() as session:
        outcome = record_commitment_report(
            session,
            "2.25.1",
            [],
            {RESULT_UIDS[0]: 0x0112},
            max_refusals=3,
            backoff=Backoff(base_s=600, ceiling_s=3600),
        )
    assert outcome is CommitmentOutcome.SEND_AGAIN
    assert publish_due_deliveries(database) == []
    update_delivery(database, key, due_at=moment_in_the_past(database))
    assert publish_due_deliveries(database) == [key]


def test_one_that_cannot_be_asked_is_asked_later_and_one_that_need_not_be_counts_as_sent(database):
    delivery_awaiting_commitment(database)
    with database.transaction() as session:
        postpone_commitment(session, "2.25.1", make_failure("rejected", "NO"), delay_s=0)
    assert len(publish_due_deliveries(database)) == 1
    with database.transaction() as session:
        cancel_commitment(session, "2.25.1")
    assert delivery_states(database) == ["sent"]
