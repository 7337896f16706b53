"""Migrate a database to this version's tables from Python; no alembic.ini is needed."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from db.engine.session import make_engine


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate up to `revision`, completely or not at all."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Migrate down to `revision`; "base" drops everything, data included."""
    command.downgrade(_config(url), revision)


def current(url: str) -> str | None:
    """Return the database's revision; None if it is empty."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str:
    """Return the newest revision that this version knows."""
    newest = ScriptDirectory(str(_scripts())).get_current_head()
    if newest is None:
        raise RuntimeError("The migrations folder holds no revision; the installation is damaged.")
    return newest


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    # As an attribute: a main option would have to be escaped, and would be printed in errors.
    config.attributes["url"] = url
    return config


def _scripts() -> Path:
    """Return the scripts' folder: ../alembic in a checkout, db/migrations in a wheel."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "alembic"
