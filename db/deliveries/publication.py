"""What the relay does with deliveries: take back those of dead workers, publish those that are due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from db.deliveries.rows import ACTOR, audit_detail, park_row, reschedule_row
from db.engine.clock import now
from db.engine.statements import update_in_order
from db.ledger.audit import AuditEntry
from db.ledger.work_rows import sweep_expired
from db.models import ResultDelivery, ResultDestination, Study
from db.values.claims import SweptClaim
from db.values.deliveries import DueDelivery, Urgency
from db.values.failures import Failure
from db.vocabulary.enums import AuditEvent, DeliveryState, FailureKind, Priority, SweepAction

DUE_STATES = (DeliveryState.WAITING, DeliveryState.AWAITING_COMMITMENT)
CRASHES_UNTIL_PARKED = 5
CRASHED_DELIVERY = Failure(
    kind=FailureKind.BUG,
    code="CRASHED_DELIVERY",
    sentence="Delivery workers died on this result several times in a row. Look into the log of the "
    "delivery worker and of the kernel (out of memory?), then run `pneumo deliveries --retry`.",
)


def sweep_deliveries(session: Session) -> list[SweptClaim]:
    """Take back the deliveries of workers that died or hang; too many crashes in a row park one."""
    moment = now(session)
    expired = (
        select(ResultDelivery.id, ResultDelivery.delivery_key.label("key"))
        .where(ResultDelivery.state == DeliveryState.SENDING, ResultDelivery.lease_until < moment)
        .order_by(ResultDelivery.id)
    )
    return sweep_expired(session, expired, lambda row: _reclaim(session, row.id, moment))


def _reclaim(
    session: Session, delivery_id: int, moment: datetime
) -> tuple[SweepAction, list[AuditEntry]]:
    row = session.get_one(ResultDelivery, delivery_id, populate_existing=True)
    row.crashes, row.lease_until = row.crashes + 1, None
    if row.crashes < CRASHES_UNTIL_PARKED:
        reschedule_row(row, moment)
        session.flush()
        return SweepAction.REQUEUED, []
    row.published_at = None
    park_row(row, CRASHED_DELIVERY)
    session.flush()
    parked = AuditEntry(
        event=AuditEvent.RESULT_PARKED,
        study_key=row.study_key,
        actor=ACTOR,
        detail=audit_detail(session, row),
    )
    return SweepAction.PARKED, [parked]


def due_for_delivery(
    session: Session,
    *,
    limit: int,
    requeue_after_s: float,
    in_queue: int | None = None,
    waiting: Mapping[Urgency, int] | None = None,
) -> list[DueDelivery]:
    """Return the deliveries to be published now: by urgency, then round robin by destination,
    longest due first.

    Round robin, so that thousands of results for one destination hold up no other. A result that
    is marked STAT goes before thousands that wait since a destination was away. One study's
    results keep their order: they have the same urgency, or the earlier one is superseded. A
    destination that is away gets one, when its probe is due; one that is not active gets none.

    Args:
        session: The running transaction.
        limit: How many at most.
        requeue_after_s: What was published so long ago is published again, but only as many as are
            lost: a message of a slow destination waits longer than that, and must not be doubled.
        in_queue: How many messages of one urgency the queue should hold; each destination has its
            share, or a slow one would fill the queue for all. None: any number.
        waiting: How many messages of each urgency the queue holds; where that reaches `in_queue`,
            none is added.

    Returns:
        Key and urgency of each, in the order of publication.
    """
    moment = now(session)
    stale = moment - timedelta(seconds=requeue_after_s)
    published, share = _published(session), _share(session, in_queue)
    reachable = _reachable(session, moment)
    probed: set[str] = set()
    found: list[tuple[int, int, datetime, str]] = []
    for urgency in Urgency:
        lost = limit
        if waiting is not None:
            here = sum(count for (_, of), count in published.items() if of == urgency)
            lost = here - waiting[urgency]
            if in_queue is not None and waiting[urgency] >= in_queue:
                continue
        for name, failures in reachable:
            room = limit if share is None else share - published[name, urgency]
            rows = [
                *_longest_due(session, name, urgency, moment, stale, most=min(lost, limit)),
                *_longest_due(session, name, urgency, moment, None, most=min(room, limit)),
            ]
            if failures:
                rows = [] if name in probed else rows[:1]
                probed |= {name} if rows else set()
            lost -= sum(row.published_at is not None for row in rows)
            rows.sort(key=lambda row: (row.due_at, row.id))
            found += [
                (urgency, position, row.due_at, row.delivery_key)
                for position, row in enumerate(rows)
            ]
        if len(found) >= limit:
            break  # what is less urgent has no place
    return [
        DueDelivery(delivery_key=key, urgency=Urgency(urgency))
        for urgency, _, _, key in sorted(found)[:limit]
    ]


def mark_deliveries_published(session: Session, delivery_keys: Sequence[str]) -> None:
    """Remember that these deliveries were published."""
    update_in_order(
        session,
        ResultDelivery,
        ResultDelivery.delivery_key.in_(delivery_keys),
        ResultDelivery.state.in_(DUE_STATES),
        published_at=now(session),
    )


_INDEXED_DUE_STATES: BindParameter[Any] = bindparam(
    "due_states", DUE_STATES, expanding=True, literal_execute=True
)
"""Written out in the SQL, so that the databases use their partial index by destination."""
_URGENCY = case(
    # A result is enqueued in the transaction that stores it; otherwise a person ordered it later.
    (ResultDelivery.created_at > ResultDelivery.finished_at, Urgency.PAST_RESULT.value),
    (
        and_(Study.priority == Priority.STAT, ResultDelivery.state == DeliveryState.WAITING),
        Urgency.STAT.value,
    ),
    else_=Urgency.ROUTINE.value,
)


def _reachable(session: Session, moment: datetime) -> list[tuple[str, int]]:
    """Return the active destinations that may be tried now, with their failures in a row."""
    rows = session.execute(
        select(ResultDestination.name, ResultDestination.failures)
        .where(
            ResultDestination.is_active,
            or_(
                ResultDestination.failures == 0,
                ResultDestination.probe_at.is_(None),
                ResultDestination.probe_at <= moment,
            ),
        )
        .order_by(ResultDestination.name)
    )
    return [(row.name, row.failures) for row in rows]


def _share(session: Session, in_queue: int | None) -> int | None:
    """Return how many of `in_queue` messages of one urgency are for one destination.

    One share stays free for a destination that is added later. One that is away keeps its own: it may
    be back at any time.
    """
    if in_queue is None:
        return None
    active = select(func.count()).where(ResultDestination.is_active)
    return max(1, in_queue // (session.scalars(active).one() + 1))


def _published(session: Session) -> Counter[tuple[str, int]]:
    """Count the messages by destination and urgency that no worker has claimed: a claim unmarks its row."""
    rows = session.execute(
        select(ResultDelivery.destination, _URGENCY.label("urgency"), func.count().label("count"))
        .join(Study, Study.id == ResultDelivery.study_id)
        .where(
            ResultDelivery.state.in_(_INDEXED_DUE_STATES), ResultDelivery.published_at.is_not(None)
        )
        .group_by(ResultDelivery.destination, "urgency")
    )
    return Counter({(row.destination, row.urgency): row.count for row in rows})


def _longest_due(
    session: Session,
    destination: str,
    urgency: Urgency,
    moment: datetime,
    stale: datetime | None,
    *,
    most: int,
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return rows that were published before `stale`, or if it is None rows that were not published."""
    if most <= 0:
        return []
    published_at = ResultDelivery.published_at
    return session.execute(
        select(ResultDelivery.id, ResultDelivery.due_at, ResultDelivery.delivery_key, published_at)
        .join(Study, Study.id == ResultDelivery.study_id)
        .where(
            ResultDelivery.destination == destination,
            _due(moment),
            _URGENCY.in_((urgency.value,)),
            published_at.is_(None) if stale is None else published_at <= stale,
        )
        .order_by(ResultDelivery.due_at, ResultDelivery.id)
        .limit(most)
    ).all()


def _due(moment: datetime) -> ColumnElement[bool]:
    return and_(ResultDelivery.state.in_(_INDEXED_DUE_STATES), ResultDelivery.due_at <= moment)
