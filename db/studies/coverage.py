"""What has become of studies that an archive names: for `pneumo coverage`. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Instance, Study
from db.values import ArchivedStudyStatus
from db.vocabulary.enums import InstanceState

BATCH_SIZE = 500
"""UIDs in one statement; databases limit the number of parameters."""


def archived_study_statuses(
    session: Session, uids: Sequence[str]
) -> dict[str, ArchivedStudyStatus]:
    """Study Instance UID -> what it has come to, of those that are known here."""
    found: dict[str, ArchivedStudyStatus] = {}
    for start in range(0, len(uids), BATCH_SIZE):
        found |= _archived_study_statuses(session, uids[start : start + BATCH_SIZE])
    return found


def _archived_study_statuses(
    session: Session, uids: Sequence[str]
) -> dict[str, ArchivedStudyStatus]:
    # For each of these studies by itself: a join would first look up every refused image of all time.
    first_refusal = (
        select(Instance.refusal_code)
        .where(Instance.study_id == Study.id, Instance.state == InstanceState.REFUSED)
        .order_by(Instance.id)
        .limit(1)
        .scalar_subquery()
    )
    rows = session.execute(
        select(
            Study.study_instance_uid,
            Study.state,
            Study.verdict,
            func.coalesce(Study.error_code, first_refusal).label("code"),
        ).where(Study.study_instance_uid.in_(uids))
    )
    return {
        row.study_instance_uid: ArchivedStudyStatus(
            state=row.state, verdict=row.verdict, code=row.code
        )
        for row in rows
    }
