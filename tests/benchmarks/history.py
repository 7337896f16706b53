"""What recurring queries cost on PostgreSQL after years: milliseconds, and rows looked at.

    python -m tests.benchmarks.history postgresql+psycopg://...@.../an_empty_database [STUDIES]

An empty database is migrated and filled (a million studies take some minutes and 3 GB); one that is
not empty is taken as it was left by an earlier run with the same number. What is measured is undone.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.table import Table

from db.deliveries.overview import destination_summaries
from db.engine.migrate import current, upgrade
from db.engine.session import Database
from db.studies.overview import VIEWS, count_view_rows, overview, view_rows
from db.studies.retention import count_removable
from tests.builders.history import fill_history
from tests.builders.recurring_queries import HOT, KEEP_DAYS, Query, counting_rows, undone

REPEATS = 3
ENTIRE: dict[str, Query] = {
    "status: studies": lambda s, _: overview(s),
    "status: deliveries": lambda s, _: destination_summaries(s),
    "tidy --dry-run": lambda s, _: count_removable(s, keep_days=KEEP_DAYS),
    **{f"newest of {view}": lambda s, _, view=view: view_rows(s, view, limit=20) for view in VIEWS},
    **{f"rows of {view}": lambda s, _, view=view: count_view_rows(s, view) for view in VIEWS},
}
"""By hand only: some count the whole history."""


def main(url: str, studies: int = 1_000_000) -> None:
    """Fill what is empty, then measure each query by itself."""
    empty = current(url) is None
    upgrade(url)
    database = Database(url)
    if empty:
        fill_history(database, studies)
    table = Table("query", "ms", "rows looked at", title=f"After {studies} studies")
    for name, query in (HOT | ENTIRE).items():
        best = min(milliseconds(database, query, studies) for _ in range(REPEATS))
        with undone(database) as session, counting_rows(session) as looked_at:
            query(session, studies)
        rows = ", ".join(f"{table} {count}" for table, count in looked_at.items() if count)
        table.add_row(name, f"{best:.1f}", rows)
    Console(width=140).print(table)
    database.dispose()


def milliseconds(database: Database, query: Query, studies: int) -> float:
    """By the wall clock, without the transaction around it."""
    with undone(database) as session:
        session.connection()
        begun = time.perf_counter()
        query(session, studies)
        return 1000 * (time.perf_counter() - begun)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
