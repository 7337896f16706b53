"""Results of studies that finished before a destination was named: sent because a person says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from db.deliveries.past_results import (
    PastResult,
    PastResultOutcome,
    Period,
    active_destinations,
    enqueue_past_results,
)
from db.engine.session import Database
from worker.errors import Rejected
from worker.transactions import in_transaction

AT_ONCE = 100
"""Studies that are locked together."""


@dataclass(frozen=True, kw_only=True)
class Owed:
    """What came of it."""

    counts: Counter[PastResultOutcome]
    """Studies, by what became of them."""
    without_files: tuple[str, ...]
    """Keys of the studies whose files left."""


def owe_results(
    database: Database,
    destination: str,
    *,
    first: date,
    last: date,
    actor: str,
    dry_run: bool = False,
    on_studies: Callable[[int], None] = lambda _: None,
) -> Owed:
    """Owe a destination the results of the studies that were finished on these days, both included.

    A day begins at 0:00 UTC, as in all tables. What was owed before is not owed twice, so it may be
    stopped and started again. These results go after all others. `on_studies` is told how many were
    looked at. Raises Rejected DAYS_INVALID, DESTINATION_UNKNOWN.
    """
    span = _span(first, last)
    _refuse_unknown(database, destination)
    counts: Counter[PastResultOutcome] = Counter()
    without_files: list[str] = []
    after_id = 0
    while looked_at := _next(database, destination, span, actor, after_id, dry_run=dry_run):
        counts.update(study.outcome for study in looked_at)
        without_files += [
            s.study_key for s in looked_at if s.outcome is PastResultOutcome.FILES_GONE
        ]
        after_id = looked_at[-1].study_id
        on_studies(counts.total())
    return Owed(counts=counts, without_files=tuple(without_files))


def _next(
    database: Database, destination: str, span: Period, actor: str, after_id: int, *, dry_run: bool
) -> list[PastResult]:
    return in_transaction(
        database,
        lambda session: enqueue_past_results(
            session,
            destination,
            span,
            actor=actor,
            after_id=after_id,
            limit=AT_ONCE,
            dry_run=dry_run,
        ),
    )


def _span(first: date, last: date) -> Period:
    if last < first:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    return Period(
        begins=datetime.combine(first, time(), tzinfo=UTC),
        ends=datetime.combine(last, time.max, tzinfo=UTC),
    )


def _refuse_unknown(database: Database, destination: str) -> None:
    with database.reading() as session:
        known = active_destinations(session)
    if destination not in known:
        raise Rejected(
            "DESTINATION_UNKNOWN",
            f"No destination is called {destination!r}; known are: {', '.join(known) or 'none'}. "
            "One counts once the relay has read it in the file of PNEUMO_PEERS.",
        )
