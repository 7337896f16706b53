"""A destination that was named later gets what a person orders: the same objects as all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.delivery.past_results import enqueue_past_days
from worker.delivery.send import DeliveryEnd


def test_the_objects_are_those_that_others_got(sender, pacs, tmp_path):
    first, later = pacs(), pacs()
    sender.destinations(first.table())
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.SENT]

    sender.destinations(first.table(), later.table())
    assert sender.deliver() == []
    today = datetime.now(UTC).date()
    owed = enqueue_past_days(
        sender.runtime.database,
        later.name,
        first=today - timedelta(days=1),
        last=today,
        actor="operator:me",
    )
    assert owed.counts["owed"] >= 1, "other tests of this site may have left studies"
    ends = [end for _ in range(3) for end in sender.deliver()]
    assert DeliveryEnd.SENT in ends

    assert sender.states(key) == ["sent", "sent"]
    assert first.received == [d for d in later.received if d.SOPInstanceUID in first.uids]
