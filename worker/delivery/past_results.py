"""Send results of studies that finished before a destination was named, by a person's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial

from db.deliveries.destinations import active_destinations
from db.deliveries.past_results import PastResultOutcome, enqueue_past_results
from db.engine.session import Database
from worker.errors import Rejected
from worker.transactions import in_transaction


@dataclass(frozen=True, kw_only=True)
class PastResultCounts:
    """What was done."""

    counts: Counter[PastResultOutcome]
    """Studies, by what was done about each."""
    without_files: tuple[str, ...]
    """Keys of the studies whose files were removed."""


def enqueue_past_days(
    database: Database,
    destination: str,
    *,
    first: date,
    last: date,
    actor: str,
    dry_run: bool = False,
    on_studies: Callable[[int], None] = lambda _: None,
) -> PastResultCounts:
    """Enqueue the results of studies that were finished on these days, both included.

    A day begins at 0:00 UTC, as in all tables. What was enqueued before is not enqueued twice, so the
    command may be interrupted and repeated. These results are sent after all others. `on_studies` is
    called with the number examined so far. Raises Rejected DAYS_INVALID, DESTINATION_UNKNOWN.
    """
    if last < first:
        raise Rejected("DAYS_INVALID", "The last day is before the first. Give them in order.")
    _refuse_unknown(database, destination)
    enqueue = partial(
        enqueue_past_results,
        destination=destination,
        begins=datetime.combine(first, time(), tzinfo=UTC),
        ends=datetime.combine(last, time.max, tzinfo=UTC),
        actor=actor,
        dry_run=dry_run,
    )
    counts: Counter[PastResultOutcome] = Counter()
    without_files: list[str] = []
    after_id = 0
    while examined := in_transaction(database, partial(enqueue, after_id=after_id)):
        counts.update(study.outcome for study in examined)
        without_files += [
            s.study_key for s in examined if s.outcome is PastResultOutcome.FILES_GONE
        ]
        after_id = examined[-1].study_id
        on_studies(counts.total())
    return PastResultCounts(counts=counts, without_files=tuple(without_files))


def _refuse_unknown(database: Database, destination: str) -> None:
    with database.reading() as session:
        known = active_destinations(session)
    if destination not in known:
        raise Rejected(
            "DESTINATION_UNKNOWN",
            f"No destination is called {destination!r}; known are: {', '.join(known) or 'none'}. "
            "One counts once the relay has read it in the file of PNEUMO_PEERS.",
        )
