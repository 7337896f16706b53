"""A site with a migrated SQLite database, which is migrated once and copied for each test."""

from __future__ import annotations

import pytest

from db.engine.migrate import upgrade
from tests.builders.site import make_site


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "migrated.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def site(tmp_path, migrated):
    made = make_site(tmp_path, migrated)
    yield made
    made.close()
