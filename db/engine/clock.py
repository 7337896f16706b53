"""The one clock that leases, due times and the audit trail go by."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now(session: Session) -> datetime:
    """The present moment, aware, UTC.

    On PostgreSQL it is the server's, so that workers with wrong clocks agree about leases
    (`clock_timestamp()`, because `now()` stands still within a transaction). An SQLite database
    belongs to one machine, whose clock it is.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
