"""Closing a study because an archive has counted it, without waiting out the idle window."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.ledger.audit import append_entries
from db.models import Instance, ResultDelivery, ResultObject, Study, StudyManifest
from db.studies.arrival import accepted_entry
from db.studies.transitions import close_study
from db.values import OpenStudy
from db.vocabulary.enums import ClosedBy, StudyState


def open_studies(session: Session, *, quiet_s: float, limit: int) -> list[OpenStudy]:
    """Studies that are being received and got no image for `quiet_s` seconds, longest open first.

    Not those with a manifest, which knows better than a count what belongs to the study.
    """
    moment = now(session)
    last, count = func.max(Instance.received_at), func.count()
    rows = session.execute(
        select(Study.study_key, Study.study_instance_uid, Study.site_ae_title, count)
        .join(Instance, Instance.study_id == Study.id)
        .where(
            Study.state == StudyState.RECEIVING,
            Study.due_at > moment,
            Instance.replaced_in_revision.is_(None),
            ~exists().where(StudyManifest.study_id == Study.id),
        )
        .group_by(Study.id)
        .having(last <= moment - timedelta(seconds=quiet_s))
        .order_by(Study.received_at, Study.id)
        .limit(limit)
    )
    return [
        OpenStudy(study_key=key, study_instance_uid=uid, site_ae_title=title, instances=here)
        for key, uid, title, here in rows
    ]


def own_objects_by_series(session: Session, study_key: str) -> dict[str, set[str]]:
    """What we sent, or were about to, of our own into a study: SOP Instance UIDs by series."""
    rows = session.execute(
        select(ResultObject.series_instance_uid, ResultObject.sop_instance_uid)
        .join(ResultDelivery, ResultDelivery.id == ResultObject.delivery_id)
        .where(ResultDelivery.study_key == study_key)
    )
    found: dict[str, set[str]] = defaultdict(set)
    for series, uid in rows:
        found[series].add(uid)
    return dict(found)


def close_if_complete(session: Session, study_key: str, count: int) -> bool:
    """Close a study if at least `count` of its images are here; False if it stays as it is.

    A manifest that came meanwhile decides instead.
    """
    study = session.scalars(
        select(Study)
        .where(Study.study_key == study_key, Study.state == StudyState.RECEIVING)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if study is None or session.get(StudyManifest, study.id) is not None:
        return False
    here = session.scalar(
        select(func.count())
        .select_from(Instance)
        .where(Instance.study_id == study.id, Instance.replaced_in_revision.is_(None))
    )
    if not count or (here or 0) < count:
        return False
    close_study(study, now(session), ClosedBy.PACS_COUNT)
    append_entries(session, [accepted_entry(session, study)])
    return True
