"""What is known of deliveries afterwards: objects that were begun, files still needed, parked ones."""

from __future__ import annotations

from db.deliveries.claims import park_delivery, retry_delivery
from db.deliveries.overview import destination_summaries, own_results, parked_deliveries
from db.deliveries.predecessors import objects_begun
from db.studies.retention import removable_studies
from db.vocabulary.enums import DeliveryState
from tests.builders.database import events_of, finish_one, make_failure, one, uid_of
from tests.builders.deliveries import (
    DELIVERY_TO,
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    publish_due_deliveries,
    result_objects,
    send_one_delivery,
)


def test_all_that_was_begun_of_a_result_is_known_in_its_order(database):
    activate_destinations(database, "archive", "web")
    key = finish_one(database)
    for destination, name in (("archive", "first words"), ("web", "other words")):
        claim = claim_one_delivery(database, one(database, DELIVERY_TO, name=destination))
        begin_one_delivery(database, claim, name)
        begin_one_delivery(database, claim, "first words")
    with database.reading() as session:
        known = objects_begun(session, key, 1, "resnet50-1.0.0")
        assert objects_begun(session, key, 2, "resnet50-1.0.0") == []
    assert known == [*result_objects("first words"), *result_objects("other words")]


def test_our_objects_are_known_when_they_come_back(database):
    activate_destinations(database)
    finish_one(database)
    begin_one_delivery(database, claim_one_delivery(database))
    ours = [item.sop_instance_uid for item in result_objects()]
    with database.reading() as session:
        assert own_results(session, [*ours, "1.2.3"]) == set(ours)


def test_files_are_needed_until_all_is_delivered(database):
    activate_destinations(database)
    key = finish_one(database, uid=uid_of(1))
    other = finish_one(database, uid=uid_of(2))
    send_one_delivery(database, claim_one_delivery(database, publish_due_deliveries(database)[0]))
    with database.reading() as session:
        leaving = removable_studies(session, keep_days=0, limit=10)
    assert [one(database, "SELECT study_key FROM study WHERE id = :id", id=i) for i in leaving] == [
        key
    ]
    assert other != key


def test_a_parked_one_is_shown_and_sent_round_again(database):
    activate_destinations(database)
    key = finish_one(database)
    claim = claim_one_delivery(database)
    with database.transaction() as session:
        park_delivery(session, claim, make_failure("rejected", "REFUSED"))
    with database.reading() as session:
        (parked,) = parked_deliveries(session)
        (glance,) = destination_summaries(session)
        assert parked_deliveries(session, destination="web") == []
    assert (parked.study_key, parked.error_code) == (key, "REFUSED")
    assert glance.by_state == {DeliveryState.PARKED: 1}
    assert glance.oldest_waiting_seconds is None
    assert events_of(database, key)[-1] == "result_parked"

    with database.transaction() as session:
        assert retry_delivery(session, claim.delivery_key, actor="operator:ada")
        assert not retry_delivery(session, claim.delivery_key, actor="operator:ada")
    assert events_of(database, key)[-1] == "result_retried"
    again = claim_one_delivery(database)
    assert (again.refusals, again.failures) == (0, 0)
