"""Peers without end, without words or without haste: bounded, answered, and in nobody's way."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import Self

import psutil
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from tests.builders.dicom import make_instance
from tests.builders.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    C_ECHO_RQ,
    COMMAND,
    CR,
    LAST,
    NO_DATA_SET,
    P_DATA_TF,
    RawPeer,
    command_set,
    p_data,
    pdu,
    store_request,
)
from tests.builders.slow_sender import half_sent_requests
from tests.builders.waiting import wait_until
from worker.listener import pending_connections
from worker.storage import disk
from worker.storage.disk import DiskSpace

MEGABYTE = 1 << 20
VERIFICATION = "1.2.840.10008.1.1"
BOUND = 100 * MEGABYTE
"""Generous: without limits each of these attacks takes several times as much."""

pytestmark = pytest.mark.timeout(180)


def becomes(site, **changes):
    site.settings = site.settings.model_copy(update=changes)
    return site


def peer(site, **keywords) -> RawPeer:
    return RawPeer(site.settings.listen_port, **keywords)


def associated(site, **keywords) -> RawPeer:
    opened = peer(site, **keywords)
    assert opened.associate() == ASSOCIATE_AC
    return opened


def stores(site) -> bool:
    """Whether a normal sender gets its image stored, without trying twice."""
    (status,) = site.send(make_instance())
    return status.Status == 0x0000


class Memory:
    """The memory of a process, looked at while something happens to it."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self.peak = self._process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self.peak - self._before

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._process.memory_info().rss)


# -- without end ----------------------------------------------------------------------------------


ENDLESS = {
    "command fragments": p_data(COMMAND, bytes(100_000)),
    "small command fragments": p_data(COMMAND, bytes(100)) * 1000,
    "requests without waiting": p_data(
        COMMAND | LAST,
        command_set(
            AffectedSOPClassUID=CR,
            CommandField=C_ECHO_RQ,
            MessageID=1,
            CommandDataSetType=NO_DATA_SET,
        ),
    )
    * 100,
    "event reports": p_data(
        COMMAND | LAST,
        command_set(
            AffectedSOPClassUID=CR,
            CommandField=0x0100,
            MessageID=1,
            CommandDataSetType=NO_DATA_SET,
            AffectedSOPInstanceUID="1.2.3",
            EventTypeID=1,
        ),
    )
    * 100,
    "identifiers": p_data(
        COMMAND | LAST,
        command_set(
            AffectedSOPClassUID=CR,
            CommandField=0x0020,
            MessageID=1,
            Priority=0,
            CommandDataSetType=1,
        ),
    )
    + p_data(0, bytes(100_000)) * 20,
}


@pytest.mark.parametrize("piece", ENDLESS.values(), ids=ENDLESS)
def test_what_a_sender_sends_without_end_is_cut_off_and_takes_no_memory(site, piece):
    listener = site.listen_apart()
    with Memory(listener.pid) as memory, associated(site) as attacker:
        sent = attacker.flood(piece, at_most=1000 * MEGABYTE)
        assert sent < 1000 * MEGABYTE, "nobody ended it"
        assert stores(site)
    assert memory.growth < BOUND
    assert listener.poll() is None


def test_a_data_set_without_end_is_cut_off_and_leaves_nothing(site):
    listener = becomes(site, max_file_bytes=MEGABYTE).listen_apart()
    with Memory(listener.pid) as memory, associated(site) as attacker:
        attacker.send_command(**store_request())
        sent = attacker.flood(p_data(0, bytes(100_000)), at_most=1000 * MEGABYTE)
        assert sent < 1000 * MEGABYTE
        wait_until(lambda: site.stored_files() == [])
        assert stores(site)
    assert memory.growth < BOUND


def test_an_instance_above_the_limit_is_answered_and_the_association_goes_on(site):
    becomes(site, max_file_bytes=MEGABYTE).listen()
    large, small = make_instance(rows=1000, columns=1000), make_instance(rows=50, columns=50)
    refused, taken = site.send(large, small)
    assert (refused.Status, refused.ErrorComment) == (0xC000, "FILE_TOO_LARGE")
    assert taken.Status == 0x0000
    assert len(site.stored_files()) == 1


