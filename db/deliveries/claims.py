"""The way of a result to its destination: claimed, begun, sent, confirmed; or put off, or parked.

As for studies: a claim is fenced by the number of its attempt, every write asks for it, and whatever
is done twice ends in the same rows. Destination and objects are the same at each try, so that sending
again is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.deliveries.cancel import cancel_deliveries
from db.deliveries.destinations import acquire_attempt
from db.deliveries.predecessors import with_changed_digest
from db.deliveries.rows import (
    audit_detail,
    clear_error,
    due_row,
    held_row,
    model_name_of,
    park_row,
    predecessor_result,
    record_commitment_request,
    record_object,
    reschedule_row,
    sent_objects,
)
from db.engine.clock import now
from db.ledger.audit import append_entry
from db.ledger.identity import was_erased
from db.models import ResultDelivery, Study
from db.values.deliveries import DeliveryClaim, SentObject
from db.vocabulary.enums import AuditEvent, DeliveryState, FailureKind, StudyState

ACTOR = "delivery"
SIBLING_PAUSE_S = 5.0
"""An earlier result of the study is on its way to the same destination: look again so soon."""
REVISION_PAUSE_S = 30.0
"""The study is being read again, and its next result will take the place of this one."""
IN_PROGRESS = (
    StudyState.RECEIVING, StudyState.ACCEPTED, StudyState.QUEUED, StudyState.RUNNING,
)  # fmt: skip


def claim_delivery(session: Session, delivery_key: str, *, lease_s: float) -> DeliveryClaim | None:
    """The right to deliver a result; None if it is not due, taken, or its destination is away.

    Results of one study go to a destination in their order: while an earlier one is on its way, or
    while the study is read again, this one waits.
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
        model_name=model_name_of(session, row),
        verdict=row.verdict,
        finished_at=row.finished_at,
        failures=row.failures,
        refusals=row.refusals,
        predecessor=predecessor_result(session, row.predecessor_id),
    )


def renew_delivery(session: Session, claim: DeliveryClaim, *, lease_s: float) -> None:
    """Hold a claim for longer. Raises StaleClaim."""
    row = held_row(session, claim)
    row.lease_until = now(session) + timedelta(seconds=lease_s)
    session.flush()


def begin_delivery(session: Session, claim: DeliveryClaim, objects: Sequence[SentObject]) -> bool:
    """Write down what is about to be sent, so that it is known should it come back to us.

    Bytes that are not those of an earlier try are for the audit trail: destinations may hold either.
    False, and the delivery is superseded, if a newer result took its place meanwhile; or forgone, if
    the person was erased in the very moment in which the verdict came. Raises StaleClaim.
    """
    row = held_row(session, claim)
    if was_erased(session, row.study_key):
        cancel_deliveries(session, [row.delivery_key], ACTOR)
        return False
    if row.superseded_by is not None:
        row.state, row.lease_until, row.due_at = DeliveryState.SUPERSEDED, None, None
        session.flush()
        return False
    row.begun_at = row.begun_at or now(session)
    session.flush()
    differ = with_changed_digest(session, objects)
    for sent in objects:
        record_object(session, row, sent)
    if differ:
        detail = audit_detail(session, row) | {"objects": [item.sha256 for item in differ]}
        append_entry(session, AuditEvent.RESULT_DIFFERS, row.study_key, detail, ACTOR)
    return True


def finish_delivery(
    session: Session,
    claim: DeliveryClaim,
    *,
    warning: str | None = None,
    transaction_uid: str | None = None,
    repeat_after_s: float = 3600.0,
) -> None:
    """The destination has every object. With a `transaction_uid` it is asked to confirm that it
    keeps them, again after `repeat_after_s` if it says nothing. Raises StaleClaim.
    """
    moment = now(session)
    row = held_row(session, claim)
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
    detail = audit_detail(session, row) | {"warning": warning, "objects": digests}
    append_entry(session, AuditEvent.RESULT_SENT, row.study_key, detail, ACTOR)


def postpone_delivery(
    session: Session,
    claim: DeliveryClaim,
    *,
    code: str,
    sentence: str,
    kind: FailureKind,
    delay_s: float,
    refused: bool = False,
) -> None:
    """It failed this time: due again in `delay_s` seconds. Raises StaleClaim."""
    row = held_row(session, claim)
    row.refusals += refused
    row.failures += not refused
    row.crashes, row.lease_until = 0, None
    reschedule_row(row, now(session) + timedelta(seconds=delay_s))
    row.error_code, row.error_sentence, row.error_kind = code, sentence, kind
    session.flush()


def park_delivery(
    session: Session,
    claim: DeliveryClaim,
    *,
    code: str,
    sentence: str,
    kind: FailureKind,
    traceback_reference: str | None = None,
) -> None:
    """Trying again changes nothing: it waits for a person. Raises StaleClaim."""
    row = held_row(session, claim)
    row.refusals += 1
    park_row(row, code, sentence, kind)
    row.traceback_reference = traceback_reference
    session.flush()
    append_entry(
        session, AuditEvent.RESULT_PARKED, row.study_key, audit_detail(session, row), ACTOR
    )


def retry_delivery(session: Session, delivery_key: str) -> bool:
    """Send a parked delivery round again with its counters at nought; False if it is not parked."""
    row = session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.delivery_key == delivery_key,
            ResultDelivery.state == DeliveryState.PARKED,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return False
    row.failures = row.refusals = row.crashes = 0
    reschedule_row(row, now(session))
    clear_error(row)
    session.flush()
    return True


def _seconds_to_wait(session: Session, row: ResultDelivery) -> float:
    """Seconds to wait for what goes before this result, or nought."""
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
