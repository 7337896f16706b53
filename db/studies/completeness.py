"""Close a study by an archive's count of its instances, without waiting for the idle window."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import lock_one
from db.ledger.audit import append_entries
from db.models import Instance, ResultDelivery, ResultObject, Study, StudyManifest
from db.studies.arrival import accepted_entry, current_images
from db.studies.transitions import close_study
from db.values import OpenStudy
from db.vocabulary.enums import ClosedBy, StudyState


def open_studies(session: Session, *, quiet_s: float, limit: int) -> list[OpenStudy]:
    """Return studies being received that got no image for `quiet_s` seconds, longest open first.

    Studies with a manifest are left out: it says better than a count what belongs to the study.
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
    """Return the SOP Instance UIDs that we sent, or were about to send, for a study, by series.

    An archive counts by series, so its count is corrected by series; whether given UIDs are ours is
    another question (`db.deliveries.overview.own_results`).
    """
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
    """Close a study that is being received if at least `count` of its images are here.

    Args:
        session: The running transaction.
        study_key: The study's opaque key.
        count: How many instances the archive has; 0 closes nothing.

    Returns:
        Whether the study was closed; a manifest that came meanwhile decides instead.
    """
    receiving = (Study.study_key == study_key, Study.state == StudyState.RECEIVING)
    study = lock_one(session, select(Study).where(*receiving))
    if study is None or session.get(StudyManifest, study.id) is not None:
        return False
    if not count or len(current_images(session, study.id)) < count:
        return False
    close_study(study, now(session), ClosedBy.PACS_COUNT)
    append_entries(session, [accepted_entry(session, study)])
    return True
