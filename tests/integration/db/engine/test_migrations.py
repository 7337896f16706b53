from __future__ import annotations

from multiprocessing import get_context

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text
from sqlalchemy.exc import DBAPIError

from db.engine.migrate import current, downgrade, head, upgrade
from db.engine.session import make_engine
from db.models import Base
from db.studies.overview import VIEWS
from tests.builders.database import finish_one, rows
from tests.builders.waiting import scaled


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
    execute(engine, FIRST_ROWS)
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


@pytest.fixture
def released(empty_url, engine):
    """A database of version 0.2.0 with rows in it."""
    upgrade(empty_url, "0001")
    execute(engine, FIRST_ROWS)
    upgrade(empty_url, "0002")
    execute(engine, SECOND_ROWS)
    return engine


def execute(engine, statements):
    with engine.begin() as connection:
        for statement in statements.split(";"):
            connection.exec_driver_sql(statement)


def rows_of(engine, columns):
    """Table or view -> its rows, of these columns."""
    quoted = {name: ", ".join(f'"{column}"' for column in of) for name, of in columns.items()}
    with engine.connect() as connection:
        return {
            name: sorted(map(str, connection.exec_driver_sql(f"SELECT {of} FROM {name}")))
            for name, of in quoted.items()
        }


def columns_of(engine):
    inspector = inspect(engine)
    tables, views = names_in(engine)
    return {
        name: [column["name"] for column in inspector.get_columns(name)]
        for name in (tables | views) - {"alembic_version"}
    }


def constraints_of(engine):
    inspector = inspect(engine)
    kinds = ("indexes", "unique_constraints", "check_constraints", "foreign_keys")
    return {
        (table, kind): sorted(map(_words_of, getattr(inspector, f"get_{kind}")(table)))
        for table in names_in(engine)[0]
        for kind in kinds
    }


def _words_of(constraint):
    """With the condition of a partial index as text: as an object it equals itself alone."""
    options = {key: str(value) for key, value in constraint.get("dialect_options", {}).items()}
    return str({**constraint, "dialect_options": options})


def test_rows_of_0_2_0_live_through_the_upgrade_and_back(empty_url, released):
    """Each value of each table and view, and what the tables hold rows to."""
    columns, constraints = columns_of(released), constraints_of(released)
    rows = rows_of(released, columns)
    assert [name for name, found in rows.items() if not found] == []

    upgrade(empty_url)
    assert rows_of(released, columns) == rows
    new = "SELECT count(*) FROM instance WHERE content_sha256 IS NULL AND file_removed_at IS NULL"
    with released.connect() as connection:
        assert connection.exec_driver_sql(new).scalar() == len(rows["instance"])

    downgrade(empty_url, "0002")
    assert columns_of(released) == columns
    assert constraints_of(released) == constraints
    assert rows_of(released, columns) == rows


def test_what_0_2_0_has_no_word_for_goes_back_as_what_comes_next_to_it(empty_url, engine):
    upgrade(empty_url)
    execute(engine, LATER_ROWS)

    downgrade(empty_url, "0002")

    query = "SELECT id, source, closed_by, state, verdict, error_code FROM study ORDER BY id"
    with engine.connect() as connection:
        assert [tuple(row) for row in connection.exec_driver_sql(query)] == [
            (1, "python", "sender", "done", None, None),
            (2, "python", "sender", "accepted", None, None),
            (3, "python", None, "parked", "failed", "NOTHING_CAME"),
            (4, "python", None, "parked", "failed", "NOT_FETCHED"),
            (5, "cli", "idle_window", "accepted", None, None),
        ]


def test_an_image_that_came_again_changed_keeps_the_database_at_this_version(empty_url, released):
    upgrade(empty_url)
    execute(released, "UPDATE instance SET replaced_in_revision = 2 WHERE id = 1")
    columns = columns_of(released)
    rows = rows_of(released, columns)

    with pytest.raises(RuntimeError, match=r"1 instance.* no room for both.* restore the backup"):
        downgrade(empty_url, "0002")

    assert current(empty_url) == head()
    assert rows_of(released, columns) == rows


def test_on_postgresql_views_and_grants_of_the_site_live_through_an_upgrade(empty_postgresql_url):
    """One login reads our views directly, and views of the site's own read them as well."""
    upgrade(empty_postgresql_url, "0002")
    engine = make_engine(empty_postgresql_url)
    _, ours = names_in(engine)
    for view in ours:
        execute(engine, f"CREATE VIEW site_{view} AS SELECT * FROM {view}")
        execute(engine, f"GRANT SELECT ON {view} TO pg_monitor")

    upgrade(empty_postgresql_url)

    assert len(ours) == 5
    with engine.connect() as connection:
        for view in ours:
            assert connection.exec_driver_sql(f"SELECT * FROM site_{view}").all() == []
            reads = f"SELECT has_table_privilege('pg_monitor', '{view}', 'SELECT')"
            assert connection.exec_driver_sql(reads).scalar()
    engine.dispose()


