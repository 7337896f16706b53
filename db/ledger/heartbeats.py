"""Heartbeats: one row for each worker process."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import upsert
from db.models import WorkerHeartbeat
from db.values import LiveWorker, ShadowStatus
from db.values.rows import from_row


def record_heartbeat(
    session: Session,
    *,
    worker_name: str,
    lanes: str | Collection[str],
    device: str,
    model_name: str | None,
    shadow: ShadowStatus | None = None,
) -> None:
    """Record that this worker is alive. `lanes`: names, or one text joined by commas."""
    moment = now(session)
    values = {
        "lanes": lanes if isinstance(lanes, str) else ",".join(str(lane) for lane in lanes),
        "device": device,
        "model_name": model_name,
        "shadow_name": shadow.model_name if shadow else None,
        "shadow_stored": shadow.stored if shadow else 0,
        "shadow_failed": shadow.failed if shadow else 0,
        "shadow_skipped": shadow.skipped if shadow else 0,
        "seen_at": moment,
    }
    upsert(
        session,
        WorkerHeartbeat,
        {"worker_name": worker_name, "started_at": moment, **values},
        key="worker_name",
        update=values,
    )


def live_workers(session: Session, within_s: float) -> list[LiveWorker]:
    """Return the workers whose last heartbeat is at most `within_s` seconds old, by name."""
    since = now(session) - timedelta(seconds=within_s)
    rows = session.scalars(
        select(WorkerHeartbeat)
        .where(WorkerHeartbeat.seen_at >= since)
        .order_by(WorkerHeartbeat.worker_name)
        .execution_options(populate_existing=True)
    )
    return [
        from_row(
            LiveWorker,
            row,
            lanes=tuple(lane for lane in row.lanes.split(",") if lane),
            shadow=_shadow(row),
        )
        for row in rows
    ]


def _shadow(row: WorkerHeartbeat) -> ShadowStatus | None:
    if row.shadow_name is None:
        return None
    return ShadowStatus(
        model_name=row.shadow_name,
        stored=row.shadow_stored,
        failed=row.shadow_failed,
        skipped=row.shadow_skipped,
    )
