"""The way of a result to its destination: claimed, begun, sent, confirmed; or put off, or parked.

As for studies: a claim is fenced by the number of its attempt, every write asks for it, and whatever
is done twice ends in the same rows. Destination and objects are the same at each try, so that sending
again is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.audit import append
from db.clock import now
from db.delivery_records import (
    CommitmentOutcome,
    CommitmentRequest,
    DeliveryClaim,
    EarlierResult,
    SentObject,
)
from db.destinations import may_try, note_success
from db.enums import AuditEvent, DeliveryState, FailureKind, StudyState
from db.errors import StaleClaim
from db.models import ModelVersion, ResultDelivery, ResultObject, Study

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
    row = _due(session, delivery_key, DeliveryState.WAITING, moment)
    if row is None:
        return None
    if pause_s := _must_wait(session, row):
        row.due_at, row.published_at = moment + timedelta(seconds=pause_s), None
        session.flush()
        return None
    if not may_try(session, row.destination, moment, probe_s=lease_s):
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
        model_name=_model_name(session, row),
        verdict=row.verdict,
        finished_at=row.finished_at,
        failures=row.failures,
        refusals=row.refusals,
        predecessor=_earlier(session, row.predecessor_id),
    )


def renew_delivery(session: Session, claim: DeliveryClaim, *, lease_s: float) -> None:
    """Hold a claim for longer. Raises StaleClaim."""
    row = _held(session, claim)
    row.lease_until = now(session) + timedelta(seconds=lease_s)
    session.flush()


def begin_delivery(session: Session, claim: DeliveryClaim, objects: Sequence[SentObject]) -> bool:
    """Write down what is about to be sent, so that it is known should it come back to us.

    False, and the delivery is superseded, if a newer result took its place meanwhile. Raises
    StaleClaim.
    """
    row = _held(session, claim)
    if row.superseded_by is not None:
        row.state, row.lease_until, row.due_at = DeliveryState.SUPERSEDED, None, None
        session.flush()
        return False
    row.begun_at = row.begun_at or now(session)
    session.flush()
    for sent in objects:
        _note_object(session, row, sent)
    return True


def finish_delivery(
    session: Session,
    claim: DeliveryClaim,
    *,
    warning: str | None = None,
    transaction_uid: str | None = None,
    ask_again_s: float = 3600.0,
) -> None:
    """The destination has every object. With a `transaction_uid` it is asked to confirm that it
    keeps them, again after `ask_again_s` if it says nothing. Raises StaleClaim.
    """
    moment = now(session)
    row = _held(session, claim)
    row.sent_at, row.warning, row.lease_until = moment, warning, None
    row.failures = row.crashes = 0
    _forget_error(row)
    if transaction_uid is None:
        row.state, row.due_at = DeliveryState.SENT, None
    else:
        row.state, row.transaction_uid = DeliveryState.AWAITING_COMMITMENT, transaction_uid
        row.due_at = moment + timedelta(seconds=ask_again_s)
    session.flush()
    digests = [sent.sha256 for sent in _objects(session, row)]
    detail = _detail(session, row) | {"warning": warning, "objects": digests}
    append(session, AuditEvent.RESULT_SENT, row.study_key, detail, ACTOR)


def put_off_delivery(
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
    row = _held(session, claim)
    row.refusals += refused
    row.failures += not refused
    row.crashes, row.lease_until = 0, None
    _wait_again(row, now(session) + timedelta(seconds=delay_s))
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
    row = _held(session, claim)
    row.refusals += 1
    park_row(row, code, sentence, kind)
    row.traceback_reference = traceback_reference
    session.flush()
    append(session, AuditEvent.RESULT_PARKED, row.study_key, _detail(session, row), ACTOR)


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
    _wait_again(row, now(session))
    _forget_error(row)
    session.flush()
    return True


# --- storage commitment -------------------------------------------------------------------------


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
    row = _due(session, delivery_key, DeliveryState.AWAITING_COMMITMENT, moment)
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
        objects=_objects(session, row),
        failures=row.failures,
    )


def put_off_commitment(
    session: Session, transaction_uid: str, *, code: str, sentence: str, delay_s: float
) -> None:
    """The destination could not be asked; it is asked again in `delay_s` seconds."""
    row = _awaiting(session, transaction_uid)
    if row is not None:
        row.due_at, row.failures = now(session) + timedelta(seconds=delay_s), row.failures + 1
        row.error_code, row.error_sentence = code, sentence
        row.error_kind = FailureKind.TRANSIENT
        session.flush()


def forgo_commitment(session: Session, transaction_uid: str) -> None:
    """The destination is not asked for commitment any more: what it took counts as sent."""
    row = _awaiting(session, transaction_uid)
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
    row = _awaiting(session, transaction_uid)
    if row is None:
        return CommitmentOutcome.UNKNOWN
    missing = {sent.sop_instance_uid for sent in _objects(session, row)} - set(kept)
    if not missing and not failed:
        row.state, row.committed_at, row.due_at = DeliveryState.COMMITTED, now(session), None
        _forget_error(row)
        row.refusals = row.failures = 0
        session.flush()
        append(session, AuditEvent.RESULT_COMMITTED, row.study_key, _detail(session, row), ACTOR)
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
        append(session, AuditEvent.RESULT_PARKED, row.study_key, _detail(session, row), ACTOR)
        return CommitmentOutcome.PARKED
    _wait_again(row, now(session))
    row.error_code, row.error_sentence = COMMITMENT_FAILED, sentence
    row.error_kind = FailureKind.REJECTED
    session.flush()
    return CommitmentOutcome.SEND_AGAIN


COMMITMENT_FAILED = "COMMITMENT_FAILED"


# --- the row ------------------------------------------------------------------------------------


def park_row(row: ResultDelivery, code: str, sentence: str, kind: FailureKind) -> None:
    """Park a locked row; superseded meanwhile, there is nothing to be mended."""
    row.lease_until = row.due_at = None
    superseded = row.superseded_by is not None
    row.state = DeliveryState.SUPERSEDED if superseded else DeliveryState.PARKED
    row.error_code, row.error_sentence, row.error_kind = code, sentence, kind


def _wait_again(row: ResultDelivery, due_at: datetime) -> None:
    """Due again, unless a newer result has taken its place meanwhile."""
    row.published_at = None
    if row.superseded_by is None:
        row.state, row.due_at = DeliveryState.WAITING, due_at
    else:
        row.state, row.due_at = DeliveryState.SUPERSEDED, None


def _forget_error(row: ResultDelivery) -> None:
    row.error_code = row.error_sentence = row.error_kind = row.traceback_reference = None


def _due(
    session: Session, delivery_key: str, state: DeliveryState, moment: datetime
) -> ResultDelivery | None:
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


def _held(session: Session, claim: DeliveryClaim) -> ResultDelivery:
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


def _awaiting(session: Session, transaction_uid: str) -> ResultDelivery | None:
    return session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.transaction_uid == transaction_uid,
            ResultDelivery.state == DeliveryState.AWAITING_COMMITMENT,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def _must_wait(session: Session, row: ResultDelivery) -> float:
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


def _note_object(session: Session, row: ResultDelivery, sent: SentObject) -> None:
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


def _objects(session: Session, row: ResultDelivery) -> tuple[SentObject, ...]:
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


def _earlier(session: Session, delivery_id: int | None) -> EarlierResult | None:
    if delivery_id is None:
        return None
    row = session.get_one(ResultDelivery, delivery_id)
    return EarlierResult(
        model_name=_model_name(session, row),
        revision=row.revision,
        finished_at=row.finished_at,
        objects=_objects(session, row),
    )


def _model_name(session: Session, row: ResultDelivery) -> str:
    name = select(ModelVersion.name).where(ModelVersion.id == row.model_version_id)
    return session.scalars(name).one()


def _detail(session: Session, row: ResultDelivery) -> dict[str, Any]:
    return {
        "destination": row.destination,
        "attempt": row.attempts,
        "revision": row.revision,
        "model": _model_name(session, row),
        "code": row.error_code,
    }


__all__ = [
    "COMMITMENT_FAILED", "DeliveryClaim", "ask_for_commitment", "begin_delivery", "claim_delivery",
    "finish_delivery", "forgo_commitment", "note_success", "park_delivery", "park_row",
    "put_off_commitment", "put_off_delivery", "renew_delivery", "retry_delivery",
    "settle_commitment",
]  # fmt: skip
