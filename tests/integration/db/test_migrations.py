from __future__ import annotations

from multiprocessing import get_context

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import DBAPIError

from db.enums import AuditEvent
from db.migrate import current, downgrade, head, upgrade
from db.models import Base
from db.session import make_engine
from tests.database_builders import finish_one, one, rows


@pytest.fixture
def engine(empty_url):
    engine = make_engine(empty_url)
    yield engine
    engine.dispose()


def names_in(engine):
    inspector = inspect(engine)
    return set(inspector.get_table_names()), set(inspector.get_view_names())


def test_up_down_up(empty_url, engine):
    assert current(empty_url) is None
    upgrade(empty_url)
    assert current(empty_url) == head()
    first = names_in(engine)
    assert len(first[0]) == 10
    assert len(first[1]) == 4

    downgrade(empty_url, "base")
    assert current(empty_url) is None
    assert names_in(engine) == ({"alembic_version"}, set())
    with engine.connect() as connection:
        leftovers = (
            "SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'index') AND sql NOT NULL"
            if connection.dialect.name == "sqlite"
            else "SELECT count(*) FROM pg_proc WHERE proname LIKE 'audit_record%%'"
        )
        assert connection.execute(text(leftovers)).scalar() == 0

    upgrade(empty_url)
    assert names_in(engine) == first


def test_models_are_what_the_migrations_make(empty_url, engine):
    upgrade(empty_url)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_every_check_of_the_models_is_in_the_database_by_name(empty_url, engine):
    upgrade(empty_url)
    inspector = inspect(engine)

    for table in Base.metadata.sorted_tables:
        expected = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
        found = {check["name"] for check in inspector.get_check_constraints(table.name)}
        assert found == expected, table.name


def test_words_of_the_models_are_the_words_of_the_database(empty_url, engine):
    """An enum member without its word in the CHECK constraint would fail at the first use."""
    upgrade(empty_url)
    inspector = inspect(engine)

    for table in Base.metadata.sorted_tables:
        checks = {c["name"]: c["sqltext"] for c in inspector.get_check_constraints(table.name)}
        for column in table.columns:
            for word in getattr(column.type, "enums", None) or ():
                assert f"'{word}'" in checks[f"ck_{table.name}_{column.name}"]


def test_constraints_have_names_by_the_convention(empty_url, engine):
    upgrade(empty_url)
    inspector = inspect(engine)

    for table in Base.metadata.tables:
        assert inspector.get_pk_constraint(table)["name"] == f"pk_{table}"
        for unique in inspector.get_unique_constraints(table):
            assert unique["name"].startswith(f"uq_{table}_")
        for foreign in inspector.get_foreign_keys(table):
            (column,) = foreign["constrained_columns"]
            assert foreign["name"] == f"fk_{table}_{column}_{foreign['referred_table']}"
        for index in inspector.get_indexes(table):
            assert index["name"].startswith((f"ix_{table}_", f"uq_{table}_"))


def test_two_that_migrate_at_once_do_it_once(empty_url):
    processes = [get_context("spawn").Process(target=upgrade, args=(empty_url,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert current(empty_url) == head()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET actor = 'nobody'",
        "DELETE FROM audit_record",
        "UPDATE audit_record SET detail = detail WHERE sequence = 1",
    ],
)
def test_the_audit_trail_refuses_to_be_changed(database, statement):
    finish_one(database)
    before = rows(database, "SELECT * FROM audit_record ORDER BY id")

    with pytest.raises(DBAPIError, match="audit_record is append-only"):
        rows(database, statement)

    assert rows(database, "SELECT * FROM audit_record ORDER BY id") == before


def test_postgresql_refuses_to_truncate_the_audit_trail(postgresql_url):
    engine = make_engine(postgresql_url)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE audit_record")
    engine.dispose()


def test_chain_heads_are_seeded(database):
    assert rows(database, "SELECT chain, sequence FROM audit_chain_head ORDER BY chain") == [
        (chain, 0) for chain in range(16)
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE study SET state = 'lost'",
        "UPDATE study SET probability = 1.5",
        "UPDATE study SET revision = 0",
        "UPDATE prediction SET frame_number = 0",
        "UPDATE instance SET state = 'maybe'",
        "UPDATE inference_run SET outcome = 'vanished'",
    ],
)
def test_rows_hold_only_what_they_may(database, statement):
    finish_one(database)
    with pytest.raises(DBAPIError, match=r"(?i)check constraint"):
        rows(database, statement)


def test_events_fit_their_column(database):
    finish_one(database)
    assert one(database, "SELECT count(*) FROM audit_record") >= 3
    assert all(event == event.lower() for event in AuditEvent)
