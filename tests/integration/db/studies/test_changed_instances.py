"""An image that comes again with another content: a revision, and both contents stay on record."""

from __future__ import annotations

import json

import pytest

from db.studies.intake import receive_instance
from db.studies.overview import study_detail
from db.vocabulary.enums import InstanceReceipt, StudyState
from tests.builders.database import (
    accept_one,
    claim_one,
    digest,
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

CHANGED = make_instance(1, content="other pixels", content_sha256=digest("other data set"))


def outcomes(acceptance):
    return [instance.outcome for instance in acceptance.instances]


def changed_again(database):
    return accept_one(database, instances=[CHANGED])


def test_a_finished_study_is_revised_and_predicts_the_new_content_alone(database):
    key = finish_one(database, 1, 2)

    accepted = changed_again(database)

    assert outcomes(accepted) == [InstanceReceipt.CHANGED]
    assert (accepted.revision, accepted.state) == (2, StudyState.ACCEPTED)
    claimed = claim_one(database, key)
    assert len(claimed.instances) == 2
    assert [bool(i.prior) for i in claimed.instances] == [True, False]
    assert one(database, "SELECT count(*) FROM prediction") == 2


def test_both_digests_of_both_kinds_are_on_record(database):
    first = make_instance(1, content_sha256=digest("data set"))
    key = accept_one(database, instances=[first]).study_key

    changed_again(database)

    assert events_of(database, key) == [
        "study_accepted", "study_revised", "changed_instance_received",
    ]  # fmt: skip
    detail = json.loads(
        one(database, "SELECT detail FROM audit_record WHERE event LIKE 'changed%'")
    )
    assert detail == {
        "revision": 2,
        "replaced_file_sha256": first.file_sha256,
        "replaced_content_sha256": first.content_sha256,
        "received_file_sha256": CHANGED.file_sha256,
        "received_content_sha256": CHANGED.content_sha256,
    }
    assert rows(
        database, "SELECT file_sha256, replaced_in_revision, revision FROM instance ORDER BY id"
    ) == [(first.file_sha256, 2, 1), (CHANGED.file_sha256, None, 2)]


def test_the_same_data_set_in_another_file_is_no_change(database):
    first = make_instance(1, content_sha256=digest("data set"))
    other_file = make_instance(1, content="other file meta", content_sha256=digest("data set"))
    accept_one(database, instances=[first])

    again = accept_one(database, instances=[other_file])

    assert outcomes(again) == [InstanceReceipt.DUPLICATE]
    assert again.revision == 1
    assert one(database, "SELECT count(*) FROM instance") == 1


def test_a_content_that_was_replaced_does_not_come_back(database):
    """Two senders with different versions of an image would take turns for ever."""
    key = accept_one(database, instances=[make_instance(1)]).study_key
    changed_again(database)

    again = accept_one(database, instances=[make_instance(1)])

    assert outcomes(again) == [InstanceReceipt.DUPLICATE]
    assert again.revision == 2
    assert events_of(database, key)[-1] == "study_received_again"


def test_a_study_that_is_still_received_is_revised_too(database):
    def receive(instance):
        with database.transaction() as session:
            return receive_instance(session, make_study(instances=[instance]), idle_window_s=5)

    receive(make_instance(1))

    changed = receive(CHANGED)

    assert (changed.state, changed.revision) == (StudyState.RECEIVING, 2)
    assert one(database, "SELECT count(*) FROM instance WHERE replaced_in_revision IS NULL") == 1


def test_a_change_during_an_attempt_runs_the_study_again(database):
    model = ensure_model(database)
    key = accept_one(database, 1).study_key
    running = claim_one(database, key)

    assert changed_again(database).revision == 2
    store(database, running, positive_outcome(running, model))

    assert read_study(database, key).state is StudyState.ACCEPTED
    (instance,) = claim_one(database, key).instances
    assert instance.prior == ()
    assert one(database, "SELECT count(*) FROM prediction") == 1


def test_an_image_may_change_more_than_once(database):
    key = accept_one(database, instances=[make_instance(1)]).study_key
    for number in range(3):
        accept_one(database, instances=[make_instance(1, content=f"version {number}")])

    assert read_study(database, key).revision == 4
    assert rows(database, "SELECT replaced_in_revision FROM instance ORDER BY id") == [
        (2,), (3,), (4,), (None,),
    ]  # fmt: skip


def test_people_see_which_content_counts(database):
    key = finish_one(database, 1)
    changed_again(database)

    with database.reading() as session:
        instances = study_detail(session, key).instances

    assert [i.replaced_in_revision for i in instances] == [2, None]
    assert rows(database, "SELECT replaced_in_revision FROM v1_predictions") == [(2,)]
    assert rows(database, "SELECT instances, predicted_instances FROM v1_studies") == [(1, 0)]


@pytest.mark.parametrize("content", ["other pixels", "first"])
def test_refusals_count_what_counts(database, content):
    accept_one(database, instances=[make_instance(1)])
    with database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE instance SET state = 'refused', refusal_code = 'VIEW_LATERAL'"
        )

    accept_one(database, instances=[make_instance(1, content=content)])

    counted = rows(database, "SELECT instances FROM v1_refusals_by_code")
    assert counted == ([(1,)] if content == "first" else [])
