"""Deliveries as the relay and a delivery worker drive them, each in its own transaction."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from db.deliveries.claims import begin_delivery, claim_delivery, finish_delivery, postpone_delivery
from db.deliveries.commitment import record_commitment_report
from db.deliveries.destinations import postpone_probe, record_failure, set_destinations
from db.deliveries.publication import due_for_delivery, mark_deliveries_published
from db.engine.clock import now
from db.models import ResultDelivery
from db.values.deliveries import SentObject
from tests.builders.database import (
    accept_one,
    claim_one,
    digest,
    ensure_model,
    finish_one,
    make_failure,
    one,
    positive_outcome,
    rows,
    store,
    uid_of,
)

REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def activate_destinations(database, *names, **values):
    """Make these the active destinations: results are enqueued for them from now on."""
    with database.transaction() as session:
        set_destinations(session, names or ["archive"], **values)


def publish_due_deliveries(database, limit=50, requeue_after_s=60.0, in_queue=None, waiting=None):
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


def claim_one_delivery(database, key=None, lease_s=60.0):
    key = key or one(database, "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'")
    with database.transaction() as session:
        return claim_delivery(session, key, lease_s=lease_s)


def result_objects(name="a"):
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


def begin_one_delivery(database, claim, name="a"):
    with database.transaction() as session:
        return begin_delivery(session, claim, result_objects(name))


def send_one_delivery(database, claim, name="a", **values):
    """Begun and finished."""
    assert begin_one_delivery(database, claim, name)
    with database.transaction() as session:
        finish_delivery(session, claim, **values)


def postpone_one_delivery(database, claim, delay_s=0.0, **values):
    with database.transaction() as session:
        passing = make_failure("transient", "CODE", "A sentence.")
        postpone_delivery(session, claim, passing, delay_s=delay_s, **values)


def update_delivery(database, key, **values):
    """A delivery's row with other values, as if time had gone by."""
    with database.transaction() as session:
        session.execute(
            update(ResultDelivery).where(ResultDelivery.delivery_key == key).values(**values)
        )


def moment_in_the_past(database, seconds=3600.0):
    with database.transaction() as session:
        return now(session) - timedelta(seconds=seconds)


def delivery_states(database):
    """Return the states in the order in which the results were enqueued."""
    return [state for (state,) in rows(database, "SELECT state FROM result_delivery ORDER BY id")]


def revise_study(database, key, *, finish=True):
    """A further image, and the study's next result."""
    accept_one(database, 1, 2)
    if finish:
        again = claim_one(database, key)
        store(database, again, positive_outcome(again, ensure_model(database)))


DELIVERY_TO = "SELECT delivery_key FROM result_delivery WHERE destination = :name"


def delivery_key_to(database, study, name="archive"):
    """The delivery of a study's last result."""
    sql = (
        "SELECT delivery_key FROM result_delivery WHERE study_key = :study AND destination = :name "
        "ORDER BY id DESC LIMIT 1"
    )
    return one(database, sql, study=study, name=name)


def finish_studies(database, *priorities):
    return [
        finish_one(database, uid=uid_of(number), priority=priority)
        for number, priority in enumerate(priorities)
    ]


def finish_numbered_study(database, number, priority):
    return finish_one(database, uid=uid_of(number), priority=priority)


def mark_unreachable(database, name="archive", delay_s=60.0):
    with database.transaction() as session:
        record_failure(session, name)
        postpone_probe(session, name, delay_s)


def delivery_awaiting_commitment(database, uid="2.25.1"):
    activate_destinations(database)
    finish_one(database)
    claim = claim_one_delivery(database)
    send_one_delivery(database, claim, transaction_uid=uid, repeat_after_s=3600)
    return claim.delivery_key


def report_commitment(database, uid="2.25.1", kept=(), failed=None, most=3):
    with database.transaction() as session:
        return record_commitment_report(session, uid, kept, failed or {}, max_refusals=most)


RESULT_UIDS = [item.sop_instance_uid for item in result_objects()]
