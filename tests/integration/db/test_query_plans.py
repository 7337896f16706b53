"""What runs again and again looks at few rows, however long the history is (PostgreSQL).

Rows that a statement looks at are counted, as EXPLAIN ANALYZE tells them, those that a filter throws
away included. That says more than "no Seq Scan": walking an index from end to end costs as much. The
planner is left as it is, and has seen every row (its sample holds 30 000), so that it decides by the
same figures each time.
"""

from __future__ import annotations

import pytest

from db.engine.session import Database
from db.studies.overview import overview
from tests.builders.history import fill_history
from tests.builders.recurring_queries import HOT, counting_rows, undone

STUDIES = 20_000
ENOUGH = STUDIES // 40
"""In one table; what is open, parked or here of 20 000 studies is 80, 100 and 200."""


@pytest.fixture(scope="module")
def history(postgresql_server, administer, migrated_postgresql):
    """Years of studies; whoever changes something takes it back."""
    administer(f"CREATE DATABASE history TEMPLATE {migrated_postgresql} STRATEGY file_copy")
    database = Database(postgresql_server("history"))
    fill_history(database, STUDIES)
    yield database
    database.dispose()
    administer("DROP DATABASE history WITH (FORCE)")


@pytest.mark.parametrize("name", HOT)
def test_what_runs_again_and_again_looks_at_few_rows(history, name):
    with undone(history) as session, counting_rows(session) as looked_at:
        HOT[name](session, STUDIES)
    assert looked_at, "nothing was explained"
    assert {table: rows for table, rows in looked_at.items() if rows > ENOUGH} == {}


def test_the_count_tells_a_look_at_everything(history):
    """By its nature: how many studies there are in each state."""
    with undone(history) as session, counting_rows(session) as looked_at:
        overview(session)
    assert looked_at["study"] >= STUDIES
