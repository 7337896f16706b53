"""One worker has the claim to a delivery, and a result waits for what goes before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from db.deliveries.claims import begin_delivery, finish_delivery, renew_delivery
from db.deliveries.publication import sweep_deliveries
from db.values.deliveries import DeliverySweep
from db.vocabulary.errors import StaleClaim
from tests.builders.database import digest, events_of, finish_one, one
from tests.builders.deliveries import (
    OF,
    begun,
    changed,
    claimed,
    destined,
    due,
    long_ago,
    objects,
    put_off,
    revise,
    sent,
    states,
)


def test_one_that_is_on_its_way_is_not_begun_any_more_once_there_is_a_newer_one(database):
    destined(database)
    key = finish_one(database)
    first = claimed(database)
    revise(database, key)
    assert states(database) == ["sending", "waiting"]

    assert not begun(database, first)
    assert states(database) == ["superseded", "waiting"]
    assert claimed(database).predecessor is None


def test_a_result_waits_while_an_earlier_one_is_on_its_way(database):
    destined(database)
    key = finish_one(database)
    first = claimed(database)
    assert begun(database, first)
    revise(database, key)

    newer = one(database, "SELECT delivery_key FROM result_delivery WHERE state = 'waiting'")
    assert claimed(database, newer) is None
    changed(database, newer, due_at=long_ago(database))
    with database.transaction() as session:
        finish_delivery(session, first)
    assert claimed(database, newer).revision == 2


def test_a_result_waits_while_its_study_is_read_again(database):
    destined(database)
    key = finish_one(database)
    (delivery,) = due(database)
    revise(database, key, finish=False)
    assert claimed(database, delivery) is None
    assert states(database) == ["waiting"]


def test_a_failure_of_one_that_was_superseded_meanwhile_ends_it(database):
    destined(database)
    key = finish_one(database)
    first = claimed(database)
    assert begun(database, first)
    revise(database, key)
    put_off(database, first)
    assert states(database) == ["superseded", "waiting"]


def test_only_one_has_a_claim_and_whoever_was_overtaken_writes_nothing(database):
    destined(database)
    finish_one(database)
    (key,) = due(database)
    first = claimed(database, key, lease_s=0.001)
    assert claimed(database, key) is None
    with database.transaction() as session:
        assert sweep_deliveries(session) == [(key, DeliverySweep.WAITING)]
    second = claimed(database, key)
    assert second.token == first.token + 1

    for write in (
        lambda s: renew_delivery(s, first, lease_s=9),
        lambda s: finish_delivery(s, first),
    ):
        with pytest.raises(StaleClaim), database.transaction() as session:
            write(session)
    with pytest.raises(StaleClaim):
        begun(database, first)
    sent(database, second)
    assert states(database) == ["sent"]


def test_a_renewed_claim_is_not_swept(database):
    destined(database)
    finish_one(database)
    claim = claimed(database, lease_s=0.001)
    with database.transaction() as session:
        renew_delivery(session, claim, lease_s=60)
        assert sweep_deliveries(session) == []


def test_sending_is_audited_with_digests(database):
    destined(database)
    key = finish_one(database)
    sent(database, claimed(database), warning="B000")
    assert events_of(database, key)[-1] == "result_sent"
    detail = one(database, "SELECT detail FROM audit_record WHERE event = 'result_sent'")
    assert objects()[0].sha256 in detail
    assert "2.25." not in detail


def test_other_bytes_under_a_uid_that_was_begun_are_audited(database):
    destined(database, "archive", "web")
    key = finish_one(database)
    first = claimed(database, one(database, OF, name="archive"))
    assert begun(database, first)
    put_off(database, first)
    changed(database, first.delivery_key, due_at=long_ago(database))
    assert begun(database, claimed(database, first.delivery_key)), "the same bytes again"
    assert "result_differs" not in events_of(database, key)

    second = claimed(database, one(database, OF, name="web"))
    other = [replace(sent, sha256=digest("other bytes")) for sent in objects()[:1]]
    with database.transaction() as session:
        assert begin_delivery(session, second, [*other, *objects()[1:]])
    assert events_of(database, key)[-1] == "result_differs"
    detail = one(database, "SELECT detail FROM audit_record WHERE event = 'result_differs'")
    assert digest("other bytes") in detail
    assert objects()[1].sha256 not in detail
