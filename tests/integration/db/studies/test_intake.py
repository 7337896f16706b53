from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from db.engine.clock import now
from db.models import Instance
from db.studies.intake import accept, close_idle_studies, receive_instance
from db.studies.publication import age_routine, due_for_publication, mark_published
from db.values import ReceivedStudy
from db.vocabulary.enums import (
    ClosedBy,
    InstanceReceipt,
    Lane,
    Priority,
    Source,
    StudyState,
    Verdict,
)
from tests.builders.database import (
    STUDY_UID,
    accept_one,
    backdate,
    claim_one,
    ensure_model,
    events_of,
    finish_one,
    make_instance,
    make_study,
    one,
    positive_outcome,
    read_study,
    rows,
    store,
)

NEW, DUPLICATE, CHANGED, CONFLICTING = InstanceReceipt


def outcomes(acceptance):
    return [instance.outcome for instance in acceptance.instances]


def receive(database, number, **values):
    with database.transaction() as session:
        return receive_instance(session, make_study(number, **values), idle_window_s=5)


def close_idle(database):
    with database.transaction() as session:
        return close_idle_studies(session)


# --- a whole study --------------------------------------------------------------------------------


def test_a_new_study_is_accepted_and_due(database):
    accepted = accept_one(database, 1, 2, source=Source.CLI, site_ae_title="NORTH")

    assert accepted.is_new
    assert accepted.state is StudyState.ACCEPTED
    assert outcomes(accepted) == [NEW, NEW]
    assert len(accepted.study_key) == 32
    study = read_study(database, accepted.study_key)
    assert (study.closed_by, study.lane, study.revision) == (ClosedBy.SENDER, Lane.ROUTINE, 1)
    assert study.due_at == study.closed_at == study.received_at
    assert events_of(database, accepted.study_key) == ["study_accepted"]


def test_a_study_needs_an_instance():
    with pytest.raises(ValueError, match="at least one instance"):
        ReceivedStudy(study_instance_uid=STUDY_UID, instances=())


def test_sending_again_changes_nothing(database):
    first = accept_one(database, 1, 2)
    before = rows(database, "SELECT * FROM study"), rows(database, "SELECT * FROM instance")

    again = accept_one(database, 1, 2)

    assert not again.is_new
    assert again.study_key == first.study_key
    assert outcomes(again) == [DUPLICATE, DUPLICATE]
    assert (
        rows(database, "SELECT * FROM study"),
        rows(database, "SELECT * FROM instance"),
    ) == before
    assert events_of(database, first.study_key) == ["study_accepted", "study_received_again"]


def test_an_instance_twice_in_one_delivery_is_one(database):
    accepted = accept_one(database, 1, 1)

    assert outcomes(accepted) == [NEW, DUPLICATE]
    assert one(database, "SELECT count(*) FROM instance") == 1


def test_of_two_contents_in_one_delivery_the_first_counts(database):
    first, other = make_instance(1), make_instance(1, content="other bytes")

    accepted = accept_one(database, instances=[first, other])
    again = accept_one(database, instances=[first, other])

    assert outcomes(accepted) == [NEW, CONFLICTING]
    assert outcomes(again) == [DUPLICATE, CONFLICTING]
    assert rows(database, "SELECT file_sha256 FROM instance") == [(first.file_sha256,)]
    assert set(events_of(database, accepted.study_key)) == {
        "study_accepted", "conflicting_instance_received", "study_received_again",
    }  # fmt: skip
    detail = one(
        database, "SELECT detail FROM audit_record WHERE event LIKE 'conflicting%' LIMIT 1"
    )
    assert first.file_sha256 in detail
    assert other.file_sha256 in detail


def test_more_images_join_a_waiting_study(database):
    key = accept_one(database, 1).study_key

    accepted = accept_one(database, 1, 2)

    assert outcomes(accepted) == [DUPLICATE, NEW]
    assert (accepted.revision, accepted.state) == (1, StudyState.ACCEPTED)
    assert [i.state for i in claim_one(database, key).instances] == ["pending", "pending"]


