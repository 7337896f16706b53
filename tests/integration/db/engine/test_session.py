from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from threading import Thread

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db.engine.clock import now
from db.engine.session import Database, is_transient
from db.models import StudyIdentity, WorkerHeartbeat
from tests.builders.database import accept_one, ensure_model, one, rows

NEPAL = timezone(timedelta(hours=5, minutes=45))


def test_now_is_aware_and_in_utc(database):
    with database.transaction() as session:
        moment = now(session)
        assert moment.utcoffset() == timedelta(0)
        assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)
        assert now(session) > moment  # it goes on within a transaction


def test_moments_come_back_as_they_went_whatever_their_zone(database):
    moment = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=NEPAL)
    values = {"lanes": "", "device": "cpu", "started_at": moment, "seen_at": moment}
    with database.transaction() as session:
        session.execute(insert(WorkerHeartbeat).values(worker_name="w", **values))

    with database.transaction() as session:
        found = session.scalars(select(WorkerHeartbeat.seen_at)).one()
        same = session.scalar(
            select(WorkerHeartbeat.worker_name).where(
                WorkerHeartbeat.seen_at == moment.astimezone(UTC)
            )
        )

    assert found == moment
    assert found.utcoffset() == timedelta(0)
    assert same == "w"


def test_a_naive_moment_is_refused(database):
    naive = datetime(2026, 3, 4)  # noqa: DTZ001  that is what is tested
    values = {"lanes": "", "device": "cpu", "started_at": naive, "seen_at": naive}
    with (
        database.transaction() as session,
        pytest.raises(StatementError, match="needs a time zone"),
    ):
        session.execute(insert(WorkerHeartbeat).values(worker_name="w", **values))


def test_errors_do_not_tell_what_stood_in_the_row(database):
    """PostgreSQL's DETAIL quotes keys and whole rows; parameters would quote them as well."""
    accept_one(database)
    study_id = one(database, "SELECT id FROM study")
    row = {"study_id": study_id, "patient_id": "DOE^JANE", "recorded_at": datetime.now(UTC)}

    with pytest.raises(IntegrityError) as caught, database.transaction() as session:
        session.execute(insert(StudyIdentity).values(**row))
    with pytest.raises(DBAPIError) as other, database.transaction() as session:
        session.execute(text("UPDATE study SET revision = 0"))

    for error in (caught.value, other.value):
        told = f"{error} {error!r} {error.orig} {error.orig!r}"
        assert "DOE" not in told
        assert "1.2.826" not in told
        assert "constraint" in told.lower()


def test_reading_sees_one_picture_and_may_not_write(database):
    with database.reading() as session:
        before = session.scalar(text("SELECT count(*) FROM study"))
        accept_one(database)  # a writer is not kept waiting
        assert session.scalar(text("SELECT count(*) FROM study")) == before
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM study")) == before + 1


def test_what_a_reader_writes_is_not_kept(sqlite_url, postgresql_url):
    for url in (sqlite_url, postgresql_url):
        database = Database(url)
        ensure_model(database)
        try:
            with database.reading() as session:
                session.execute(text("DELETE FROM model_version"))
        except DBAPIError as error:
            assert "read-only" in str(error)  # noqa: PT017  only one of the two says so
        assert one(database, "SELECT count(*) FROM model_version") == 1
        database.dispose()


def test_foreign_keys_hold(database):
    accept_one(database)
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        rows(database, "UPDATE study SET model_version_id = 99")


def test_sqlite_keeps_its_promises_through_a_power_cut(sqlite_url):
    database = Database(sqlite_url)
    assert one(database, "PRAGMA journal_mode") == "wal"
    assert one(database, "PRAGMA synchronous") == 2  # FULL
    assert one(database, "PRAGMA busy_timeout") == 30_000
    database.dispose()


def test_sqlite_writers_queue_instead_of_failing(sqlite_url):
    """Read, then write: with a deferred BEGIN most of these would fail as "locked"."""
    database, errors = Database(sqlite_url), []

    def raise_by_one():
        try:
            for _ in range(10):
                with database.transaction() as session:
                    sequence = session.scalar(
                        text("SELECT sequence FROM audit_chain_head WHERE chain = 0")
                    )
                    session.execute(
                        text("UPDATE audit_chain_head SET sequence = :s WHERE chain = 0"),
                        {"s": sequence + 1},
                    )
        except Exception as error:  # noqa: BLE001  a thread's failure is the test's
            errors.append(error)

    threads = [Thread(target=raise_by_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert one(database, "SELECT sequence FROM audit_chain_head WHERE chain = 0") == 80
    database.dispose()


# --- what passes, and what does not ---------------------------------------------------------------


def error_of(work):
    try:
        work()
    except Exception as error:  # noqa: BLE001  it is what is asked for
        return error
    raise AssertionError("nothing was raised")


def test_a_constraint_is_not_transient(database):
    accept_one(database)
    assert not is_transient(error_of(lambda: rows(database, "UPDATE study SET revision = 0")))


def test_a_missing_table_is_not_transient(database):
    assert not is_transient(error_of(lambda: rows(database, "SELECT * FROM nothing")))


def test_a_mistake_of_ours_is_not_transient():
    assert not is_transient(ValueError("no"))


def test_a_full_pool_is_transient():
    assert is_transient(PoolTimeout("QueuePool limit reached"))


def test_a_locked_sqlite_is_transient(sqlite_url):
    database = Database(sqlite_url)
    with database.transaction() as session:
        session.execute(text("SELECT 1"))  # the lock is taken with the first statement, reads too
        other = sqlite3.connect(database.engine.url.database, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as locked:
            wrapped = OperationalError("BEGIN IMMEDIATE", {}, locked)
        other.close()
    assert is_transient(wrapped)
    database.dispose()


def test_a_server_that_is_away_is_transient(tmp_path):
    away = Database(f"postgresql+psycopg://postgres:@/postgres?host={tmp_path}")
    assert is_transient(error_of(lambda: rows(away, "SELECT 1")))
    away.dispose()


def test_a_killed_connection_is_transient_and_the_next_one_works(postgresql_url):
    database = Database(postgresql_url)

    def be_killed():
        with database.transaction() as session:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert is_transient(error_of(be_killed))
    assert one(database, "SELECT 1") == 1
    database.dispose()


def test_a_deadlock_is_transient(postgresql_url):
    """Two transactions that lock two chains crosswise: PostgreSQL ends one of them."""
    database = Database(postgresql_url)
    lock = "SELECT * FROM audit_chain_head WHERE chain = :chain FOR UPDATE"
    errors = []

    def cross(session, chain):
        try:
            session.execute(text(lock), {"chain": chain})
        except DBAPIError as error:
            errors.append(error)
            session.rollback()

    with database.engine.connect() as first, database.engine.connect() as second:
        first.execute(text(lock), {"chain": 1})
        second.execute(text(lock), {"chain": 2})
        waiting = Thread(target=cross, args=(first, 2))
        waiting.start()
        cross(second, 1)
        waiting.join()

    (error,) = errors
    assert is_transient(error)
    database.dispose()
