"""While a destination is away, one delivery at a time probes it; others do not wait."""

from __future__ import annotations

from db.deliveries.destinations import record_success
from db.vocabulary.enums import Priority
from tests.builders.database import finish_one, one, rows, uid_of
from tests.builders.deliveries import (
    DELIVERY_TO,
    activate_destinations,
    claim_one_delivery,
    delivery_key_to,
    finish_studies,
    mark_unreachable,
    publish_due_deliveries,
)


def test_a_destination_that_is_away_keeps_its_share(database):
    """Else the queue is full of another's when it is back."""
    activate_destinations(database, "back", "slow")
    finish_studies(database, *[Priority.ROUTINE] * 5)
    mark_unreachable(database, "back")
    assert len(publish_due_deliveries(database, in_queue=6)) == 2


def test_a_stat_result_is_the_probe_of_a_destination_that_is_away(database):
    activate_destinations(database)
    _, stat = finish_studies(database, Priority.ROUTINE, Priority.STAT)
    mark_unreachable(database, delay_s=0)
    assert publish_due_deliveries(database) == [delivery_key_to(database, stat)]


def test_while_a_destination_is_away_one_at_a_time_probes_it(database):
    activate_destinations(database)
    for number in range(3):
        finish_one(database, uid=uid_of(number))
    mark_unreachable(database, delay_s=60)
    assert publish_due_deliveries(database) == []
    mark_unreachable(database, delay_s=0)
    (probe,) = publish_due_deliveries(database)
    others = [
        key for (key,) in rows(database, "SELECT delivery_key FROM result_delivery") if key != probe
    ]
    assert claim_one_delivery(database, probe)
    assert [claim_one_delivery(database, key) for key in others] == [None, None]
    with database.transaction() as session:
        record_success(session, "archive")
        record_success(session, "archive")
    assert len(publish_due_deliveries(database)) == 2


def test_another_destination_does_not_wait(database):
    activate_destinations(database, "archive", "web")
    finish_one(database)
    mark_unreachable(database)
    assert publish_due_deliveries(database) == [one(database, DELIVERY_TO, name="web")]
