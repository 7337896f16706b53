"""A living worker keeps its claims for as long as it needs; a dead or hung one loses them."""

from __future__ import annotations

import time

import pytest

from db.studies.claims import claim
from db.studies.publication import sweep_expired_leases
from tests.builders.dicom import write_instance
from tests.builders.waiting import scaled, wait_until
from worker.intake.accept import accept_study
from worker.pipeline import leases
from worker.pipeline.leases import LeaseKeeper

LEASE_S = scaled(0.6)
"""Long enough for a renewing thread of a busy machine."""


@pytest.fixture
def claimed(settings, database, tmp_path):
    file = write_instance(tmp_path / "a.dcm")
    key = accept_study([file], database=database, site=settings).study_key
    with database.transaction() as session:
        return claim(session, key, worker_name="w-test", lease_s=LEASE_S)


def sweep(database) -> int:
    with database.transaction() as session:
        return len(sweep_expired_leases(session))


@pytest.fixture
def left(monkeypatch):
    """Why the process would have left."""
    events = set()
    monkeypatch.setattr(leases, "exit_process", lambda event, **_: events.add(event))
    return events


def test_a_claim_outlives_its_lease_while_it_is_held_and_no_longer(database, claimed, left):
    keeper = LeaseKeeper(database, lease_s=LEASE_S, renewal_s=LEASE_S / 6, limit_s=3600)
    with keeper.held(claimed):
        until = time.monotonic() + 4 * LEASE_S
        while time.monotonic() < until:
            assert sweep(database) == 0
            time.sleep(LEASE_S / 6)
    wait_until(lambda: sweep(database) == 1, within_s=60)
    assert left == set(), "one that works within its limit is left alone"
    keeper.close()


def test_a_study_that_hangs_makes_its_process_leave(database, claimed, left):
    keeper = LeaseKeeper(database, lease_s=LEASE_S, renewal_s=0.05, limit_s=0.2)
    with keeper.held(claimed):
        wait_until(lambda: left)
    assert left == {"study_hangs"}
    keeper.close()
