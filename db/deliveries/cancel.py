"""Cancel outstanding deliveries: a person's act, audited, and never undone.

An outstanding delivery keeps its study's files. Where nobody will ever take it (a destination that
was shut down, a result that is refused for good, a person who is to be forgotten) it is cancelled.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.deliveries.outbox import OUTSTANDING
from db.deliveries.rows import audit_detail
from db.engine.clock import now
from db.engine.statements import WITHOUT_SESSION_SYNC, lock_rows
from db.ledger.audit import AuditEntry, append_entries
from db.models import ResultDelivery, ResultDestination
from db.vocabulary.enums import AuditEvent, DeliveryState


@dataclass(frozen=True, kw_only=True)
class OutstandingDelivery:
    """A delivery that has not ended, for the person who decides about it."""

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
    """Return what is outstanding, oldest first.

    Args:
        session: The running transaction.
        destination: Only deliveries for this destination.
        keys: Only deliveries and studies whose keys begin with one of these.
        study_key: Only deliveries of this study.

    Returns:
        Those that meet all that is given.
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
    """Cancel those of these deliveries that are outstanding; return how many were.

    A worker that is sending one just now loses its claim, and stops before its next object.
    """
    outstanding = select(ResultDelivery).where(
        ResultDelivery.delivery_key.in_(list(delivery_keys)),
        ResultDelivery.state.in_(OUTSTANDING),
    )
    entries = []
    for row in lock_rows(session, outstanding.order_by(ResultDelivery.id)).all():
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
    return len(entries)


def cancel_study_deliveries(session: Session, study_key: str, actor: str) -> int:
    """Cancel every outstanding delivery of a study; return how many there were."""
    outstanding = outstanding_deliveries(session, study_key=study_key)
    return cancel_deliveries(session, [item.delivery_key for item in outstanding], actor)


def destinations_with_objects(session: Session, study_key: str) -> list[str]:
    """Return the destinations that may hold an object of a result of this study."""
    return list(
        session.scalars(
            select(ResultDelivery.destination)
            .where(ResultDelivery.study_key == study_key, ResultDelivery.begun_at.is_not(None))
            .distinct()
            .order_by(ResultDelivery.destination)
        )
    )


def cancel_updates(session: Session, destination: str) -> bool:
    """Send no newer results either to a destination that is out of the file, until it is back.

    Returns False if it is in the file.
    """
    cancelled = session.execute(
        update(ResultDestination)
        .where(ResultDestination.name == destination, ~ResultDestination.is_active)
        .values(forgone_at=now(session))
        .returning(ResultDestination.name),
        execution_options=WITHOUT_SESSION_SYNC,
    ).one_or_none()
    return cancelled is not None
