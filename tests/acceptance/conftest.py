"""One installation per test, on SQLite or on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders.installation import Installation


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Make an installation; whatever it started is ended with the test."""
    made: list[Installation] = []

    def make(**settings: object) -> Installation:
        url = str(settings.pop("database_url", ""))
        made.append(Installation(tmp_path / f"site-{len(made)}", url, dict(settings)))
        return made[-1]

    yield make
    for installation in made:
        installation.close()
