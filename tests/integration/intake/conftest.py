"""A site with a migrated SQLite database, which is migrated once and copied for each test."""

from __future__ import annotations

import shutil

import pytest

from db.migrate import upgrade
from db.session import Database
from tests.integration.intake.sites import Site, free_port
from worker.settings import read_settings


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "migrated.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def site(tmp_path, migrated):
    (tmp_path / "database").mkdir()
    path = shutil.copy(migrated, tmp_path / "database" / "pneumo.sqlite")
    settings = read_settings(
        state_dir=tmp_path / "site",
        database_url=f"sqlite:///{path}",
        listen_port=free_port(),
        idle_window_s=60,
        log_level="DEBUG",
    )
    made = Site(settings, Database(settings.database_url))
    yield made
    made.close()
