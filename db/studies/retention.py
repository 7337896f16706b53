"""Which files may leave, and the rows that say that they left.

The row comes first: it says that its file is gone, and only after that commit the file goes, under the
lock of its study. Whatever dies in between leaves a file that no row needs, which the next tidying
takes away, and never a row that claims a file that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from db.deliveries.outbox import OUTSTANDING
from db.engine.clock import now
from db.ledger.audit import append_entry
from db.models import Instance, ResultDelivery, Study
from db.vocabulary.enums import AuditEvent, StudyState


@dataclass(frozen=True, kw_only=True)
class RemovableFiles:
    """Files of one study whose rows say that they left; they may still lie there."""

    study_id: int
    names: tuple[str, ...]
    """Relative to the intake folder."""
    size: int
    """Bytes of all of them."""


@dataclass(frozen=True, kw_only=True)
class RemovableTotals:
    """How much may leave now."""

    studies: int
    files: int
    size: int
    """Bytes."""


def is_study_removable(cutoff: datetime) -> ColumnElement[bool]:
    """The rule, on the study: it has its result since `cutoff` or longer, and owes it to nobody.

    A result is made from the files at each try to deliver it. Whatever else needs the files of a
    finished study adds its condition here and nowhere else. Parked studies wait for a person, who
    may need the files.
    """
    owes = exists().where(
        ResultDelivery.study_id == Study.id, ResultDelivery.state.in_(OUTSTANDING)
    )
    return and_(Study.state == StudyState.DONE, Study.finished_at <= cutoff, ~owes)


def _is_file_removable(cutoff: datetime) -> ColumnElement[bool]:
    """The rule, on the instance: a file that was sent again stays as long as a new one."""
    returned_long_ago = or_(
        Instance.file_returned_at.is_(None), Instance.file_returned_at <= cutoff
    )
    return and_(Instance.file_removed_at.is_(None), returned_long_ago)


_HAS_FILES = Study.files_left_at.is_(None)
"""Narrows the search to the studies in `ix_study_with_files`: without it each turn of the relay would
pass by all whose files left long ago. What may leave is for the rules above to say."""


def removable_studies(session: Session, *, keep_days: float, limit: int) -> list[int]:
    """Rows of studies whose files may leave, longest finished first."""
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
    """What `removable_studies` comes to when it is followed to its end."""
    cutoff = _cutoff(session, keep_days)
    studies, files, size = session.execute(
        select(
            func.count(func.distinct(Study.id)),
            func.count(Instance.id),
            func.coalesce(func.sum(Instance.file_bytes), 0),
        )
        .join(Instance, Instance.study_id == Study.id)
        .where(is_study_removable(cutoff), _HAS_FILES, _is_file_removable(cutoff))
    ).one()
    return RemovableTotals(studies=studies, files=files, size=int(size))


def count_kept_as_outstanding(session: Session, *, keep_days: float) -> RemovableTotals:
    """What would leave by the rule if its study's result were not owed any more."""
    cutoff = _cutoff(session, keep_days)
    owing = select(ResultDelivery.study_id).where(ResultDelivery.state.in_(OUTSTANDING))
    studies, files, size = session.execute(
        select(
            func.count(func.distinct(Study.id)),
            func.count(Instance.id),
            func.coalesce(func.sum(Instance.file_bytes), 0),
        )
        .join(Instance, Instance.study_id == Study.id)
        .where(
            Study.state == StudyState.DONE,
            Study.finished_at <= cutoff,
            Study.id.in_(owing),
            _is_file_removable(cutoff),
        )
    ).one()
    return RemovableTotals(studies=studies, files=files, size=int(size))


def mark_removed(
    session: Session, study_id: int, *, keep_days: float, actor: str
) -> RemovableFiles | None:
    """Let the rows of one study say that their files left; None if they may not any more.

    Commit, then remove the files with `files_to_remove`.
    """
    moment, cutoff = now(session), _cutoff(session, keep_days)
    # Locked, then looked at by a statement of its own: one that waited for the lock would still see
    # what was owed before it waited.
    session.execute(select(Study.id).where(Study.id == study_id).with_for_update()).one()
    study = session.scalars(
        select(Study).where(Study.id == study_id, is_study_removable(cutoff))
    ).one_or_none()
    if study is None:  # new images came meanwhile, or its result is owed: it is on its way again
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
    if not session.scalar(select(_has_present_files(study_id))):
        study.files_left_at = moment
    size = sum(row.file_bytes for row in marked)
    detail = {"files": len(marked), "bytes": size, "keep_days": keep_days}
    append_entry(session, AuditEvent.FILES_REMOVED, study.study_key, detail, actor)
    return RemovableFiles(
        study_id=study_id, names=tuple(row.file_name for row in marked), size=size
    )


def _has_present_files(study_id: int) -> ColumnElement[bool]:
    """Whether a file of the study stays: it was sent again not so long ago."""
    return exists().where(Instance.study_id == study_id, Instance.file_removed_at.is_(None))


def files_to_remove(session: Session, leaving: RemovableFiles) -> list[str]:
    """Those of the files that no row needs; the study is locked until the transaction ends.

    So a sender who brings one back either comes first, and it is not among these, or comes after
    the removal and is told that the file is not here (`db.studies.intake`, `is_here`).
    """
    session.execute(select(Study.id).where(Study.id == leaving.study_id).with_for_update()).one()
    needed = file_names_in_use(session, leaving.names)
    return [name for name in leaving.names if name not in needed]


def file_names_in_use(session: Session, names: Collection[str]) -> set[str]:
    """Those of these file names whose file some row counts on."""
    asked: Sequence[str] = sorted(names)
    needed: set[str] = set()
    for start in range(0, len(asked), _BATCH_SIZE):
        part = asked[start : start + _BATCH_SIZE]
        needed.update(
            session.scalars(
                select(Instance.file_name).where(
                    Instance.file_name.in_(part), Instance.file_removed_at.is_(None)
                )
            )
        )
    return needed


_BATCH_SIZE = 500
"""Names in one query; databases limit how many parameters a statement has."""


def _cutoff(session: Session, keep_days: float) -> datetime:
    return now(session) - timedelta(days=keep_days)
