"""One worker has the claim to a delivery, and a result waits for what goes before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from db.deliveries.claims import begin_delivery, finish_delivery, renew_delivery
from db.deliveries.publication import sweep_deliveries
from db.values import SweptClaim
from db.vocabulary.enums import SweepAction
from db.vocabulary.errors import StaleClaim
from tests.builders.database import digest, events_of, finish_one, one
from tests.builders.deliveries import (
    DELIVERY_TO,
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    delivery_states,
    moment_in_the_past,
    postpone_one_delivery,
    publish_due_deliveries,
    result_objects,
    revise_study,
    send_one_delivery,
    update_delivery,
)


def test_one_that_is_on_its_way_is_not_begun_any_more_once_there_is_a_newer_one(database):
    activate_destinations(database)
    key = finish_one(database)
    first = claim_one_delivery(database)
    revise_study(database, key)
    assert delivery_states(database) == ["sending", "waiting"]

    assert not begin_one_delivery(database, first)
    assert delivery_states(database) == ["superseded", "waiting"]
    assert claim_one_delivery(database).predecessor is None


def test_a_result_waits_while_an_earlier_one_is_on_its_way(database):
    activate_destinations(database)
    key = finish_one(database)
    first = claim_one_delivery(database)
    assert begin_one_delivery(database, first)
    revise_study(database, key)

    newer = one(database, "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'")
    assert claim_one_delivery(database, newer) is None
    update_delivery(database, newer, due_at=moment_in_the_past(database))
    with database.transaction() as session:
        finish_delivery(session, first)
    assert claim_one_delivery(database, newer).revision == 2


def test_a_result_waits_while_its_study_is_read_again(database):
    activate_destinations(database)
    key = finish_one(database)
    (delivery,) = publish_due_deliveries(database)
    revise_study(database, key, finish=False)
    assert claim_one_delivery(database, delivery) is None
    assert delivery_states(database) == ["waiting"]


def test_a_failure_of_one_that_was_superseded_meanwhile_ends_it(database):
    activate_destinations(database)
    key = finish_one(database)
    first = claim_one_delivery(database)
    assert begin_one_delivery(database, first)
    revise_study(database, key)
    postpone_one_delivery(database, first)
    assert delivery_states(database) == ["superseded", "waiting"]


def test_only_one_has_a_claim_and_whoever_was_overtaken_writes_nothing(database):
    activate_destinations(database)
    finish_one(database)
    (key,) = publish_due_deliveries(database)
    first = claim_one_delivery(database, key, lease_s=0.001)
    assert claim_one_delivery(database, key) is None
    with database.transaction() as session:
        assert sweep_deliveries(session) == [SweptClaim(key=key, action=SweepAction.REQUEUED)]
    second = claim_one_delivery(database, key)
    assert second.token == first.token + 1

    for write in (
        lambda s: renew_delivery(s, first, lease_s=9),
        lambda s: finish_delivery(s, first),
    ):
        with pytest.raises(StaleClaim), database.transaction() as session:
            write(session)
    with pytest.raises(StaleClaim):
        begin_one_delivery(database, first)
    send_one_delivery(database, second)
    assert delivery_states(database) == ["sent"]


def test_a_renewed_claim_is_not_swept(database):
    activate_destinations(database)
    finish_one(database)
    claim = claim_one_delivery(database, lease_s=0.001)
    with database.transaction() as session:
        renew_delivery(session, claim, lease_s=60)
        assert sweep_deliveries(session) == []


def test_sending_is_audited_with_digests(database):
    activate_destinations(database)
    key = finish_one(database)
    send_one_delivery(database, claim_one_delivery(database), warning="B000")
    assert events_of(database, key)[-1] == "result_sent"
    detail = one(database, "SELECT detail FROM audit_record WHERE event = 'result_sent'")
    assert result_objects()[0].sha256 in detail
    assert "2.25." not in detail


def test_other_bytes_under_a_uid_that_was_begun_are_audited(database):
    activate_destinations(database, "archive", "web")
    key = finish_one(database)
    first = claim_one_delivery(database, one(database, DELIVERY_TO, name="archive"))
    assert begin_one_delivery(database, first)
    postpone_one_delivery(database, first)
    update_delivery(database, first.delivery_key, due_at=moment_in_the_past(database))
    assert begin_one_delivery(database, claim_one_delivery(database, first.delivery_key)), (
        "the same bytes again"
    )
    assert "result_differs" not in events_of(database, key)

    second = claim_one_delivery(database, one(database, DELIVERY_TO, name="web"))
    other = [replace(sent, sha256=digest("other bytes")) for sent in result_objects()[:1]]
    with database.transaction() as session:
        assert begin_delivery(session, second, [*other, *result_objects()[1:]])
    assert events_of(database, key)[-1] == "result_differs"
    detail = one(database, "SELECT detail FROM audit_record WHERE event = 'result_differs'")
    assert digest("other bytes") in detail
    assert result_objects()[1].sha256 not in detail
