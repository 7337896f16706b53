"""db/roles.sql on a real server: the worker does its work, nobody changes the trail."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from db.deliveries.cancel import cancel_study_deliveries, destinations_with_objects
from db.deliveries.commitment import delete_obsolete_requests
from db.engine.session import Database, make_engine
from db.ledger.audit import verify_chains
from db.ledger.identity import erase_identity
from db.models import Base
from db.studies.overview import VIEWS
from db.studies.publication import sweep_expired_leases
from tests.builders.database import finish_one, one, predict_by_shadow, rows
from tests.builders.deliveries import (
    activate_destinations,
    claim_one_delivery,
    publish_due_deliveries,
    send_one_delivery,
)

SCRIPT = Path(__file__).resolve().parents[4] / "db" / "roles.sql"


@pytest.fixture
def as_role(postgresql_url):
    """Opens the database as a member of one of the roles."""
    engine = make_engine(postgresql_url)
    script = SCRIPT.read_text()
    opened = []
    for _ in range(2):  # it may be run again
        with engine.begin() as connection:
            connection.exec_driver_sql(script.replace("%", "%%"))

    def open_as(role):
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'test_{role}')"
                f" THEN CREATE ROLE test_{role} LOGIN IN ROLE {role}; END IF; END $$"
            )
        database = Database(make_url(postgresql_url).set(username=f"test_{role}"))
        opened.append(database)
        return database

    yield open_as
    for database in opened:
        database.dispose()
    engine.dispose()


def test_a_worker_does_all_its_work(as_role):
    worker = as_role("pneumo_worker")

    activate_destinations(worker, "archive")
    predict_by_shadow(worker, finish_one(worker), 0.2)
    send_one_delivery(
        worker,
        claim_one_delivery(worker, *publish_due_deliveries(worker)),
        transaction_uid="2.25.1",
    )
    rows(worker, "UPDATE result_delivery SET state = 'committed'")

    with worker.transaction() as session:
        assert delete_obsolete_requests(session) == 1
        assert sweep_expired_leases(session) == []
        assert verify_chains(session).ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET actor = 'nobody'",
        "DELETE FROM audit_record",
        "TRUNCATE audit_record",
        "DELETE FROM prediction",
        "UPDATE prediction SET probability = 0",
        "UPDATE shadow_prediction SET probability = 0",
        "DELETE FROM audit_chain_head",
        "DELETE FROM study",
        "DELETE FROM result_delivery",
        "ALTER TABLE audit_record DISABLE TRIGGER ALL",
    ],
)
def test_a_worker_cannot_undo_what_was_recorded(as_role, statement):
    worker = as_role("pneumo_worker")
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        rows(worker, statement)


def test_an_analyst_reads_the_views_and_no_table(as_role):
    finish_one(as_role("pneumo_worker"))
    analyst = as_role("pneumo_analyst")

    for view in VIEWS:
        rows(analyst, f"SELECT * FROM {view}")
    assert one(analyst, "SELECT count(*) FROM v1_studies") == 1
    for table in sorted(Base.metadata.tables):
        with pytest.raises(DBAPIError, match="permission denied"):
            rows(analyst, f"SELECT * FROM {table}")


def test_privacy_erases_identities_and_nothing_else(as_role):
    worker = as_role("pneumo_worker")
    activate_destinations(worker, "archive", "web")
    key = finish_one(worker)
    send_one_delivery(worker, claim_one_delivery(worker, publish_due_deliveries(worker)[0]))
    privacy = as_role("pneumo_privacy")

    with privacy.transaction() as session:
        assert cancel_study_deliveries(session, key, "operator:ada") == 1
        assert len(destinations_with_objects(session, key)) == 1
        assert erase_identity(session, key, "operator:ada")
    with pytest.raises(DBAPIError, match="permission denied"):
        rows(privacy, "DELETE FROM study")
