"""Which deliveries are published, in which order, and what becomes of those whose worker died."""

from __future__ import annotations

import pytest
from sqlalchemy import event, select

from db.deliveries.claims import finish_delivery
from db.deliveries.overview import parked_deliveries
from db.deliveries.publication import CRASHES_UNTIL_PARKED, due_for_delivery, sweep_deliveries
from db.models import ResultDelivery
from db.values.deliveries import Urgency
from db.vocabulary.enums import Priority, SweepAction
from tests.builders.database import (
    accept_one,
    claim_one,
    ensure_model,
    finish_one,
    positive_outcome,
    store,
    uid_of,
)
from tests.builders.deliveries import (
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    delivery_key_to,
    finish_numbered_study,
    finish_studies,
    moment_in_the_past,
    postpone_one_delivery,
    publish_due_deliveries,
    send_one_delivery,
    update_delivery,
)


def test_a_result_that_kills_its_workers_is_parked(database):
    activate_destinations(database)
    finish_one(database)
    (key,) = publish_due_deliveries(database)
    for _ in range(CRASHES_UNTIL_PARKED):
        assert claim_one_delivery(database, key, lease_s=0.001)
        with database.transaction() as session:
            (swept,) = sweep_deliveries(session)
    assert swept.action is SweepAction.PARKED
    with database.reading() as session:
        (parked,) = parked_deliveries(session)
    assert parked.error_code == "CRASHED_DELIVERY"


def test_one_that_was_published_is_not_published_again_at_once(database):
    activate_destinations(database)
    finish_one(database)
    (key,) = publish_due_deliveries(database)
    assert publish_due_deliveries(database) == []
    update_delivery(database, key, published_at=moment_in_the_past(database))
    assert publish_due_deliveries(database) == [key]


def test_one_that_was_put_off_is_due_again_later(database):
    activate_destinations(database)
    finish_one(database)
    (key,) = publish_due_deliveries(database)
    postpone_one_delivery(database, claim_one_delivery(database, key), delay_s=60)
    assert publish_due_deliveries(database) == []
    update_delivery(database, key, due_at=moment_in_the_past(database))
    assert publish_due_deliveries(database) == [key]
    assert claim_one_delivery(database, key).failures == 1


def test_stat_goes_before_what_waits_longer_to_every_destination(database):
    activate_destinations(database, "archive", "web")
    first, second, stat = finish_studies(
        database, Priority.ROUTINE, Priority.ROUTINE, Priority.STAT
    )
    for seconds, study in enumerate((stat, second, first)):
        moment = moment_in_the_past(database, 60.0 + seconds)
        update_delivery(database, delivery_key_to(database, study, "web"), due_at=moment)

    assert set(publish_due_deliveries(database, limit=2)) == {
        delivery_key_to(database, stat, "archive"), delivery_key_to(database, stat, "web"),
    }  # fmt: skip
    assert publish_due_deliveries(database) == [
        delivery_key_to(database, study, name)
        for study in (first, second)
        for name in ("web", "archive")
    ]


def test_a_destination_with_many_to_take_holds_up_no_other(database):
    activate_destinations(database, "slow")
    for number in range(5):
        finish_one(database, uid=uid_of(number))
    activate_destinations(database, "fast", "slow")
    newest = finish_one(database, uid=uid_of(9))
    assert delivery_key_to(database, newest, "fast") in publish_due_deliveries(database, limit=2)


def test_a_slow_destination_does_not_fill_the_queue(database):
    activate_destinations(database, "fast", "slow")
    owed = finish_studies(database, *[Priority.ROUTINE] * 4, Priority.STAT)
    for study in owed:
        claim = claim_one_delivery(database, delivery_key_to(database, study, "fast"))
        send_one_delivery(database, claim, study)
    stat = delivery_key_to(database, owed[-1], "slow")
    published = publish_due_deliveries(database, in_queue=6)
    assert published == [stat, *(delivery_key_to(database, study, "slow") for study in owed[:2])]
    assert publish_due_deliveries(database, in_queue=6) == [], "its share is in the queue"
    newest = finish_one(database, uid=uid_of(9))
    assert publish_due_deliveries(database, in_queue=6) == [
        delivery_key_to(database, newest, "fast")
    ]


