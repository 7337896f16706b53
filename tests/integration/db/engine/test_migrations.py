from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Integer, inspect, text
from sqlalchemy.exc import DBAPIError

from db.engine.columns import UtcDateTime
from db.engine.migrate import current, downgrade, head, upgrade
from db.engine.session import make_engine
from db.models import Base
from db.studies.overview import VIEWS
from db.vocabulary.enums import AuditEvent
from tests.builders.database import finish_one, one, rows


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
    assert first == ({*Base.metadata.tables, "alembic_version"}, set(VIEWS))

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


def test_rows_of_the_first_tables_live_through_the_second_migration_and_back(empty_url, engine):
    """As at a site that is updated: what was predicted stays, and nothing becomes a shadow."""
    upgrade(empty_url, "0001")
    with engine.begin() as connection:
        for statement in FIRST_ROWS.split(";"):
            connection.exec_driver_sql(statement)
    kept = "SELECT study_key, model_version, probability FROM v1_predictions"
    expected = [("0" * 32, "resnet50-0.1.0", 0.9)]

    for step in (lambda: upgrade(empty_url), lambda: downgrade(empty_url, "0001")):
        step()
        with engine.begin() as connection:
            assert [tuple(row) for row in connection.exec_driver_sql(kept)] == expected

    upgrade(empty_url)
    with engine.begin() as connection:
        model = "SELECT is_active, is_shadow, bias FROM model_version"
        assert [tuple(map(float, row)) for row in connection.exec_driver_sql(model)] == [(1, 0, 0)]
        distance = "SELECT distance FROM v1_predictions"
        assert connection.exec_driver_sql(distance).scalar() is None


def test_studies_whose_files_left_before_are_passed_by(empty_url, engine):
    upgrade(empty_url, "0001")
    with engine.begin() as connection:
        for statement in FIRST_ROWS.split(";"):
            connection.exec_driver_sql(statement)
    upgrade(empty_url, "0010")
    with engine.begin() as connection:
        connection.exec_driver_sql(_SECOND_STUDY)
        connection.exec_driver_sql(
            "UPDATE instance SET file_removed_at = '2026-11-24 00:00:00' WHERE study_id = 1"
        )
    upgrade(empty_url)
    with engine.begin() as connection:
        query = text("SELECT id, files_left_at FROM study ORDER BY id")
        found = connection.execute(query.columns(id=Integer, files_left_at=UtcDateTime)).all()
    assert [tuple(row) for row in found] == [(1, datetime(2026, 11, 24, tzinfo=UTC)), (2, None)]


def test_on_postgresql_views_and_grants_of_the_site_live_through_an_upgrade_and_back(
    empty_postgresql_url,
):
    """One login reads our view directly, and a view of the site's own reads it as well."""
    upgrade(empty_postgresql_url, "0010")
    engine = make_engine(empty_postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW of_the_site AS SELECT state FROM v1_deliveries")
        connection.exec_driver_sql("GRANT SELECT ON v1_deliveries TO pg_monitor")
    back = partial(downgrade, empty_postgresql_url, "0010")
    for step in (partial(upgrade, empty_postgresql_url), back):
        step()
        with engine.begin() as connection:
            assert connection.exec_driver_sql("SELECT * FROM of_the_site").all() == []
            reads = "SELECT has_table_privilege('pg_monitor', 'v1_deliveries', 'SELECT')"
            assert connection.exec_driver_sql(reads).scalar()
    engine.dispose()


_SECOND_STUDY = """
INSERT INTO study (id, study_key, study_instance_uid, revision, state,
    priority, lane, source, attempts, crashes, crashes_alone, retries, received_at)
SELECT 2, '00000000000000000000000000000001', '1.3', 1, state, priority, lane, source, 0, 0, 0, 0,
    received_at FROM study
"""
"""One without a file so far."""


FIRST_ROWS = """
INSERT INTO model_version (id, name, architecture, bundle_digest, preprocessing_version, temperature,
    threshold, location, is_active, registered_at)
VALUES (1, 'resnet50-0.1.0', 'resnet50', 'd', '1', 1.5, 0.4, 'x', true, '2026-11-23 00:00:00');
INSERT INTO study (id, study_key, study_instance_uid, revision, state, priority, lane, source,
    attempts, crashes, crashes_alone, retries, received_at)
VALUES (1, '00000000000000000000000000000000', '1.2', 1, 'running', 'stat', 'stat', 'cli',
    1, 0, 0, 0, '2026-11-23 00:00:00');
INSERT INTO instance (id, study_id, revision, sop_instance_uid, series_instance_uid, sop_class_uid,
    transfer_syntax_uid, file_sha256, file_name, file_bytes, state, received_at)
VALUES (1, 1, 1, '1.3', '1.4', '1.5', '1.6',
    '0000000000000000000000000000000000000000000000000000000000000000', 'x', 1, 'predicted',
    '2026-11-23 00:00:00');
INSERT INTO inference_run (id, study_id, attempt, revision, worker_name, lane, started_at,
    lease_until, outcome)
VALUES (1, 1, 1, 1, 'w-1', 'stat', '2026-11-23 00:00:00', '2026-11-23 00:00:00', 'running');
INSERT INTO prediction (id, instance_id, inference_run_id, model_version_id, frame_number,
    preprocessing_version, logit, probability, threshold, verdict, device, normalisation, warnings,
    recorded_at)
VALUES (1, 1, 1, 1, 1, '1', 2.0, 0.9, 0.4, 'positive', 'cpu', '{}', '[]', '2026-11-23 00:00:00')
"""
"""A positive study as revision 0001 kept it."""


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