def test_a_late_image_revises_a_finished_study(database):
    key = finish_one(database, 1)
    finished = read_study(database, key)
    assert finished.verdict is Verdict.POSITIVE

    accepted = accept_one(database, 1, 2)

    assert (accepted.is_new, accepted.revision) == (False, 2)
    assert outcomes(accepted) == [DUPLICATE, NEW]
    study = read_study(database, key)
    assert (study.state, study.verdict, study.probability) == (StudyState.ACCEPTED, None, None)
    assert study.received_at > finished.received_at
    assert (study.started_at, study.finished_at, study.turnaround_seconds) == (None, None, None)
    assert rows(database, "SELECT revision FROM instance ORDER BY id") == [(1,), (2,)]
    assert one(database, "SELECT count(*) FROM prediction") == 1
    assert events_of(database, key)[-1] == "study_revised"


def test_a_revision_knows_what_was_predicted_before(database):
    model = ensure_model(database)
    key = finish_one(database, 1, probability=0.8)
    accept_one(database, 2)

    claimed = claim_one(database, key)

    old, new = claimed.instances
    assert (old.state, new.state) == ("predicted", "pending")
    (prior,) = old.prior
    assert (prior.model_version_id, prior.probability, prior.frame_number) == (model.id, 0.8, 1)
    assert (prior.preprocessing_version, prior.threshold) == ("1", 0.4)
    assert new.prior == ()
    assert (claimed.revision, claimed.token) == (2, 2)


def test_an_image_that_comes_during_an_attempt_is_predicted_by_the_next(database):
    model = ensure_model(database)
    key = accept_one(database, 1).study_key
    running = claim_one(database, key)

    assert accept_one(database, 2).revision == 2
    assert accept_one(database, 3).revision == 2  # one revision for all that this attempt missed
    assert read_study(database, key).state is StudyState.RUNNING

    store(database, running, positive_outcome(running, model))
    waiting = read_study(database, key)
    assert (waiting.state, waiting.verdict) == (StudyState.ACCEPTED, None)
    again = claim_one(database, key)
    assert [i.state for i in again.instances] == ["predicted", "pending", "pending"]
    store(database, again, positive_outcome(again, model))
    assert read_study(database, key).state is StudyState.DONE
    assert one(database, "SELECT count(*) FROM prediction") == 3
    assert events_of(database, key).count("study_finished") == 1


# --- STAT -----------------------------------------------------------------------------------------


def test_a_stat_study_goes_through_the_stat_lane(database):
    key = accept_one(database, priority=Priority.STAT).study_key

    study = read_study(database, key)
    assert (study.priority, study.lane) == (Priority.STAT, Lane.STAT)


def test_a_stat_resend_raises_a_waiting_study_and_publishes_it_again(database):
    key = accept_one(database).study_key
    with database.transaction() as session:
        mark_published(session, [key])
    assert read_study(database, key).state is StudyState.QUEUED

    accept_one(database, priority=Priority.STAT)

    study = read_study(database, key)
    assert (study.priority, study.lane, study.state) == ("stat", "stat", "accepted")
    with database.transaction() as session:
        assert due_for_publication(session, limit=10, requeue_after_s=60) == [(key, Lane.STAT)]
    assert events_of(database, key)[-1] == "study_raised_to_stat"


def test_a_routine_resend_does_not_lower_a_stat_study(database):
    key = accept_one(database, priority=Priority.STAT).study_key

    accept_one(database, priority=Priority.ROUTINE)

    assert read_study(database, key).priority is Priority.STAT


def test_a_stat_resend_of_a_finished_study_changes_nothing(database):
    key = finish_one(database)

    accept_one(database, priority=Priority.STAT)

    assert read_study(database, key).priority is Priority.ROUTINE
    assert events_of(database, key)[-1] == "study_received_again"


