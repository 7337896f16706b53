"""`pneumo deliveries --forgo`: results that nobody will take any more are let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console

from db.deliveries.cancel import (
    OutstandingDelivery,
    cancel_deliveries,
    cancel_updates,
    outstanding_deliveries,
)
from db.engine.session import Database
from worker.errors import Rejected
from worker.screens.admin import actor
from worker.screens.console import wide_console
from worker.settings import Settings
from worker.transactions import in_transaction

BATCH_SIZE = 100
"""Deliveries that are locked together."""
MIN_KEY_LENGTH = 6
"""Signs of a key; fewer may mean another study as well."""


def cancel_deliveries_and_show(
    settings: Settings,
    keys: Sequence[str],
    *,
    asked: bool = True,
    destination: str | None,
    dry_run: bool,
    sure: Callable[[str], None] = lambda _: None,
    console: Console | None = None,
) -> int:
    """Let them go, and say how many; 1 if a key names nothing that is owed.

    `sure` is told how many, and raises if the person is not. `asked`: whether --forgo was said
    alone. Raises Rejected FORGO_WHICH.
    """
    if not asked or not (keys or destination) or any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise Rejected(
            "FORGO_WHICH",
            f"Say which, and nothing else: keys of deliveries or studies (or {MIN_KEY_LENGTH} signs of "
            "their beginnings), or --destination NAME for all that it is owed, or both.",
        )
    console = console or wide_console()
    database = Database(settings.database_url)
    try:
        with database.reading() as session:
            chosen = outstanding_deliveries(session, destination=destination, keys=keys)
        if not dry_run:
            if chosen:
                sure(f"Let go of {_counted(chosen)}, for good?")
            _cancel(database, chosen, None if keys else destination)
    finally:
        database.dispose()
    missing = [
        key
        for key in keys
        if not any(o.delivery_key.startswith(key) or o.study_key.startswith(key) for o in chosen)
    ]
    for key in missing:
        console.print(f"{key}: nothing is owed")
    would = "would be" if dry_run else "are"
    console.print(f"{_counted(chosen)} {would} let go.")
    return 1 if missing else 0


def _cancel(
    database: Database, chosen: Sequence[OutstandingDelivery], destination: str | None
) -> None:
    keys, who = [item.delivery_key for item in chosen], actor()
    for start in range(0, len(keys), BATCH_SIZE):
        part = keys[start : start + BATCH_SIZE]
        in_transaction(database, partial(cancel_deliveries, delivery_keys=part, actor=who))
    if destination is not None:
        in_transaction(database, lambda session: cancel_updates(session, destination))


def _counted(chosen: Sequence[OutstandingDelivery]) -> str:
    """ "3 results (2 owed to archive, 1 to web)"."""
    by_destination = Counter(item.destination for item in chosen)
    listed = ", ".join(f"{count} owed to {name}" for name, count in sorted(by_destination.items()))
    return f"{len(chosen)} results ({listed})" if listed else "0 results"
