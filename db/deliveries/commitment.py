"""Storage commitment (PS3.4 annex J) in rows: requested, reported, requested again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.deliveries.destinations import acquire_attempt
from db.deliveries.predecessors import sent_objects
from db.deliveries.rows import (
    audit_step,
    awaiting_row,
    due_row,
    park_row,
    record_commitment_request,
    reschedule_row,
)
from db.engine.clock import now
from db.engine.statements import WITHOUT_SESSION_SYNC
from db.ledger.conditions import end_condition, note_condition
from db.ledger.work_rows import clear_error, set_error
from db.models import CommitmentAsked, ResultDelivery
from db.values.deliveries import CommitmentOutcome, CommitmentRequest
from db.values.failures import Backoff, Failure
from db.vocabulary.enums import AuditEvent, DeliveryState, FailureKind

ENDED = (
    DeliveryState.SENT, DeliveryState.COMMITTED, DeliveryState.SUPERSEDED, DeliveryState.FORGONE,
)  # fmt: skip
MAX_REQUEST_INTERVAL_S = 86400.0
"""Between two requests about one sending."""
UNANSWERED_THRESHOLD = 4
"""So many unanswered ones about one sending are a condition: with one hour to answer, after 15 hours."""
AT_ONCE = Backoff(base_s=0.0, ceiling_s=0.0)


def commitment_subject(destination: str) -> str:
    """Return the subject of the condition that a destination takes our requests and never reports."""
    return f"commitment reports of {destination}"


def request_commitment(
    session: Session,
    delivery_key: str,
    *,
    transaction_uid: str,
    repeat_after_s: float,
    probe_s: float = 120.0,
) -> CommitmentRequest | None:
    """Return the request to be repeated to a destination that has not reported.

    A report on an earlier request counts as well: each is about the same objects, and has a
    Transaction UID of its own, as it shall (PS3.4 J.3.2.1.2). So an archive that reports once a
    night is asked less and less often, and need not win a race against us.

    Args:
        session: The running transaction.
        delivery_key: 32 hex digits, from the message.
        transaction_uid: A new one.
        repeat_after_s: After how long it is repeated at first; the interval doubles, up to a day.
        probe_s: For how long this is the only attempt while the destination fails.

    Returns:
        The request; None if none is due, or the destination is away.
    """
    moment = now(session)
    row = due_row(session, delivery_key, DeliveryState.AWAITING_COMMITMENT, moment)
    if row is None:
        return None
    row.published_at = None
    if not acquire_attempt(session, row.destination, moment, probe_s=probe_s):
        session.flush()
        return None
    silent = _count_unanswered(session, row)
    record_commitment_request(session, row, transaction_uid, moment)
    intervals = Backoff(
        base_s=repeat_after_s, ceiling_s=max(repeat_after_s, MAX_REQUEST_INTERVAL_S)
    )
    row.due_at = moment + timedelta(seconds=intervals.delay_s(silent))
    if silent >= UNANSWERED_THRESHOLD:
        note_condition(
            session,
            commitment_subject(row.destination),
            "COMMITMENT_SILENT",
            _unanswered_sentence(row, silent),
        )
    session.flush()
    return CommitmentRequest(
        delivery_id=row.id,
        destination=row.destination,
        transaction_uid=transaction_uid,
        objects=sent_objects(session, row),
        failures=row.failures,
        unanswered=silent,
    )


def postpone_commitment(
    session: Session, transaction_uid: str, failure: Failure, *, delay_s: float
) -> None:
    """Repeat a request in `delay_s` seconds: the destination could not be asked."""
    row = awaiting_row(session, transaction_uid)
    if row is not None:
        row.due_at, row.failures = now(session) + timedelta(seconds=delay_s), row.failures + 1
        set_error(row, replace(failure, kind=FailureKind.TRANSIENT))
        session.get_one(CommitmentAsked, transaction_uid).failed_at = now(session)
        session.flush()


def cancel_commitment(session: Session, transaction_uid: str) -> None:
    """Stop asking the destination for commitment: what it took counts as sent."""
    row = awaiting_row(session, transaction_uid)
    if row is not None:
        row.state, row.due_at = DeliveryState.SENT, None
        end_condition(session, commitment_subject(row.destination))
        session.flush()


def delete_obsolete_requests(session: Session) -> int:
    """Delete the requests about deliveries that have ended; return how many.

    Nobody awaits a report on them, and one that comes is unknown either way. A parked delivery may be
    retried, and then a report on an earlier request counts.
    """
    ended = select(ResultDelivery.id).where(
        ResultDelivery.id == CommitmentAsked.delivery_id, ResultDelivery.state.in_(ENDED)
    )
    deleted = session.execute(
        delete(CommitmentAsked).where(ended.exists()).returning(CommitmentAsked.delivery_id),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return len(deleted.all())


def record_commitment_report(
    session: Session,
    transaction_uid: str,
    kept: Sequence[str],
    failed: Mapping[str, int],
    *,
    max_refusals: int,
    backoff: Backoff = AT_ONCE,
) -> CommitmentOutcome:
    """Record a destination's report on storage commitment.

    Only a report that names every object as kept commits, whichever of our requests it answers;
    any other means sending all again, if it is about the last sending.

    Args:
        session: The running transaction.
        transaction_uid: Of the request that it answers.
        kept: SOP Instance UIDs that the destination keeps.
        failed: SOP Instance UIDs that it does not keep -> failure reason (PS3.3 C.14).
        max_refusals: After how many such reports the delivery is parked.
        backoff: After how long it is sent again, by the number of such reports before: many an
            archive says "no such object" until it has filed it.

    Returns:
        What became of the delivery; UNKNOWN if no request of ours is meant.
    """
    row = awaiting_row(session, transaction_uid)
    if row is None:
        return CommitmentOutcome.UNKNOWN
    missing = {sent.sop_instance_uid for sent in sent_objects(session, row)} - set(kept)
    about = session.get_one(CommitmentAsked, transaction_uid).attempt
    if (missing or failed) and about != row.attempts:
        return CommitmentOutcome.UNKNOWN
    end_condition(session, commitment_subject(row.destination))
    if not missing and not failed:
        row.state, row.committed_at, row.due_at = DeliveryState.COMMITTED, now(session), None
        clear_error(row)
        row.refusals = row.failures = 0
        audit_step(session, row, AuditEvent.RESULT_COMMITTED)
        return CommitmentOutcome.COMMITTED
    row.refusals += 1
    reasons = ", ".join(sorted({f"{reason:04X}" for reason in failed.values()})) or "none given"
    failure = Failure(
        kind=FailureKind.REJECTED,
        code="COMMITMENT_FAILED",
        sentence=f"{row.destination} took the result and reports that it does not keep "
        f"{len(missing)} of its objects (failure reason, PS3.3 C.14: {reasons}). Look into the "
        "destination's log.",
    )
    if row.refusals >= max_refusals:
        park_row(row, failure)
        audit_step(session, row, AuditEvent.RESULT_PARKED)
        return CommitmentOutcome.PARKED
    reschedule_row(row, now(session) + timedelta(seconds=backoff.delay_s(row.refusals - 1)))
    set_error(row, failure)
    session.flush()
    return CommitmentOutcome.SEND_AGAIN


def _count_unanswered(session: Session, row: ResultDelivery) -> int:
    """Count the requests about the last sending that the destination took, all without a report."""
    return session.scalars(
        select(func.count()).where(
            CommitmentAsked.delivery_id == row.id,
            CommitmentAsked.attempt == row.attempts,
            CommitmentAsked.failed_at.is_(None),
        )
    ).one()


def _unanswered_sentence(row: ResultDelivery, silent: int) -> str:
    return (
        f"{row.destination} was asked {silent} times whether it keeps a result and has not answered. "
        "Enter our AE title and the listener's host and port there, let PNEUMO_CALLING_AE_TITLES name "
        "it, or take storage_commitment out of the file of PNEUMO_PEERS."
    )
