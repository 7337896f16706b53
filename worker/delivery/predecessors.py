"""What a result takes the place of: the one before it, and earlier forms of itself."""

from __future__ import annotations

from datetime import datetime

from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy.orm import Session

from db.deliveries.predecessors import objects_begun
from db.values.deliveries import PredecessorResult, SentObject
from worker.results.study_result import Predecessor


def as_predecessor(earlier: PredecessorResult | None) -> Predecessor | None:
    """An earlier result, by its report if one was sent."""
    if earlier is None:
        return None
    report = next(iter(_reports(earlier.objects)), None)
    return _predecessor(report, earlier.model_name, earlier.revision, earlier.finished_at)


def earlier_forms(
    session: Session, study_key: str, revision: int, model_name: str, finished_at: datetime
) -> tuple[Predecessor, ...]:
    """The reports of this very result that some destination may hold, in their order."""
    begun = objects_begun(session, study_key, revision, model_name)
    return tuple(
        _predecessor(report, model_name, revision, finished_at) for report in _reports(begun)
    )


def _reports(objects: tuple[SentObject, ...] | list[SentObject]) -> list[SentObject]:
    return [item for item in objects if item.sop_class_uid == Comprehensive3DSRStorage]


def _predecessor(
    report: SentObject | None, model_name: str, revision: int, finished_at: datetime
) -> Predecessor:
    return Predecessor(
        sop_instance_uid=report.sop_instance_uid if report else None,
        series_instance_uid=report.series_instance_uid if report else None,
        model=model_name,
        revision=revision,
        finished_at=finished_at,
    )
