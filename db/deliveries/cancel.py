"""Letting go of results that are still owed: a person's act, audited, and never undone.

An owed result keeps its study's files for as long as it is owed. Where nobody will ever take it (a
destination that was shut down, a result that is refused for good, a person who is to be forgotten)
somebody says so here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.deliveries.destinations import WITHOUT_SESSION_SYNC
from db.deliveries.outbox import OUTSTANDING
from db.deliveries.rows import audit_detail
from db.engine.clock import now
from db.ledger.audit import AuditEntry, append_entries
from db.models import ResultDelivery, ResultDestination
from db.vocabulary.enums import AuditEvent, DeliveryState


@dataclass(frozen=True, kw_only=True)
class OutstandingDelivery:
    """A result that is owed, for whoever decides about it."""

    delivery_key: str
    study_key: str
    destination: str


def outstanding_deliveries(
    session: Session,
    *,
    destination: str | None = None,
    keys: Collection[str] = (),
    study_key: str | None = None,
) -> list[OutstandingDelivery]:
    """What is owed, longest first: to a destination, of a study, of deliveries or studies by the
    beginnings of their keys.
    """
    query = select(
        ResultDelivery.delivery_key, ResultDelivery.study_key, ResultDelivery.destination
    ).where(ResultDelivery.state.in_(OUTSTANDING))
    if destination is not None:
        query = query.where(ResultDelivery.destination == destination)
    if study_key is not None:
        query = query.where(ResultDelivery.study_key == study_key)
    if keys:
        columns = (ResultDelivery.delivery_key, ResultDelivery.study_key)
        query = query.where(
            or_(*(c.startswith(key, autoescape=True) for key in keys for c in columns))
        )
    return [
        OutstandingDelivery(
            delivery_key=row.delivery_key, study_key=row.study_key, destination=row.destination
        )
        for row in session.execute(query.order_by(ResultDelivery.id))
    ]


def cancel_deliveries(session: Session, delivery_keys: Collection[str], actor: str) -> int:
    """Owe these no more; how many were owed until now. Doing it twice does it once.

    Whoever is sending one just now loses its claim, and stops before its next object.
    """
    owed = session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.delivery_key.in_(list(delivery_keys)),
            ResultDelivery.state.in_(OUTSTANDING),
        )
        .order_by(ResultDelivery.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    entries = []
    for row in owed:
        detail = audit_detail(session, row)
        detail |= {"was": row.state.value, "begun": row.begun_at is not None}
        entries.append(
            AuditEntry(
                event=AuditEvent.RESULT_FORGONE,
                study_key=row.study_key,
                actor=actor,
                detail=detail,
            )
        )
        row.state, row.due_at, row.lease_until = DeliveryState.FORGONE, None, None
    session.flush()
    append_entries(session, entries)
    return len(owed)


def cancel_study_deliveries(session: Session, study_key: str, actor: str) -> int:
    """Owe nobody any result of a study any more; how many were owed."""
    owed = outstanding_deliveries(session, study_key=study_key)
    return cancel_deliveries(session, [item.delivery_key for item in owed], actor)


def destinations_with_objects(session: Session, study_key: str) -> list[str]:
    """Destinations that may hold an object of a result of this study."""
    return list(
        session.scalars(
            select(ResultDelivery.destination)
            .where(ResultDelivery.study_key == study_key, ResultDelivery.begun_at.is_not(None))
            .distinct()
            .order_by(ResultDelivery.destination)
        )
    )


def cancel_updates(session: Session, destination: str) -> bool:
    """A destination that is out of the file is not told of newer results either, until it is back.

    False if it stands in the file.
    """
    told = session.execute(
        update(ResultDestination)
        .where(ResultDestination.name == destination, ~ResultDestination.is_active)
        .values(forgone_at=now(session))
        .returning(ResultDestination.name),
        execution_options=WITHOUT_SESSION_SYNC,
    ).one_or_none()
    return told is not None
