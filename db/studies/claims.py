"""Claims: which worker has a study, until when, and the token that fences its writes.

A claim is one UPDATE, atomic on both databases. Its token is the number of the attempt: each claim
raises it, so a worker that was believed dead and comes back writes with an old one and is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, tuple_, update
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import WITHOUT_SESSION_SYNC
from db.ledger.work_rows import held_row
from db.models import InferenceRun, Instance, Prediction, Study
from db.values import Claim, ClaimedInstance, PriorPrediction
from db.vocabulary.enums import Lane, RunOutcome, StudyState
from db.vocabulary.errors import StaleClaim


def claim(
    session: Session,
    study_key: str,
    *,
    worker_name: str,
    lease_s: float,
    lanes: Collection[Lane] | None = None,
) -> Claim | None:
    """Claim a study for `lease_s` seconds.

    Args:
        session: The running transaction.
        study_key: 32 hex digits, from the message.
        worker_name: Whose claim it is, for people.
        lease_s: How long the claim holds without renewal.
        lanes: The lanes that this process serves: an old message must not bring a suspect study
            into a process that others share. None: all.

    Returns:
        The claim with all instances; None if another worker has the study, it is finished, its
        retry is not due, or it goes through none of `lanes` now. Drop the message; what is due is
        published again.

    Example:
        >>> with database.transaction() as session:
        ...     claim(session, study_key, worker_name="gpu-1", lease_s=60.0).token
        1
    """
    moment = now(session)
    row = _claim_row(session, study_key, moment, lanes)
    if row is None:
        return None
    session.execute(
        insert(InferenceRun).values(
            study_id=row.id,
            attempt=row.attempts,
            revision=row.revision,
            worker_name=worker_name,
            lane=row.lane,
            started_at=moment,
            lease_until=moment + timedelta(seconds=lease_s),
            outcome=RunOutcome.RUNNING,
        )
    )
    return Claim(
        study_id=row.id,
        study_key=study_key,
        token=row.attempts,
        revision=row.revision,
        retries=row.retries,
        priority=row.priority,
        lane=row.lane,
        source=row.source,
        worker_name=worker_name,
        instances=claimed_instances(session, row.id),
    )


def renew_leases(
    session: Session, claims: Sequence[tuple[int, int]], *, lease_s: float
) -> set[tuple[int, int]]:
    """Renew claims given as (study_id, token); return those that are lost, to be abandoned."""
    if not claims:
        return set()
    held = tuple_(InferenceRun.study_id, InferenceRun.attempt)
    renewed = session.execute(
        update(InferenceRun)
        .where(held.in_(claims), InferenceRun.outcome == RunOutcome.RUNNING)
        .values(lease_until=now(session) + timedelta(seconds=lease_s))
        .returning(InferenceRun.study_id, InferenceRun.attempt),
        execution_options=WITHOUT_SESSION_SYNC,
    )
    return set(claims) - {(row.study_id, row.attempt) for row in renewed}


def release(session: Session, claim: Claim, *, delay_s: float = 0.0) -> None:
    """Give up a claim before the work began; the study is due after `delay_s` seconds.

    It counts as no crash. Raises StaleClaim if the claim is lost.
    """
    moment = now(session)
    study = held_study(session, claim)
    end_run(session, claim, moment, outcome=RunOutcome.RELEASED)
    release_study(study, moment + timedelta(seconds=delay_s))
    session.flush()


# --- what each write of a worker begins with ------------------------------------------------------


def held_study(session: Session, claim: Claim) -> Study:
    """Return the study's row, locked, if `claim` still holds it; raise StaleClaim otherwise."""
    return held_row(session, Study, claim.study_id, claim.token)


def held_run(session: Session, claim: Claim) -> tuple[int, datetime]:
    """Return row id and start of the claim's attempt, locked; raise StaleClaim if it has ended."""
    run = session.execute(
        select(InferenceRun.id, InferenceRun.started_at)
        .where(
            InferenceRun.study_id == claim.study_id,
            InferenceRun.attempt == claim.token,
            InferenceRun.outcome == RunOutcome.RUNNING,
        )
        .with_for_update()
    ).one_or_none()
    if run is None:
        raise StaleClaim(claim.token)
    return run.id, run.started_at


def end_run(
    session: Session, claim: Claim, moment: datetime, *, outcome: RunOutcome, **values: Any
) -> None:
    """End the claim's attempt. Raises StaleClaim if it has ended already."""
    run_id, started_at = held_run(session, claim)
    session.execute(
        update(InferenceRun)
        .where(InferenceRun.id == run_id)
        .values(
            outcome=outcome,
            ended_at=moment,
            total_seconds=(moment - started_at).total_seconds(),
            **values,
        ),
        execution_options=WITHOUT_SESSION_SYNC,
    )


def release_study(study: Study, due_at: datetime) -> None:
    """Make a study due again at `due_at`: an attempt ended without a result.

    If images came one by one meanwhile, no rule has closed the study yet, and it goes on receiving.
    """
    if study.closed_by is None:
        study.state, study.due_at = StudyState.RECEIVING, max(study.due_at or due_at, due_at)
    else:
        study.state, study.due_at = StudyState.ACCEPTED, due_at


# --- the one UPDATE, and what a worker needs to know ----------------------------------------------


def _claim_row(
    session: Session, study_key: str, moment: datetime, lanes: Collection[Lane] | None
) -> Any | None:
    due = or_(Study.due_at.is_(None), Study.due_at <= moment)
    claimable = or_(Study.state == StudyState.QUEUED, and_(Study.state == StudyState.ACCEPTED, due))
    statement = (
        update(Study)
        .where(Study.study_key == study_key, claimable)
        .values(
            state=StudyState.RUNNING,
            attempts=Study.attempts + 1,
            started_at=func.coalesce(Study.started_at, moment),
        )
        .returning(
            Study.id,
            Study.attempts,
            Study.revision,
            Study.retries,
            Study.priority,
            Study.lane,
            Study.source,
        )
    )
    if lanes is not None:
        statement = statement.where(Study.lane.in_(list(lanes)))
    return session.execute(statement, execution_options=WITHOUT_SESSION_SYNC).one_or_none()


def claimed_instances(session: Session, study_id: int) -> tuple[ClaimedInstance, ...]:
    """Return every instance of a study that counts, with the predictions that it has already."""
    prior: dict[int, list[PriorPrediction]] = defaultdict(list)
    predictions = session.scalars(
        select(Prediction)
        .join(Instance, Instance.id == Prediction.instance_id)
        .where(Instance.study_id == study_id)
        .order_by(Prediction.id)
    )
    for row in predictions:
        prior[row.instance_id].append(
            PriorPrediction(
                model_version_id=row.model_version_id,
                preprocessing_version=row.preprocessing_version,
                frame_number=row.frame_number,
                probability=row.probability,
                threshold=row.threshold,
            )
        )
    rows = session.execute(
        select(
            Instance.id,
            Instance.file_name,
            Instance.state,
            Instance.refusal_code,
            Instance.file_removed_at,
        )
        .where(Instance.study_id == study_id, Instance.replaced_in_revision.is_(None))
        .order_by(Instance.id)
    )
    return tuple(
        ClaimedInstance(
            id=row.id,
            file_name=row.file_name,
            state=row.state,
            refusal_code=row.refusal_code,
            prior=tuple(prior[row.id]),
            file_removed=row.file_removed_at is not None,
        )
        for row in rows
    )