def test_old_routine_studies_move_to_the_stat_lane(database):
    old = accept_one(database, uid="1.2.1").study_key
    accept_one(database, uid="1.2.2")
    backdate(database, old, "closed_at", 100)

    with database.transaction() as session:
        assert age_routine(session, after_s=60) == 1

    study = read_study(database, old)
    assert (study.lane, study.priority) == (Lane.STAT, Priority.ROUTINE)


# --- one instance after the other -----------------------------------------------------------------


def test_instances_gather_until_the_idle_window_is_over(database):
    first = receive(database, 1, source=Source.C_STORE)
    second = receive(database, 2, source=Source.C_STORE)

    assert (first.is_new, second.is_new) == (True, False)
    assert second.state is StudyState.RECEIVING
    assert close_idle(database) == []
    assert events_of(database, first.study_key) == []

    backdate(database, first.study_key, "due_at", 1)
    assert close_idle(database) == [first.study_key]

    study = read_study(database, first.study_key)
    assert (study.state, study.closed_by) == (StudyState.ACCEPTED, ClosedBy.IDLE_WINDOW)
    assert events_of(database, first.study_key) == ["study_accepted"]
    assert '"instances":2' in one(database, "SELECT detail FROM audit_record")
    assert close_idle(database) == []


def test_each_instance_begins_the_idle_window_again(database):
    key = receive(database, 1).study_key
    backdate(database, key, "due_at", 1)

    receive(database, 1)  # even one that is known shows that the sender is at it

    assert close_idle(database) == []


def test_a_receiving_study_is_not_claimed(database):
    assert claim_one(database, receive(database, 1).study_key) is None


def test_a_sender_closes_a_study_that_was_coming_in(database):
    key = receive(database, 1).study_key

    accepted = accept_one(database, 1, 2)

    assert (accepted.study_key, accepted.state) == (key, StudyState.ACCEPTED)
    assert events_of(database, key) == ["study_accepted"]


def test_a_sender_that_never_stops_does_not_keep_its_study_open(database):
    key = receive(database, 1).study_key
    backdate(database, key, "due_at", 1)
    with database.transaction() as session:
        session.execute(update(Instance).values(received_at=now(session) - timedelta(seconds=51)))

    assert outcomes(receive(database, 1)) == [DUPLICATE]

    assert close_idle(database) == [key]
    assert events_of(database, key) == ["study_received_again", "study_accepted"]


def test_a_late_instance_reopens_a_finished_study_for_a_window(database):
    key = finish_one(database, 1)

    late = receive(database, 2)

    assert (late.state, late.revision) == (StudyState.RECEIVING, 2)
    assert receive(database, 3).revision == 2
    backdate(database, key, "due_at", 1)
    assert close_idle(database) == [key]
    assert events_of(database, key)[-2:] == ["study_revised", "study_accepted"]


def test_an_instance_that_comes_during_an_attempt_is_waited_for_afterwards(database):
    model = ensure_model(database)
    key = accept_one(database, 1).study_key
    running = claim_one(database, key)

    assert receive(database, 2).revision == 2
    store(database, running, positive_outcome(running, model))

    assert read_study(database, key).state is StudyState.RECEIVING
    backdate(database, key, "due_at", 1)
    assert close_idle(database) == [key]
    assert len(claim_one(database, key).instances) == 2


def test_a_resent_instance_of_a_finished_study_is_told_and_changes_nothing(database):
    key = finish_one(database, 1)

    again = receive(database, 1)

    assert (again.state, outcomes(again)) == (StudyState.DONE, [DUPLICATE])
    assert events_of(database, key)[-1] == "study_received_again"


# --- nothing half taken ---------------------------------------------------------------------------


def test_what_is_not_committed_was_never_taken(database):
    def fail_before_commit():
        with database.transaction() as session:
            accept(session, make_study())
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_before_commit()

    for table in ("study", "instance", "study_identity", "audit_record"):
        assert one(database, f"SELECT count(*) FROM {table}") == 0
    assert accept_one(database).is_new
