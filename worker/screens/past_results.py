"""`pneumo deliveries --owe`: results of earlier studies for a destination that was named later."""

from __future__ import annotations

from datetime import date

from rich.console import Console

from db.deliveries.past_results import PastResultOutcome
from db.engine.session import Database
from worker.delivery.past_results import PastResultCounts, enqueue_past_days
from worker.errors import Rejected
from worker.screens.admin import actor
from worker.screens.console import wide_console
from worker.settings import Settings

SHOWN = 20
"""Studies without files that are listed."""


def enqueue_past_results_and_show(
    settings: Settings,
    *,
    asked: bool = True,
    destination: str | None,
    first: date | None,
    last: date | None,
    dry_run: bool,
    console: Console | None = None,
) -> int:
    """Owe, and say how many; 1 if files of some have left. `asked`: whether --owe was said, alone.

    Raises Rejected OWE_WHICH, DAYS_INVALID, DESTINATION_UNKNOWN.
    """
    if not asked or destination is None or first is None or last is None:
        raise Rejected(
            "OWE_WHICH",
            "Say all of it and nothing else, to whom and which: --owe --destination NAME --from 2026-01-01 --to 2026-01-31.",
        )
    console = console or wide_console()
    database = Database(settings.database_url)
    try:
        with console.status("") as line:
            owed = enqueue_past_days(
                database,
                destination,
                first=first,
                last=last,
                actor=actor(),
                dry_run=dry_run,
                on_studies=lambda count: line.update(f"{count} studies looked at"),
            )
    finally:
        database.dispose()
    _show(owed, destination, console, dry_run=dry_run)
    return 1 if owed.without_files else 0


def _show(owed: PastResultCounts, destination: str, console: Console, *, dry_run: bool) -> None:
    would = "would be" if dry_run else "are now"
    console.print(
        f"{owed.counts[PastResultOutcome.ENQUEUED]} results {would} owed to {destination}; "
        f"{owed.counts[PastResultOutcome.ALREADY_ENQUEUED]} were before."
    )
    if count := owed.counts[PastResultOutcome.NOT_WANTED]:
        console.print(f"{count} left out: nothing was evaluated (PNEUMO_RESULTS_FOR_REJECTED).")
    if count := owed.counts[PastResultOutcome.ERASED]:
        console.print(f"{count} left out: their identity was erased.")
    if owed.without_files:
        console.print(
            f"{len(owed.without_files)} left out: files left by the retention rule "
            "(PNEUMO_KEEP_FILES_DAYS), and a result is made from them. Have the archive send these "
            "studies to us once more, which predicts nothing twice; then the same command again:"
        )
        for key in owed.without_files[:SHOWN]:
            console.print(f"  {key}")
        if len(owed.without_files) > SHOWN:
            console.print(f"  and {len(owed.without_files) - SHOWN} more")
