"""Conditions outside of any study: an archive that is away, a full disk, a certificate that expires.

`pneumo status` shows the active ones. A subject has one row, which remains when its condition ends.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, select, update
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.engine.statements import upsert
from db.models import SiteCondition
from db.values.rows import from_row


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One active condition."""

    subject: str
    """What it is about, without an address or a personal name."""
    code: str
    """UPPER_SNAKE, like an error code."""
    sentence: str
    """For an operator: what happened, and what to do."""
    times: int
    """How often it was met since `since`."""
    since: datetime
    seen_at: datetime


def note_condition(session: Session, subject: str, code: str, sentence: str) -> None:
    """Record a condition of `subject`; the same code again raises its count."""
    moment = now(session)
    continues = and_(SiteCondition.ended_at.is_(None), SiteCondition.code == code)
    seen = {"code": code, "sentence": sentence, "seen_at": moment}
    upsert(
        session,
        SiteCondition,
        {"subject": subject, "times": 1, "since": moment, **seen},
        key="subject",
        update={
            "times": case((continues, SiteCondition.times + 1), else_=1),
            "since": case((continues, SiteCondition.since), else_=moment),
            "ended_at": None,
            **seen,
        },
    )


def end_condition(session: Session, subject: str) -> bool:
    """End the condition of `subject`; return whether there was an active one."""
    return _end(session, SiteCondition.subject == subject)


def end_quiet_condition(session: Session, subject: str, *, quiet_s: float) -> bool:
    """End the condition of `subject` if it was not met for `quiet_s`; return whether it was ended."""
    quiet = SiteCondition.seen_at < now(session) - timedelta(seconds=quiet_s)
    return _end(session, SiteCondition.subject == subject, quiet)


def _end(session: Session, *conditions: ColumnElement[bool]) -> bool:
    ended = session.execute(
        update(SiteCondition)
        .where(SiteCondition.ended_at.is_(None), *conditions)
        .values(ended_at=now(session))
        .returning(SiteCondition.subject),
        execution_options={"synchronize_session": False},
    ).all()
    return bool(ended)


def active_conditions(session: Session) -> list[Condition]:
    """Return the active conditions, longest first."""
    rows = session.scalars(
        select(SiteCondition)
        .where(SiteCondition.ended_at.is_(None))
        .order_by(SiteCondition.since, SiteCondition.subject)
        .execution_options(populate_existing=True)
    )
    return [from_row(Condition, row) for row in rows]


def active_code(session: Session, codes: Collection[str], *, seen_within_s: float) -> str | None:
    """Return the longest active of these codes that was met within `seen_within_s`, or None."""
    return session.scalars(
        select(SiteCondition.code)
        .where(
            SiteCondition.ended_at.is_(None),
            SiteCondition.code.in_(codes),
            SiteCondition.seen_at >= now(session) - timedelta(seconds=seen_within_s),
        )
        .order_by(SiteCondition.since)
        .limit(1)
    ).one_or_none()
