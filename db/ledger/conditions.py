"""What is not as it should be outside of any study: an archive away, a disk full, a certificate.

`pneumo status` shows what holds. A subject has one row, which stays when its condition has ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.engine.clock import now
from db.models import SiteCondition


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition that holds."""

    subject: str
    """What it is about, without an address or a personal name."""
    code: str
    """UPPER_SNAKE, as an error's."""
    sentence: str
    """For an operator: what, and what to do."""
    times: int
    """How often it was met since it began."""
    since: datetime
    seen_at: datetime


def note_condition(session: Session, subject: str, code: str, sentence: str) -> None:
    """Record that `subject` is not as it should be; the same code again only counts on."""
    moment = now(session)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    goes_on = and_(SiteCondition.ended_at.is_(None), SiteCondition.code == code)
    session.execute(
        insert(SiteCondition)
        .values(
            subject=subject, code=code, sentence=sentence, times=1, since=moment, seen_at=moment
        )
        .on_conflict_do_update(
            index_elements=["subject"],
            set_={
                "code": code,
                "sentence": sentence,
                "times": case((goes_on, SiteCondition.times + 1), else_=1),
                "since": case((goes_on, SiteCondition.since), else_=moment),
                "seen_at": moment,
                "ended_at": None,
            },
        )
    )


def end_condition(session: Session, subject: str) -> bool:
    """Record that all is well with `subject`; True if it was not before."""
    ended = session.execute(
        update(SiteCondition)
        .where(SiteCondition.subject == subject, SiteCondition.ended_at.is_(None))
        .values(ended_at=now(session))
        .returning(SiteCondition.subject),
        execution_options={"synchronize_session": False},
    ).all()
    return bool(ended)


def end_quiet_condition(session: Session, subject: str, *, quiet_s: float) -> bool:
    """Record that all is well with `subject` if nothing was noted for `quiet_s`; True if it was not."""
    ended = session.execute(
        update(SiteCondition)
        .where(
            SiteCondition.subject == subject,
            SiteCondition.ended_at.is_(None),
            SiteCondition.seen_at < now(session) - timedelta(seconds=quiet_s),
        )
        .values(ended_at=now(session))
        .returning(SiteCondition.subject),
        execution_options={"synchronize_session": False},
    ).all()
    return bool(ended)


def active_conditions(session: Session) -> list[Condition]:
    """What holds now, longest first."""
    rows = session.scalars(
        select(SiteCondition)
        .where(SiteCondition.ended_at.is_(None))
        .order_by(SiteCondition.since, SiteCondition.subject)
        .execution_options(populate_existing=True)
    )
    return [
        Condition(
            subject=row.subject,
            code=row.code,
            sentence=row.sentence,
            times=row.times,
            since=row.since,
            seen_at=row.seen_at,
        )
        for row in rows
    ]


def active_code(session: Session, codes: Collection[str], *, seen_within_s: float) -> str | None:
    """One of these codes under which a condition holds that was met lately; None if none does."""
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
