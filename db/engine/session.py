"""Engines and transactions: the settings under which both databases are durable and consistent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

READING = "pneumo_reading"
"""Execution option: this transaction only reads, and needs one consistent snapshot."""

_BUSY_TIMEOUT_MS = 30_000
_SQLITE_TRANSIENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_PROTOCOL,
}
_POSTGRESQL_TRANSIENT = (
    "08",  # connection exception
    "40",  # serialization failure, deadlock
    "53",  # too many connections, out of memory, disk full
    "55P03",  # lock not available
    "57",  # shutting down, cannot connect now, query cancelled
    "25006",  # read-only transaction: after a failover we are still connected to the old primary
)


def make_engine(url: str, *, enforce_foreign_keys: bool = True) -> Engine:
    """Create an engine for this process alone; never create one before a fork.

    Parameters never appear in error texts, and PostgreSQL's DETAIL lines, which quote rows, are cut.

    Args:
        url: `sqlite:///...` or `postgresql+psycopg://...`.
        enforce_foreign_keys: False for migrations that rebuild SQLite tables.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url, enforce_foreign_keys=enforce_foreign_keys)
    return _postgresql_engine(url)


def _sqlite_engine(url: str, *, enforce_foreign_keys: bool) -> Engine:
    engine = create_engine(url, hide_parameters=True, **_pool(url))

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: a deferred BEGIN that reads first and
        # writes later fails with "database is locked", whatever the timeout.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",  # a study that was confirmed to its sender survives a power cut
            f"foreign_keys = {'ON' if enforce_foreign_keys else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": 5,
            "application_name": "pneumo",
            "options": "-c timezone=UTC",
        },
        **_pool(url),
    )
    event.listen(engine, "handle_error", _cut_detail)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(READING, False):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    return engine


def _pool(url: str) -> dict[str, Any]:
    """Return pool sizes: enough for a worker's threads, its lease keeper and its heartbeat at once."""
    in_memory = make_url(url).database in {None, "", ":memory:"}
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    return {} if is_sqlite and in_memory else {"pool_size": 24, "max_overflow": 16}


def _cut_detail(context: ExceptionContext) -> None:
    """Keep only PostgreSQL's primary message: DETAIL says "Key (study_instance_uid)=(1.2.3…)"."""
    original = context.original_exception
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    if primary is None:
        return
    original.args = (primary,)
    if context.sqlalchemy_exception is not None:
        name = f"{type(original).__module__}.{type(original).__qualname__}"
        context.sqlalchemy_exception.args = (f"({name}) {primary}",)


class Database:
    """One database for one process: an engine and its transactions."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that commits when the block ends, and rolls back when it raises.

        On SQLite it holds the write lock from its first statement, so that what it reads is still
        true when it writes: keep slow work out of the block.
        """
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that sees one consistent snapshot, blocks nobody and must not write."""
        with (
            self.engine.connect().execution_options(**{READING: True}) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            yield session

    def dispose(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


def is_transient(exc: BaseException) -> bool:
    """Whether the same work may succeed later: the database is away, locked, full or deadlocked."""
    if isinstance(exc, PoolTimeout):
        return True
    if not isinstance(exc, DBAPIError):
        return False
    if exc.connection_invalidated:
        return True
    if isinstance(exc.orig, sqlite3.Error):
        code = getattr(exc.orig, "sqlite_errorcode", None)
        return code is not None and (code & 0xFF) in _SQLITE_TRANSIENT
    state = getattr(exc.orig, "sqlstate", None)
    if state is None:  # the server never answered
        return isinstance(exc, OperationalError | InterfaceError)
    return state.startswith(_POSTGRESQL_TRANSIENT)
