"""Storage commitment (PS3.4 annex J) in rows: asked, answered, asked again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.deliveries.destinations import WITHOUT_SESSION_SYNC, acquire_attempt
from db.deliveries.rows import (
    audit_detail,
    awaiting_row,
    clear_error,
    due_row,
    park_row,
    record_commitment_request,
    reschedule_row,
    sent_objects,
)
from db.engine.clock import now
from db.ledger.audit import append_entry
from db.ledger.conditions import end_condition, note_condition
from db.models import CommitmentAsked, ResultDelivery
from db.values.deliveries import CommitmentOutcome, CommitmentRequest
from db.vocabulary.enums import AuditEvent, DeliveryState, FailureKind

ACTOR = "delivery"
ENDED = (
    DeliveryState.SENT, DeliveryState.COMMITTED, DeliveryState.SUPERSEDED, DeliveryState.FORGONE,
)  # fmt: skip
COMMITMENT_FAILED = "COMMITMENT_FAILED"
MAX_REQUEST_INTERVAL_S = 86400.0
"""Between two questions about one sending."""
UNANSWERED_THRESHOLD = 4
"""So many unanswered ones about one sending are a condition: at one hour's patience, after 15 hours."""


def commitment_subject(destination: str) -> str:
    """Under which subject it stands that a destination takes our questions and never answers."""
    return f"commitment reports of {destination}"


def request_commitment(
    session: Session,
    delivery_key: str,
    *,
    transaction_uid: str,
    repeat_after_s: float,
    probe_s: float = 120.0,
) -> CommitmentRequest | None:
    """The request to be made anew for a delivery whose destination has said nothing; None if none
    is due, or the destination is away.

    An answer to an earlier request counts as well: each is about the same objects, and has a
    Transaction UID of its own, as it shall (PS3.4 J.3.2.1.2). So an archive that answers once a night
    is asked less and less often, and need not win a race against us.
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
    grown = min(
        repeat_after_s * 2.0 ** min(silent, 30), max(repeat_after_s, MAX_REQUEST_INTERVAL_S)
    )
    row.due_at = moment + timedelta(seconds=grown)
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
    session: Session, transaction_uid: str, *, code: str, sentence: str, delay_s: float
) -> None:
    """The destination could not be asked; it is asked again in `delay_s` seconds."""
    row = awaiting_row(session, transaction_uid)
    if row is not None:
        row.due_at, row.failures = now(session) + timedelta(seconds=delay_s), row.failures + 1
        row.error_code, row.error_sentence = code, sentence
        row.error_kind = FailureKind.TRANSIENT
        session.get_one(CommitmentAsked, transaction_uid).failed_at = now(session)
        session.flush()


def cancel_commitment(session: Session, transaction_uid: str) -> None:
    """The destination is not asked for commitment any more: what it took counts as sent."""
    row = awaiting_row(session, transaction_uid)
    if row is not None:
        row.state, row.due_at = DeliveryState.SENT, None
        end_condition(session, commitment_subject(row.destination))
        session.flush()


def delete_obsolete_requests(session: Session) -> int:
    """Forget what was asked about deliveries that have ended; how many questions.

    Nobody waits for an answer to them, and one that comes is unknown either way. A parked delivery
    may be sent round again, and then an answer to an earlier question counts.
    """
    ended = select(ResultDelivery.id).where(
        ResultDelivery.id == CommitmentAsked.delivery_id, ResultDelivery.state.in_(ENDED)
    )
    forgotten = session.execute(
        delete(CommitmentAsked).where(ended.exists()).returning(CommitmentAsked.delivery_id),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return len(forgotten.all())


def record_commitment_report(
    session: Session,
    transaction_uid: str,
    kept: Sequence[str],
    failed: Mapping[str, int],
    *,
    max_refusals: int,
    pause_s: Callable[[int], float] = lambda _: 0.0,
) -> CommitmentOutcome:
    """What a destination reported: SOP Instance UIDs that it keeps, and those that it does not.

    Only a report that names every object as kept commits, whichever of our requests it answers; any
    other means sending all again, if it is about the last sending. `pause_s` says after how long, by
    the number of such reports before: many an archive says "no such object" until it has filed it.
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
        session.flush()
        append_entry(
            session, AuditEvent.RESULT_COMMITTED, row.study_key, audit_detail(session, row), ACTOR
        )
        return CommitmentOutcome.COMMITTED
    row.refusals += 1
    reasons = ", ".join(sorted({f"{reason:04X}" for reason in failed.values()})) or "none given"
    sentence = (
        f"{row.destination} took the result and reports that it does not keep {len(missing)} of its "
        f"objects (failure reason, PS3.3 C.14: {reasons}). Look into the destination's log."
    )
    if row.refusals >= max_refusals:
        park_row(row, COMMITMENT_FAILED, sentence, FailureKind.REJECTED)
        session.flush()
        append_entry(
            session, AuditEvent.RESULT_PARKED, row.study_key, audit_detail(session, row), ACTOR
        )
        return CommitmentOutcome.PARKED
    reschedule_row(row, now(session) + timedelta(seconds=pause_s(row.refusals - 1)))
    row.error_code, row.error_sentence = COMMITMENT_FAILED, sentence
    row.error_kind = FailureKind.REJECTED
    session.flush()
    return CommitmentOutcome.SEND_AGAIN


def _count_unanswered(session: Session, row: ResultDelivery) -> int:
    """Questions about the last sending that the destination took, all without an answer."""
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
