"""A protocol of one file and one line: a folder that takes results; and what is begun, or is not."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.builders.deliveries import moment_in_the_past, update_delivery
from worker.delivery.errors import fails
from worker.delivery.send import DeliveryEnd
from worker.delivery.senders import SENDERS
from worker.delivery.senders.sender import SenderSession

UID = "1.2.826.0.1.3680043.8.498.78.1"
TABLE = '[folder]\ndicomweb = "http://127.0.0.1:1/"\nresults = "stow-rs"'


class FolderSender:
    """It sends into a folder, and does `on_open` once it is connected."""

    def __init__(self, folder, on_open=lambda: None) -> None:
        self.folder = folder
        self.on_open = on_open

    @contextmanager
    def open(self, _objects):
        self.folder.mkdir(exist_ok=True)
        self.on_open()
        yield FolderSession(self.folder)


class FolderSession(SenderSession):
    def __init__(self, folder) -> None:
        self.folder = folder

    def send(self, objects, renew):
        for item in objects:
            renew()
            (self.folder / item.sent.sop_instance_uid).write_bytes(item.content)
        return "B000"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "folder"


def sending_by(monkeypatch, sender) -> None:
    monkeypatch.setitem(SENDERS, "stow-rs", lambda _peer, _runtime: sender)


def test_a_new_protocol_needs_a_sender_and_its_line_in_the_table(
    sender, folder, tmp_path, monkeypatch
):
    sending_by(monkeypatch, FolderSender(folder))
    sender.destinations(TABLE)
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.SENT]
    (row,) = sender.deliveries(key)
    assert (row["state"], row["warning"]) == ("sent", "B000")
    assert len(list(folder.iterdir())) == 2, "report and capture"


def test_a_result_that_is_superseded_while_we_connect_is_not_sent(
    sender, folder, tmp_path, monkeypatch
):
    sender.destinations(TABLE)
    key = sender.study(tmp_path, uid=UID)
    sending_by(monkeypatch, FolderSender(folder, lambda: sender.study(tmp_path, uid=UID)))
    assert sender.deliver() == [DeliveryEnd.SUPERSEDED]
    assert list(folder.iterdir()) == []
    assert sender.states(key) == ["superseded", "waiting"]
    assert sender.deliveries(key)[0]["begun_at"] is None

    sending_by(monkeypatch, FolderSender(folder))
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.states(key) == ["superseded", "sent"]


def test_an_attempt_that_lost_its_claim_while_it_connected_sends_nothing(
    sender, folder, tmp_path, monkeypatch
):
    def lose() -> None:
        update_delivery(sender.runtime.database, due, attempts=7)

    sending_by(monkeypatch, FolderSender(folder, lose))
    sender.destinations(TABLE)
    key = sender.study(tmp_path)
    (due,) = sender.due()
    assert sender.deliver() == [DeliveryEnd.OVERTAKEN]
    assert list(folder.iterdir()) == []
    assert sender.states(key) == ["sending"]
    update_delivery(sender.runtime.database, due, state="forgone", lease_until=None)


def test_a_failure_while_we_connect_leaves_nothing_begun(sender, folder, tmp_path, monkeypatch):
    def fail() -> None:
        raise fails("folder", "it is full")

    sending_by(monkeypatch, FolderSender(folder, fail))
    sender.destinations(TABLE)
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    (row,) = sender.deliveries(key)
    assert (row["state"], row["begun_at"]) == ("waiting", None)
    assert sender.conditions()["destination folder"] == "DESTINATION_FAILS"
    update_delivery(
        sender.runtime.database,
        row["delivery_key"],
        due_at=moment_in_the_past(sender.runtime.database),
    )
    sending_by(monkeypatch, FolderSender(folder))
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert "destination folder" not in sender.conditions()
