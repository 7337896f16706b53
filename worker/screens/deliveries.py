"""`pneumo deliveries`, and what `pneumo status` says of results on their way to the PACS."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from db.deliveries.claims import retry_delivery
from db.deliveries.overview import destination_summaries, parked_deliveries
from db.engine.session import Database
from db.ledger.conditions import active_conditions
from db.studies.retention import RemovableTotals
from db.values import LiveWorker
from db.values.deliveries import DestinationSummary, ParkedDelivery
from db.vocabulary.enums import DeliveryState
from worker.celery import DELIVERY
from worker.errors import Rejected
from worker.screens.console import condition_notices, format_time, wide_console
from worker.settings import Settings
from worker.storage.disk import format_bytes

RESULT_FILES_GONE = "RESULT_FILES_GONE"
SHOWN = 20
"""Parked deliveries that are listed at once."""


def show_deliveries(
    settings: Settings,
    *,
    parked: bool,
    destination: str | None = None,
    console: Console | None = None,
) -> None:
    """Results by destination and state, the oldest that waits; with `parked`, each parked one."""
    console = console or wide_console()
    database = Database(settings.database_url)
    with database.reading() as session:
        glances = destination_summaries(session)
        waiting_for_people = parked_deliveries(session, destination=destination)
        wrong = [c for c in active_conditions(session) if c.subject.startswith(SUBJECTS)]
    database.dispose()
    if destination is not None:
        glances = [_named(glances, destination)]
    if not glances:
        console.print("No destination of results. Name one in the file of PNEUMO_PEERS.")
        return
    console.print(deliveries_table(glances))
    for notice in [*condition_notices(wrong), *delivery_notices(glances)]:
        console.print(notice)
    if parked:
        console.print(
            _parked_table(waiting_for_people) if waiting_for_people else "Nothing is parked."
        )


SUBJECTS = ("destination", "commitment ", "file of peers", "files of results")


def retry_deliveries(
    settings: Settings,
    keys: Sequence[str],
    *,
    destination: str | None = None,
    console: Console | None = None,
) -> int:
    """Send parked deliveries round again, all of them or those whose key begins so; 1 if one of those
    named is not parked.
    """
    console = console or wide_console()
    database = Database(settings.database_url)
    with database.reading() as session:
        all_parked = [d.delivery_key for d in parked_deliveries(session, destination=destination)]
    chosen = [k for k in all_parked if not keys or any(k.startswith(asked) for asked in keys)]
    for key in chosen:
        with database.transaction() as session:
            retry_delivery(session, key)
    database.dispose()
    missing = [asked for asked in keys if not any(k.startswith(asked) for k in chosen)]
    for asked in missing:
        console.print(f"{asked}: is not parked, left alone")
    console.print(f"{len(chosen)} deliveries will be tried again.")
    return 1 if missing else 0


def deliveries_table(glances: Sequence[DestinationSummary]) -> Table:
    """One line for each destination."""
    shown = [state for state in DeliveryState if state is not DeliveryState.SENDING]
    table = Table("destination", title="Results on their way", title_justify="left")
    for state in shown:
        table.add_column(state.value.replace("_", " "), justify="right")
    table.add_column("oldest waits", justify="right")
    table.add_column("next try (UTC)")
    for glance in glances:
        counts = dict(glance.by_state)
        # Whoever looks need not know that one is being sent just now.
        counts[DeliveryState.WAITING] = counts.get(DeliveryState.WAITING, 0) + counts.get(
            DeliveryState.SENDING, 0
        )
        oldest = glance.oldest_waiting_seconds
        table.add_row(
            glance.name if glance.is_active else f"{glance.name} (not in the file)",
            *(str(counts.get(state, 0)) for state in shown),
            "" if oldest is None else f"{oldest:.0f} s",
            format_time(glance.probe_at) if glance.failures and glance.probe_at else "",
        )
    return table


def delivery_notices(
    glances: Sequence[DestinationSummary], workers: Sequence[LiveWorker] | None = None
) -> list[Text]:
    """What an operator should do now; nothing when all is well. `workers`: those that live."""
    notices = []
    waiting = sum(glance.by_state.get(DeliveryState.WAITING, 0) for glance in glances)
    if waiting and workers is not None and not any(DELIVERY in w.lanes for w in workers):
        notices.append(
            Text.assemble(
                (
                    f"{waiting} results wait for the PACS, and no living worker delivers. ",
                    "bold red",
                ),
                f"Start one: celery -A worker worker -P threads -c 2 -Q {DELIVERY}",
            )
        )
    for glance in glances:
        notices += _parked_notices(glance)
        if not glance.is_active and glance.oldest_waiting_seconds is not None:
            notices.append(
                Text.assemble(
                    (f"{glance.name} is owed results and is no destination any more. ", "bold red"),
                    "Put it back into the file of PNEUMO_PEERS, or let them go: `pneumo deliveries "
                    f"--forgo --destination {glance.name}`.",
                )
            )
    return notices


def _parked_notices(glance: DestinationSummary) -> list[Text]:
    """How many wait for a person, why, and what that person does."""
    if not glance.parked_by_code:
        return []
    count = sum(glance.parked_by_code.values())
    codes = ", ".join(f"{code} {number}" for code, number in glance.parked_by_code.items())
    notices = [
        Text.assemble(
            (f"{count} results parked that are owed to {glance.name}: {codes}. ", "bold red"),
            "`pneumo deliveries --parked` says why; once the cause is mended: `pneumo deliveries "
            "--retry`.",
        )
    ]
    if gone := glance.parked_by_code.get(RESULT_FILES_GONE):
        notices.append(
            Text(
                f"{gone} of them need images that left by the retention rule: have these studies "
                "sent to us once more, then `pneumo deliveries --retry`."
            )
        )
    return notices


def retained_file_notices(kept: RemovableTotals | None) -> list[Text]:
    """Files that the retention rule would let go, were it not for a result that is owed."""
    if kept is None or not kept.files:
        return []
    what = (
        f"{kept.files} files ({format_bytes(kept.size)}) of {kept.studies} studies stay beyond their "
        "term, since results are still owed. "
    )
    return [
        Text.assemble(
            (what, "bold red"),
            "`pneumo deliveries` says to whom; what nobody will take: `pneumo deliveries --forgo`.",
        )
    ]


def _named(glances: Sequence[DestinationSummary], name: str) -> DestinationSummary:
    for glance in glances:
        if glance.name == name:
            return glance
    known = ", ".join(glance.name for glance in glances) or "none"
    raise Rejected("DESTINATION_UNKNOWN", f"No destination is called {name!r}; known are: {known}.")


def _parked_table(parked: Sequence[ParkedDelivery]) -> Table:
    title = f"Parked, {min(len(parked), SHOWN)} of {len(parked)}"
    table = Table("delivery", "study", "destination", "tries", "why", title=title)
    table.title_justify = "left"
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
