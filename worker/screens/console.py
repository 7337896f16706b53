"""What every screen shares: the console, colours, cells, moments, and which study is meant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from db.engine.session import Database
from db.ledger.conditions import Condition
from db.studies.overview import find_study
from db.vocabulary.enums import Verdict
from worker.errors import Rejected

COLOUR = {
    Verdict.POSITIVE: "bold yellow",
    Verdict.NEGATIVE: "green",
    Verdict.REJECTED: "cyan",
    Verdict.FAILED: "bold red",
}


RESEARCH_ONLY = "For research until cleared where it is used."
"""Stands under every result that is printed."""
PLAIN_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, where rich would assume 80."""


def wide_console() -> Console:
    """Standard output: a terminal as wide as it is, anything else wide enough for tables."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def condition_notices(wrong: Sequence[Condition]) -> list[Text]:
    """What outside of any study is not as it should be, since when."""
    return [
        Text.assemble(
            (f"{condition.subject}: {condition.code}. ", "bold red"),
            f"{condition.sentence} Since {format_time(condition.since)} UTC, met {condition.times} "
            f"time(s), last at {format_time(condition.seen_at)}.",
        )
        for condition in wrong
    ]


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return format_time(value)
    return _short(value)


def _short(value: object) -> str:
    """Keys and digests by their first twelve digits."""
    text = str(value)
    return text[:12] if len(text) in (32, 64) and text.isalnum() else text


def format_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def resolve_study_key(database: Database, asked: str) -> str:
    """The study key meant by a key, the beginning of one, or a Study Instance UID."""
    with database.reading() as session:
        key = find_study(session, asked)
    if key is None:
        raise Rejected(
            "STUDY_UNKNOWN", "No study has this key or UID. `pneumo report` lists the studies."
        )
    return key
