"""What the relay does with deliveries: take back those of dead workers, find those that are due."""

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
    update,
)
from sqlalchemy.orm import Session

from db.deliveries.destinations import WITHOUT_SESSION_SYNC
from db.deliveries.rows import park_row
from db.engine.clock import now
from db.models import ResultDelivery, ResultDestination, Study
from db.values.deliveries import DeliverySweep, DueDelivery, Urgency
from db.vocabulary.enums import DeliveryState, FailureKind, Priority

DUE_STATES = (DeliveryState.WAITING, DeliveryState.AWAITING_COMMITMENT)
CRASHES_UNTIL_PARKED = 5
CRASHED_DELIVERY = "CRASHED_DELIVERY"
CRASHED_DELIVERY_SENTENCE = (
    "Delivery workers died on this result several times in a row. Look into the log of the delivery "
    "worker and of the kernel (out of memory?), then run `pneumo deliveries --retry`."
)


def sweep_deliveries(session: Session) -> list[tuple[str, DeliverySweep]]:
    """Take back the deliveries of workers that died or hung, as (delivery_key, what became of it)."""
    moment = now(session)
    rows = session.scalars(
        select(ResultDelivery)
        .where(ResultDelivery.state == DeliveryState.SENDING, ResultDelivery.lease_until < moment)
        .order_by(ResultDelivery.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    swept = [(row.delivery_key, _reclaim(row, moment)) for row in rows]
    session.flush()
    return swept


def due_for_delivery(
    session: Session,
    *,
    limit: int,
    requeue_after_s: float,
    in_queue: int | None = None,
    waiting: Mapping[Urgency, int] | None = None,
) -> list[DueDelivery]:
    """The deliveries to be published now: by urgency, then in turn by destination, longest due first.

    In turn: what thousands of results for one destination are waiting for holds up no other. Of
    `in_queue` messages of one urgency each destination has its share: else a slow one would fill the
    queue for all. `waiting` messages of each urgency lie there; where that is as many as `in_queue`
    no other is added. What was published `requeue_after_s` ago comes again, but only as many as are
    lost: a message of a slow destination lies there longer than that, and must not be doubled.

    So a result that is marked STAT goes before thousands that wait since a destination was away. One
    study's results keep their order: they have the same urgency, or the earlier one is superseded.
    A destination that is away gets one, when its probe is due; one that is not active gets none.
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
                (urgency, turn, row.due_at, row.delivery_key) for turn, row in enumerate(rows)
            ]
        if len(found) >= limit:
            break  # what is less urgent has no place
    return [
        DueDelivery(delivery_key=key, urgency=Urgency(urgency))
        for urgency, _, _, key in sorted(found)[:limit]
    ]


def mark_deliveries_published(session: Session, delivery_keys: Sequence[str]) -> None:
    """Remember that these were published."""
    session.execute(
        update(ResultDelivery)
        .where(ResultDelivery.delivery_key.in_(delivery_keys), ResultDelivery.state.in_(DUE_STATES))
        .values(published_at=now(session)),
        execution_options=WITHOUT_SESSION_SYNC,
    )


def _reclaim(row: ResultDelivery, moment: datetime) -> DeliverySweep:
    row.crashes, row.lease_until, row.published_at = row.crashes + 1, None, None
    if row.crashes >= CRASHES_UNTIL_PARKED:
        park_row(row, CRASHED_DELIVERY, CRASHED_DELIVERY_SENTENCE, FailureKind.BUG)
        return DeliverySweep.PARKED
    superseded = row.superseded_by is not None
    row.state = DeliveryState.SUPERSEDED if superseded else DeliveryState.WAITING
    row.due_at = None if superseded else moment
    return DeliverySweep.WAITING


_INDEXED_DUE_STATES: BindParameter[Any] = bindparam(
    "due_states", DUE_STATES, expanding=True, literal_execute=True
)
"""Written out, so that a database sees that its partial index by destination will do."""
_URGENCY = case(
    # A result is owed in the transaction that stores it; otherwise somebody ordered it afterwards.
    (ResultDelivery.created_at > ResultDelivery.finished_at, Urgency.PAST_RESULT.value),
    (
        and_(Study.priority == Priority.STAT, ResultDelivery.state == DeliveryState.WAITING),
        Urgency.STAT.value,
    ),
    else_=Urgency.ROUTINE.value,
)


def _reachable(session: Session, moment: datetime) -> list[tuple[str, int]]:
    """Active destinations that may be tried now, with their failures in a row."""
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
    """Messages of one urgency for one destination, of so many for all; one share stays free for a
    destination that is entered later. One that is away keeps its own: it may be back at once.
    """
    if in_queue is None:
        return None
    active = select(func.count()).where(ResultDestination.is_active)
    return max(1, in_queue // (session.scalars(active).one() + 1))


def _published(session: Session) -> Counter[tuple[str, int]]:
    """Messages by destination and urgency that nobody has taken: a worker that does unmarks its row."""
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
    """Rows that were published before `stale`, or without it were not published."""
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
