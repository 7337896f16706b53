"""Enqueue a finished study's result for each destination, and supersede its earlier results.

Called in the transaction that stores the verdict: at no moment does a result exist that is not
enqueued, whatever dies. Where there is no destination this is one SELECT.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, case, exists, or_, select, update
from sqlalchemy.orm import Session

from db.deliveries.destinations import active_destinations
from db.deliveries.rows import supersede_row
from db.engine.statements import WITHOUT_SESSION_SYNC, insert_if_new, lock_rows
from db.ledger.identity import was_erased
from db.models import ResultDelivery, ResultDestination, ResultObject, Study
from db.vocabulary.enums import DeliveryState, Verdict

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
UNSENT = (DeliveryState.WAITING, DeliveryState.PARKED)
"""States in which no worker is sending it and the destination may lack objects of it."""
OUTSTANDING = (*UNSENT, DeliveryState.SENDING, DeliveryState.AWAITING_COMMITMENT)
"""States in which the study's files are still needed: a result is rendered from them at each attempt. A
parked one counts, since a person may retry it."""


def enqueue_result(session: Session, study: Study, moment: datetime) -> list[str]:
    """Enqueue the verdict that the locked study's row holds now for every active destination.

    An earlier result of the study that waits is superseded, for every destination; one that was sent,
    or begun, is named by the new one as its predecessor. The predecessor is the same for all
    destinations, since all of them get the same objects (PS3.5 9.1: one UID, one content).

    A destination that may hold an earlier result gets this one in any case: also if it takes no result
    of which nothing was evaluated, and also if it is out of the file of peers just now; then the
    result waits until the destination is back. Otherwise the earlier one would remain there as the
    last that is known.

    Returns:
        The destinations for which the result is enqueued.
    """
    if study.model_version_id is None or study.verdict is None:
        return []
    destinations = {
        *active_destinations(session, takes_rejected=study.verdict is Verdict.REJECTED),
        *_destinations_holding_predecessors(session, study),
    }
    if destinations and was_erased(session, study.study_key):
        destinations = set()  # its objects would name a person who is to be forgotten
    enqueue_for(session, study, sorted(destinations), moment)
    _supersede_elsewhere(session, study)
    return sorted(destinations)


def enqueue_for(
    session: Session, study: Study, destinations: Sequence[str], moment: datetime
) -> int:
    """Enqueue the result of the locked study for these; return for how many it is new."""
    new = [
        row_id
        for name in destinations
        if (row_id := _insert(session, study, name, moment)) is not None
    ]
    if not new:
        return 0
    for row_id in new:
        _supersede(session, row_id, study.id)
    predecessor = _predecessor(session, study, new)
    session.execute(
        update(ResultDelivery).where(ResultDelivery.id.in_(new)).values(predecessor_id=predecessor),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return len(new)


def _destinations_holding_predecessors(session: Session, study: Study) -> list[str]:
    """Return those that may hold an earlier result, and those that are out of the file and for which
    one waits.

    Not one that is out of the file and whose results a person cancelled (`db.deliveries.cancel`).
    """
    begun = or_(ResultDelivery.begun_at.is_not(None), ResultDelivery.state == DeliveryState.SENDING)
    out_and_waiting = and_(~ResultDestination.is_active, ResultDelivery.state.in_(UNSENT))
    return list(
        session.scalars(
            select(ResultDelivery.destination)
            .join(ResultDestination, ResultDestination.name == ResultDelivery.destination)
            .where(
                ResultDelivery.study_id == study.id,
                or_(begun, out_and_waiting),
                or_(ResultDestination.is_active, ResultDestination.forgone_at.is_(None)),
            )
            .distinct()
        )
    )


def _supersede_elsewhere(session: Session, study: Study) -> None:
    """Supersede earlier results that wait for destinations that do not get this one."""
    stale = select(ResultDelivery).where(
        ResultDelivery.study_id == study.id,
        or_(
            ResultDelivery.revision != study.revision,
            ResultDelivery.model_version_id != study.model_version_id,
        ),
        ResultDelivery.state.in_(UNSENT),
    )
    for row in lock_rows(session, stale.order_by(ResultDelivery.id)).all():
        supersede_row(row)
    session.flush()


def _insert(session: Session, study: Study, destination: str, moment: datetime) -> int | None:
    """Return the new row's id; None if this very result is enqueued already."""
    return insert_if_new(
        session,
        ResultDelivery,
        delivery_key=secrets.token_hex(16),
        study_id=study.id,
        study_key=study.study_key,
        revision=study.revision,
        model_version_id=study.model_version_id,
        destination=destination,
        state=DeliveryState.WAITING,
        verdict=study.verdict,
        finished_at=study.finished_at or moment,
        attempts=0,
        failures=0,
        refusals=0,
        crashes=0,
        due_at=moment,
        created_at=moment,
    )


def _supersede(session: Session, row_id: int, study_id: int) -> None:
    """Supersede all earlier ones for the same destination, locked by ascending id, as everywhere."""
    new = session.get_one(ResultDelivery, row_id, populate_existing=True)
    earlier = select(ResultDelivery).where(
        ResultDelivery.study_id == study_id,
        ResultDelivery.destination == new.destination,
        ResultDelivery.id < row_id,
        ResultDelivery.superseded_by.is_(None),
    )
    for row in lock_rows(session, earlier.order_by(ResultDelivery.id)).all():
        row.superseded_by = row_id
        if row.state in UNSENT:
            supersede_row(row)
    session.flush()


def _predecessor(session: Session, study: Study, new: Sequence[int]) -> int | None:
    """Return what this very result names elsewhere, if it is enqueued there; else the last begun one."""
    elsewhere = session.execute(
        select(ResultDelivery.predecessor_id)
        .where(
            ResultDelivery.study_id == study.id,
            ResultDelivery.revision == study.revision,
            ResultDelivery.model_version_id == study.model_version_id,
            ResultDelivery.id.not_in(new),
        )
        .order_by(ResultDelivery.id)
        .limit(1)
    ).one_or_none()
    return (
        elsewhere.predecessor_id if elsewhere else _last_begun(session, study.id, before=min(new))
    )


def _last_begun(session: Session, study_id: int, *, before: int) -> int | None:
    """Return the last one of which a report may have arrived; else, to be named at least, the last of
    which anything may.
    """
    report = exists().where(
        ResultObject.delivery_id == ResultDelivery.id,
        ResultObject.sop_class_uid == COMPREHENSIVE_3D_SR,
    )
    return session.scalar(
        select(ResultDelivery.id)
        .where(
            ResultDelivery.study_id == study_id,
            ResultDelivery.id < before,
            ResultDelivery.begun_at.is_not(None),
        )
        .order_by(case((report, 0), else_=1), ResultDelivery.id.desc())
        .limit(1)
    )
