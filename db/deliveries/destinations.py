"""Where results go: which destinations are active, and which of these are away just now.

A circuit breaker for each: after a failure one delivery at a time is the probe, with growing pauses,
and the others wait until it succeeds.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import WITHOUT_SESSION_SYNC
from db.models import ResultDelivery, ResultDestination
from db.vocabulary.enums import DeliveryState


def active_destinations(session: Session, *, takes_rejected: bool = False) -> list[str]:
    """Return the names of those that results are sent to, or that also take results of which nothing
    was evaluated.
    """
    query = select(ResultDestination.name).where(ResultDestination.is_active)
    if takes_rejected:
        query = query.where(ResultDestination.takes_rejected)
    return list(session.scalars(query.order_by(ResultDestination.name)))


def set_destinations(
    session: Session, names: Collection[str], *, takes_rejected: bool = True
) -> None:
    """Send every result to these from now on, and to no others.

    One that is new gets nothing of what finished before (but see `db.deliveries.past_results`). One
    that is no longer named gets nothing of further studies; what waits for it waits until it is named
    again, or is superseded by a newer result of the same study (`db.deliveries.outbox`).
    """
    known = {row.name: row for row in session.scalars(select(ResultDestination).with_for_update())}
    for name in sorted(set(names) - known.keys()):
        session.add(
            ResultDestination(
                name=name,
                is_active=True,
                takes_rejected=takes_rejected,
                first_seen_at=now(session),
                failures=0,
            )
        )
    for name, row in known.items():
        if name in names:
            row.is_active, row.takes_rejected, row.forgone_at = True, takes_rejected, None
        else:
            row.is_active = False
    session.flush()


def has_destinations(session: Session, names: Collection[str], *, takes_rejected: bool) -> bool:
    """Return whether `set_destinations` would change nothing."""
    found = session.execute(
        select(ResultDestination.name, ResultDestination.takes_rejected).where(
            ResultDestination.is_active
        )
    ).all()
    return {(row.name, row.takes_rejected) for row in found} == {
        (name, takes_rejected) for name in names
    }


def removed_with_pending_results(session: Session, names: Collection[str]) -> list[str]:
    """Return the destinations that results wait for and that are not among these."""
    waits = exists().where(
        ResultDelivery.destination == ResultDestination.name,
        ResultDelivery.state.in_((DeliveryState.WAITING, DeliveryState.AWAITING_COMMITMENT)),
    )
    others = select(ResultDestination.name).where(ResultDestination.name.not_in(names), waits)
    return list(session.scalars(others.order_by(ResultDestination.name)))


def acquire_attempt(session: Session, name: str, moment: datetime, *, probe_s: float) -> bool:
    """Return whether a delivery may be tried now.

    While the destination fails, only one that asks may: the probe.

    Args:
        session: The running transaction.
        name: The destination.
        moment: Now, by the database's clock.
        probe_s: For how long no other may, once one is the probe.

    Returns:
        False if the destination is away and probed already, or is not active.
    """
    probe = session.execute(
        update(ResultDestination)
        .where(
            ResultDestination.name == name,
            ResultDestination.is_active,
            ResultDestination.failures > 0,
            or_(ResultDestination.probe_at.is_(None), ResultDestination.probe_at <= moment),
        )
        .values(probe_at=moment + timedelta(seconds=probe_s))
        .returning(ResultDestination.name),
        execution_options=WITHOUT_SESSION_SYNC,
    ).one_or_none()
    if probe is not None:
        return True
    well = select(ResultDestination.name).where(
        ResultDestination.name == name,
        ResultDestination.is_active,
        ResultDestination.failures == 0,
    )
    return session.execute(well).one_or_none() is not None


def record_failure(session: Session, name: str) -> int:
    """Count a failure of the destination as a whole; return how many there were in a row."""
    counted: int = session.execute(
        update(ResultDestination)
        .where(ResultDestination.name == name)
        .values(failures=ResultDestination.failures + 1)
        .returning(ResultDestination.failures),
        execution_options=WITHOUT_SESSION_SYNC,
    ).scalar_one()
    return counted


def postpone_probe(session: Session, name: str, delay_s: float) -> None:
    """Postpone the next probe by so many seconds from now."""
    session.execute(
        update(ResultDestination)
        .where(ResultDestination.name == name)
        .values(probe_at=now(session) + timedelta(seconds=delay_s)),
        execution_options=WITHOUT_SESSION_SYNC,
    )


def record_success(session: Session, name: str) -> None:
    """Forget the failures of a destination: it answered as it should."""
    session.execute(
        update(ResultDestination)
        .where(ResultDestination.name == name, ResultDestination.failures > 0)
        .values(failures=0, probe_at=None),
        execution_options=WITHOUT_SESSION_SYNC,
    )
