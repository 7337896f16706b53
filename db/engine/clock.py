"""The one clock behind leases, due times and the audit trail."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now(session: Session) -> datetime:
    """Return the present time, aware, in UTC.

    On PostgreSQL this is the server's time, so that workers with wrong clocks agree about leases
    (`clock_timestamp()`, because `now()` does not advance within a transaction). An SQLite database
    belongs to one machine, and its clock is used.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
