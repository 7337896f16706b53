"""One worker has the claim to a study; whoever has lost it writes nothing."""

from __future__ import annotations

import pytest

from db.studies.claims import release, renew_leases
from db.studies.results import store_result
from db.vocabulary.enums import Lane, RunOutcome, StudyState
from db.vocabulary.errors import StaleClaim
from tests.builders.database import (
    accept_many,
    accept_one,
    claim_one,
    crash_worker,
    ensure_model,
    expire_lease,
    finish_one,
    park_study,
    positive_outcome,
    postpone_study,
    read_study,
    rows,
    runs_of,
    store,
    sweep_leases,
)


def test_a_claim_knows_all_that_a_worker_needs(database):
    key = accept_one(database, 1, 2).study_key

    claimed = claim_one(database, key, worker_name="w-7", lease_s=30)

    assert (claimed.study_key, claimed.token, claimed.revision, claimed.retries) == (key, 1, 1, 0)
    assert (claimed.lane, claimed.priority, claimed.worker_name) == ("routine", "routine", "w-7")
    assert [i.file_name.endswith(".dcm") for i in claimed.instances] == [True, True]
    assert "1.2.826" not in repr(claimed)
    ((started, until),) = rows(database, "SELECT started_at, lease_until FROM inference_run")
    study = read_study(database, key)
    assert study.state is StudyState.RUNNING
    assert study.started_at is not None
    assert str(started) < str(until)


def test_a_second_message_finds_nothing_to_do(database):
    key = accept_one(database).study_key
    assert claim_one(database, key)

    assert claim_one(database, key) is None
    assert runs_of(database, key) == [RunOutcome.RUNNING]


@pytest.mark.parametrize("key", ["0" * 32, "no such key"])
def test_a_forged_message_finds_nothing_to_do(database, key):
    assert claim_one(database, key) is None


def test_a_finished_study_is_not_claimed(database):
    assert claim_one(database, finish_one(database)) is None


def test_an_old_message_does_not_bring_a_suspect_study_among_others(database):
    key = accept_one(database).study_key
    crash_worker(database, key)
    crash_worker(database, key)

    assert claim_one(database, key, lanes=[Lane.STAT, Lane.ROUTINE]) is None
    assert claim_one(database, key, lanes=[Lane.SUSPECT]).lane is Lane.SUSPECT


def test_a_renewed_lease_is_not_swept(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    expire_lease(database, key)

    with database.transaction() as session:
        assert renew_leases(session, [(claimed.study_id, claimed.token)], lease_s=60) == set()

    assert sweep_leases(database) == []


def test_renewing_tells_what_is_lost(database):
    first, second = accept_many(database, 2)
    lost, held = claim_one(database, first), claim_one(database, second)
    expire_lease(database, first)
    sweep_leases(database)

    with database.transaction() as session:
        told = renew_leases(
            session, [(lost.study_id, lost.token), (held.study_id, held.token)], lease_s=60
        )

    assert told == {(lost.study_id, lost.token)}


def test_renewing_nothing_is_nothing(database):
    with database.transaction() as session:
        assert renew_leases(session, [], lease_s=60) == set()


def test_released_work_is_due_at_once_and_counts_as_no_crash(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)

    with database.transaction() as session:
        release(session, claimed)

    study = read_study(database, key)
    assert (study.state, study.crashes) == (StudyState.ACCEPTED, 0)
    assert runs_of(database, key) == [RunOutcome.RELEASED]
    assert claim_one(database, key).token == 2


def everything(database):
    """All rows that a worker may write."""
    tables = ("study", "instance", "inference_run", "prediction", "audit_record")
    return [rows(database, f"SELECT * FROM {table} ORDER BY id") for table in tables]


def release_it(database, claimed):
    with database.transaction() as session:
        release(session, claimed)


WRITES = {
    "store": store,
    "retry": lambda database, claimed, _: postpone_study(database, claimed, 1),
    "park": lambda database, claimed, _: park_study(database, claimed),
    "release": lambda database, claimed, _: release_it(database, claimed),
}


@pytest.mark.parametrize("ended_by", ["crash", "takeover", "store", "release"])
@pytest.mark.parametrize("write", WRITES)
def test_a_stale_claim_writes_nothing(database, write, ended_by):
    model = ensure_model(database)
    key = accept_one(database).study_key
    stale = claim_one(database, key)
    outcome = positive_outcome(stale, model)
    if ended_by in ("crash", "takeover"):
        expire_lease(database, key)
        sweep_leases(database)
    if ended_by == "takeover":
        assert claim_one(database, key, worker_name="w-2").token == 2
    if ended_by == "store":
        store(database, stale, outcome)
    if ended_by == "release":
        release_it(database, stale)
    before = everything(database)

    with pytest.raises(StaleClaim, match="Attempt 1 no longer holds this study"):
        WRITES[write](database, stale, outcome)

    assert everything(database) == before


def test_a_worker_that_was_only_slow_may_still_store(database):
    """Until the sweeper comes, nobody else has the study: an hour's work is not thrown away."""
    model = ensure_model(database)
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    expire_lease(database, key)

    store(database, claimed, positive_outcome(claimed, model))

    assert sweep_leases(database) == []
    assert read_study(database, key).state is StudyState.DONE


def test_a_write_that_fails_half_way_leaves_nothing(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    before = everything(database)

    def die_before_commit():
        with database.transaction() as session:
            store_result(session, claimed, positive_outcome(claimed, model))
            raise ConnectionError("power cut")

    with pytest.raises(ConnectionError):
        die_before_commit()

    assert everything(database) == before
