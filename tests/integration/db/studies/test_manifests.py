"""A manifest says what a study consists of; the study waits for it and is closed by it."""

from __future__ import annotations

import json

from db.ledger.identity import erase_identity
from db.studies.intake import accept, announce, close_idle_studies, receive_instance
from db.studies.publication import age_routine
from db.studies.results import retry_parked
from db.vocabulary.enums import ClosedBy, Priority, Source, StudyState
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
from tests.builders.deliveries import (
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    result_objects,
)

BOTH = [make_instance(number).sop_instance_uid for number in (1, 2)]
THREE = [*BOTH, make_instance(3).sop_instance_uid]


def announce_study(database, manifest=BOTH, **values):
    defaults = {"priority": Priority.ROUTINE, "source": Source.PYTHON, "manifest_patience_s": 60}
    with database.transaction() as session:
        return announce(session, STUDY_UID, manifest, **(defaults | values))


def receive(database, number):
    with database.transaction() as session:
        return receive_instance(session, make_study(number), idle_window_s=5)


def close_idle(database):
    with database.transaction() as session:
        return close_idle_studies(session)


def closed_by(database, key):
    study = read_study(database, key)
    return study.state, study.closed_by


def test_the_last_instance_that_was_announced_closes_the_study(database):
    announced = announce_study(database)
    assert (announced.is_new, announced.state) == (True, StudyState.RECEIVING)

    assert receive(database, 1).state is StudyState.RECEIVING
    assert receive(database, 2).state is StudyState.ACCEPTED

    assert closed_by(database, announced.study_key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)
    assert events_of(database, announced.study_key) == ["manifest_received", "study_accepted"]
    assert '"missing":0' in one(
        database, "SELECT detail FROM audit_record WHERE event = 'study_accepted'"
    )


def test_a_manifest_that_comes_last_closes_the_study(database):
    receive(database, 1)
    receive(database, 2)

    announced = announce_study(database)

    assert closed_by(database, announced.study_key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)


def test_what_is_missing_is_waited_for_longer_than_an_idle_window(database):
    key = announce_study(database).study_key
    receive(database, 1)

    study = read_study(database, key)
    assert (study.due_at - study.received_at).total_seconds() > 30
    assert close_idle(database) == []

    backdate(database, key, "due_at", 1)
    assert close_idle(database) == [key]
    assert closed_by(database, key) == (StudyState.ACCEPTED, ClosedBy.IDLE_WINDOW)
    detail = json.loads(
        one(database, "SELECT detail FROM audit_record WHERE event = 'study_accepted'")
    )
    assert (detail["instances"], detail["missing"]) == (1, 1)


def test_who_the_patient_is_comes_with_the_first_image_and_not_after_an_erasure(database):
    key = announce_study(database, THREE).study_key
    with database.transaction() as session:
        receive_instance(
            session,
            make_study(1, patient_sex="F", patient_age_years=4.0, site_ae_title="CR1"),
            idle_window_s=5,
        )
    study = read_study(database, key)
    assert (study.patient_sex, study.patient_age_years, study.site_ae_title) == ("F", 4.0, "CR1")
    assert one(database, "SELECT patient_id FROM study_identity") == "PAT-77-SECRET"

    with database.transaction() as session:
        assert erase_identity(session, key, "operator:ada")
    receive(database, 2)
    assert rows(database, "SELECT patient_id FROM study_identity") == []


def test_what_is_erased_before_its_first_image_is_not_filled_in_by_it(database):
    key = announce_study(database, THREE).study_key
    with database.transaction() as session:
        assert erase_identity(session, key, "operator:ada")
    receive(database, 1)
    assert rows(database, "SELECT patient_id FROM study_identity") == []


def test_of_an_announced_study_nothing_came_it_is_parked_and_goes_on_when_it_comes(database):
    key = announce_study(database).study_key
    backdate(database, key, "due_at", 61)

    assert close_idle(database) == [key]

    study = read_study(database, key)
    assert (study.state, study.error_code) == (StudyState.PARKED, "NOTHING_CAME")
    assert events_of(database, key)[-1] == "study_parked"
    receive(database, 1)
    assert receive(database, 2).state is StudyState.ACCEPTED
    assert read_study(database, key).error_code is None


def test_files_with_a_manifest_wait_for_what_it_names_besides(database):
    with database.transaction() as session:
        accepted = accept(session, make_study(1), manifest=BOTH)
    assert accepted.state is StudyState.RECEIVING

    complete = accept_one(database, 2)

    assert closed_by(database, complete.study_key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)


def test_a_later_manifest_takes_the_place_of_the_earlier(database):
    key = announce_study(database, THREE).study_key
    receive(database, 1)
    receive(database, 2)

    announce_study(database, BOTH)

    assert closed_by(database, key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)
    assert rows(database, "SELECT instances FROM study_manifest") == [(2,)]
    assert one(database, "SELECT expected_instances FROM v1_studies") == 2


def test_a_manifest_for_a_finished_study_changes_nothing_until_more_comes(database):
    key = finish_one(database, 1)

    assert announce_study(database).state is StudyState.DONE
    late = receive(database, 2)

    assert (late.state, late.revision) == (StudyState.ACCEPTED, 2)
    assert closed_by(database, key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)


def test_the_last_announced_instance_during_an_attempt_is_run_right_after_it(database):
    model = ensure_model(database)
    key = accept_one(database, 1).study_key
    running = claim_one(database, key)
    announce_study(database)

    receive(database, 2)
    store(database, running, positive_outcome(running, model))

    assert closed_by(database, key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)


def test_an_announcement_may_ask_for_haste(database):
    announce_study(database)

    key = announce_study(database, priority=Priority.STAT).study_key

    assert read_study(database, key).priority is Priority.STAT
    assert events_of(database, key)[-1] == "study_raised_to_stat"


def test_an_announced_study_is_not_claimed_and_does_not_age(database):
    key = announce_study(database).study_key
    with database.transaction() as session:
        assert age_routine(session, after_s=0) == 0
    assert claim_one(database, key) is None


def test_a_study_parked_with_nothing_may_be_retried(database):
    key = announce_study(database).study_key
    backdate(database, key, "due_at", 61)
    close_idle(database)
    with database.transaction() as session:
        assert retry_parked(session, key, actor="test")
    assert claim_one(database, key).instances == ()


def test_our_own_results_are_not_waited_for(database):
    """A PACS that holds them names them, and at the door they are dropped."""
    activate_destinations(database)
    key = finish_one(database)
    begin_one_delivery(database, claim_one_delivery(database))
    ours = [item.sop_instance_uid for item in result_objects()]
    announce_study(database, [*THREE, *ours])
    assert receive(database, 3).state is StudyState.RECEIVING

    assert receive(database, 2).state is StudyState.ACCEPTED
    assert closed_by(database, key) == (StudyState.ACCEPTED, ClosedBy.MANIFEST)
