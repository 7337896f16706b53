"""Enqueue results of before a destination was named, because a person orders it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.deliveries.outbox import enqueue_for
from db.deliveries.rows import model_name_of
from db.engine.clock import now
from db.engine.statements import lock_rows
from db.ledger.audit import AuditEntry, append_entries
from db.ledger.identity import was_erased
from db.models import Instance, ResultDelivery, ResultDestination, Study
from db.vocabulary.enums import AuditEvent, StudyState, Verdict


class PastResultOutcome(StrEnum):
    """What was done about one finished study."""

    ENQUEUED = "owed"
    """Its result is enqueued now."""
    ALREADY_ENQUEUED = "owed_before"
    """Its result was enqueued for the destination before, sent or not."""
    NOT_WANTED = "not_wanted"
    """Nothing was evaluated, and the site does not send such results."""
    ERASED = "erased"
    """Its identity was erased, and a result names the person."""
    FILES_GONE = "files_gone"
    """The retention rule removed files, and a result is rendered from them."""


@dataclass(frozen=True, kw_only=True)
class PastResult:
    """One study that was examined."""

    study_id: int
    study_key: str
    outcome: PastResultOutcome


def enqueue_past_results(
    session: Session,
    destination: str,
    *,
    begins: datetime,
    ends: datetime,
    actor: str,
    after_id: int = 0,
    limit: int = 100,
    dry_run: bool = False,
) -> list[PastResult]:
    """Enqueue the present results of studies that were finished in a period.

    Args:
        session: Of one transaction.
        destination: For which they are enqueued; an active one.
        begins: Of the period, included.
        ends: Of the period, included.
        actor: Whom the audit trail names.
        after_id: Begin after this study; that of the last one of the call before.
        limit: Most studies of one transaction, which locks them.
        dry_run: Write nothing.

    Returns:
        The studies that were examined, by ascending id; none when there are no more.

    Doing it twice enqueues nothing twice. A study that is being processed again is passed over: its
    next result is enqueued by itself.
    """
    finished = (
        select(Study)
        .where(
            Study.id > after_id,
            Study.state == StudyState.DONE,
            Study.verdict.is_not(None),
            Study.model_version_id.is_not(None),
            Study.finished_at >= begins,
            Study.finished_at <= ends,
        )
        .order_by(Study.id)
        .limit(limit)
    )
    # The retention rule takes the same lock: files that are here stay here once it is enqueued.
    studies = lock_rows(session, finished).all()
    ids = [study.id for study in studies]
    known, gone = _already_enqueued(session, destination, ids), _without_files(session, ids)
    takes_rejected = session.get_one(ResultDestination, destination).takes_rejected
    examined, entries = [], []
    for study in studies:
        outcome = _classify(study, known, gone, takes_rejected=takes_rejected)
        if outcome is PastResultOutcome.ENQUEUED and was_erased(session, study.study_key):
            outcome = PastResultOutcome.ERASED
        examined.append(PastResult(study_id=study.id, study_key=study.study_key, outcome=outcome))
        if outcome is PastResultOutcome.ENQUEUED and not dry_run:
            enqueue_for(session, study, [destination], now(session))
            entries.append(_entry(session, study, destination, actor))
    append_entries(session, entries)
    return examined


def _classify(
    study: Study,
    known: Collection[tuple[int, int, int]],
    gone: Collection[int],
    *,
    takes_rejected: bool,
) -> PastResultOutcome:
    if (study.id, study.revision, study.model_version_id) in known:
        return PastResultOutcome.ALREADY_ENQUEUED
    if study.verdict is Verdict.REJECTED and not takes_rejected:
        return PastResultOutcome.NOT_WANTED
    return PastResultOutcome.FILES_GONE if study.id in gone else PastResultOutcome.ENQUEUED


def _already_enqueued(
    session: Session, destination: str, study_ids: Collection[int]
) -> set[tuple[int, int, int]]:
    rows = session.execute(
        select(
            ResultDelivery.study_id, ResultDelivery.revision, ResultDelivery.model_version_id
        ).where(ResultDelivery.destination == destination, ResultDelivery.study_id.in_(study_ids))
    )
    return {(row.study_id, row.revision, row.model_version_id) for row in rows}


def _without_files(session: Session, study_ids: Collection[int]) -> set[int]:
    """Return those of the studies that lack the file of an image that counts."""
    return set(
        session.scalars(
            select(Instance.study_id).where(
                Instance.study_id.in_(study_ids),
                Instance.replaced_in_revision.is_(None),
                Instance.file_removed_at.is_not(None),
            )
        )
    )


def _entry(session: Session, study: Study, destination: str, actor: str) -> AuditEntry:
    return AuditEntry(
        event=AuditEvent.RESULT_OWED,
        study_key=study.study_key,
        actor=actor,
        detail={
            "destination": destination,
            "revision": study.revision,
            "model": model_name_of(session, study.model_version_id),
        },
    )