def test_a_disk_that_fills_while_a_data_set_arrives_ends_it_half_way(site, monkeypatch):
    """The disk has 10 GB until 6 MB of the instance are on it, and then too little."""

    def room(_folder):
        written = sum(path.stat().st_size for path in site.stored_files())
        return DiskSpace(free=10**10 if written < 6 * MEGABYTE else 10**8, total=10**11)

    monkeypatch.setattr(disk, "WRITER_CHECK_INTERVAL_S", 0.0)
    monkeypatch.setattr(disk, "disk_space_of", room)
    becomes(site, disk_refuse_free="2GB", disk_warn_free="3GB").listen()
    with half_sent_requests(site, senders=1, instance_bytes=20 * MEGABYTE) as (request,):
        wait_until(lambda: site.stored_files() == [])
        assert request.finish() == 0xA700
    assert site.stored_files() == []
    assert stores(site)


def test_an_association_request_without_end_is_not_waited_for(site):
    listener = site.listen_apart()
    with Memory(listener.pid) as memory, peer(site) as attacker:
        attacker.socket.sendall(b"\x01\0" + (300_000).to_bytes(4, "big"))
        assert attacker.is_closed()
    assert memory.growth < BOUND
    assert stores(site)


# -- without words --------------------------------------------------------------------------------


def test_a_hundred_silent_connections_keep_no_sender_out(site, monkeypatch):
    """However long they are allowed to be silent, and from the same machine as the sender."""
    monkeypatch.setattr(pending_connections, "SILENT_AFTER_S", 0.0)
    becomes(site, association_timeout_s=600.0).listen()
    with ExitStack() as stack:
        silent = [stack.enter_context(peer(site)) for _ in range(104)]
        assert stores(site)
        assert silent[0].is_closed(), "the oldest made room"
        for each in silent:
            each.socket.setblocking(False)
        still_open = sum(is_open(each) for each in silent)
        assert still_open <= pending_connections.MAX_PENDING_PER_HOST


def is_open(silent: RawPeer) -> bool:
    try:
        return silent.socket.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_burst_of_silent_connections_keeps_no_sender_out_either(site):
    """All of them are younger than a second, so that none is closed yet."""
    becomes(site, association_timeout_s=600.0).listen()
    with ExitStack() as stack:
        for _ in range(104):
            stack.enter_context(peer(site))
        assert stores(site)


def test_who_does_not_ask_in_time_is_hung_up_on(site):
    becomes(site, association_timeout_s=1.0).listen()
    with peer(site) as silent, peer(site) as slow:
        slow.socket.sendall(b"\x01\0\0\0\0\xc8half a request")
        assert silent.is_closed()
        assert slow.is_closed()


def test_hosts_share_the_waiting_places(site, monkeypatch):
    monkeypatch.setattr(pending_connections, "SILENT_AFTER_S", 0.0)
    monkeypatch.setattr(pending_connections, "MAX_PENDING_PER_HOST", 3)
    becomes(site, association_timeout_s=600.0).listen()
    with ExitStack() as stack:
        patient = stack.enter_context(peer(site, host="127.0.0.2"))
        for _ in range(10):
            stack.enter_context(peer(site, host="127.0.0.3"))
        assert patient.associate() == ASSOCIATE_AC, "another host's connections made room"


# -- without haste --------------------------------------------------------------------------------


def test_one_host_cannot_take_all_associations(site):
    becomes(site, max_associations=5, max_associations_per_host=3).listen()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(associated(site, host="127.0.0.2"))
        assert stack.enter_context(peer(site, host="127.0.0.2")).associate() == ASSOCIATE_RJ
        assert stores(site), "from another host"


def drip(attacker: RawPeer, pieces: list[bytes], stop: threading.Event) -> None:
    for piece in pieces:
        if stop.wait(0.1):
            return
        try:
            attacker.socket.sendall(piece)
        except OSError:
            return


