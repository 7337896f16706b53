"""Read the audit trail, for a person or for another system, in the order in which it was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.models import AuditRecord


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which records are read; None: all."""

    begins: datetime | None = None
    """Recorded at this moment or later."""
    ends: datetime | None = None
    """Recorded before this moment."""
    study_key: str | None = None


COLUMNS = (
    "chain", "sequence", "event", "occurred_at", "study_key", "actor", "detail", "previous_hash",
    "hash",
)  # fmt: skip


def count_records(session: Session, wanted: AuditFilter) -> int:
    """Count the records that `read_records` would yield."""
    return session.scalar(_narrow(select(func.count(AuditRecord.id)), wanted)) or 0


def read_records(session: Session, wanted: AuditFilter) -> Iterator[Any]:
    """Yield the records as rows with COLUMNS; memory does not grow with their number."""
    query = _narrow(_RECORDS, wanted).order_by(AuditRecord.id)
    yield from session.execute(query.execution_options(yield_per=1000))


def next_records(session: Session, chain: int, after: int, *, limit: int) -> list[Any]:
    """Return the next records of one chain, which has no gaps."""
    query = _RECORDS.where(AuditRecord.chain == chain, AuditRecord.sequence > after)
    return list(session.execute(query.order_by(AuditRecord.sequence).limit(limit)))


_RECORDS = select(*(getattr(AuditRecord, name) for name in COLUMNS))


def _narrow(query: Select[Any], wanted: AuditFilter) -> Select[Any]:
    if wanted.begins is not None:
        query = query.where(AuditRecord.occurred_at >= wanted.begins)
    if wanted.ends is not None:
        query = query.where(AuditRecord.occurred_at < wanted.ends)
    if wanted.study_key is not None:
        query = query.where(AuditRecord.study_key == wanted.study_key)
    return query
