"""`pneumo deliveries --forgo`: results that nobody will take any more are let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console

from db.deliveries.cancel import StillOwed, forgo, still_owed, tell_no_more
from db.engine.session import Database
from worker.errors import Rejected
from worker.screens.admin import actor
from worker.screens.console import wide_console
from worker.settings import Settings
from worker.transactions import in_transaction

AT_ONCE = 100
"""Deliveries that are locked together."""
SHORTEST = 6
"""Signs of a key; fewer may mean another study as well."""


def forgo_and_show(
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
    if not asked or not (keys or destination) or any(len(key) < SHORTEST for key in keys):
        raise Rejected(
            "FORGO_WHICH",
            f"Say which, and nothing else: keys of deliveries or studies (or {SHORTEST} signs of "
            "their beginnings), or --destination NAME for all that it is owed, or both.",
        )
    console = console or wide_console()
    database = Database(settings.database_url)
    try:
        with database.reading() as session:
            chosen = still_owed(session, destination=destination, keys=keys)
        if not dry_run:
            if chosen:
                sure(f"Let go of {_counted(chosen)}, for good?")
            _let_go(database, chosen, None if keys else destination)
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


def _let_go(database: Database, chosen: Sequence[StillOwed], destination: str | None) -> None:
    keys, who = [item.delivery_key for item in chosen], actor()
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        in_transaction(database, partial(forgo, delivery_keys=part, actor=who))
    if destination is not None:
        in_transaction(database, lambda session: tell_no_more(session, destination))


def _counted(chosen: Sequence[StillOwed]) -> str:
    """ "3 results (2 owed to archive, 1 to web)"."""
    by_destination = Counter(item.destination for item in chosen)
    listed = ", ".join(f"{count} owed to {name}" for name, count in sorted(by_destination.items()))
    return f"{len(chosen)} results ({listed})" if listed else "0 results"
