from __future__ import annotations

from datetime import timedelta

import pytest

from db.studies.claims import release, renew_leases
from db.studies.intake import receive_instance
from db.studies.publication import sweep_expired_leases
from db.studies.results import park, retry_parked, schedule_retry, store_result
from db.vocabulary.enums import FailureKind, Lane, RunOutcome, StudyState, SweepAction, Verdict
from db.vocabulary.errors import StaleClaim
from tests.builders.database import (
    accept_many,
    accept_one,
    claim_one,
    ensure_model,
    events_of,
    failure,
    finish_one,
    let_lease_run_out,
    make_study,
    move_back,
    one,
    positive_outcome,
    read_study,
    rows,
    runs_of,
    store,
)


def sweep(database):
    with database.transaction() as session:
        return [(claim.key, claim.action) for claim in sweep_expired_leases(session)]


def crash(database, key):
    """A worker claims the study and dies; returns what the sweeper did."""
    assert claim_one(database, key)
    let_lease_run_out(database, key)
    ((swept, action),) = sweep(database)
    assert swept == key
    return action


def retry(database, claimed, delay_s):
    with database.transaction() as session:
        passing = failure("transient", "DISK_AWAY", "The disk did not answer.")
        schedule_retry(session, claimed, passing, delay_s=delay_s)


def park_it(database, claimed):
    with database.transaction() as session:
        park(session, claimed, failure(code="BUG", traceback_reference="t-1"))


# --- claiming -------------------------------------------------------------------------------------


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
    crash(database, key)
    crash(database, key)

    assert claim_one(database, key, lanes=[Lane.STAT, Lane.ROUTINE]) is None
    assert claim_one(database, key, lanes=[Lane.SUSPECT]).lane is Lane.SUSPECT


# --- leases ---------------------------------------------------------------------------------------


