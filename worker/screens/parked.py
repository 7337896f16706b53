"""`pneumo parked` and `pneumo retry`: what waits for a person, by code, and another attempt at it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from db.engine.session import Database
from db.ledger.parking import parked_groups
from db.studies.overview import parked_studies
from db.studies.results import retry_parked
from db.values.parking import ParkedGroup, ParkedKind
from worker.errors import Rejected
from worker.screens.console import (
    actor,
    counted,
    format_time,
    opened,
    reading,
    resolve_study_key,
    titled_table,
    wide_console,
)
from worker.settings import Settings


def show_parked(
    settings: Settings,
    *,
    since: date | None = None,
    as_json: bool = False,
    console: Console | None = None,
) -> None:
    """Print what is parked by code: how many, since when, which, and what to do about it."""
    console = console or wide_console()
    with reading(settings) as session:
        groups = parked_groups(session, since=_start_of(since))
    if as_json:
        # Not by rich, which would break long lines.
        console.file.write(json.dumps([_as_json(group) for group in groups], indent=2) + "\n")
        return
    if not groups:
        console.print("Nothing is parked.")
    for kind in ParkedKind:
        if of_kind := [group for group in groups if group.kind is kind]:
            console.print(_table(kind, of_kind))
            for group in of_kind:
                console.print(_advice(group))


def retry_studies(
    settings: Settings,
    studies: Sequence[str] | None = None,
    *,
    parked: bool = False,
    code: str | None = None,
    since: date | None = None,
    console: Console | None = None,
) -> int:
    """Retry parked studies; return 1 if one of those named is not parked. Raises Rejected RETRY_WHICH."""
    if (parked or code is not None or since is not None) == bool(studies):
        raise Rejected(
            "RETRY_WHICH",
            "Name the studies to retry, or give --parked for all of them, or --code and --since for "
            "some; not both.",
        )
    console = console or wide_console()
    with opened(settings) as database:
        keys = _chosen(database, studies, code, since)
        retried = [_retry(database, key, console) for key in keys]
    if not keys:
        console.print("Nothing is parked.")
    else:
        console.print(f"{counted(sum(retried), 'study')} will be retried.")
    return 0 if all(retried) else 1


def _chosen(
    database: Database, studies: Sequence[str] | None, code: str | None, since: date | None
) -> list[str]:
    with database.reading() as session:
        if studies:
            return [resolve_study_key(session, asked) for asked in studies]
        return parked_studies(session, code=code, since=_start_of(since))


def _retry(database: Database, key: str, console: Console) -> bool:
    """Retry one study in a transaction of its own, with an audit record of who asked."""
    with database.transaction() as session:
        done = retry_parked(session, key, actor=actor())
    console.print(f"{key}: {'will be retried' if done else 'is not parked, unchanged'}")
    return done


def _start_of(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def _as_json(group: ParkedGroup) -> dict[str, object]:
    times = {name: getattr(group, name).isoformat() for name in ("oldest_at", "newest_at")}
    return {**asdict(group), **times, "retry": _retry_command(group)}


def _retry_command(group: ParkedGroup) -> str:
    if group.kind is ParkedKind.STUDY:
        return f"pneumo retry --code {group.code}"
    return f"pneumo deliveries --retry --code {group.code}"


def _table(kind: ParkedKind, groups: Sequence[ParkedGroup]) -> Table:
    table = titled_table(
        f"Parked: {counted(sum(group.count for group in groups), kind.value)}",
        Column("code", no_wrap=True),
        Column("count", justify="right"),
        "oldest (UTC)", "newest (UTC)", "newest keys",
    )  # fmt: skip
    for group in groups:
        table.add_row(
            group.code,
            str(group.count),
            format_time(group.oldest_at),
            format_time(group.newest_at),
            " ".join(key[:12] for key in group.example_keys),
        )
    return table


def _advice(group: ParkedGroup) -> Text:
    """Say what is wrong with the newest of a code, and how to have all of them tried again."""
    line = Text.assemble((group.code, "bold"), f": {group.sentence}")
    if group.traceback_reference:
        line.append(f" The log holds the traceback under {group.traceback_reference}.")
    return line.append(f" Once that is done: {_retry_command(group)}")
