"""`pneumo deliveries --forgo`: cancel results that no destination will take any more."""

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
from worker.screens.console import actor, counted, opened, wide_console
from worker.settings import Settings
from worker.transactions import in_transaction

BATCH_SIZE = 100
"""Deliveries that are locked together."""
MIN_KEY_LENGTH = 6
"""Characters of a key; fewer may mean another study as well."""


def cancel_deliveries_and_show(
    settings: Settings,
    keys: Sequence[str],
    *,
    is_alone: bool = True,
    destination: str | None,
    dry_run: bool,
    confirm: Callable[[str], object] = lambda _: None,
    console: Console | None = None,
) -> int:
    """Cancel deliveries and print how many; return 1 if a key matches none that is outstanding.

    `confirm` is asked with their number, and raises if the person does not agree. `is_alone`:
    whether --forgo was given without an option that does something else. Raises Rejected FORGO_WHICH.
    """
    if not is_alone or not (keys or destination) or any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise Rejected(
            "FORGO_WHICH",
            "Name what to cancel, and nothing else: keys of deliveries or studies (at least their "
            f"first {MIN_KEY_LENGTH} characters), or --destination NAME for everything outstanding "
            "there, or both.",
        )
    console = console or wide_console()
    with opened(settings) as database:
        with database.reading() as session:
            chosen = outstanding_deliveries(session, destination=destination, keys=keys)
        if not dry_run:
            if chosen:
                confirm(f"Cancel {_counts(chosen)} for good?")
            _cancel(database, chosen, None if keys else destination)
    missing = [
        key
        for key in keys
        if not any(o.delivery_key.startswith(key) or o.study_key.startswith(key) for o in chosen)
    ]
    for key in missing:
        console.print(f"{key}: nothing is outstanding")
    console.print(f"{'Would be cancelled' if dry_run else 'Cancelled'}: {_counts(chosen)}.")
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


def _counts(chosen: Sequence[OutstandingDelivery]) -> str:
    """Count by destination, e.g. "3 results (2 for archive, 1 for web)"."""
    by_destination = Counter(item.destination for item in chosen)
    listed = ", ".join(f"{count} for {name}" for name, count in sorted(by_destination.items()))
    return f"{counted(len(chosen), 'result')} ({listed})" if listed else "0 results"