def test_a_renewed_lease_is_not_swept(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    let_lease_run_out(database, key)

    with database.transaction() as session:
        assert renew_leases(session, [(claimed.study_id, claimed.token)], lease_s=60) == set()

    assert sweep(database) == []


def test_renewing_tells_what_is_lost(database):
    first, second = accept_many(database, 2)
    lost, held = claim_one(database, first), claim_one(database, second)
    let_lease_run_out(database, first)
    sweep(database)

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


# --- crashes --------------------------------------------------------------------------------------


def test_a_study_that_kills_its_workers_ends_alone_and_then_parked(database):
    key = accept_one(database).study_key

    assert crash(database, key) is SweepAction.REQUEUED
    once = read_study(database, key)
    assert (once.state, once.lane, once.crashes) == (StudyState.ACCEPTED, Lane.ROUTINE, 1)

    assert crash(database, key) is SweepAction.SUSPECTED
    assert read_study(database, key).lane is Lane.SUSPECT

    assert crash(database, key) is SweepAction.SUSPECTED
    alone = read_study(database, key)
    assert (alone.lane, alone.crashes, alone.crashes_alone) == (Lane.SUSPECT, 2, 1)

    assert crash(database, key) is SweepAction.PARKED
    parked = read_study(database, key)
    assert (parked.state, parked.verdict) == (StudyState.PARKED, Verdict.FAILED)
    assert (parked.error_code, parked.error_kind) == ("CRASHED_WORKER", FailureKind.BUG)
    assert "pneumo retry" in parked.error_sentence
    assert parked.finished_at is not None
    assert runs_of(database, key) == [RunOutcome.CRASHED] * 4
    assert events_of(database, key) == ["study_accepted", *["attempt_crashed"] * 4, "study_parked"]


def test_an_innocent_suspect_is_predicted_alone(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    crash(database, key)
    crash(database, key)

    claimed = claim_one(database, key)
    store(database, claimed, positive_outcome(claimed, model))

    assert read_study(database, key).verdict is Verdict.POSITIVE


def test_images_that_came_during_the_last_crash_are_looked_at(database):
    """A parked study would hold them without anybody having seen them."""
    key = accept_one(database).study_key
    for _ in range(3):
        crash(database, key)
    assert claim_one(database, key)
    accept_one(database, 1, 2)
    let_lease_run_out(database, key)

    assert sweep(database) == [(key, SweepAction.SUSPECTED)]
    study = read_study(database, key)
    assert (study.state, study.lane) == (StudyState.ACCEPTED, Lane.SUSPECT)
    assert (study.revision, study.crashes_alone) == (2, 0)
    crash(database, key)
    assert crash(database, key) is SweepAction.PARKED


def test_what_has_time_left_is_left_alone(database):
    claim_one(database, accept_one(database).study_key, lease_s=60)

    assert sweep(database) == []


def test_one_bad_row_does_not_keep_the_others(database):
    bad, good = accept_many(database, 2)
    for key in (bad, good):
        claim_one(database, key)
        let_lease_run_out(database, key)
    spoil_priority(database, bad)

    assert sweep(database) == [(bad, SweepAction.SKIPPED), (good, SweepAction.REQUEUED)]
    assert read_study(database, good).state is StudyState.ACCEPTED
    assert rows(database, "SELECT state FROM study WHERE study_key = :key", key=bad) == [
        ("running",)
    ]


def spoil_priority(database, key):
    """A word that no version of ours knows, as a slip of somebody's hand would leave it."""
    with database.engine.connect() as connection, connection.begin():
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        else:
            connection.exec_driver_sql("ALTER TABLE study DROP CONSTRAINT ck_study_priority")
        connection.exec_driver_sql(
            f"UPDATE study SET priority = 'urgent' WHERE study_key = '{key}'"
        )


# --- fencing --------------------------------------------------------------------------------------


def everything(database):
    """All rows that a worker may write."""
    tables = ("study", "instance", "inference_run", "prediction", "audit_record")
    return [rows(database, f"SELECT * FROM {table} ORDER BY id") for table in tables]


def release_it(database, claimed):
    with database.transaction() as session:
        release(session, claimed)


WRITES = {
    "store": store,
    "retry": lambda database, claimed, _: retry(database, claimed, 1),
    "park": lambda database, claimed, _: park_it(database, claimed),
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
        let_lease_run_out(database, key)
        sweep(database)
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
    let_lease_run_out(database, key)

    store(database, claimed, positive_outcome(claimed, model))

    assert sweep(database) == []
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


# --- retries and parking --------------------------------------------------------------------------


def test_a_retry_waits_until_it_is_due(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)

    retry(database, claimed, delay_s=60)

    study = read_study(database, key)
    assert (study.state, study.retries, study.error_code) == (StudyState.ACCEPTED, 1, "DISK_AWAY")
    ended = one(database, "SELECT count(*) FROM inference_run WHERE ended_at IS NOT NULL")
    assert ended == 1
    assert timedelta(seconds=50) < study.due_at - study.started_at < timedelta(seconds=70)
    assert runs_of(database, key) == [RunOutcome.RETRY]
    assert claim_one(database, key) is None  # a doubled message must not shorten the wait

    move_back(database, key, "due_at", 1)
    again = claim_one(database, key)
    assert (again.token, again.retries) == (2, 1)


def test_a_success_forgets_the_failure_before(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    retry(database, claim_one(database, key), delay_s=0)
    claimed = claim_one(database, key)

    store(database, claimed, positive_outcome(claimed, model))

    study = read_study(database, key)
    assert (study.error_code, study.error_sentence, study.error_kind) == (None, None, None)


def test_a_parked_study_waits_for_a_person(database):
    key = accept_one(database).study_key
    park_it(database, claim_one(database, key))

    study = read_study(database, key)
    assert (study.state, study.verdict) == (StudyState.PARKED, Verdict.FAILED)
    assert (study.error_code, study.error_sentence) == ("BUG", "Look it up.")
    assert study.traceback_reference == "t-1"
    assert study.turnaround_seconds >= 0
    assert claim_one(database, key) is None
    assert events_of(database, key)[-1] == "study_parked"


def test_a_study_to_which_images_came_meanwhile_is_not_parked_with_them(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    accept_one(database, 1, 2)

    park_it(database, claimed)

    study = read_study(database, key)
    assert (study.state, study.verdict, study.retries) == (StudyState.ACCEPTED, None, 0)
    assert study.error_code == "BUG"  # why it takes so long
    assert runs_of(database, key) == [RunOutcome.RETRY]
    assert "study_parked" not in events_of(database, key)
    again = claim_one(database, key)
    store(database, again, positive_outcome(again, model))
    assert read_study(database, key).verdict is Verdict.POSITIVE


def test_one_that_came_by_itself_waits_for_its_window_then(database):
    key = accept_one(database).study_key
    claimed = claim_one(database, key)
    with database.transaction() as session:
        receive_instance(session, make_study(2), idle_window_s=60)

    park_it(database, claimed)

    assert read_study(database, key).state is StudyState.RECEIVING


def test_a_person_sends_a_parked_study_round_again(database):
    model = ensure_model(database)
    key = accept_one(database).study_key
    for _ in range(4):
        crash(database, key)

    with database.transaction() as session:
        assert retry_parked(session, key, actor="operator:ada")

    study = read_study(database, key)
    assert (study.state, study.lane, study.verdict) == (StudyState.ACCEPTED, Lane.ROUTINE, None)
    assert (study.crashes, study.crashes_alone, study.retries) == (0, 0, 0)
    assert (study.error_code, study.finished_at) == (None, None)
    actor = one(database, "SELECT actor FROM audit_record WHERE event = 'study_retried'")
    assert actor == "operator:ada"
    claimed = claim_one(database, key)
    assert claimed.token == 5  # tokens never come back
    store(database, claimed, positive_outcome(claimed, model))
    assert read_study(database, key).verdict is Verdict.POSITIVE


def test_only_parked_studies_are_sent_round_again(database):
    key = accept_one(database).study_key
    with database.transaction() as session:
        assert not retry_parked(session, key, actor="operator:ada")
        assert not retry_parked(session, "0" * 32, actor="operator:ada")
    assert events_of(database, key) == ["study_accepted"]
