"""What people and other rooms ask about deliveries. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.models import (
    Instance,
    ResultDelivery,
    ResultDestination,
    ResultObject,
    Study,
    StudyIdentity,
)
from db.values.deliveries import DestinationSummary, InstanceNames, ParkedDelivery
from db.vocabulary.enums import DeliveryState

ON_THE_WAY = (DeliveryState.WAITING, DeliveryState.SENDING)


def destination_summaries(session: Session) -> list[DestinationSummary]:
    """Return every destination that ever was, by name: deliveries by state, and how long the oldest waits."""
    moment = now(session)
    counts: dict[str, dict[DeliveryState, int]] = defaultdict(dict)
    grouped = session.execute(
        select(ResultDelivery.destination, ResultDelivery.state, func.count()).group_by(
            ResultDelivery.destination, ResultDelivery.state
        )
    )
    for name, state, count in grouped:
        counts[name][state] = count
    parked = _parked_by_code(session)
    oldest = {
        row.destination: row.since
        for row in session.execute(
            select(ResultDelivery.destination, func.min(ResultDelivery.created_at).label("since"))
            .where(ResultDelivery.state.in_(ON_THE_WAY))
            .group_by(ResultDelivery.destination)
        )
    }
    rows = session.scalars(select(ResultDestination).order_by(ResultDestination.name))
    return [
        DestinationSummary(
            name=row.name,
            is_active=row.is_active,
            by_state=dict(counts[row.name]),
            parked_by_code=parked[row.name],
            oldest_waiting_seconds=(moment - oldest[row.name]).total_seconds()
            if row.name in oldest
            else None,
            failures=row.failures,
            probe_at=row.probe_at,
        )
        for row in rows
    ]


def _parked_by_code(session: Session) -> dict[str, dict[str, int]]:
    grouped = session.execute(
        select(ResultDelivery.destination, ResultDelivery.error_code, func.count())
        .where(ResultDelivery.state == DeliveryState.PARKED)
        .group_by(ResultDelivery.destination, ResultDelivery.error_code)
        .order_by(ResultDelivery.error_code)
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, code, count in grouped:
        found[name][code or "BUG"] = count
    return found


def parked_deliveries(
    session: Session, *, destination: str | None = None, code: str | None = None
) -> list[ParkedDelivery]:
    """Return those that wait for a person, oldest first."""
    query = select(ResultDelivery).where(ResultDelivery.state == DeliveryState.PARKED)
    if destination is not None:
        query = query.where(ResultDelivery.destination == destination)
    if code is not None:
        query = query.where(ResultDelivery.error_code == code)
    return [
        ParkedDelivery(
            delivery_key=row.delivery_key,
            study_key=row.study_key,
            destination=row.destination,
            attempts=row.attempts,
            error_code=row.error_code or "",
            error_sentence=row.error_sentence or "",
            traceback_reference=row.traceback_reference,
        )
        for row in session.scalars(query.order_by(ResultDelivery.created_at, ResultDelivery.id))
    ]


def names_of_removed_images(session: Session, study_key: str) -> dict[str, InstanceNames]:
    """Return the names of a study's images whose files were removed, by file name."""
    rows = session.execute(
        select(Instance, StudyIdentity.patient_id)
        .join(Study, Study.id == Instance.study_id)
        .outerjoin(StudyIdentity, StudyIdentity.study_id == Study.id)
        .where(Study.study_key == study_key, Instance.file_removed_at.is_not(None))
    )
    return {
        row.file_name: InstanceNames(
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            series_instance_uid=row.series_instance_uid,
            patient_id=patient_id,
        )
        for row, patient_id in rows
    }


def own_results(session: Session, sop_instance_uids: Collection[str]) -> set[str]:
    """Return those of these instances that are objects that we made and sent."""
    rows = session.scalars(
        select(ResultObject.sop_instance_uid).where(
            ResultObject.sop_instance_uid.in_(list(sop_instance_uids))
        )
    )
    return set(rows)
