"""Results that came about before a destination was named, owed to it because a person says so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.deliveries.outbox import enqueue_for
from db.engine.clock import now
from db.ledger.audit import AuditEntry, append_entries
from db.ledger.identity import was_erased
from db.models import Instance, ModelVersion, ResultDelivery, ResultDestination, Study
from db.vocabulary.enums import AuditEvent, StudyState, Verdict


class PastResultOutcome(StrEnum):
    """What became of one finished study."""

    ENQUEUED = "owed"
    """Its result is sent from now on."""
    ALREADY_ENQUEUED = "owed_before"
    """Its result was owed to the destination already, sent or not."""
    NOT_WANTED = "not_wanted"
    """Nothing was evaluated, and the site does not tell destinations of that."""
    ERASED = "erased"
    """Its identity was erased, and a result names the person."""
    FILES_GONE = "files_gone"
    """Files left by the retention rule, and a result is made from them."""


@dataclass(frozen=True, kw_only=True)
class PastResult:
    """One study that was looked at."""

    study_id: int
    study_key: str
    outcome: PastResultOutcome


@dataclass(frozen=True, kw_only=True)
class Period:
    """Studies that were finished from `begins` to `ends`, both included."""

    begins: datetime
    ends: datetime


def active_destinations(session: Session) -> list[str]:
    """Names of those that results are owed to."""
    query = select(ResultDestination.name).where(ResultDestination.is_active)
    return list(session.scalars(query.order_by(ResultDestination.name)))


def enqueue_past_results(
    session: Session,
    destination: str,
    span: Period,
    *,
    actor: str,
    after_id: int = 0,
    limit: int = 100,
    dry_run: bool = False,
) -> list[PastResult]:
    """Owe the results that finished studies of a span have now; those looked at, by ascending id.

    Call it again with `after_id` of the last until it gives none. Doing it twice owes nothing twice.
    A study that is being read again is passed over: its next result is owed by itself. With
    `dry_run` nothing is written.
    """
    studies = session.scalars(
        select(Study)
        .where(
            Study.id > after_id,
            Study.state == StudyState.DONE,
            Study.verdict.is_not(None),
            Study.model_version_id.is_not(None),
            Study.finished_at >= span.begins,
            Study.finished_at <= span.ends,
        )
        .order_by(Study.id)
        .limit(limit)
        # The retention rule takes the same lock: files that are here stay here once it is owed.
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    ids = [study.id for study in studies]
    owed, gone = _already_enqueued(session, destination, ids), _without_files(session, ids)
    takes_rejected = session.get_one(ResultDestination, destination).takes_rejected
    looked_at, entries = [], []
    for study in studies:
        became = _classify(study, owed, gone, takes_rejected=takes_rejected)
        if became is PastResultOutcome.ENQUEUED and was_erased(session, study.study_key):
            became = PastResultOutcome.ERASED
        looked_at.append(PastResult(study_id=study.id, study_key=study.study_key, outcome=became))
        if became is PastResultOutcome.ENQUEUED and not dry_run:
            enqueue_for(session, study, [destination], now(session))
            entries.append(_entry(session, study, destination, actor))
    append_entries(session, entries)
    return looked_at


def _classify(
    study: Study,
    owed: Collection[tuple[int, int, int]],
    gone: Collection[int],
    *,
    takes_rejected: bool,
) -> PastResultOutcome:
    if (study.id, study.revision, study.model_version_id) in owed:
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
    """Those of the studies of which an image that counts has left."""
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
    name = select(ModelVersion.name).where(ModelVersion.id == study.model_version_id)
    return AuditEntry(
        event=AuditEvent.RESULT_OWED,
        study_key=study.study_key,
        actor=actor,
        detail={
            "destination": destination,
            "revision": study.revision,
            "model": session.scalars(name).one(),
        },
    )
