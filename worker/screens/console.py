"""What every screen shares: the console, the database, and how a value reads."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy.orm import Session

from db.engine.session import Database
from db.ledger.conditions import Condition
from db.studies.overview import find_study
from db.vocabulary.enums import Verdict
from worker.errors import Rejected
from worker.settings import Settings

COLOUR = {
    Verdict.POSITIVE: "bold yellow",
    Verdict.NEGATIVE: "green",
    Verdict.REJECTED: "cyan",
    Verdict.FAILED: "bold red",
}
RESEARCH_ONLY = "For research until cleared where it is used."
"""Printed below every result."""
PLAIN_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, where rich would assume 80."""


def wide_console() -> Console:
    """Return standard output: a terminal at its own width, anything else wide enough for tables."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Open the installation's database, and dispose of it at the end."""
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Open the database for one consistent look."""
    with opened(settings) as database, database.reading() as session:
        yield session


@contextmanager
def writing(settings: Settings) -> Iterator[Session]:
    """Open the database for one transaction."""
    with opened(settings) as database, database.transaction() as session:
        yield session


def resolve_study_key(session: Session, asked: str) -> str:
    """Return the study key meant by a key, the beginning of one, or a Study Instance UID."""
    key = find_study(session, asked)
    if key is None:
        raise Rejected(
            "STUDY_UNKNOWN", "No study has this key or UID. `pneumo report` lists the studies."
        )
    return key


def actor() -> str:
    """Return the person's login name on this machine, as the audit trail records it."""
    try:
        return f"operator:{getpass.getuser()}"
    except (KeyError, OSError):
        return "operator:unknown"


def titled_table(title: str, *columns: str | Column) -> Table:
    """Make a table with its title on the left."""
    return Table(*columns, title=title, title_justify="left")


def counted(count: int, noun: str) -> str:
    """Write a number with its noun, e.g. "1 study", "0 messages", "3 days"."""
    if count == 1:
        return f"1 {noun}"
    ends_in_ies = noun.endswith("y") and noun[-2] not in "aeiou"
    return f"{count} {f'{noun[:-1]}ies' if ends_in_ies else f'{noun}s'}"


def warning(what: str, advice: str) -> Text:
    """Make a notice: what is wrong, in red, and what to do about it."""
    return Text.assemble((what, "bold red"), f" {advice}")


def condition_notices(conditions: Sequence[Condition]) -> list[Text]:
    """Describe what is wrong outside of any study, since when and how often."""
    return [
        warning(
            f"{condition.subject}: {condition.code}.",
            f"{condition.sentence} Since {format_time(condition.since)} UTC, seen "
            f"{counted(condition.times, 'time')}, last at {format_time(condition.seen_at)}.",
        )
        for condition in conditions
    ]


def cell(value: object) -> str:
    """Write any value for a table; keys and digests by their first twelve digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return format_time(value)
    text = str(value)
    return text[:12] if len(text) in (32, 64) and text.isalnum() else text


def format_time(at: datetime) -> str:
    """Write a time in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