def test_a_slow_destination_with_many_stat_results_holds_up_no_other(database):
    activate_destinations(database, "slow")
    owed = finish_studies(database, *[Priority.STAT] * 5)
    activate_destinations(database, "quick", "slow")
    assert publish_due_deliveries(database, in_queue=6) == [
        delivery_key_to(database, study, "slow") for study in owed[:2]
    ]
    routine, stat = (
        finish_numbered_study(database, 8, Priority.ROUTINE),
        finish_numbered_study(database, 9, Priority.STAT),
    )
    published = publish_due_deliveries(database, in_queue=6)
    assert published[0] == delivery_key_to(database, stat, "quick")
    assert set(published[1:]) == {
        delivery_key_to(database, routine, name) for name in ("quick", "slow")
    }


def test_messages_that_lie_in_the_queue_are_not_doubled(database):
    """Doubled again and again, a slow destination's alone would fill it."""
    activate_destinations(database, "slow")
    finish_studies(database, *[Priority.ROUTINE] * 3)
    first, second, third = publish_due_deliveries(database)
    for number, key in enumerate((first, second, third)):
        update_delivery(database, key, published_at=moment_in_the_past(database, 3600 - number))
    lying = dict.fromkeys(Urgency, 0) | {Urgency.ROUTINE: 3}
    assert publish_due_deliveries(database, waiting=lying) == []
    assert publish_due_deliveries(database, waiting=lying | {Urgency.ROUTINE: 2}) == [first], (
        "one was lost"
    )
    assert publish_due_deliveries(database, waiting=lying | {Urgency.ROUTINE: 0}) == [second, third]


def test_an_urgency_whose_queue_is_full_takes_no_place_of_another(database):
    activate_destinations(database)
    _, _, routine = finish_studies(database, Priority.STAT, Priority.STAT, Priority.ROUTINE)
    lying = dict.fromkeys(Urgency, 0) | {Urgency.STAT: 6}
    assert publish_due_deliveries(database, limit=2, in_queue=6, waiting=lying) == [
        delivery_key_to(database, routine)
    ]


def test_what_is_due_is_found_by_the_index_of_its_destination(database):
    """Else each turn of the relay reads the whole backlog of everybody."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL decides by the size of the table")
    from db.deliveries import publication

    seen = []
    query = publication._due(moment_in_the_past(database))
    statement = select(ResultDelivery.id).where(ResultDelivery.destination == "a", query)
    with database.reading() as session:
        event.listen(database.engine, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
        session.execute(statement)
        sql, parameters = seen[-1]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
    assert "ix_result_delivery_destination_due_at" in str(plan)


def test_what_somebody_ordered_afterwards_goes_last_even_if_it_was_stat(database):
    activate_destinations(database)
    belated, routine = finish_studies(database, Priority.STAT, Priority.ROUTINE)
    update_delivery(
        database, delivery_key_to(database, belated), finished_at=moment_in_the_past(database)
    )
    with database.reading() as session:
        found = due_for_delivery(session, limit=9, requeue_after_s=60)
    assert [(item.delivery_key, item.urgency) for item in found] == [
        (delivery_key_to(database, routine), Urgency.ROUTINE),
        (delivery_key_to(database, belated), Urgency.PAST_RESULT),
    ]


def test_the_question_whether_a_stat_result_is_kept_is_not_urgent(database):
    activate_destinations(database)
    stat, routine = finish_studies(database, Priority.STAT, Priority.ROUTINE)
    send_one_delivery(
        database,
        claim_one_delivery(database, delivery_key_to(database, stat)),
        transaction_uid="2.25.1",
    )
    update_delivery(
        database, delivery_key_to(database, routine), due_at=moment_in_the_past(database)
    )
    update_delivery(
        database, delivery_key_to(database, stat), due_at=moment_in_the_past(database, 60)
    )
    assert publish_due_deliveries(database) == [
        delivery_key_to(database, routine),
        delivery_key_to(database, stat),
    ]


def test_results_of_one_stat_study_go_in_their_order(database):
    activate_destinations(database)
    (study,) = finish_studies(database, Priority.STAT)
    first = claim_one_delivery(database)
    assert begin_one_delivery(database, first)
    accept_one(database, 1, 2, uid=uid_of(0), priority=Priority.STAT)
    again = claim_one(database, study)
    store(database, again, positive_outcome(again, ensure_model(database)))

    newer = delivery_key_to(database, study)
    assert publish_due_deliveries(database) == [newer]
    assert claim_one_delivery(database, newer) is None, "the earlier one is on its way"
    with database.transaction() as session:
        finish_delivery(session, first)
    update_delivery(database, newer, due_at=moment_in_the_past(database))
    assert claim_one_delivery(database, newer).revision == 2
