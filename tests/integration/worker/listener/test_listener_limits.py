"""How many senders the listener serves at once, and how it closes."""

from __future__ import annotations

import socket
import threading

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage, Verification

from tests.builders.dicom import make_instance
from tests.builders.waiting import scaled, wait_until
from worker.listener.storage_scp import echo

CR = ComputedRadiographyImageStorage
STUDY, SERIES, SOP = "1.2.3.10", "1.2.3.20", "1.2.3.30"


def codes(statuses):
    return [status.Status for status in statuses]


# -- what is taken ------------------------------------------------------------------------------


def test_one_association_too_many_is_told_to_come_back(site):
    at_once = 3
    site.settings = site.settings.model_copy(update={"max_associations": at_once})
    site.listen()
    unit = AE()
    unit.add_requested_context(Verification)

    def associate():
        return unit.associate("127.0.0.1", site.settings.listen_port)

    unit.maximum_associations = 2 * at_once
    opened = [associate() for _ in range(at_once)]
    refused = associate()
    assert all(association.is_established for association in opened)
    assert refused.is_rejected
    assert refused.acceptor.primitive.result == 0x02, "transient (PS3.8 9.3.4)"
    opened.pop().release()
    wait_until(lambda: (again := associate()).is_established and opened.append(again) is None)
    for association in opened:
        association.release()


def test_connections_that_ask_for_nothing_keep_no_sender_out(site):
    """As a load balancer's probes do."""
    listener = site.listen()
    for _ in range(site.settings.max_associations + 5):
        with socket.create_connection(("127.0.0.1", site.settings.listen_port)):
            pass
    wait_until(lambda: not listener.ae.active_associations)
    assert codes(site.send(make_instance())) == [0]


def closes_before_its_grace(listener) -> bool:
    closing = threading.Thread(target=listener.close, kwargs={"grace_s": 3600}, daemon=True)
    closing.start()
    closing.join(scaled(20))
    return not closing.is_alive()


def test_closing_does_not_wait_for_a_connection_that_asks_for_nothing(site):
    listener = site.listen()
    with socket.create_connection(("127.0.0.1", site.settings.listen_port)):
        wait_until(lambda: listener.ae.active_associations)
        assert closes_before_its_grace(listener)


def test_closing_lets_a_sender_finish_and_takes_no_new_one(site):
    listener = site.listen()
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        closing = threading.Thread(target=listener.close)
        closing.start()
        wait_until(lambda: not echo(site.settings, timeout_s=1))
        assert opened.send_c_store(make_instance()).Status == 0x0000
    closing.join()
    assert site.one("SELECT count(*) FROM instance") == 1


def test_closing_does_not_wait_for_a_sender_that_says_nothing(site):
    listener = site.listen()
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        closing = threading.Thread(target=listener.close, kwargs={"grace_s": 0.2})
        closing.start()
        wait_until(lambda: opened.is_aborted)
        wait_until(lambda: not closing.is_alive())
