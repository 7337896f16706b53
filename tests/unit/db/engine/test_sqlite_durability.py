"""The whole way of a study on a fresh SQLite file, in well under a second."""

from __future__ import annotations

import pytest

from db.engine.migrate import current, head, upgrade
from db.engine.session import Database
from db.ledger.audit import verify_chains
from db.studies.overview import study_detail
from tests.builders.database import events_of, finish_one


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'pneumo.sqlite'}"
    upgrade(url)
    assert current(url) == head()
    database = Database(url)
    yield database
    database.dispose()


def test_from_received_to_done(database):
    key = finish_one(database, 1, 2)

    assert events_of(database, key) == [
        "study_accepted",
        "prediction_recorded",
        "prediction_recorded",
        "study_finished",
    ]
    with database.reading() as session:
        assert study_detail(session, key).summary.verdict == "positive"
        assert verify_chains(session).ok