def test_on_postgresql_a_downgrade_leaves_alone_the_views_that_lose_no_column(empty_postgresql_url):
    upgrade(empty_postgresql_url)
    engine = make_engine(empty_postgresql_url)
    execute(engine, "CREATE VIEW of_the_site AS SELECT agrees FROM v1_shadow_agreement")

    downgrade(empty_postgresql_url, "0002")

    assert rows_of(engine, {"of_the_site": ["agrees"]}) == {"of_the_site": []}
    engine.dispose()


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

SECOND_ROWS = """
INSERT INTO model_version (id, name, architecture, bundle_digest, preprocessing_version, temperature,
    bias, threshold, location, is_active, is_shadow, registered_at)
VALUES (2, 'vgg16-0.2.0', 'vgg16', 'e', '1', 1.1, 0.5, 0.3, 'y', false, true, '2026-11-23 00:00:00');
INSERT INTO shadow_prediction (id, instance_id, inference_run_id, model_version_id, frame_number,
    preprocessing_version, logit, probability, threshold, verdict, distance, device, recorded_at)
VALUES (1, 1, 1, 2, 1, '1', 1.0, 0.7, 0.3, 'positive', 1.5, 'cpu', '2026-11-23 00:00:00');
INSERT INTO study (id, study_key, study_instance_uid, revision, state, priority, lane, source,
    closed_by, verdict, waiting_seconds, turnaround_seconds, attempts, crashes, crashes_alone,
    retries, received_at)
VALUES (2, '00000000000000000000000000000002', '1.2.2', 2, 'done', 'routine', 'routine', 'c_store',
    'idle_window', 'rejected', 5, 60, 1, 0, 0, 0, '2026-11-23 00:00:00');
INSERT INTO instance (id, study_id, revision, sop_instance_uid, series_instance_uid, sop_class_uid,
    transfer_syntax_uid, file_sha256, file_name, file_bytes, state, refusal_code, received_at)
VALUES (2, 2, 1, '1.3.2', '1.4', '1.5', '1.6',
    '1111111111111111111111111111111111111111111111111111111111111111', 'y', 1, 'refused',
    'NOT_A_CHEST', '2026-11-23 00:00:00');
INSERT INTO study_identity (study_id, patient_id, accession_number, recorded_at)
VALUES (1, 'P', 'A', '2026-11-23 00:00:00');
INSERT INTO audit_record (id, chain, sequence, event, occurred_at, actor, detail, previous_hash, hash)
VALUES (1, 0, 1, 'study_accepted', '2026-11-23 00:00:00', 'w-1', '{}', 'a', 'b');
INSERT INTO worker_heartbeat (worker_name, lanes, device, started_at, seen_at)
VALUES ('w-1', 'stat', 'cpu', '2026-11-23 00:00:00', '2026-11-23 00:00:00')
"""
"""What version 0.2.0 adds: a shadow, its prediction, and rows in every other table."""

LATER_ROWS = """
INSERT INTO study (id, study_key, study_instance_uid, revision, state, priority, lane, source,
    closed_by, attempts, crashes, crashes_alone, retries, received_at)
VALUES
    (1, '00000000000000000000000000000001', '1.1', 1, 'done', 'stat', 'stat', 'message',
        'manifest', 0, 0, 0, 0, '2026-11-24 00:00:00'),
    (2, '00000000000000000000000000000002', '1.2', 1, 'accepted', 'stat', 'stat', 'folder',
        'pacs_count', 0, 0, 0, 0, '2026-11-24 00:00:00'),
    (3, '00000000000000000000000000000003', '1.3', 1, 'receiving', 'stat', 'stat', 'dicomweb',
        NULL, 0, 0, 0, 0, '2026-11-24 00:00:00'),
    (4, '00000000000000000000000000000004', '1.4', 1, 'queued', 'stat', 'stat', 'pull',
        NULL, 0, 0, 0, 0, '2026-11-24 00:00:00'),
    (5, '00000000000000000000000000000005', '1.5', 1, 'accepted', 'stat', 'stat', 'cli',
        'idle_window', 0, 0, 0, 0, '2026-11-24 00:00:00');
INSERT INTO study_manifest (study_id, instances, sop_instance_uids, received_at)
VALUES (1, 1, '[]', '2026-11-24 00:00:00'), (3, 1, '[]', '2026-11-24 00:00:00');
INSERT INTO study_origin (study_id, peer, way, ordered_at, fetched_at)
VALUES (2, 'archive', 'c-get', '2026-11-24 00:00:00', '2026-11-24 00:00:00'),
    (4, 'archive', 'c-get', '2026-11-24 00:00:00', NULL)
"""
"""Studies in the words of this version: closed by a manifest and by a count, announced, ordered."""


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

    words = 0
    for table in Base.metadata.sorted_tables:
        checks = {c["name"]: c["sqltext"] for c in inspector.get_check_constraints(table.name)}
        for column in table.columns:
            for word in getattr(column.type, "enums", None) or ():
                assert f"'{word}'" in checks[f"ck_{table.name}_{column.name}"]
                words += 1
    assert words > 50, "the models say which words a column holds"


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
        process.join(timeout=scaled(60))

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
