"""The objects of results: what was sent, or may have been, and what a result takes the place of."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.deliveries.rows import model_name_of
from db.models import ModelVersion, ResultDelivery, ResultObject
from db.values.deliveries import PredecessorResult, SentObject


def record_object(session: Session, row: ResultDelivery, sent: SentObject) -> None:
    """Store an object of this attempt, or that this attempt rendered it again."""
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


def sent_objects(session: Session, row: ResultDelivery) -> tuple[SentObject, ...]:
    """Return the objects of the last attempt that rendered any, the report first."""
    found = session.scalars(
        select(ResultObject)
        .where(ResultObject.delivery_id == row.id)
        .order_by(ResultObject.id)
        .execution_options(populate_existing=True)
    ).all()
    last = max((item.made_by_attempt for item in found), default=0)
    return tuple(_sent(item) for item in found if item.made_by_attempt == last)


def objects_begun(
    session: Session, study_key: str, revision: int, model_name: str
) -> list[SentObject]:
    """Return every object of a result that any destination may hold, in the order they were begun.

    There are several of a kind where the site's words changed between two attempts.
    """
    deliveries = _deliveries(study_key, revision, model_name).with_only_columns(ResultDelivery.id)
    query = select(ResultObject).where(ResultObject.delivery_id.in_(deliveries))
    first: dict[str, SentObject] = {}
    for row in session.scalars(query.order_by(ResultObject.id)):
        first.setdefault(row.sop_instance_uid, _sent(row))
    return list(first.values())


def with_changed_digest(session: Session, objects: Collection[SentObject]) -> list[SentObject]:
    """Return those that were stored before under the same UID with another digest."""
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


def predecessor_of(
    session: Session, study_key: str, revision: int, model_name: str
) -> PredecessorResult | None:
    """Return what a result takes the place of, as all of its deliveries say.

    None for a result that is enqueued for no destination.
    """
    last = session.scalars(
        _deliveries(study_key, revision, model_name).order_by(ResultDelivery.id.desc()).limit(1)
    ).first()
    return predecessor_result(session, last.predecessor_id) if last else None


def predecessor_result(session: Session, delivery_id: int | None) -> PredecessorResult | None:
    """Return the result of an earlier delivery, as a newer one refers to it."""
    if delivery_id is None:
        return None
    row = session.get_one(ResultDelivery, delivery_id)
    return PredecessorResult(
        model_name=model_name_of(session, row.model_version_id),
        revision=row.revision,
        finished_at=row.finished_at,
        objects=sent_objects(session, row),
    )


def _sent(row: ResultObject) -> SentObject:
    return SentObject(
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        sha256=row.sha256,
    )


def _deliveries(study_key: str, revision: int, model_name: str) -> Select[ResultDelivery]:
    """Select those of one result, to every destination."""
    model = select(ModelVersion.id).where(ModelVersion.name == model_name)
    return select(ResultDelivery).where(
        ResultDelivery.study_key == study_key,
        ResultDelivery.revision == revision,
        ResultDelivery.model_version_id.in_(model),
    )
