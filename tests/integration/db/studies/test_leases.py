"""A study whose worker died comes back, alone in the end, and is parked at last."""

from __future__ import annotations

from db.vocabulary.enums import FailureKind, Lane, RunOutcome, StudyState, SweepAction, Verdict
from tests.builders.database import (
    accept_many,
    accept_one,
    claim_one,
    crash_worker,
    ensure_model,
    events_of,
    expire_lease,
    positive_outcome,
    read_study,
    rows,
    runs_of,
    store,
    sweep_leases,
)


def test_a_study_that_kills_its_workers_ends_alone_and_then_parked(database):
    key = accept_one(database).study_key

    assert crash_worker(database, key) is SweepAction.REQUEUED
    once = read_study(database, key)
    assert (once.state, once.lane, once.crashes) == (StudyState.ACCEPTED, Lane.ROUTINE, 1)

    assert crash_worker(database, key) is SweepAction.SUSPECTED
    assert read_study(database, key).lane is Lane.SUSPECT

    assert crash_worker(database, key) is SweepAction.SUSPECTED
    alone = read_study(database, key)
    assert (alone.lane, alone.crashes, alone.crashes_alone) == (Lane.SUSPECT, 2, 1)

    assert crash_worker(database, key) is SweepAction.PARKED
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
    crash_worker(database, key)
    crash_worker(database, key)

    claimed = claim_one(database, key)
    store(database, claimed, positive_outcome(claimed, model))

    assert read_study(database, key).verdict is Verdict.POSITIVE


def test_images_that_came_during_the_last_crash_are_looked_at(database):
    """A parked study would hold them without anybody having seen them."""
    key = accept_one(database).study_key
    for _ in range(3):
        crash_worker(database, key)
    assert claim_one(database, key)
    accept_one(database, 1, 2)
    expire_lease(database, key)

    assert sweep_leases(database) == [(key, SweepAction.SUSPECTED)]
    study = read_study(database, key)
    assert (study.state, study.lane) == (StudyState.ACCEPTED, Lane.SUSPECT)
    assert (study.revision, study.crashes_alone) == (2, 0)
    crash_worker(database, key)
    assert crash_worker(database, key) is SweepAction.PARKED


def test_what_has_time_left_is_left_alone(database):
    claim_one(database, accept_one(database).study_key, lease_s=60)

    assert sweep_leases(database) == []


def test_one_bad_row_does_not_keep_the_others(database):
    bad, good = accept_many(database, 2)
    for key in (bad, good):
        claim_one(database, key)
        expire_lease(database, key)
    spoil_priority(database, bad)

    assert sweep_leases(database) == [(bad, SweepAction.SKIPPED), (good, SweepAction.REQUEUED)]
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
