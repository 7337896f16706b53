"""What the relay does with deliveries: take back those of dead workers, find those that are due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, case, or_, select, update
from sqlalchemy.orm import Session

from db.clock import now
from db.delivery_records import DeliverySweep, DueDelivery, Urgency
from db.delivery_rows import park_row
from db.destinations import IN_PLACE
from db.enums import DeliveryState, FailureKind, Priority
from db.models import ResultDelivery, ResultDestination, Study

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
    swept = [(row.delivery_key, _take_back(row, moment)) for row in rows]
    session.flush()
    return swept


def due_for_delivery(session: Session, *, limit: int, requeue_after_s: float) -> list[DueDelivery]:
    """The deliveries to be published now: by urgency, then in turn by destination, longest due first.

    In turn: what thousands of results for one destination are waiting for holds up no other.

    So a result that is marked STAT goes before thousands that wait since a destination was away. One
    study's results keep their order: they have the same urgency, or the earlier one is superseded.
    A destination that is away gets one, when its probe is due; one that is not active gets none.
    """
    moment = now(session)
    found: list[tuple[int, int, datetime, str]] = []
    for name, failures in _reachable(session, moment):
        rows = session.execute(
            select(_URGENCY.label("urgency"), ResultDelivery.due_at, ResultDelivery.delivery_key)
            .join(Study, Study.id == ResultDelivery.study_id)
            .where(ResultDelivery.destination == name, _due(moment, requeue_after_s))
            .order_by(_URGENCY, ResultDelivery.due_at, ResultDelivery.id)
            .limit(1 if failures else limit)
        )
        turns: Counter[int] = Counter()
        for row in rows:
            turns[row.urgency] += 1
            found.append((row.urgency, turns[row.urgency], row.due_at, row.delivery_key))
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
        execution_options=IN_PLACE,
    )


def _take_back(row: ResultDelivery, moment: datetime) -> DeliverySweep:
    row.crashes, row.lease_until, row.published_at = row.crashes + 1, None, None
    if row.crashes >= CRASHES_UNTIL_PARKED:
        park_row(row, CRASHED_DELIVERY, CRASHED_DELIVERY_SENTENCE, FailureKind.BUG)
        return DeliverySweep.PARKED
    superseded = row.superseded_by is not None
    row.state = DeliveryState.SUPERSEDED if superseded else DeliveryState.WAITING
    row.due_at = None if superseded else moment
    return DeliverySweep.WAITING


_AS_IN_THE_INDEX: BindParameter[Any] = bindparam(
    "due_states", DUE_STATES, expanding=True, literal_execute=True
)
"""Written out, so that a database sees that its partial index by destination will do."""
_URGENCY = case(
    # A result is owed in the transaction that stores it; otherwise somebody ordered it afterwards.
    (ResultDelivery.created_at > ResultDelivery.finished_at, Urgency.BELATED.value),
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


def _due(moment: datetime, requeue_after_s: float) -> ColumnElement[bool]:
    return and_(
        ResultDelivery.state.in_(_AS_IN_THE_INDEX),
        ResultDelivery.due_at <= moment,
        or_(
            ResultDelivery.published_at.is_(None),
            ResultDelivery.published_at <= moment - timedelta(seconds=requeue_after_s),
        ),
    )
