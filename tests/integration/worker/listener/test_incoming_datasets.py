"""What is under way: on the disk and not in memory, and gone when its sender is gone."""

from __future__ import annotations

import socket
import threading
from io import BytesIO

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_messages import C_FIND_RQ
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import ComputedRadiographyImageStorage, Verification

from tests.builders.dicom import make_instance
from tests.builders.site import data_set_of, store_file
from tests.builders.slow_sender import (
    half_sent_requests,
    peak_memory,
    request_fragments,
    wait_for_answer,
)
from tests.builders.waiting import scaled, wait_until
from worker.listener import incoming_datasets

CR = ComputedRadiographyImageStorage
SOP = "1.2.3.30"
MEGABYTE = 1_000_000


def test_a_listener_does_not_grow_by_what_is_under_way(site):
    """25 associations of 60 MB each are measured by `make bench`."""
    listener = site.listen_apart()
    idle = peak_memory(listener.pid)
    with half_sent_requests(site, senders=4, instance_bytes=20 * MEGABYTE) as requests:
        wait_until(lambda: sum(path.stat().st_size for path in site.stored_files()) > 79 * MEGABYTE)
        assert {request.finish() for request in requests} == {0x0000}
    assert peak_memory(listener.pid) - idle < 20 * MEGABYTE
    assert site.one("SELECT sum(file_bytes) FROM instance") > 79 * MEGABYTE


def test_a_listener_does_not_grow_by_what_a_deflated_file_would_become(site, tmp_path):
    dataset = make_instance(transfer_syntax=DeflatedExplicitVRLittleEndian)
    dataset.Rows, dataset.Columns, dataset.PixelData = 10_000, 10_000, bytes(200 * MEGABYTE)
    dataset.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    # One before the pixels, where a reader of the header has to go past it.
    dataset.PixelData = b"\0\0"
    dataset.add_new(0x00090010, "LO", "PRIVATE")
    dataset.add_new(0x00091001, "OB", bytes(200 * MEGABYTE))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.31"
    dataset.save_as(tmp_path / "bomb.dcm", enforce_file_format=True)
    listener = site.listen_apart()
    idle = peak_memory(listener.pid)

    with site.association((dataset.SOPClassUID, DeflatedExplicitVRLittleEndian)) as opened:
        taken = store_file(opened, tmp_path / "deflated.dcm")
        refused = store_file(opened, tmp_path / "bomb.dcm")

    assert taken.Status == 0x0000
    assert (refused.Status, refused.ErrorComment) == (0xC000, "DEFLATED_TOO_LARGE")
    assert peak_memory(listener.pid) - idle < 60 * MEGABYTE
    assert site.one("SELECT count(*) FROM instance") == len(site.stored_files()) == 1


def test_an_abort_in_the_middle_of_an_instance_leaves_nothing(site):
    site.listen()
    with half_sent_requests(site, senders=1, instance_bytes=MEGABYTE) as (request,):
        wait_until(site.stored_files)
        request.association.abort()
        wait_until(lambda: not site.stored_files())


def test_a_cut_in_the_middle_of_an_instance_leaves_nothing(site):
    site.listen()
    with half_sent_requests(site, senders=1, instance_bytes=MEGABYTE) as (request,):
        wait_until(site.stored_files)
        request.association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not site.stored_files())


def test_a_sender_that_goes_silent_within_a_pdu_gives_its_place_back(site):
    """pynetdicom alone would wait for the rest without end."""
    site.settings = site.settings.model_copy(update={"silence_timeout_s": 1.0})
    listener = site.listen()
    with half_sent_requests(site, senders=1, instance_bytes=MEGABYTE) as (request,):
        wait_until(site.stored_files)
        request.association.dul.socket.socket.sendall(b"\x04\x00\x00\x01\x00\x00half of")
        wait_until(lambda: not listener.ae.active_associations)
        assert site.stored_files() == []


def test_a_sender_may_cut_a_data_set_as_it_likes(site):
    """Small values, several in a PDU, empty ones (PS3.8 annex E): the same bytes arrive."""
    site.listen()
    dataset = make_instance(rows=64, columns=64, sop_instance_uid=SOP)
    site.send(dataset)
    whole = site.stored_files()
    data_set = data_set_of(whole[0].read_bytes())
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        pieces = request_fragments(opened, SOP, data_set, pdu_bytes=700)
        values = [list(value) for piece in pieces for value in piece.presentation_data_value_list]
        empty = [values[0][0], b"\x00"]
        *middle, last = values[4:]
        for some in (
            *([value] for value in values[:4]),  # the command, and three as usual
            *([*middle[at : at + 2], empty] for at in range(0, len(middle), 2)),
            [empty],
            [last],
        ):
            piece = P_DATA()
            piece.presentation_data_value_list = some
            opened.dul.send_pdu(piece)
        assert wait_for_answer(opened) == 0x0000
    assert site.stored_files() == whole, "the same bytes have the same name"
    assert site.one("SELECT count(*) FROM audit_record WHERE event LIKE 'conflicting%'") == 0


def test_another_message_may_not_fill_the_memory(site, monkeypatch):
    """Only what is stored goes to the disk; the rest is small, or its sender is sent away."""
    monkeypatch.setattr(incoming_datasets, "OTHER_MESSAGE_BYTES", 100_000)
    listener = site.listen()
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        request = C_FIND()
        request.MessageID, request.AffectedSOPClassUID, request.Priority = 1, CR, 0
        request.Identifier = BytesIO(bytes(200_000))
        message = C_FIND_RQ()
        message.primitive_to_message(request)
        for piece in message.encode_msg(opened.accepted_contexts[0].context_id, 16_000):
            opened.dul.send_pdu(piece)
        wait_until(lambda: opened.is_aborted)
    wait_until(lambda: not listener.ae.active_associations)
    assert site.stored_files() == []


def test_a_pdu_of_many_megabytes_is_not_waited_for(site):
    listener = site.listen()
    address = ("127.0.0.1", site.settings.listen_port)
    with socket.create_connection(address, timeout=scaled(10)) as sender:
        sender.sendall(b"\x01\x00\x7f\xff\xff\xff")
        assert sender.recv(64) == b"", "the connection is closed"
    wait_until(lambda: not listener.ae.active_associations)


def test_many_associations_at_once_do_not_mix_their_instances(site):
    site.listen()
    at_once = site.settings.max_associations_per_host
    barrier = threading.Barrier(at_once)
    statuses = []

    def send(number):
        dataset = make_instance(
            rows=300, columns=300, seed=number, sop_instance_uid=f"1.2.{number}"
        )
        barrier.wait()
        statuses.extend(status.Status for status in site.send(dataset))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * at_once
    assert site.one("SELECT count(DISTINCT file_sha256) FROM instance") == at_once


def test_an_echo_between_instances_is_answered(site):
    site.listen()
    unit = AE()
    unit.add_requested_context(CR, ExplicitVRLittleEndian)
    unit.add_requested_context(Verification)
    opened = unit.associate("127.0.0.1", site.settings.listen_port)
    answers = [
        opened.send_c_echo().Status,
        opened.send_c_store(make_instance(rows=600, columns=600)).Status,
        opened.send_c_echo().Status,
    ]
    opened.release()
    assert answers == [0, 0, 0]
