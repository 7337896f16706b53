"""The relay on a real Valkey and a real database: publish, mark, notice a wipe, let nobody starve."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
import redis
from sqlalchemy import text

from db.engine.migrate import upgrade
from db.engine.session import Database
from db.studies.intake import accept
from db.values import ReceivedInstance, ReceivedStudy
from db.vocabulary.enums import Lane, Priority
from worker.celery import make_app
from worker.relay.relay import BATCH, Broker, Relay, RelayPass
from worker.settings import read_settings


@pytest.fixture
def broker(settings):
    broker = Broker(settings, make_app(settings))
    yield broker
    broker.close()


@pytest.fixture
def relay(settings, database, broker):
    return Relay(settings, database, broker)


def accept_one(database: Database, number: int, priority: Priority = Priority.ROUTINE) -> str:
    instance = ReceivedInstance(
        sop_instance_uid=f"1.2.{number}.3",
        series_instance_uid=f"1.2.{number}.2",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        file_sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        file_name=f"{number}.dcm",
        file_bytes=1,
    )
    study = ReceivedStudy(
        study_instance_uid=f"1.2.{number}", instances=(instance,), priority=priority
    )
    with database.transaction() as session:
        return accept(session, study).study_key


def states(database: Database) -> set[str]:
    with database.transaction() as session:
        return set(session.scalars(text("SELECT DISTINCT state FROM study")))


def test_each_study_goes_into_its_lane_once(relay, broker, database):
    accept_one(database, 1)
    accept_one(database, 2, Priority.STAT)
    assert relay.run_once() == RelayPass(published=2)
    assert relay.run_once() == RelayPass()
    assert broker.waiting() == {Lane.STAT: 1, Lane.ROUTINE: 1, Lane.SUSPECT: 0}


def test_a_message_holds_the_key_and_nothing_else(relay, valkey, settings, database):
    key = accept_one(database, 7)
    relay.run_once()
    message = valkey.client().lindex(f"{settings.broker_prefix}routine", 0).decode()
    assert "1.2.7" not in message
    assert "7.dcm" not in message
    body = json.loads(base64.b64decode(json.loads(message)["body"]))
    assert body[:2] == [[key], {}]


def test_after_a_wipe_everything_that_waits_is_published_again(relay, broker, valkey, database):
    count = BATCH + 20
    for number in range(count):
        accept_one(database, number)
    assert relay.run_once().published == count

    valkey.client().flushall()

    assert relay.run_once().published == count
    assert broker.waiting()[Lane.ROUTINE] == count
    assert relay.run_once().published == 0


def test_a_broker_that_is_away_leaves_the_rows_as_they_were(database, tmp_path):
    away = read_settings(state_dir=tmp_path, broker_url="redis://127.0.0.1:1/0")
    upgrade(away.database_url)
    own = Database(away.database_url)
    accept_one(own, 1)
    broker = Broker(away, make_app(away))
    with pytest.raises(redis.ConnectionError, match="refused"):
        Relay(away, own, broker).run_once()
    assert states(own) == {"accepted"}
    broker.close()
    own.dispose()


def test_a_routine_study_that_waited_too_long_goes_stat(settings, database, broker):
    accept_one(database, 1)
    impatient = settings.model_copy(update={"stat_after_s": 0.001})
    turn = Relay(impatient, database, broker).run_once()
    assert (turn.aged, turn.published) == (1, 1)
    assert broker.waiting() == {Lane.STAT: 1, Lane.ROUTINE: 0, Lane.SUSPECT: 0}
