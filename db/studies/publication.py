"""What the relay does with studies: take back those of dead workers, publish, let nobody starve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import update_in_order
from db.ledger.audit import AuditEntry
from db.ledger.work_rows import sweep_expired
from db.models import InferenceRun, Study
from db.studies.claims import release_study
from db.studies.results import park_study, parked_detail
from db.values import Failure, SweptClaim
from db.vocabulary.enums import AuditEvent, FailureKind, Lane, RunOutcome, StudyState, SweepAction

ACTOR = "relay"
CRASHES_UNTIL_SUSPECT = 2
"""In an ordinary lane many studies die with the guilty one, so one death proves little."""
CRASHES_ALONE_UNTIL_PARKED = 2
"""In the suspect lane nothing else runs in the process: two deaths are no accident."""
CRASHED_WORKER = Failure(
    kind=FailureKind.BUG,
    code="CRASHED_WORKER",
    sentence="Worker processes died on this study, the last two times while it was alone in the "
    "suspect lane, so one of its files most likely crashes the decoder. Look at its files with "
    "`pneumo show`, update the decoder or ask the sender for the images again, then run `pneumo "
    "retry`.",
)
LONG_QUEUE_FACTOR = 10
"""While a lane still holds messages, a row's own message is believed to wait among them, until it is
so many times `requeue_after_s` old. Publishing it again would only make the queue longer."""
PUBLISHABLE = (StudyState.ACCEPTED, StudyState.QUEUED)

# --- taking back ----------------------------------------------------------------------------------


def sweep_expired_leases(session: Session) -> list[SweptClaim]:
    """Take back the studies of workers that died or hang.

    A first crash sends a study back into its own lane, a second into the suspect lane; two crashes
    alone there park it.
    """
    moment = now(session)
    expired = (
        select(Study.id, Study.study_key.label("key"), InferenceRun.id.label("run_id"))
        .join(
            InferenceRun,
            and_(InferenceRun.study_id == Study.id, InferenceRun.attempt == Study.attempts),
        )
        .where(
            Study.state == StudyState.RUNNING,
            InferenceRun.outcome == RunOutcome.RUNNING,
            InferenceRun.lease_until < moment,
        )
        .order_by(Study.id)
    )
    return sweep_expired(session, expired, lambda row: _reclaim(session, row, moment))


def _reclaim(session: Session, row: Any, moment: datetime) -> tuple[SweepAction, list[AuditEntry]]:
    study = session.get_one(Study, row.id, populate_existing=True)
    run = session.get_one(InferenceRun, row.run_id, populate_existing=True)
    run.outcome, run.ended_at, run.error_code = RunOutcome.CRASHED, moment, CRASHED_WORKER.code
    run.total_seconds = (moment - run.started_at).total_seconds()
    action = _count_crash(study, run, moment)
    session.flush()
    crashed = {
        "attempt": study.attempts,
        "lane": run.lane.value,
        "worker": run.worker_name,
        "crashes": study.crashes,
        "crashes_alone": study.crashes_alone,
    }
    entries = [_entry(study, AuditEvent.ATTEMPT_CRASHED, crashed)]
    if action is SweepAction.PARKED:
        detail = {"attempt": study.attempts, **parked_detail(study, CRASHED_WORKER)}
        entries.append(_entry(study, AuditEvent.STUDY_PARKED, detail))
    return action, entries


def _count_crash(study: Study, run: InferenceRun, moment: datetime) -> SweepAction:
    """Count the crash for the lane that the attempt came through, and move the study on.

    A study that got new images meanwhile is not parked: nobody has looked at those.
    """
    if run.lane is not Lane.SUSPECT:
        study.crashes += 1
        release_study(study, moment)
        if study.crashes < CRASHES_UNTIL_SUSPECT:
            return SweepAction.REQUEUED
        study.lane = Lane.SUSPECT
        return SweepAction.SUSPECTED
    study.crashes_alone = study.crashes_alone + 1 if study.revision == run.revision else 0
    if study.crashes_alone < CRASHES_ALONE_UNTIL_PARKED:
        release_study(study, moment)
        return SweepAction.SUSPECTED
    park_study(study, moment, CRASHED_WORKER)
    return SweepAction.PARKED


def _entry(study: Study, event: AuditEvent, detail: Mapping[str, Any]) -> AuditEntry:
    return AuditEntry(event=event, study_key=study.study_key, actor=ACTOR, detail=detail)


# --- publishing -----------------------------------------------------------------------------------


def due_for_publication(
    session: Session,
    *,
    limit: int,
    requeue_after_s: float,
    broker_was_wiped: bool = False,
    waiting_in_broker: Mapping[Lane, int] | None = None,
) -> list[tuple[str, Lane]]:
    """Return the studies to be published now: stat first, then longest due.

    Due is what is accepted and due, and what was published and never claimed. On PostgreSQL the
    rows stay locked until the transaction ends, so that several relays share the work.

    Args:
        session: The running transaction.
        limit: How many at most.
        requeue_after_s: What was published so long ago and never claimed is due again (ten times
            that, while its lane still holds messages).
        broker_was_wiped: Forget every publication so far; say it once for one wipe, then ask
            without it until fewer than `limit` come.
        waiting_in_broker: How many messages each lane holds.

    Returns:
        (study_key, lane) of each, in the order of publication.
    """
    moment = now(session)
    if broker_was_wiped:
        update_in_order(
            session,
            Study,
            Study.state == StudyState.QUEUED,
            state=StudyState.ACCEPTED,
            due_at=moment,
        )
    accepted = and_(Study.state == StudyState.ACCEPTED, Study.due_at <= moment)
    overdue = _overdue(moment, requeue_after_s, waiting_in_broker or {})
    rows = session.execute(
        select(Study.study_key, Study.lane)
        .where(or_(accepted, overdue))
        .order_by(_RANK, Study.due_at, Study.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [(row.study_key, row.lane) for row in rows]


def mark_published(session: Session, study_keys: Sequence[str]) -> None:
    """Remember that these studies were published.

    One that was claimed meanwhile is left as it is, and so is one whose retry is due later.
    """
    moment = now(session)
    update_in_order(
        session,
        Study,
        Study.study_key.in_(study_keys),
        Study.state.in_(PUBLISHABLE),
        Study.due_at <= moment,
        state=StudyState.QUEUED,
        published_at=moment,
    )


def age_routine(session: Session, *, after_s: float) -> int:
    """Move routine studies that were complete `after_s` seconds ago into the stat lane.

    Their messages stay in the routine queue and are dropped there; the studies are published again
    in stat.
    """
    return update_in_order(
        session,
        Study,
        Study.lane == Lane.ROUTINE,
        Study.state.in_(PUBLISHABLE),
        Study.closed_at <= now(session) - timedelta(seconds=after_s),
        lane=Lane.STAT,
        state=StudyState.ACCEPTED,
    )


_RANK = case((Study.lane == Lane.STAT, 0), (Study.lane == Lane.ROUTINE, 1), else_=2)


def _overdue(
    moment: datetime, requeue_after_s: float, waiting: Mapping[Lane, int]
) -> ColumnElement[bool]:
    """Published too long ago to be still on its way, judged lane by lane."""
    by_lane = [
        and_(
            Study.lane == lane,
            Study.published_at
            <= moment
            - timedelta(seconds=requeue_after_s * (LONG_QUEUE_FACTOR if waiting.get(lane) else 1)),
        )
        for lane in Lane
    ]
    return and_(Study.state == StudyState.QUEUED, or_(*by_lane))
