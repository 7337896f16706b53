"""The promise that every test of a whole installation comes down to."""

from __future__ import annotations

from db.engine.session import Database
from db.ledger.audit import verify_chains
from tests.builders.database import one, rows


def assert_everything_happened_once(database: Database, *, studies: int, instances: int) -> None:
    """One prediction per instance, one accepted/finished pair per study, an unbroken chain."""
    assert one(database, "SELECT count(*) FROM prediction") == instances
    assert one(database, "SELECT count(DISTINCT instance_id) FROM prediction") == instances
    events = dict(
        rows(
            database,
            "SELECT event, count(*) FROM audit_record WHERE study_key IS NOT NULL GROUP BY event",
        )
    )
    assert events["study_accepted"] == studies
    assert events["study_finished"] == studies
    assert events["prediction_recorded"] == instances
    pairs = rows(
        database,
        "SELECT study_key, event, count(*) FROM audit_record"
        " WHERE event IN ('study_accepted', 'study_finished') GROUP BY study_key, event",
    )
    assert {count for _, _, count in pairs} == {1}
    with database.transaction() as session:
        report = verify_chains(session)
    assert report.ok, report
