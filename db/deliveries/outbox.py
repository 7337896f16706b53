"""What a finished study owes to each destination, and what becomes of its earlier results.

Called in the transaction that stores the verdict: there is no moment at which a result exists and is
not owed, whatever dies. Where there is no destination this is one SELECT.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, case, exists, or_, select, update
from sqlalchemy.orm import Session

from db.engine.statements import insert_if_new
from db.ledger.identity import was_erased
from db.models import ResultDelivery, ResultDestination, ResultObject, Study
from db.vocabulary.enums import DeliveryState, Verdict

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
UNSENT = (DeliveryState.WAITING, DeliveryState.PARKED)
"""States in which nobody is at it and the destination was not told that it has everything."""
OUTSTANDING = (*UNSENT, DeliveryState.SENDING, DeliveryState.AWAITING_COMMITMENT)
"""States in which the study's files are still needed: a result is made from them at each try. A parked
one counts, since a person may send it round again."""


def enqueue_result(session: Session, study: Study, moment: datetime) -> None:
    """Owe the verdict that the locked study's row holds now to every active destination.

    An earlier result of the study that waits is superseded, whoever it is owed to; one that was sent,
    or was begun to be, is named by the new one as what it takes the place of. That one is the same for
    all destinations, since all of them get the same objects (PS3.5 9.1: one UID, one content).

    A destination that may hold an earlier result gets this one in any case: also if it wants none of
    which nothing was evaluated, and also if it is out of the file of peers just now, where it waits
    until the destination is back. Else the earlier one would stand there as what is known.
    """
    if study.model_version_id is None or study.verdict is None:
        return
    destinations = {
        *_destinations(session, study.verdict),
        *_destinations_holding_predecessors(session, study),
    }
    if destinations and was_erased(session, study.study_key):
        destinations = set()  # its objects would name whom somebody wanted forgotten
    enqueue_for(session, study, sorted(destinations), moment)
    _supersede_elsewhere(session, study)


def enqueue_for(
    session: Session, study: Study, destinations: Sequence[str], moment: datetime
) -> int:
    """Owe the result of the locked study to these; to how many it was not owed yet."""
    owed = [
        row_id
        for name in destinations
        if (row_id := _insert(session, study, name, moment)) is not None
    ]
    if not owed:
        return 0
    for row_id in owed:
        _supersede(session, row_id, study.id)
    predecessor = _predecessor(session, study, owed)
    session.execute(
        update(ResultDelivery)
        .where(ResultDelivery.id.in_(owed))
        .values(predecessor_id=predecessor),
        execution_options={"synchronize_session": False},
    )
    return len(owed)


def _destinations(session: Session, verdict: Verdict) -> list[str]:
    query = select(ResultDestination.name).where(ResultDestination.is_active)
    if verdict is Verdict.REJECTED:
        query = query.where(ResultDestination.takes_rejected)
    return list(session.scalars(query.order_by(ResultDestination.name)))


def _destinations_holding_predecessors(session: Session, study: Study) -> list[str]:
    """Those that may hold an earlier result, and those that are out of the file and still owed one.

    Not one that is out of the file and whose results somebody let go (`db.deliveries.cancel`).
    """
    begun = or_(ResultDelivery.begun_at.is_not(None), ResultDelivery.state == DeliveryState.SENDING)
    out_and_owed = and_(~ResultDestination.is_active, ResultDelivery.state.in_(UNSENT))
    return list(
        session.scalars(
            select(ResultDelivery.destination)
            .join(ResultDestination, ResultDestination.name == ResultDelivery.destination)
            .where(
                ResultDelivery.study_id == study.id,
                or_(begun, out_and_owed),
                or_(ResultDestination.is_active, ResultDestination.forgone_at.is_(None)),
            )
            .distinct()
        )
    )


def _supersede_elsewhere(session: Session, study: Study) -> None:
    """What still waits for a destination that is not owed this result: it is true no more."""
    stale = session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.study_id == study.id,
            or_(
                ResultDelivery.revision != study.revision,
                ResultDelivery.model_version_id != study.model_version_id,
            ),
            ResultDelivery.state.in_(UNSENT),
        )
        .order_by(ResultDelivery.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for row in stale:
        row.state, row.due_at = DeliveryState.SUPERSEDED, None
    session.flush()


def _insert(session: Session, study: Study, destination: str, moment: datetime) -> int | None:
    """The new row's id; None if this very result is owed already."""
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
    """All earlier ones to the same destination: locked by ascending id, as everywhere."""
    new = session.get_one(ResultDelivery, row_id, populate_existing=True)
    earlier = session.scalars(
        select(ResultDelivery)
        .where(
            ResultDelivery.study_id == study_id,
            ResultDelivery.destination == new.destination,
            ResultDelivery.id < row_id,
            ResultDelivery.superseded_by.is_(None),
        )
        .order_by(ResultDelivery.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for row in earlier:
        row.superseded_by = row_id
        if row.state in UNSENT:
            row.state, row.due_at = DeliveryState.SUPERSEDED, None
    session.flush()


def _predecessor(session: Session, study: Study, owed: Sequence[int]) -> int | None:
    """What this very result says already to others, if it is owed to some; else the last begun one."""
    said = session.execute(
        select(ResultDelivery.predecessor_id)
        .where(
            ResultDelivery.study_id == study.id,
            ResultDelivery.revision == study.revision,
            ResultDelivery.model_version_id == study.model_version_id,
            ResultDelivery.id.not_in(owed),
        )
        .order_by(ResultDelivery.id)
        .limit(1)
    ).one_or_none()
    return said.predecessor_id if said else _last_begun(session, study.id, before=min(owed))


def _last_begun(session: Session, study_id: int, *, before: int) -> int | None:
    """The last one of which a report may have arrived; else, for a sentence, of which anything may."""
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
