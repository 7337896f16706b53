"""How Alembic reaches the database: the project's own engine, one transaction, one migrator."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from db.engine.session import make_engine
from db.models import Base

MIGRATION_LOCK = 7_636_663_621
"""Any number that nobody else uses: two containers that start at once migrate one by one."""


def run() -> None:
    """Run the asked migrations on the database that `db.engine.migrate` or PNEUMO_DATABASE_URL names."""
    url = context.config.attributes.get("url") or os.environ.get("PNEUMO_DATABASE_URL")
    if not url:
        raise SystemExit("Set PNEUMO_DATABASE_URL, or use `pneumo migrate`.")
    # SQLite alters a table by rebuilding it, during which foreign keys must not be enforced.
    engine = make_engine(url, enforce_foreign_keys=False)
    try:
        with engine.begin() as connection:
            _wait_for_other_migrators(connection)
            _migrate(connection)
    finally:
        engine.dispose()


def _wait_for_other_migrators(connection: Connection) -> None:
    """SQLite's BEGIN IMMEDIATE has done so already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,  # also on SQLite, whose transactions our engine begins itself
    )
    with context.begin_transaction():
        context.run_migrations()


run()
