"""A delivery's row: how it is found, locked, and moved from state to state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.deliveries.destinations import WITHOUT_SESSION_SYNC
from db.models import CommitmentAsked, ModelVersion, ResultDelivery, ResultObject
from db.values.deliveries import DeliveryClaim, PredecessorResult, SentObject
from db.vocabulary.enums import DeliveryState, FailureKind
from db.vocabulary.errors import StaleClaim

REQUESTS_KEPT = 50
"""Requests for storage commitment of one delivery that an answer is still believed to."""


def park_row(row: ResultDelivery, code: str, sentence: str, kind: FailureKind) -> None:
    """Park a locked row; superseded meanwhile, there is nothing to be mended."""
    row.lease_until = row.due_at = None
    superseded = row.superseded_by is not None
    row.state = DeliveryState.SUPERSEDED if superseded else DeliveryState.PARKED
    row.error_code, row.error_sentence, row.error_kind = code, sentence, kind


def reschedule_row(row: ResultDelivery, due_at: datetime) -> None:
    """Due again, unless a newer result has taken its place meanwhile."""
    row.published_at = None
    if row.superseded_by is None:
        row.state, row.due_at = DeliveryState.WAITING, due_at
    else:
        row.state, row.due_at = DeliveryState.SUPERSEDED, None


def clear_error(row: ResultDelivery) -> None:
    """All is well again."""
    row.error_code = row.error_sentence = row.error_kind = row.traceback_reference = None


def due_row(
    session: Session, delivery_key: str, state: DeliveryState, moment: datetime
) -> ResultDelivery | None:
    """The row, locked, if it is in this state and due."""
    return session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.delivery_key == delivery_key,
            ResultDelivery.state == state,
            ResultDelivery.due_at <= moment,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def held_row(session: Session, claim: DeliveryClaim) -> ResultDelivery:
    """The row, locked, if `claim` still holds it; raises StaleClaim otherwise."""
    row = session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.id == claim.delivery_id,
            ResultDelivery.attempts == claim.token,
            ResultDelivery.state == DeliveryState.SENDING,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise StaleClaim(claim.token)
    return row


def awaiting_row(session: Session, transaction_uid: str) -> ResultDelivery | None:
    """The row, locked, that waits for a report, and about which this transaction asked.

    Any of its transactions: a report may come after the destination was asked again.
    """
    delivery_id = select(CommitmentAsked.delivery_id).where(
        CommitmentAsked.transaction_uid == transaction_uid
    )
    return session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.id == delivery_id.scalar_subquery(),
            ResultDelivery.state == DeliveryState.AWAITING_COMMITMENT,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def record_commitment_request(
    session: Session, row: ResultDelivery, transaction_uid: str, moment: datetime
) -> None:
    """Write down a request for commitment to the last sending of a locked row.

    Of each delivery the last ones are kept; before one that may be answered goes one that was not taken.
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


def record_object(session: Session, row: ResultDelivery, sent: SentObject) -> None:
    """Write down an object of this attempt, or that this attempt made it again."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    changing = {"made_by_attempt": row.attempts, "sha256": sent.sha256}
    session.execute(
        insert(ResultObject)
        .values(
            delivery_id=row.id,
            sop_class_uid=sent.sop_class_uid,
            sop_instance_uid=sent.sop_instance_uid,
            series_instance_uid=sent.series_instance_uid,
            **changing,
        )
        .on_conflict_do_update(index_elements=["delivery_id", "sop_instance_uid"], set_=changing)
    )


def sent_objects(session: Session, row: ResultDelivery) -> tuple[SentObject, ...]:
    """The objects of the last attempt that made any, the report first."""
    found = session.scalars(
        select(ResultObject)
        .where(ResultObject.delivery_id == row.id)
        .order_by(ResultObject.id)
        .execution_options(populate_existing=True)
    ).all()
    last = max((item.made_by_attempt for item in found), default=0)
    return tuple(
        SentObject(
            sop_class_uid=item.sop_class_uid,
            sop_instance_uid=item.sop_instance_uid,
            series_instance_uid=item.series_instance_uid,
            sha256=item.sha256,
        )
        for item in found
        if item.made_by_attempt == last
    )


def predecessor_result(session: Session, delivery_id: int | None) -> PredecessorResult | None:
    """What a newer result says that it takes the place of."""
    if delivery_id is None:
        return None
    row = session.get_one(ResultDelivery, delivery_id)
    return PredecessorResult(
        model_name=model_name_of(session, row),
        revision=row.revision,
        finished_at=row.finished_at,
        objects=sent_objects(session, row),
    )


def model_name_of(session: Session, row: ResultDelivery) -> str:
    """Its model version."""
    name = select(ModelVersion.name).where(ModelVersion.id == row.model_version_id)
    return session.scalars(name).one()


def audit_detail(session: Session, row: ResultDelivery) -> dict[str, Any]:
    """What the audit trail keeps of a step; no UID."""
    return {
        "destination": row.destination,
        "attempt": row.attempts,
        "revision": row.revision,
        "model": model_name_of(session, row),
        "code": row.error_code,
    }