SLOW = {
    "within a PDU": [bytes([byte]) for byte in p_data(COMMAND, bytes(3000))],
    "within a command set": [p_data(COMMAND, b"x")] * 3000,
    "within a data set": [
        p_data(COMMAND | LAST, command_set(**store_request())),
        *[p_data(0, b"x")] * 3000,
    ],
    "within a data set's fragment": [
        p_data(COMMAND | LAST, command_set(**store_request())),
        *(bytes([byte]) for byte in p_data(0, bytes(3000))),
    ],
    "before a data set": [p_data(COMMAND | LAST, command_set(**store_request()))],
    "before a message": [],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_who_goes_on_too_slowly_loses_the_place(site, pieces):
    listener = becomes(site, silence_timeout_s=1.0, max_associations=1).listen()
    stop = threading.Event()
    with associated(site) as attacker:
        dripping = threading.Thread(target=drip, args=(attacker, pieces, stop))
        dripping.start()
        assert attacker.is_closed()
        stop.set()
        dripping.join()
    wait_until(lambda: not listener.ae.active_associations)
    assert site.stored_files() == []
    assert stores(site)


def test_a_slow_sender_above_the_least_rate_is_taken(site):
    becomes(site, silence_timeout_s=1.0, min_bytes_per_s=1000).listen()
    with half_sent_requests(site, senders=1, instance_bytes=MEGABYTE) as (request,):
        time.sleep(0.6)
        assert request.finish() == 0x0000


# -- without what a request needs -----------------------------------------------------------------


INCOMPLETE = {
    "an empty SOP Instance UID": (
        {"AffectedSOPInstanceUID": ""}, 0x0117, "SOP_INSTANCE_UID_MISSING",
    ),
    "no SOP Instance UID": ({"AffectedSOPInstanceUID": None}, 0x0117, "SOP_INSTANCE_UID_MISSING"),
    "an empty SOP Class UID": ({"AffectedSOPClassUID": ""}, 0x0212, "REQUEST_INCOMPLETE"),
}  # fmt: skip


@pytest.mark.parametrize("has_data_set", [True, False])
@pytest.mark.parametrize(("changes", "status", "code"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_an_incomplete_request_is_answered_with_its_code(site, changes, status, code, has_data_set):
    site.listen()
    with associated(site) as sender:
        for _ in range(2):  # the association goes on
            kind = {} if has_data_set else {"CommandDataSetType": NO_DATA_SET}
            sender.send_command(**store_request(**changes, **kind))
            if has_data_set:
                sender.send_value(0, bytes(1000))
                sender.send_value(LAST, bytes(10))
            answer = sender.answer()
            assert (answer.Status, answer.ErrorComment) == (status, code)
            assert answer.MessageIDBeingRespondedTo == 7
    assert site.stored_files() == []
    assert stores(site)


@pytest.mark.parametrize("values", [[], [b""], [b"", b""]], ids=["none", "empty", "two empty"])
def test_a_missing_data_set_is_answered_with_its_code(site, values):
    site.listen()
    with associated(site) as sender:
        kind = {} if values else {"CommandDataSetType": NO_DATA_SET}
        sender.send_command(**store_request(**kind))
        for number, value in enumerate(values, start=1):
            sender.send_value(LAST if number == len(values) else 0, value)
        answer = sender.answer()
    assert (answer.Status, answer.ErrorComment) == (0xC000, "DATA_SET_MISSING")
    assert site.stored_files() == []


ABORTED = {
    "no message id": [
        p_data(COMMAND | LAST, command_set(**store_request(MessageID=None))),
        p_data(LAST, bytes(1000)),
    ],
    "an unknown command": [
        p_data(COMMAND | LAST, command_set(**store_request(CommandField=0x7777)))
    ],
    "no command field": [p_data(COMMAND | LAST, command_set(**store_request(CommandField=None)))],
    "nonsense": [p_data(COMMAND | LAST, b"\xff" * 500)],
    "an empty command": [p_data(COMMAND | LAST, b"")],
    "a command within a data set": [
        p_data(COMMAND | LAST, command_set(**store_request())),
        p_data(0, bytes(1000)),
        p_data(COMMAND | LAST, command_set(**store_request())),
    ],
    "a context that was not proposed": [
        p_data(COMMAND | LAST, command_set(**store_request()), context=99),
        p_data(LAST, bytes(1000), context=99),
    ],
    "a PDU of hundreds of thousands of values": [
        pdu(P_DATA_TF, (b"\0\0\0\2" + bytes([1, 0])) * 600_000)
    ],
    "an unknown PDU": [pdu(0x55, b"x" * 20)],
}


@pytest.mark.parametrize("pieces", ABORTED.values(), ids=ABORTED)
def test_what_cannot_be_answered_ends_the_association(site, pieces, tmp_path):
    log = tmp_path / "log"
    site.listen_apart(log)
    with associated(site) as sender:
        for piece in pieces:
            sender.socket.sendall(piece)
        kind, _ = sender.read_pdu()
        assert kind in (ABORT, 0)
        assert sender.is_closed()
    wait_until(lambda: site.stored_files() == [])
    assert stores(site)
    assert "LISTENER_THREAD_DIED" not in log.read_text()


def test_the_probe_is_admitted_beside_a_full_listener(site):
    becomes(site, max_associations=1).listen()
    with associated(site):
        assert peer(site).associate() == ASSOCIATE_RJ
        with site.association(
            (VERIFICATION, ExplicitVRLittleEndian), calling="PNEUMO_HEALTH"
        ) as it:
            assert it.send_c_echo().Status == 0x0000
