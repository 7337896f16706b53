"""Read-only queries for people: the whole installation, the analysts' views, one study."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, text
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.columns import UtcDateTime
from db.engine.statements import batches
from db.models import AuditRecord, InferenceRun, Instance, ModelVersion, Prediction, Study
from db.values import ArchivedStudyStatus
from db.values.rows import from_row
from db.values.study_details import (
    AttemptDetail,
    AuditDetail,
    InstanceDetail,
    Overview,
    PredictionDetail,
    RefusalRecord,
    StudyDetail,
    StudySummary,
)
from db.vocabulary.enums import InstanceState, StudyState, Verdict
from db.vocabulary.errors import AmbiguousStudy

WAITING = (StudyState.ACCEPTED, StudyState.QUEUED)
SHORTEST_PREFIX = 4
"""Fewer characters of a key identify no study."""

VIEWS = {
    "v1_studies": "received_at DESC, study_key",
    "v1_predictions": "recorded_at DESC, study_key, instance_number, frame_number, model_version",
    "v1_refusals_by_code": "instances DESC, refusal_code",
    "v1_turnaround_by_priority": "priority DESC",
    "v1_shadow_agreement": "recorded_at DESC, study_key, instance_number, frame_number",
    "v1_deliveries": "created_at DESC, study_key, destination, revision, model_version",
}
"""The analysts' views, each with the order in which it is shown."""

# --- the whole installation -----------------------------------------------------------------------


def overview(session: Session) -> Overview:
    """Count studies by state, lane and verdict, and say how long the oldest one has waited."""
    waiting = Study.state.in_(WAITING)
    oldest = session.scalar(select(func.min(Study.closed_at)).where(waiting))
    by_lane = select(Study.lane, func.count()).where(waiting).group_by(Study.lane)
    lanes = session.execute(by_lane)
    by_state: Counter[StudyState] = Counter()
    by_verdict: Counter[Verdict] = Counter()
    # The only query that reads all studies of all time, so there is one for both counts.
    everything = select(Study.state, Study.verdict, func.count()).group_by(
        Study.state, Study.verdict
    )
    for state, verdict, count in session.execute(everything):
        by_state[state] += count
        if verdict is not None:
            by_verdict[verdict] += count
    return Overview(
        by_state=dict(by_state),
        waiting_by_lane={lane: count for lane, count in lanes},  # noqa: C416  Row is no pair
        by_verdict=dict(by_verdict),
        oldest_waiting_seconds=(now(session) - oldest).total_seconds() if oldest else None,
    )


def parked_studies(
    session: Session, *, code: str | None = None, since: datetime | None = None
) -> list[str]:
    """Return the keys of parked studies (with this code, since this time), longest parked first."""
    query = select(Study.study_key).where(Study.state == StudyState.PARKED)
    if code is not None:
        query = query.where(Study.error_code == code)
    if since is not None:
        query = query.where(Study.finished_at >= since)
    return list(session.scalars(query.order_by(Study.finished_at, Study.id)))


def study_summaries(session: Session, study_keys: Sequence[str]) -> list[StudySummary]:
    """Return one summary for each of these studies that exists, in the given order."""
    found = {line.study_key: line for line in _summaries(session, Study.study_key.in_(study_keys))}
    return [found[key] for key in study_keys if key in found]


