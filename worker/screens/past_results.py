"""`pneumo deliveries --owe`: send earlier results to a destination that was added later."""

from __future__ import annotations

from datetime import date

from rich.console import Console

from db.deliveries.past_results import PastResultOutcome
from worker.delivery.past_results import PastResultCounts, enqueue_past_days
from worker.errors import Rejected
from worker.screens.console import actor, counted, opened, wide_console
from worker.settings import Settings

SHOWN = 20
"""Studies without files that are listed."""


def enqueue_past_results_and_show(
    settings: Settings,
    *,
    is_alone: bool = True,
    destination: str | None,
    first: date | None,
    last: date | None,
    dry_run: bool,
    console: Console | None = None,
) -> int:
    """Enqueue past results and print how many; return 1 if the files of some were removed.

    `is_alone`: whether --owe was given, and none of the options that do something else.
    Raises Rejected OWE_WHICH, DAYS_INVALID, DESTINATION_UNKNOWN.
    """
    if not is_alone or destination is None or first is None or last is None:
        raise Rejected(
            "OWE_WHICH",
            "Give the destination and the days, and nothing else: "
            "--owe --destination NAME --from 2026-01-01 --to 2026-01-31.",
        )
    console = console or wide_console()
    with opened(settings) as database, console.status("") as line:
        owed = enqueue_past_days(
            database,
            destination,
            first=first,
            last=last,
            actor=actor(),
            dry_run=dry_run,
            on_studies=lambda count: line.update(f"{counted(count, 'study')} checked"),
        )
    _show(owed, destination, console, dry_run=dry_run)
    return 1 if owed.without_files else 0


def _show(owed: PastResultCounts, destination: str, console: Console, *, dry_run: bool) -> None:
    def count_of(outcome: PastResultOutcome) -> str:
        return counted(owed.counts[outcome], "result")

    console.print(
        f"{'Would be enqueued' if dry_run else 'Enqueued'} for {destination}: "
        f"{count_of(PastResultOutcome.ENQUEUED)}. "
        f"Enqueued before: {count_of(PastResultOutcome.ALREADY_ENQUEUED)}."
    )
    for outcome, reason in (
        (PastResultOutcome.NOT_WANTED, "nothing was evaluated (PNEUMO_RESULTS_FOR_REJECTED)."),
        (PastResultOutcome.ERASED, "the patient's identity was erased."),
    ):
        if owed.counts[outcome]:
            console.print(f"Left out: {count_of(outcome)}; {reason}")
    if missing := owed.without_files:
        console.print(
            f"Left out: {counted(len(missing), 'result')}; the images were removed by the retention "
            "rule (PNEUMO_KEEP_FILES_DAYS), and a result is made from them. Have the archive send "
            "these studies again (nothing is predicted twice), then repeat this command:"
        )
        for key in missing[:SHOWN]:
            console.print(f"  {key}")
        if len(missing) > SHOWN:
            console.print(f"  and {len(missing) - SHOWN} more")
