"""What is parked, by code: studies and deliveries alike. Reads only."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from db.models import ResultDelivery, Study
from db.values.parking import ParkedGroup, ParkedKind
from db.vocabulary.enums import DeliveryState, StudyState

EXAMPLES = 3
"""Keys shown of each code."""
WITHOUT_CODE = "BUG"
"""Shown where a row of an old version has no code."""

_ROWS: dict[ParkedKind, Select[*tuple[Any, ...]]] = {
    ParkedKind.STUDY: select(
        Study.id, Study.study_key.label("key"), Study.finished_at.label("at"),
        Study.error_code, Study.error_sentence, Study.traceback_reference,
    ).where(Study.state == StudyState.PARKED),
    ParkedKind.DELIVERY: select(
        ResultDelivery.id, ResultDelivery.delivery_key.label("key"),
        ResultDelivery.created_at.label("at"), ResultDelivery.error_code,
        ResultDelivery.error_sentence, ResultDelivery.traceback_reference,
    ).where(ResultDelivery.state == DeliveryState.PARKED),
}  # fmt: skip
"""What is parked, in columns of the same names."""


def parked_groups(session: Session, *, since: datetime | None = None) -> list[ParkedGroup]:
    """Return a group for each kind and code, studies first, and the largest of each kind first.

    Args:
        session: A reading session.
        since: Only what was parked at this time or later; of a delivery, what was enqueued then.
    """
    return [group for kind in ParkedKind for group in _groups(session, kind, since)]


def _groups(session: Session, kind: ParkedKind, since: datetime | None) -> list[ParkedGroup]:
    parked = _ROWS[kind].subquery()
    windowed = select(
        parked,
        func.count().over(partition_by=parked.c.error_code).label("parked_count"),
        func.min(parked.c.at).over(partition_by=parked.c.error_code).label("oldest_at"),
        func.row_number()
        .over(partition_by=parked.c.error_code, order_by=(parked.c.at.desc(), parked.c.id.desc()))
        .label("place"),
    )
    if since is not None:
        windowed = windowed.where(parked.c.at >= since)
    newest = windowed.subquery()
    by_code: dict[str, list[Row[Any]]] = defaultdict(list)
    rows = select(newest).where(newest.c.place <= EXAMPLES).order_by(newest.c.place)
    for row in session.execute(rows):
        by_code[row.error_code or WITHOUT_CODE].append(row)
    groups = [_group(kind, code, rows) for code, rows in by_code.items()]
    return sorted(groups, key=lambda group: (-group.count, group.code))


def _group(kind: ParkedKind, code: str, rows: list[Row[Any]]) -> ParkedGroup:
    newest = rows[0]
    return ParkedGroup(
        kind=kind,
        code=code,
        count=newest.parked_count,
        oldest_at=newest.oldest_at,
        newest_at=newest.at,
        example_keys=tuple(row.key for row in rows),
        sentence=newest.error_sentence or "",
        traceback_reference=newest.traceback_reference,
    )
