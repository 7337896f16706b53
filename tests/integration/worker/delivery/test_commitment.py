"""Storage commitment: asked by N-ACTION, answered on another association, to our listener."""

from __future__ import annotations

import pytest

from tests.builders.ports import free_port
from worker.delivery.send import DeliveryEnd
from worker.listener.storage_scp import start_listener


@pytest.fixture
def listening(sender):
    port = free_port()
    site = sender.settings.model_copy(update={"listen_port": port})
    listener = start_listener(site, sender.runtime.database)
    yield port
    listener.close()


def asked_by(sender, pacs, folder):
    """A destination that took a result and was asked to keep it, and the study's key."""
    archive = pacs(commits=True)
    sender.destinations(archive.table(storage_commitment=True))
    key = sender.study(folder)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.states(key) == ["awaiting_commitment"]
    assert len(archive.asked) == 1
    return archive, key


def test_what_the_destination_keeps_is_committed(sender, pacs, listening, tmp_path):
    archive, key = asked_by(sender, pacs, tmp_path)
    (request,) = archive.asked
    named = [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence]
    assert named == archive.uids

    assert archive.report(listening, request) == 0x0000
    assert sender.states(key) == ["committed"]
    assert sender.deliveries(key)[0]["committed_at"] is not None


def test_what_it_does_not_keep_is_sent_again(sender, pacs, listening, tmp_path):
    archive, key = asked_by(sender, pacs, tmp_path)
    assert archive.report(listening, archive.asked[0], failed=archive.uids[:1]) == 0x0000
    assert sender.states(key) == ["waiting"]
    assert "0112" in sender.deliveries(key)[0]["error_sentence"]

    assert sender.due() == [], "it may be filing it"
    sender.make_due(key)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert archive.uids[:2] == archive.uids[2:]
    first, second = archive.asked
    assert first.TransactionUID != second.TransactionUID
    archive.report(listening, second)
    assert sender.states(key) == ["committed"]


def test_a_report_that_nobody_asked_for_changes_nothing(sender, pacs, listening, tmp_path):
    archive, key = asked_by(sender, pacs, tmp_path)
    archive.asked[0].TransactionUID = "2.25.1"
    assert archive.report(listening, archive.asked[0]) == 0x0000
    assert sender.states(key) == ["awaiting_commitment"]


def test_one_that_is_silent_is_asked_again(sender, pacs, tmp_path, monkeypatch):
    impatient = sender.settings.model_copy(update={"commitment_patience_s": 0.001})
    monkeypatch.setattr(sender.runtime, "settings", impatient)
    archive, key = asked_by(sender, pacs, tmp_path)
    assert sender.deliver() == [DeliveryEnd.ASKED]
    assert len(archive.asked) == 2
    assert len(archive.received) == 2, "it is asked, nothing is sent"

    sender.destinations(archive.table())
    sender.make_due(key)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.states(key) == ["sent"], "nobody asks for commitment any more"


def test_one_that_answers_late_is_believed(sender, pacs, listening, tmp_path, monkeypatch):
    impatient = sender.settings.model_copy(update={"commitment_patience_s": 0.001})
    monkeypatch.setattr(sender.runtime, "settings", impatient)
    archive, key = asked_by(sender, pacs, tmp_path)
    assert sender.deliver() == [DeliveryEnd.ASKED]
    assert archive.report(listening, archive.asked[0]) == 0x0000
    assert sender.states(key) == ["committed"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"commits": False}, "COMMITMENT_NOT_OFFERED"),
        ({"commits": True, "action_status": 0x0110}, "COMMITMENT_REFUSED"),
    ],
)
def test_one_that_cannot_be_asked_has_the_result_all_the_same(sender, pacs, tmp_path, values, code):
    archive = pacs(**values)
    sender.destinations(archive.table(storage_commitment=True))
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.states(key) == ["awaiting_commitment"]
    assert sender.conditions()[f"commitment of {archive.name}"] == code

    archive.stop()
    archive.commits, archive.action_status = True, 0
    archive.start()
    assert sender.deliver() == [DeliveryEnd.ASKED]
    assert f"commitment of {archive.name}" not in sender.conditions()
    sender.destinations()
