"""Claim a delivery, begin it, finish it; or postpone it, or park it.

As for studies: a claim is fenced by the number of its attempt, every write checks it, and whatever is
done twice ends in the same rows. Destination and objects are the same at each attempt, so that
sending again is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.deliveries.cancel import cancel_deliveries
from db.deliveries.destinations import acquire_attempt
from db.deliveries.predecessors import (
    predecessor_result,
    record_object,
    sent_objects,
    with_changed_digest,
)
from db.deliveries.rows import (
    ACTOR,
    audit_detail,
    audit_step,
    due_row,
    held_delivery,
    model_name_of,
    park_row,
    record_commitment_request,
    reschedule_row,
    supersede_row,
)
from db.engine.clock import now
from db.engine.statements import lock_rows
from db.ledger.audit import append_entry
from db.ledger.identity import was_erased
from db.ledger.work_rows import clear_error, set_error
from db.models import ResultDelivery, Study
from db.values.deliveries import DeliveryClaim, SentObject
from db.values.failures import Failure
from db.vocabulary.enums import AuditEvent, DeliveryState, StudyState

SIBLING_PAUSE_S = 5.0
"""While an earlier result of the study is being sent to the same destination, look again so soon."""
REVISION_PAUSE_S = 30.0
"""While the study is processed again: its next result will supersede this one."""
IN_PROGRESS = (
    StudyState.RECEIVING, StudyState.ACCEPTED, StudyState.QUEUED, StudyState.RUNNING,
)  # fmt: skip


def claim_delivery(session: Session, delivery_key: str, *, lease_s: float) -> DeliveryClaim | None:
    """Claim a delivery for `lease_s` seconds.

    Results of one study reach a destination in their order: while an earlier one is being sent, or
    while the study is processed again, this one waits.

    Args:
        session: The running transaction.
        delivery_key: 32 hex digits, from the message.
        lease_s: How long the claim holds without renewal.

    Returns:
        The claim; None if the delivery is not due, is claimed already, or its destination is away.
    """
    moment = now(session)
    row = due_row(session, delivery_key, DeliveryState.WAITING, moment)
    if row is None:
        return None
    if pause_s := _seconds_to_wait(session, row):
        row.due_at, row.published_at = moment + timedelta(seconds=pause_s), None
        session.flush()
        return None
    if not acquire_attempt(session, row.destination, moment, probe_s=lease_s):
        row.published_at = None
        session.flush()
        return None
    row.state, row.attempts = DeliveryState.SENDING, row.attempts + 1
    row.lease_until, row.published_at = moment + timedelta(seconds=lease_s), None
    session.flush()
    return DeliveryClaim(
        delivery_id=row.id,
        delivery_key=row.delivery_key,
        token=row.attempts,
        destination=row.destination,
        study_key=row.study_key,
        revision=row.revision,
        model_name=model_name_of(session, row.model_version_id),
        verdict=row.verdict,
        finished_at=row.finished_at,
        failures=row.failures,
        refusals=row.refusals,
        predecessor=predecessor_result(session, row.predecessor_id),
    )


def renew_delivery(session: Session, claim: DeliveryClaim, *, lease_s: float) -> None:
    """Extend the lease of a claim. Raises StaleClaim."""
    row = held_delivery(session, claim)
    row.lease_until = now(session) + timedelta(seconds=lease_s)
    session.flush()


def begin_delivery(session: Session, claim: DeliveryClaim, objects: Sequence[SentObject]) -> bool:
    """Store what is about to be sent, so that it is recognised should it come back to us.

    Bytes other than those of an earlier attempt are audited: destinations may hold either.

    Args:
        session: The running transaction.
        claim: The worker's claim.
        objects: What is about to be sent.

    Returns:
        False if it must not be sent: a newer result superseded it meanwhile, or the person was
        erased in the very moment in which the verdict was stored, and it is cancelled.

    Raises:
        StaleClaim: Another attempt has the delivery now.
    """
    row = held_delivery(session, claim)
    if was_erased(session, row.study_key):
        cancel_deliveries(session, [row.delivery_key], ACTOR)
        return False
    if row.superseded_by is not None:
        supersede_row(row)
        row.lease_until = None
        session.flush()
        return False
    row.begun_at = row.begun_at or now(session)
    session.flush()
    differ = with_changed_digest(session, objects)
    for sent in objects:
        record_object(session, row, sent)
    if differ:
        digests = [item.sha256 for item in differ]
        audit_step(session, row, AuditEvent.RESULT_DIFFERS, objects=digests)
    return True


def finish_delivery(
    session: Session,
    claim: DeliveryClaim,
    *,
    warning: str | None = None,
    transaction_uid: str | None = None,
    repeat_after_s: float = 3600.0,
) -> None:
    """Record that the destination has every object.

    Args:
        session: The running transaction.
        claim: The worker's claim.
        warning: Code of the last warning with which the destination stored an object.
        transaction_uid: Of the request for storage commitment that is about to be sent; None: none
            is.
        repeat_after_s: After how long the request is repeated if the destination does not report.

    Raises:
        StaleClaim: Another attempt has the delivery now.
    """
    moment = now(session)
    row = held_delivery(session, claim)
    row.sent_at, row.warning, row.lease_until = moment, warning, None
    row.failures = row.crashes = 0
    clear_error(row)
    if transaction_uid is None:
        row.state, row.due_at = DeliveryState.SENT, None
    else:
        row.state = DeliveryState.AWAITING_COMMITMENT
        record_commitment_request(session, row, transaction_uid, moment)
        row.due_at = moment + timedelta(seconds=repeat_after_s)
    session.flush()
    digests = [sent.sha256 for sent in sent_objects(session, row)]
    audit_step(session, row, AuditEvent.RESULT_SENT, warning=warning, objects=digests)


def postpone_delivery(
    session: Session,
    claim: DeliveryClaim,
    failure: Failure,
    *,
    delay_s: float,
    refused: bool = False,
) -> None:
    """Retry a failed delivery in `delay_s` seconds. Raises StaleClaim."""
    row = held_delivery(session, claim)
    row.refusals += refused
    row.failures += not refused
    row.crashes, row.lease_until = 0, None
    reschedule_row(row, now(session) + timedelta(seconds=delay_s))
    set_error(row, failure)
    session.flush()


def park_delivery(session: Session, claim: DeliveryClaim, failure: Failure) -> None:
    """Park a delivery for a person: another attempt would change nothing. Raises StaleClaim."""
    row = held_delivery(session, claim)
    row.refusals += 1
    park_row(row, failure)
    audit_step(session, row, AuditEvent.RESULT_PARKED)


def retry_delivery(session: Session, delivery_key: str, *, actor: str) -> bool:
    """Make a parked delivery due again, its counters at nought; return False if it is not parked.

    The audit trail records `actor`, the person's account.
    """
    parked = select(ResultDelivery).where(
        ResultDelivery.delivery_key == delivery_key, ResultDelivery.state == DeliveryState.PARKED
    )
    row = lock_rows(session, parked).one_or_none()
    if row is None:
        return False
    detail = {**audit_detail(session, row), "code": row.error_code}
    row.failures = row.refusals = row.crashes = 0
    reschedule_row(row, now(session))
    clear_error(row)
    append_entry(session, AuditEvent.RESULT_RETRIED, row.study_key, detail, actor)
    return True


def _seconds_to_wait(session: Session, row: ResultDelivery) -> float:
    """Return the seconds to wait for what goes before this result, or nought."""
    sibling = select(ResultDelivery.id).where(
        ResultDelivery.study_id == row.study_id,
        ResultDelivery.destination == row.destination,
        ResultDelivery.state == DeliveryState.SENDING,
        ResultDelivery.id != row.id,
    )
    if session.scalars(sibling.limit(1)).first() is not None:
        return SIBLING_PAUSE_S
    anew = select(Study.id).where(
        Study.id == row.study_id, Study.revision > row.revision, Study.state.in_(IN_PROGRESS)
    )
    return REVISION_PAUSE_S if session.scalars(anew).first() is not None else 0.0
