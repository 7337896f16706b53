"""What the relay does with rows: take back, publish, and let nobody starve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.session import is_transient
from db.ledger.audit import AuditEntry, append_entries
from db.models import InferenceRun, Study
from db.studies.claims import WITHOUT_SESSION_SYNC, release_study
from db.studies.results import park_study
from db.values import SweptStudy
from db.vocabulary.enums import AuditEvent, FailureKind, Lane, RunOutcome, StudyState, SweepAction

ACTOR = "relay"
CRASHES_UNTIL_SUSPECT = 2
"""In an ordinary lane many studies die with the guilty one, so one death proves little."""
CRASHES_ALONE_UNTIL_PARKED = 2
"""In the suspect lane nothing else runs in the process: two deaths are no accident."""
CRASHED_WORKER = "CRASHED_WORKER"
CRASHED_WORKER_SENTENCE = (
    "Worker processes died on this study, the last two times while it was alone in the suspect "
    "lane, so one of its files most likely crashes the decoder. Look at its files with `pneumo "
    "show`, update the decoder or ask the sender for the images again, then run `pneumo retry`."
)
LONG_QUEUE_FACTOR = 10
"""While a lane still holds messages, a row's own message is believed to wait among them, until it is
so many times `requeue_after_s` old. Publishing it again would only make the queue longer."""

# --- taking back ----------------------------------------------------------------------------------


def sweep_expired_leases(session: Session) -> list[SweptStudy]:
    """Take back the studies of workers that died or hung.

    A first crash sends a study back into its own lane, a second into the suspect lane; two crashes
    alone there park it. A row that cannot be swept is skipped and told as such; it does not keep
    the others.
    """
    moment = now(session)
    swept: list[SweptStudy] = []
    entries: list[AuditEntry] = []
    for study_id, study_key, run_id in _expired(session, moment):
        try:
            with session.begin_nested():
                action, noted = _reclaim(session, study_id, run_id, moment)
        except Exception as error:
            if is_transient(error):  # not the row's fault: the whole sweep is tried again
                raise
            action, noted = SweepAction.SKIPPED, []
        swept.append(SweptStudy(study_key=study_key, action=action))
        entries += noted
    append_entries(session, entries)
    return swept


def _expired(session: Session, moment: datetime) -> list[Any]:
    """Ids only, so that a row that cannot be read fails in its own savepoint."""
    rows = session.execute(
        select(Study.id, Study.study_key, InferenceRun.id)
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
        .with_for_update(skip_locked=True)
    )
    return list(rows)


def _reclaim(
    session: Session, study_id: int, run_id: int, moment: datetime
) -> tuple[SweepAction, list[AuditEntry]]:
    study = session.get_one(Study, study_id, populate_existing=True)
    run = session.get_one(InferenceRun, run_id, populate_existing=True)
    run.outcome, run.ended_at, run.error_code = RunOutcome.CRASHED, moment, CRASHED_WORKER
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
        detail = {"attempt": study.attempts, "code": CRASHED_WORKER, "kind": FailureKind.BUG.value}
        entries.append(_entry(study, AuditEvent.STUDY_PARKED, detail))
    return action, entries


def _count_crash(study: Study, run: InferenceRun, moment: datetime) -> SweepAction:
    """The crash counts for the lane that the attempt came through.

    A study to which new images came meanwhile is not parked with what nobody has looked at.
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
    park_study(
        study, moment, CRASHED_WORKER, CRASHED_WORKER_SENTENCE, FailureKind.BUG, reference=None
    )
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
    """Studies to be published now, as (study_key, lane): stat first, then the longest due.

    Due is what is accepted and due, and what was published `requeue_after_s` ago and never claimed
    (ten times that, while its lane still holds messages). With `broker_was_wiped` every
    publication so far is forgotten first; say it once for one wipe, then ask without it until
    fewer than `limit` come. On PostgreSQL the rows stay locked until the transaction ends, so
    that several relays share the work.
    """
    moment = now(session)
    if broker_was_wiped:
        _forget_publications(session, moment)
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
    """Remember that these keys were published.

    A study that was claimed meanwhile is left as it is, and so is one whose retry is due later.
    """
    if not study_keys:
        return
    moment = now(session)
    session.execute(
        update(Study)
        .where(
            _locked_in_order(
                Study.study_key.in_(study_keys),
                Study.state.in_([StudyState.ACCEPTED, StudyState.QUEUED]),
                Study.due_at <= moment,
            )
        )
        .values(state=StudyState.QUEUED, published_at=moment),
        execution_options=WITHOUT_SESSION_SYNC,
    )


def age_routine(session: Session, *, after_s: float) -> int:
    """Move routine studies that were complete `after_s` seconds ago into the stat lane.

    A message of theirs in the routine queue is left behind; they are published again in stat.
    """
    moment = now(session)
    aged = session.execute(
        update(Study)
        .where(
            _locked_in_order(
                Study.lane == Lane.ROUTINE,
                Study.state.in_([StudyState.ACCEPTED, StudyState.QUEUED]),
                Study.closed_at <= moment - timedelta(seconds=after_s),
            )
        )
        .values(lane=Lane.STAT, state=StudyState.ACCEPTED)
        .returning(Study.id),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return len(aged.all())


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


def _forget_publications(session: Session, moment: datetime) -> None:
    session.execute(
        update(Study)
        .where(_locked_in_order(Study.state == StudyState.QUEUED))
        .values(state=StudyState.ACCEPTED, due_at=moment),
        execution_options=WITHOUT_SESSION_SYNC,
    )


def _locked_in_order(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """These rows, locked by ascending id: two relays that change many never wait in a ring."""
    rows = select(Study.id).where(*conditions).order_by(Study.id).with_for_update()
    return Study.id.in_(rows)
