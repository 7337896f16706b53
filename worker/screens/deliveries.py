"""`pneumo deliveries`, and what `pneumo status` prints about results on their way to the PACS."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from db.deliveries.claims import retry_delivery
from db.deliveries.overview import destination_summaries, parked_deliveries
from db.ledger.conditions import active_conditions
from db.studies.retention import RemovableTotals
from db.values import LiveWorker
from db.values.deliveries import DestinationSummary, ParkedDelivery
from db.vocabulary.enums import DeliveryState
from worker.celery import DELIVERY
from worker.errors import Rejected
from worker.screens.console import (
    actor,
    condition_notices,
    counted,
    format_time,
    opened,
    reading,
    titled_table,
    warning,
    wide_console,
)
from worker.settings import Settings
from worker.storage.disk import format_bytes

RESULT_FILES_GONE = "RESULT_FILES_GONE"
SHOWN = 20
"""Parked deliveries that are listed at once."""
SUBJECTS = ("destination", "commitment ", "file of peers", "files of results")
"""Beginnings of the conditions that concern deliveries."""


def show_deliveries(
    settings: Settings,
    *,
    parked: bool,
    destination: str | None = None,
    code: str | None = None,
    console: Console | None = None,
) -> None:
    """Print results by destination and state and how long the oldest waits; `parked`: each parked one."""
    console = console or wide_console()
    with reading(settings) as session:
        summaries = destination_summaries(session)
        parked_ones = parked_deliveries(session, destination=destination, code=code)
        conditions = [c for c in active_conditions(session) if c.subject.startswith(SUBJECTS)]
    if destination is not None:
        summaries = [_named(summaries, destination)]
    if not summaries:
        console.print("There is no destination of results. Add one to the file of PNEUMO_PEERS.")
        return
    console.print(deliveries_table(summaries))
    for notice in [*condition_notices(conditions), *delivery_notices(summaries)]:
        console.print(notice)
    if parked:
        console.print(_parked_table(parked_ones) if parked_ones else "Nothing is parked.")


def retry_deliveries(
    settings: Settings,
    keys: Sequence[str],
    *,
    destination: str | None = None,
    code: str | None = None,
    console: Console | None = None,
) -> int:
    """Retry parked deliveries, all or those whose key begins so; return 1 if a named one is not parked."""
    console = console or wide_console()
    with opened(settings) as database:
        with database.reading() as session:
            found = parked_deliveries(session, destination=destination, code=code)
        parked = [delivery.delivery_key for delivery in found]
        chosen = [k for k in parked if not keys or any(k.startswith(asked) for asked in keys)]
        for key in chosen:
            with database.transaction() as session:
                retry_delivery(session, key, actor=actor())
    missing = [asked for asked in keys if not any(k.startswith(asked) for k in chosen)]
    for asked in missing:
        console.print(f"{asked}: is not parked, unchanged")
    console.print(f"{counted(len(chosen), 'delivery')} will be retried.")
    return 1 if missing else 0


def deliveries_table(summaries: Sequence[DestinationSummary]) -> Table:
    """One line for each destination."""
    shown = [state for state in DeliveryState if state is not DeliveryState.SENDING]
    table = titled_table("Results on their way", "destination")
    for state in shown:
        table.add_column(state.value.replace("_", " "), justify="right")
    table.add_column("oldest waits", justify="right")
    table.add_column("next try (UTC)")
    for summary in summaries:
        counts = dict(summary.by_state)
        # That one is being sent just now is of no interest here.
        counts[DeliveryState.WAITING] = counts.get(DeliveryState.WAITING, 0) + counts.get(
            DeliveryState.SENDING, 0
        )
        oldest = summary.oldest_waiting_seconds
        table.add_row(
            summary.name if summary.is_active else f"{summary.name} (not in the file)",
            *(str(counts.get(state, 0)) for state in shown),
            "" if oldest is None else f"{oldest:.0f} s",
            format_time(summary.probe_at) if summary.failures and summary.probe_at else "",
        )
    return table


def delivery_notices(
    summaries: Sequence[DestinationSummary], workers: Sequence[LiveWorker] | None = None
) -> list[Text]:
    """Say what an operator should do now; nothing when all is well. `workers`: those that are alive."""
    notices = []
    waiting = sum(summary.by_state.get(DeliveryState.WAITING, 0) for summary in summaries)
    if waiting and workers is not None and not any(DELIVERY in w.lanes for w in workers):
        notices.append(
            warning(
                f"No running worker delivers results ({counted(waiting, 'result')} waiting).",
                f"Start one: celery -A worker worker -P threads -c 2 -Q {DELIVERY}",
            )
        )
    for summary in summaries:
        notices += _parked_notices(summary)
        if not summary.is_active and summary.oldest_waiting_seconds is not None:
            notices.append(
                warning(
                    f"Results are waiting for {summary.name}, which is no longer a destination.",
                    "Put it back into the file of PNEUMO_PEERS, or cancel them: `pneumo deliveries "
                    f"--forgo --destination {summary.name}`.",
                )
            )
    return notices


def _parked_notices(summary: DestinationSummary) -> list[Text]:
    """Say how many deliveries are parked, why, and what to do."""
    if not summary.parked_by_code:
        return []
    count = sum(summary.parked_by_code.values())
    codes = ", ".join(f"{code} {number}" for code, number in summary.parked_by_code.items())
    notices = [
        warning(
            f"Parked for {summary.name}: {counted(count, 'result')} ({codes}).",
            "`pneumo deliveries --parked` gives the reasons. Once the cause is fixed, run "
            "`pneumo deliveries --retry`.",
        )
    ]
    if gone := summary.parked_by_code.get(RESULT_FILES_GONE):
        notices.append(
            Text(
                f"The images of {counted(gone, 'result')} were removed by the retention rule. Have "
                "these studies sent again, then run `pneumo deliveries --retry`."
            )
        )
    return notices


def retained_file_notices(kept: RemovableTotals | None) -> list[Text]:
    """Report files that the retention rule would remove, were no result outstanding."""
    if kept is None or not kept.files:
        return []
    return [
        warning(
            f"Kept beyond their term: {counted(kept.files, 'file')} ({format_bytes(kept.size)}) of "
            f"{counted(kept.studies, 'study')}, because results are still to be sent.",
            "`pneumo deliveries` shows the destinations. Cancel what nobody will take: "
            "`pneumo deliveries --forgo`.",
        )
    ]


def _named(summaries: Sequence[DestinationSummary], name: str) -> DestinationSummary:
    for summary in summaries:
        if summary.name == name:
            return summary
    known = ", ".join(summary.name for summary in summaries) or "none"
    raise Rejected("DESTINATION_UNKNOWN", f"No destination is called {name!r}; known are: {known}.")


def _parked_table(parked: Sequence[ParkedDelivery]) -> Table:
    title = f"Parked, {min(len(parked), SHOWN)} of {len(parked)}"
    table = titled_table(title, "delivery", "study", "destination", "attempts", "reason")
    for item in parked[:SHOWN]:
        reference = f" Reference {item.traceback_reference}." if item.traceback_reference else ""
        table.add_row(
            item.delivery_key[:12],
            item.study_key[:12],
            item.destination,
            str(item.attempts),
            Text(f"{item.error_code}. {item.error_sentence}{reference}"),
        )
    return table
