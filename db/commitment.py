"""Storage commitment (PS3.4 annex J) in rows: asked, answered, asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from db.audit import append
from db.clock import now
from db.delivery_records import CommitmentOutcome, CommitmentRequest
from db.delivery_rows import (
    audit_detail,
    awaiting_row,
    due_row,
    forget_error,
    objects_of,
    park_row,
    wait_again,
)
from db.destinations import may_try
from db.enums import AuditEvent, DeliveryState, FailureKind

ACTOR = "delivery"
COMMITMENT_FAILED = "COMMITMENT_FAILED"


def ask_for_commitment(
    session: Session,
    delivery_key: str,
    *,
    transaction_uid: str,
    ask_again_s: float,
    probe_s: float = 120.0,
) -> CommitmentRequest | None:
    """The request to be made anew for a delivery whose destination has said nothing; None if none
    is due, or the destination is away.
    """
    moment = now(session)
    row = due_row(session, delivery_key, DeliveryState.AWAITING_COMMITMENT, moment)
    if row is None:
        return None
    row.published_at = None
    if not may_try(session, row.destination, moment, probe_s=probe_s):
        session.flush()
        return None
    row.transaction_uid = transaction_uid
    row.due_at = moment + timedelta(seconds=ask_again_s)
    session.flush()
    return CommitmentRequest(
        delivery_id=row.id,
        destination=row.destination,
        transaction_uid=transaction_uid,
        objects=objects_of(session, row),
        failures=row.failures,
    )


def put_off_commitment(
    session: Session, transaction_uid: str, *, code: str, sentence: str, delay_s: float
) -> None:
    """The destination could not be asked; it is asked again in `delay_s` seconds."""
    row = awaiting_row(session, transaction_uid)
    if row is not None:
        row.due_at, row.failures = now(session) + timedelta(seconds=delay_s), row.failures + 1
        row.error_code, row.error_sentence = code, sentence
        row.error_kind = FailureKind.TRANSIENT
        session.flush()


def forgo_commitment(session: Session, transaction_uid: str) -> None:
    """The destination is not asked for commitment any more: what it took counts as sent."""
    row = awaiting_row(session, transaction_uid)
    if row is not None:
        row.state, row.due_at = DeliveryState.SENT, None
        session.flush()


def settle_commitment(
    session: Session,
    transaction_uid: str,
    kept: Sequence[str],
    failed: Mapping[str, int],
    *,
    most_refusals: int,
) -> CommitmentOutcome:
    """What a destination reported: SOP Instance UIDs that it keeps, and those that it does not.

    Only a report that names every object as kept commits; any other means sending all again.
    """
    row = awaiting_row(session, transaction_uid)
    if row is None:
        return CommitmentOutcome.UNKNOWN
    missing = {sent.sop_instance_uid for sent in objects_of(session, row)} - set(kept)
    if not missing and not failed:
        row.state, row.committed_at, row.due_at = DeliveryState.COMMITTED, now(session), None
        forget_error(row)
        row.refusals = row.failures = 0
        session.flush()
        append(
            session, AuditEvent.RESULT_COMMITTED, row.study_key, audit_detail(session, row), ACTOR
        )
        return CommitmentOutcome.COMMITTED
    row.refusals += 1
    reasons = ", ".join(sorted({f"{reason:04X}" for reason in failed.values()})) or "none given"
    sentence = (
        f"{row.destination} took the result and reports that it does not keep {len(missing)} of its "
        f"objects (failure reason, PS3.3 C.14: {reasons}). Look into the destination's log."
    )
    if row.refusals >= most_refusals:
        park_row(row, COMMITMENT_FAILED, sentence, FailureKind.REJECTED)
        session.flush()
        append(session, AuditEvent.RESULT_PARKED, row.study_key, audit_detail(session, row), ACTOR)
        return CommitmentOutcome.PARKED
    wait_again(row, now(session))
    row.error_code, row.error_sentence = COMMITMENT_FAILED, sentence
    row.error_kind = FailureKind.REJECTED
    session.flush()
    return CommitmentOutcome.SEND_AGAIN