def view_rows(
    session: Session, view: str, *, limit: int | None = None
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Read one of the analysts' views, newest or largest first.

    Args:
        session: A reading session.
        view: One of `VIEWS`.
        limit: How many rows at most; None: all.

    Returns:
        Column names, and rows whose times are aware and in UTC.

    Raises:
        KeyError: `view` is no name in `VIEWS`.
    """
    order = VIEWS[view]
    names = tuple(session.execute(text(f"SELECT * FROM {view} LIMIT 0")).keys())  # noqa: S608
    moments = {name: UtcDateTime() for name in names if name.endswith("_at")}
    sql = f"SELECT * FROM {view} ORDER BY {order}"  # noqa: S608  both from our own table
    query = text(sql if limit is None else f"{sql} LIMIT :limit").columns(**moments)
    rows = session.execute(query, {} if limit is None else {"limit": limit})
    return names, [tuple(row) for row in rows]


def count_view_rows(session: Session, view: str) -> int:
    """Count the rows of one of `VIEWS`. Raises KeyError for any other name."""
    if view not in VIEWS:
        raise KeyError(view)
    return session.scalar(text(f"SELECT COUNT(*) FROM {view}")) or 0  # noqa: S608  from our table


def has_instances(session: Session) -> bool:
    """Whether there is a row of any instance, with or without its file."""
    return session.scalar(select(Instance.id).limit(1)) is not None


def archived_study_statuses(
    session: Session, uids: Sequence[str]
) -> dict[str, ArchivedStudyStatus]:
    """Return the status of each known study, by Study Instance UID, for `pneumo coverage`."""
    # A subquery for each study: a join would first read every refused image of all time.
    first_refusal = (
        select(Instance.refusal_code)
        .where(Instance.study_id == Study.id, Instance.state == InstanceState.REFUSED)
        .order_by(Instance.id)
        .limit(1)
        .scalar_subquery()
    )
    code = func.coalesce(Study.error_code, first_refusal).label("code")
    query = select(Study.study_instance_uid, Study.state, Study.verdict, code)
    return {
        row.study_instance_uid: from_row(ArchivedStudyStatus, row)
        for batch in batches(uids)
        for row in session.execute(query.where(Study.study_instance_uid.in_(batch)))
    }


# --- one study ------------------------------------------------------------------------------------


def find_study(session: Session, name: str) -> str | None:
    """Return the key of a study that a person names.

    Args:
        session: The running transaction.
        name: Its key, the beginning of its key, or its Study Instance UID.

    Returns:
        The key; None if no study is meant.

    Raises:
        AmbiguousStudy: Several keys begin with these characters.
    """
    by_uid = session.scalar(select(Study.study_key).where(Study.study_instance_uid == name))
    if by_uid is not None:
        return by_uid
    if len(name) < SHORTEST_PREFIX:
        return None
    begin = name.lower()
    prefixed = and_(
        Study.study_key.startswith(begin, autoescape=True),
        # Keys are hex digits, and g follows them in every collation. An index serves these bounds;
        # LIKE it serves in few collations on PostgreSQL and never on SQLite.
        Study.study_key >= begin,
        Study.study_key < f"{begin}g",
    )
    keys = session.scalars(select(Study.study_key).where(prefixed).limit(2)).all()
    if len(keys) > 1:
        raise AmbiguousStudy(
            "STUDY_AMBIGUOUS",
            "The keys of several studies begin with these characters. Give more of the key.",
        )
    return keys[0] if keys else None


def study_detail(session: Session, study_key: str) -> StudyDetail | None:
    """Return everything about one study but its identity; None if there is no such study."""
    summaries = _summaries(session, Study.study_key == study_key)
    if not summaries:
        return None
    study_id = session.scalars(select(Study.id).where(Study.study_key == study_key)).one()
    return StudyDetail(
        summary=summaries[0],
        instances=_instances(session, study_id),
        attempts=_attempts(session, study_id),
        audit=_audit(session, study_key),
    )


def _summaries(session: Session, condition: ColumnElement[bool]) -> list[StudySummary]:
    rows = session.execute(
        select(Study, ModelVersion.name)
        .outerjoin(ModelVersion, ModelVersion.id == Study.model_version_id)
        .where(condition)
        .execution_options(populate_existing=True)
    )
    return [from_row(StudySummary, study, model_name=model_name) for study, model_name in rows]


def _instances(session: Session, study_id: int) -> tuple[InstanceDetail, ...]:
    predictions = _predictions(session, study_id)
    rows = session.scalars(
        select(Instance)
        .where(Instance.study_id == study_id)
        .order_by(Instance.id)
        .execution_options(populate_existing=True)
    )
    return tuple(
        from_row(
            InstanceDetail,
            row,
            number=number,
            refusal=_refusal(row),
            predictions=tuple(predictions[row.id]),
        )
        for number, row in enumerate(rows, start=1)
    )


def _refusal(row: Instance) -> RefusalRecord | None:
    if row.refusal_code is None:
        return None
    return RefusalRecord(
        code=row.refusal_code,
        tag=row.refusal_tag,
        found=row.refusal_found or "",
        expected=row.refusal_expected or "",
        sentence=row.refusal_sentence or "",
        step=row.refusal_step or "",
    )


def _predictions(session: Session, study_id: int) -> dict[int, list[PredictionDetail]]:
    by_instance: dict[int, list[PredictionDetail]] = defaultdict(list)
    rows = session.execute(
        select(Prediction, ModelVersion.name)
        .join(Instance, Instance.id == Prediction.instance_id)
        .join(ModelVersion, ModelVersion.id == Prediction.model_version_id)
        .where(Instance.study_id == study_id)
        .order_by(Prediction.id)
    )
    for row, model_name in rows:
        by_instance[row.instance_id].append(
            from_row(
                PredictionDetail,
                row,
                prediction_id=row.id,
                model_name=model_name,
                warnings=tuple(row.warnings),
            )
        )
    return by_instance


def _attempts(session: Session, study_id: int) -> tuple[AttemptDetail, ...]:
    rows = session.scalars(
        select(InferenceRun)
        .where(InferenceRun.study_id == study_id)
        .order_by(InferenceRun.attempt)
        .execution_options(populate_existing=True)
    )
    return tuple(from_row(AttemptDetail, row) for row in rows)


def _audit(session: Session, study_key: str) -> tuple[AuditDetail, ...]:
    rows = session.scalars(
        select(AuditRecord).where(AuditRecord.study_key == study_key).order_by(AuditRecord.sequence)
    )
    return tuple(from_row(AuditDetail, row, detail=json.loads(row.detail)) for row in rows)
