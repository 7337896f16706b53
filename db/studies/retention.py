"""The retention rule: which files may be removed, and the rows that record their removal.

The row is changed first: it says that its file is gone, and only after that commit the file is
removed, under the lock of its study. A process that dies in between leaves a file that no row
needs, which `pneumo tidy` removes later, and never a row that refers to a removed file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from db.deliveries.outbox import OUTSTANDING
from db.engine.clock import now
from db.engine.statements import batches, lock_one
from db.ledger.audit import append_entry
from db.models import Instance, ResultDelivery, Study
from db.vocabulary.enums import AuditEvent, StudyState


@dataclass(frozen=True, kw_only=True)
class RemovableFiles:
    """Files of one study whose rows say that they were removed; they may still be on disk."""

    study_id: int
    names: tuple[str, ...]
    """Relative to the intake folder."""
    size: int
    """Bytes of all of them."""


@dataclass(frozen=True, kw_only=True)
class RemovableTotals:
    """How much may be removed now."""

    studies: int
    files: int
    size: int
    """Bytes."""


def is_study_removable(cutoff: datetime) -> ColumnElement[bool]:
    """Return the rule for a study: finished by `cutoff`, and no delivery of its result outstanding.

    A result is built from the files at each attempt to deliver it. Whatever else needs the files of
    a finished study adds its condition here and nowhere else. Parked studies wait for a person, who
    may need the files.
    """
    outstanding = exists().where(
        ResultDelivery.study_id == Study.id, ResultDelivery.state.in_(OUTSTANDING)
    )
    return and_(*_finished_by(cutoff), ~outstanding)


def _finished_by(cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    return (Study.state == StudyState.DONE, Study.finished_at <= cutoff)


def _is_file_removable(cutoff: datetime) -> ColumnElement[bool]:
    """Return the rule for an instance: a file that was sent again is kept as long as a new one."""
    returned_long_ago = or_(
        Instance.file_returned_at.is_(None), Instance.file_returned_at <= cutoff
    )
    return and_(Instance.file_removed_at.is_(None), returned_long_ago)


_HAS_FILES = Study.files_left_at.is_(None)
"""Narrows the search to the studies in `ix_study_with_files`: without it each cycle of the relay would
read all studies whose files were removed long ago. The rules above decide what may be removed."""


def removable_studies(session: Session, *, keep_days: float, limit: int) -> list[int]:
    """Return the ids of studies whose files may be removed, longest finished first."""
    cutoff = _cutoff(session, keep_days)
    with_files = select(Instance.study_id).where(_is_file_removable(cutoff))
    due = (
        select(Study.id)
        .where(is_study_removable(cutoff), _HAS_FILES, Study.id.in_(with_files))
        .order_by(Study.finished_at, Study.id)
        .limit(limit)
    )
    return list(session.scalars(due))


def count_removable(session: Session, *, keep_days: float) -> RemovableTotals:
    """Count all studies and files that `removable_studies` would return without a limit."""
    cutoff = _cutoff(session, keep_days)
    return _totals(session, cutoff, is_study_removable(cutoff), _HAS_FILES)


def count_kept_as_outstanding(session: Session, *, keep_days: float) -> RemovableTotals:
    """Count what could be removed if the delivery of its result were not outstanding."""
    cutoff = _cutoff(session, keep_days)
    outstanding = select(ResultDelivery.study_id).where(ResultDelivery.state.in_(OUTSTANDING))
    return _totals(session, cutoff, *_finished_by(cutoff), Study.id.in_(outstanding))


def _totals(
    session: Session, cutoff: datetime, *conditions: ColumnElement[bool]
) -> RemovableTotals:
    studies, files, size = session.execute(
        select(
            func.count(func.distinct(Study.id)),
            func.count(Instance.id),
            func.coalesce(func.sum(Instance.file_bytes), 0),
        )
        .join(Instance, Instance.study_id == Study.id)
        .where(*conditions, _is_file_removable(cutoff))
    ).one()
    return RemovableTotals(studies=studies, files=files, size=int(size))


def mark_removed(
    session: Session, study_id: int, *, keep_days: float, actor: str
) -> RemovableFiles | None:
    """Record in the rows of one study that its files are removed.

    Commit, then remove the files that `files_to_remove` returns.

    Args:
        session: The running transaction.
        study_id: One of `removable_studies`.
        keep_days: How long files of a finished study are kept.
        actor: Who removes them, for the audit trail.

    Returns:
        The files; None if none may be removed any more.
    """
    moment, cutoff = now(session), _cutoff(session, keep_days)
    # Lock first, then read by another statement: a statement that waited for the lock would still
    # see the deliveries from before the wait.
    lock_one(session, select(Study.id).where(Study.id == study_id))
    study = session.scalars(
        select(Study).where(Study.id == study_id, is_study_removable(cutoff))
    ).one_or_none()
    if study is None:  # new images came meanwhile, or its result is outstanding
        return None
    marked = session.execute(
        update(Instance)
        .where(Instance.study_id == study_id, _is_file_removable(cutoff))
        .values(file_removed_at=moment)
        .returning(Instance.file_name, Instance.file_bytes),
        execution_options={"synchronize_session": False},
    ).all()
    if not marked:
        return None
    # A file that was sent again recently remains.
    present = exists().where(Instance.study_id == study_id, Instance.file_removed_at.is_(None))
    if not session.scalar(select(present)):
        study.files_left_at = moment
    size = sum(row.file_bytes for row in marked)
    detail = {"files": len(marked), "bytes": size, "keep_days": keep_days}
    append_entry(session, AuditEvent.FILES_REMOVED, study.study_key, detail, actor)
    return RemovableFiles(
        study_id=study_id, names=tuple(row.file_name for row in marked), size=size
    )


def files_to_remove(session: Session, marked: RemovableFiles) -> list[str]:
    """Return the files that no row needs; the study is locked until the transaction ends.

    So a sender that resends such a file either comes first, and the file is not among these, or comes
    after the removal, when `is_here` of `db.studies.intake` finds no file.
    """
    lock_one(session, select(Study.id).where(Study.id == marked.study_id))
    in_use = file_names_in_use(session, marked.names)
    return [name for name in marked.names if name not in in_use]


def file_names_in_use(session: Session, names: Collection[str]) -> set[str]:
    """Return which of these file names some row still refers to."""
    in_use: set[str] = set()
    for batch in batches(sorted(names)):
        in_use.update(
            session.scalars(
                select(Instance.file_name).where(
                    Instance.file_name.in_(batch), Instance.file_removed_at.is_(None)
                )
            )
        )
    return in_use


def _cutoff(session: Session, keep_days: float) -> datetime:
    return now(session) - timedelta(days=keep_days)
