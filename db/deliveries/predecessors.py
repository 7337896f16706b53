"""What was sent of a result, or may have been, and what it took the place of. Reads only."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db.deliveries.rows import predecessor_result
from db.models import ModelVersion, ResultDelivery, ResultObject
from db.values.deliveries import PredecessorResult, SentObject


def predecessor_of(
    session: Session, study_key: str, revision: int, model_name: str
) -> PredecessorResult | None:
    """What the deliveries of a result say that it takes the place of: all of them say the same.

    None for a result that is owed to nobody.
    """
    last = session.scalars(
        _deliveries(study_key, revision, model_name).order_by(ResultDelivery.id.desc()).limit(1)
    ).first()
    return predecessor_result(session, last.predecessor_id) if last else None


def objects_begun(
    session: Session, study_key: str, revision: int, model_name: str
) -> list[SentObject]:
    """Every object of a result that any destination may hold, in the order in which they were begun.

    There are several of a kind where the site's words changed between two tries.
    """
    owed = _deliveries(study_key, revision, model_name).with_only_columns(ResultDelivery.id)
    query = select(ResultObject).where(ResultObject.delivery_id.in_(owed))
    first: dict[str, SentObject] = {}
    for row in session.scalars(query.order_by(ResultObject.id)):
        first.setdefault(
            row.sop_instance_uid,
            SentObject(
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
                series_instance_uid=row.series_instance_uid,
                sha256=row.sha256,
            ),
        )
    return list(first.values())


def with_changed_digest(session: Session, objects: Collection[SentObject]) -> list[SentObject]:
    """Those that were written down before under the same UID with another digest."""
    rows = session.execute(
        select(ResultObject.sop_instance_uid, ResultObject.sha256).where(
            ResultObject.sop_instance_uid.in_([item.sop_instance_uid for item in objects])
        )
    )
    known = [(uid, digest) for uid, digest in rows]
    return [
        item
        for item in objects
        if any(uid == item.sop_instance_uid and digest != item.sha256 for uid, digest in known)
    ]


def _deliveries(study_key: str, revision: int, model_name: str) -> Select[ResultDelivery]:
    """Those of one result, to every destination."""
    model = select(ModelVersion.id).where(ModelVersion.name == model_name)
    return select(ResultDelivery).where(
        ResultDelivery.study_key == study_key,
        ResultDelivery.revision == revision,
        ResultDelivery.model_version_id.in_(model),
    )
