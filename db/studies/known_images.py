"""Whether this database has ever heard of an image."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Instance


def has_instances(session: Session) -> bool:
    """Whether there is a row of any instance, whatever became of its file."""
    return session.scalar(select(Instance.id).limit(1)) is not None
