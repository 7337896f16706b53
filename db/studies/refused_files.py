"""Files of refused instances that are still kept, by the refusal's code."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models.studies import Instance, Study


def refused_files(session: Session, codes: Sequence[str], *, limit: int) -> list[tuple[str, str]]:
    """Return study key and file name of the newest kept instances that these codes refused."""
    query = (
        select(Study.study_key, Instance.file_name)
        .join(Instance, Instance.study_id == Study.id)
        .where(
            Instance.refusal_code.in_(codes),
            Instance.replaced_in_revision.is_(None),
            Instance.file_removed_at.is_(None),
        )
        .order_by(Instance.id.desc())
        .limit(limit)
    )
    return [(key, name) for key, name in session.execute(query)]
