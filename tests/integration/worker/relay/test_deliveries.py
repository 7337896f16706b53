"""The relay's step: published once, nothing personal, and never in the way of a study."""

from __future__ import annotations

import base64
import json

import pytest
from kombu import Consumer

from db.deliveries.destinations import set_destinations
from db.ledger.conditions import active_conditions
from db.values.deliveries import Urgency
from db.vocabulary.enums import Priority
from tests.builders.database import accept_one, finish_one, one, rows, uid_of
from tests.builders.deliveries import claim_one_delivery, send_one_delivery
from tests.builders.waiting import scaled
from worker.celery import DELIVERY, DELIVERY_PRIORITY, key_of_priority, make_app
from worker.delivery.runtime import DeliveryRuntime
from worker.relay.deliveries import QUEUE_LIMIT
from worker.relay.relay import Broker, Relay, RelayPass

DESTINATION = """
[pacs]
ae_title = "PACS"
host = "pacs.example"
port = 104
results = "c-store"
"""

ROUTINE = key_of_priority(DELIVERY, DELIVERY_PRIORITY[Urgency.ROUTINE])


@pytest.fixture
def settings(settings, tmp_path):
    peers = tmp_path / "peers.toml"
    peers.write_text(DESTINATION)
    return settings.model_copy(update={"peers": peers})


@pytest.fixture
def relay(settings, database):
    broker = Broker(settings, make_app(settings))
    yield Relay(settings, database, broker)
    broker.close()


def test_what_is_owed_is_published_once_as_a_key(settings, database, relay, valkey):
    assert relay.run_once() == RelayPass(), "the first turn reads the file of peers"
    finish_one(database)
    assert relay.run_once() == RelayPass(deliveries=1)
    assert relay.run_once() == RelayPass()
    message = valkey.client().lindex(f"{settings.broker_prefix}{ROUTINE}", 0).decode()
    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    key = one(database, "SELECT delivery_key FROM result_delivery")
    assert body[:2] == [[key], {}]
    for word in ("pacs", "1.2.826", "PACS"):
        assert word not in message


def test_a_stat_result_overtakes_those_that_were_published_before(settings, database, relay):
    relay.run_once()
    for number, priority in enumerate([Priority.ROUTINE, Priority.ROUTINE, Priority.STAT]):
        finish_one(database, uid=uid_of(number), priority=priority)
        assert relay.run_once() == RelayPass(deliveries=1)
    owed = [
        key for (key,) in rows(database, "SELECT delivery_key FROM result_delivery ORDER BY id")
    ]
    first, second, stat = owed
    assert consumed(settings, 3) == [stat, first, second]


def consumed(settings, count) -> list[str]:
    """Keys in the order in which a worker that serves `-Q delivery` gets them."""
    keys: list[str] = []

    def take(body, message):
        keys.append(body[0][0])
        message.ack()

    app = make_app(settings)
    with app.connection_for_read() as connection:
        queues = [app.amqp.queues[DELIVERY]]
        with Consumer(connection, queues=queues, callbacks=[take], prefetch_count=1):
            while len(keys) < count:
                connection.drain_events(timeout=scaled(10))
    app.close()
    return keys


def test_a_long_queue_keeps_back_what_is_as_urgent_and_nothing_else(
    settings, database, relay, valkey
):
    relay.run_once()
    valkey.client().lpush(f"{settings.broker_prefix}{ROUTINE}", *["message"] * QUEUE_LIMIT)
    finish_one(database, uid=uid_of(1))
    assert relay.run_once() == RelayPass()
    finish_one(database, uid=uid_of(2), priority=Priority.STAT)
    assert relay.run_once() == RelayPass(deliveries=1)


def test_a_destination_that_is_entered_later_needs_no_restart(settings, database, relay):
    settings.peers.write_text("")
    relay.run_once()
    finish_one(database, uid=uid_of(1))
    settings.peers.write_text(DESTINATION)
    relay.run_once()
    finish_one(database, uid=uid_of(2))
    assert relay.run_once() == RelayPass(deliveries=1)


def active(database):
    return [
        name for (name,) in rows(database, "SELECT name FROM result_destination WHERE is_active")
    ]


@pytest.mark.parametrize("text", [None, ""])
def test_a_worker_with_another_file_switches_nothing_off(settings, database, relay, tmp_path, text):
    relay.run_once()
    other = tmp_path / "other.toml" if text is not None else None
    if other:
        other.write_text(text)
    DeliveryRuntime(settings.model_copy(update={"peers": other})).close()
    assert active(database) == ["pacs"]


def test_what_else_wrote_there_is_set_right_by_the_relay(database, relay):
    relay.run_once()
    with database.transaction() as session:
        set_destinations(session, [])
    relay.run_once()
    assert active(database) == ["pacs"]


def test_a_relay_without_a_file_switches_nothing_off_and_says_so(settings, database, relay):
    relay.run_once()
    finish_one(database)
    broker = Broker(settings, make_app(settings))
    Relay(settings.model_copy(update={"peers": None}), database, broker).run_once()
    broker.close()
    assert active(database) == ["pacs"]
    assert wrong(database) == [("destinations out of the file", "DESTINATION_NOT_IN_FILE")]


def test_results_for_one_that_is_out_of_the_file_are_told_of(settings, database, relay):
    relay.run_once()
    settings.peers.write_text("")
    relay.run_once()
    assert wrong(database) == [], "it is owed nothing"
    settings.peers.write_text(DESTINATION)
    relay.run_once()
    finish_one(database)
    settings.peers.write_text("")
    relay.run_once()
    assert wrong(database) == [("destinations out of the file", "DESTINATION_NOT_IN_FILE")]
    settings.peers.write_text(DESTINATION)
    relay.run_once()
    assert wrong(database) == []


def wrong(database):
    with database.reading() as session:
        return [(condition.subject, condition.code) for condition in active_conditions(session)]


def test_a_wrong_file_of_peers_is_told_and_holds_up_no_study(settings, database, relay):
    relay.run_once()
    settings.peers.write_text("[pacs]\nresults = 'by pigeon'\n")
    accept_one(database)
    assert relay.run_once() == RelayPass(published=1)
    with database.reading() as session:
        (wrong,) = active_conditions(session)
    assert (wrong.subject, wrong.code) == ("file of peers", "PEERS_INVALID")
    assert one(database, "SELECT is_active FROM result_destination"), "as it was"

    settings.peers.write_text(DESTINATION)
    relay.run_once()
    with database.reading() as session:
        assert active_conditions(session) == []


def test_questions_that_nobody_waits_for_are_forgotten_now_and_then(settings, database, relay):
    relay.run_once()
    finish_one(database)
    send_one_delivery(database, claim_one_delivery(database), transaction_uid="2.25.1")
    rows(database, "UPDATE result_delivery SET state = 'committed'")
    asked = "SELECT count(*) FROM commitment_asked"
    relay.run_once()
    assert one(database, asked) == 1, "not each second"
    broker = Broker(settings, make_app(settings))
    Relay(settings, database, broker).run_once()
    broker.close()
    assert one(database, asked) == 0


def test_a_table_of_deliveries_that_fails_holds_up_no_study(database, relay):
    relay.run_once()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE result_destination RENAME TO lost")
    accept_one(database)
    assert relay.run_once() == RelayPass(published=1)
