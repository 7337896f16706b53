"""A delivery's row: how it is found, locked, and moved from state to state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.engine.statements import WITHOUT_SESSION_SYNC, lock_rows
from db.ledger.audit import append_entry
from db.ledger.work_rows import held_row, set_error
from db.models import CommitmentAsked, ModelVersion, ResultDelivery
from db.values.deliveries import DeliveryClaim
from db.values.failures import Failure
from db.vocabulary.enums import AuditEvent, DeliveryState

ACTOR = "delivery"
REQUESTS_KEPT = 50
"""Requests for storage commitment of one delivery that a report may still answer."""


def park_row(row: ResultDelivery, failure: Failure) -> None:
    """Park a locked row; one that was superseded meanwhile needs no person."""
    row.lease_until = row.due_at = None
    superseded = row.superseded_by is not None
    row.state = DeliveryState.SUPERSEDED if superseded else DeliveryState.PARKED
    set_error(row, failure)


def reschedule_row(row: ResultDelivery, due_at: datetime) -> None:
    """Make a locked row due again, unless a newer result has superseded it meanwhile."""
    row.published_at = None
    if row.superseded_by is None:
        row.state, row.due_at = DeliveryState.WAITING, due_at
    else:
        supersede_row(row)


def supersede_row(row: ResultDelivery) -> None:
    """End a locked row that nobody is sending: what it says is no longer true."""
    row.state, row.due_at = DeliveryState.SUPERSEDED, None


def due_row(
    session: Session, delivery_key: str, state: DeliveryState, moment: datetime
) -> ResultDelivery | None:
    """Return the row, locked, if it is in this state and due."""
    due = select(ResultDelivery).where(
        ResultDelivery.delivery_key == delivery_key,
        ResultDelivery.state == state,
        ResultDelivery.due_at <= moment,
    )
    return lock_rows(session, due).one_or_none()


def held_delivery(session: Session, claim: DeliveryClaim) -> ResultDelivery:
    """Return the row, locked, if `claim` still holds it; raise StaleClaim otherwise."""
    return held_row(session, ResultDelivery, claim.delivery_id, claim.token)


def awaiting_row(session: Session, transaction_uid: str) -> ResultDelivery | None:
    """Return the row, locked, that awaits a report and about which this transaction asked.

    Any of its transactions: a report may come after the destination was asked again.
    """
    delivery_id = select(CommitmentAsked.delivery_id).where(
        CommitmentAsked.transaction_uid == transaction_uid
    )
    awaiting = select(ResultDelivery).where(
        ResultDelivery.id == delivery_id.scalar_subquery(),
        ResultDelivery.state == DeliveryState.AWAITING_COMMITMENT,
    )
    return lock_rows(session, awaiting).one_or_none()


def record_commitment_request(
    session: Session, row: ResultDelivery, transaction_uid: str, moment: datetime
) -> None:
    """Store a request for commitment to the last sending of a locked row.

    Only the last ones of each delivery are kept; those that the destination did not take go first.
    """
    row.transaction_uid = transaction_uid
    session.add(
        CommitmentAsked(
            transaction_uid=transaction_uid,
            delivery_id=row.id,
            attempt=row.attempts,
            asked_at=moment,
        )
    )
    session.flush()
    others = (
        select(CommitmentAsked.transaction_uid)
        .where(
            CommitmentAsked.delivery_id == row.id,
            CommitmentAsked.transaction_uid != transaction_uid,
        )
        .order_by(
            CommitmentAsked.failed_at.is_not(None),
            CommitmentAsked.asked_at.desc(),
            CommitmentAsked.transaction_uid,
        )
    )
    if too_many := session.scalars(others.offset(REQUESTS_KEPT - 1)).all():
        session.execute(
            delete(CommitmentAsked).where(CommitmentAsked.transaction_uid.in_(too_many)),
            execution_options=WITHOUT_SESSION_SYNC,
        )


def model_name_of(session: Session, model_version_id: int | None) -> str:
    """Return the name of a model version."""
    name = select(ModelVersion.name).where(ModelVersion.id == model_version_id)
    return session.scalars(name).one()


def audit_detail(session: Session, row: ResultDelivery) -> dict[str, Any]:
    """Return what the audit trail keeps of a step; no UID."""
    return {
        "destination": row.destination,
        "attempt": row.attempts,
        "revision": row.revision,
        "model": model_name_of(session, row.model_version_id),
        "code": row.error_code,
    }


def audit_step(session: Session, row: ResultDelivery, event: AuditEvent, **more: Any) -> None:
    """Append a step of a delivery to the audit trail, as the last act of its transaction."""
    session.flush()
    append_entry(session, event, row.study_key, audit_detail(session, row) | more, ACTOR)
