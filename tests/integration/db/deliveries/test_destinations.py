"""While a destination is away, one delivery at a time probes it; others do not wait."""

from __future__ import annotations

from db.deliveries.destinations import record_success
from db.vocabulary.enums import Priority
from tests.builders.database import finish_one, one, rows, uid_of
from tests.builders.deliveries import OF, away, claimed, destined, due, finish_some, key_to


def test_a_destination_that_is_away_keeps_its_share(database):
    """Else the queue is full of another's when it is back."""
    destined(database, "back", "slow")
    finish_some(database, *[Priority.ROUTINE] * 5)
    away(database, "back")
    assert len(due(database, in_queue=6)) == 2


def test_a_stat_result_is_the_probe_of_a_destination_that_is_away(database):
    destined(database)
    _, stat = finish_some(database, Priority.ROUTINE, Priority.STAT)
    away(database, delay_s=0)
    assert due(database) == [key_to(database, stat)]


def test_while_a_destination_is_away_one_at_a_time_probes_it(database):
    destined(database)
    for number in range(3):
        finish_one(database, uid=uid_of(number))
    away(database, delay_s=60)
    assert due(database) == []
    away(database, delay_s=0)
    (probe,) = due(database)
    others = [
        key for (key,) in rows(database, "SELECT delivery_key FROM result_delivery") if key != probe
    ]
    assert claimed(database, probe)
    assert [claimed(database, key) for key in others] == [None, None]
    with database.transaction() as session:
        assert record_success(session, "archive")
        assert not record_success(session, "archive")
    assert len(due(database)) == 2


def test_another_destination_does_not_wait(database):
    destined(database, "archive", "web")
    finish_one(database)
    away(database)
    assert due(database) == [one(database, OF, name="web")]
