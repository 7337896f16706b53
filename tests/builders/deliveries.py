"""Deliveries as the relay and a delivery worker drive them, each in its own transaction."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from db.deliveries.claims import begin_delivery, claim_delivery, finish_delivery, postpone_delivery
from db.deliveries.destinations import set_destinations
from db.deliveries.publication import due_for_delivery, mark_deliveries_published
from db.engine.clock import now
from db.models import ResultDelivery
from db.values.deliveries import SentObject
from tests.builders.database import digest, failure, one, rows

REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def destined(database, *names, **values):
    """Results are owed to these from now on."""
    with database.transaction() as session:
        set_destinations(session, names or ["archive"], **values)


def due(database, limit=50, requeue_after_s=60.0, in_queue=None, waiting=None):
    with database.transaction() as session:
        found = due_for_delivery(
            session,
            limit=limit,
            requeue_after_s=requeue_after_s,
            in_queue=in_queue,
            waiting=waiting,
        )
        keys = [delivery.delivery_key for delivery in found]
        mark_deliveries_published(session, keys)
    return keys


def claimed(database, key=None, lease_s=60.0):
    key = key or one(database, "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'")
    with database.transaction() as session:
        return claim_delivery(session, key, lease_s=lease_s)


def objects(name="a"):
    """A report and a capture."""
    return [
        SentObject(
            sop_class_uid=sop_class,
            sop_instance_uid=f"2.25.{int(digest(name + sop_class)[:8], 16)}",
            series_instance_uid=f"2.25.9{int(digest(sop_class)[:8], 16)}",
            sha256=digest(name + sop_class),
        )
        for sop_class in (REPORT, CAPTURE)
    ]


def begun(database, claim, name="a"):
    with database.transaction() as session:
        return begin_delivery(session, claim, objects(name))


def sent(database, claim, name="a", **values):
    """Begun and finished."""
    assert begun(database, claim, name)
    with database.transaction() as session:
        finish_delivery(session, claim, **values)


def put_off(database, claim, delay_s=0.0, **values):
    with database.transaction() as session:
        passing = failure("transient", "CODE", "A sentence.")
        postpone_delivery(session, claim, passing, delay_s=delay_s, **values)


def changed(database, key, **values):
    """A delivery's row with other values, as if time had gone by."""
    with database.transaction() as session:
        session.execute(
            update(ResultDelivery).where(ResultDelivery.delivery_key == key).values(**values)
        )


def long_ago(database, seconds=3600.0):
    with database.transaction() as session:
        return now(session) - timedelta(seconds=seconds)


def states(database):
    """States in the order in which the results were owed."""
    return [state for (state,) in rows(database, "SELECT state FROM result_delivery ORDER BY id")]
