"""`pneumo listen` as a process: killed, ended, talked to wrongly, and listened to for names."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage

from tests.builders.dicom import make_instance, write_instance
from tests.builders.site import ROOT, store_file, write_with_other_meta
from tests.builders.waiting import scaled, wait_until

CR = ComputedRadiographyImageStorage
SENDERS, EACH = 3, 16


def test_a_listener_killed_in_mid_association_loses_nothing_it_said_yes_to(site):
    listener = site.listen_apart()
    datasets = [
        [
            make_instance(rows=24, columns=24, study_instance_uid=f"1.2.3.{sender}")
            for _ in range(EACH)
        ]
        for sender in range(SENDERS)
    ]
    answered_yes: list[str] = []
    senders = [
        threading.Thread(target=send_until_cut_off, args=(site, each, answered_yes))
        for each in datasets
    ]
    for sender in senders:
        sender.start()
    wait_until(lambda: len(answered_yes) >= 6)
    listener.send_signal(signal.SIGKILL)
    for sender in senders:
        sender.join()

    assert 6 <= len(answered_yes) < SENDERS * EACH, "it was to be killed in the middle"
    assert not set(answered_yes) - known_and_whole(site)

    site.listen_apart()
    for each in datasets:
        assert {status.Status for status in site.send(*each)} == {0x0000}
    sent = {str(d.SOPInstanceUID) for each in datasets for d in each}
    assert known_and_whole(site) == sent
    assert site.one("SELECT count(*) FROM study") == SENDERS
    assert site.one("SELECT count(*) FROM instance") == SENDERS * EACH


def send_until_cut_off(site, datasets, answered_yes):
    with site.association((CR, ExplicitVRLittleEndian), timeout_s=2) as opened:
        for dataset in datasets:
            if "Status" not in opened.send_c_store(dataset):
                return  # no answer came, and none will
            answered_yes.append(str(dataset.SOPInstanceUID))


def known_and_whole(site) -> set[str]:
    """SOP Instance UIDs of the rows whose file has the digest that the row says."""
    rows = site.rows("SELECT sop_instance_uid, file_name, file_sha256 FROM instance")
    files = {name: (site.settings.intake_dir / name).read_bytes() for _, name, _ in rows}
    return {uid for uid, name, sha in rows if hashlib.sha256(files[name]).hexdigest() == sha}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_listener_that_is_asked_to_end_lets_the_sender_finish(site, tmp_path, how):
    log = tmp_path / "log"
    listener = site.listen_apart(log)
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        listener.send_signal(how)
        assert opened.send_c_store(make_instance()).Status == 0x0000
    assert listener.wait(timeout=scaled(10)) == 0
    assert site.one("SELECT count(*) FROM instance") == 1
    assert "listener_stopped" in log.read_text()


def test_a_taken_port_ends_the_command_with_one_sentence(site, tmp_path):
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", site.settings.listen_port)):
        listener = site.start("worker.cli", "listen", log=log)
        assert listener.wait(timeout=scaled(30)) == 1
    assert " ".join(log.read_text().split()) == (
        f"PORT_TAKEN Port {site.settings.listen_port} on 127.0.0.1 is taken by another program. "
        "Set PNEUMO_LISTEN_PORT to a free port, or end what listens there."
    )


# -- names --------------------------------------------------------------------------------------

NAME, IDENTIFIER, UID = "PLANTEDNAME", "PLANTED-77", "1.2.826.0.1.3680043.8.498.424242"
PLANTED = ("PLANTED", "424242")
PERSONAL = {
    "patient_name": f"{NAME}^JANE",
    "patient_id": IDENTIFIER,
    "accession_number": IDENTIFIER,
    "study_instance_uid": f"{UID}.1",
    "series_instance_uid": f"{UID}.2",
    "body_part": NAME,
    "manufacturer": NAME,
}


def test_nothing_that_a_sender_says_is_repeated_in_the_log(site, tmp_path):
    log = tmp_path / "log"
    listener = site.listen_apart(log)

    for status, keywords, request in EVERYTHING_WRONG:
        dataset = make_instance(**{"sop_instance_uid": f"{UID}.3", **PERSONAL, **keywords})
        path = write_with_other_meta(tmp_path / "a.dcm", dataset, **request)
        syntax = request.get("syntax", ExplicitVRLittleEndian)
        with site.association((CR, syntax), calling="PLANTEDSENDER") as opened:
            assert store_file(opened, path).Status == status
    send_broken_data_set(site, tmp_path)
    abort_in_the_middle(site)
    for garbage in MALFORMED:
        say(site, garbage)
    ask_for_an_unknown_service(site)

    listener.terminate()
    assert listener.wait(timeout=scaled(10)) == 0
    text = log.read_text()
    for event in ("instance_received", "changed", "SERIES_UID_INVALID", "listener_stopped"):
        assert event in text, "the log says too little for this test to prove anything"
    assert [planted for planted in PLANTED if planted in text] == []


EVERYTHING_WRONG = [
    (0x0000, {}, {}),
    (0x0000, {"seed": 1}, {}),  # changed
    (0x0000, {"sop_instance_uid": f"{UID}.4"}, {"syntax": f"{UID}.5"}),
    (0xC000, {"series_instance_uid": NAME}, {"sop_instance": f"{UID}.6"}),
    (0xC000, {"StudyInstanceUID": ""}, {}),
    (0xA900, {}, {"sop_instance": f"{UID}.7"}),
    (0xA900, {}, {"sop_instance": f"{NAME}.8"}),
]
"""Status that is answered, what the data set holds, what the request says."""

MALFORMED = [
    NAME.encode() * 20,
    b"\x01\x00\x00\x00\x00\x50" + NAME.encode() * 10,  # A-ASSOCIATE-RQ full of nonsense (PS3.8 9.3)
    b"\x01\x00\x7f\xff\xff\xff" + NAME.encode(),  # one that promises 2 GB and ends
    b"\x04\x00\x00\x00\x00\x10" + NAME.encode()[:16].ljust(16),  # P-DATA-TF without association
]


def send_broken_data_set(site, tmp_path):
    path = write_instance(tmp_path / "broken.dcm", **PERSONAL, sop_instance_uid=f"{UID}.9")
    content = path.read_bytes()
    start = content.index(b"PLANTEDNAME")
    path.write_bytes(content[:start] + b"\xff" * 8 + content[start:])
    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        store_file(opened, path)


def abort_in_the_middle(site):
    with site.association((CR, ExplicitVRLittleEndian), calling="PLANTEDSENDER") as opened:
        opened.abort()


def say(site, something):
    with socket.create_connection(
        ("127.0.0.1", site.settings.listen_port), timeout=scaled(5)
    ) as sender:
        sender.sendall(something)
        sender.shutdown(socket.SHUT_WR)
        while sender.recv(4096):
            pass


def ask_for_an_unknown_service(site):
    unit = AE(ae_title="PLANTEDSENDER")
    unit.add_requested_context(f"{UID}.10")
    unit.associate("127.0.0.1", site.settings.listen_port).release()


def test_a_library_logger_that_is_made_later_is_closed_too():
    said = subprocess.run(
        [sys.executable, "-c", LATE_LOGGER], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert NAME not in said.stdout + said.stderr
    assert "our own line" in said.stderr


LATE_LOGGER = f"""
import logging
from worker.logging import configure_logging, get_logger
configure_logging("DEBUG")
get_logger("worker.test").info("our own line")
import pynetdicom
for name in ("pynetdicom", "pynetdicom.association", "pynetdicom.made.later", "pydicom.late"):
    logging.getLogger(name).critical("{NAME}")
    logging.getLogger(name).exception(ValueError("{NAME}"))
"""


def test_a_leftover_that_cannot_be_removed_is_told_and_keeps_nobody_from_listening(site, tmp_path):
    incoming = site.settings.intake_dir / "incoming"
    (incoming / "odd.part").mkdir(parents=True)  # no user may unlink a folder, root neither
    os.utime(incoming / "odd.part", (1, 1))
    (incoming / "old.part").touch()
    os.utime(incoming / "old.part", (1, 1))
    log = tmp_path / "log"

    listener = site.listen_apart(log)
    wait_until(lambda: "LEFTOVERS_STAY" in log.read_text() or listener.poll() is not None)
    assert {status.Status for status in site.send(make_instance())} == {0x0000}

    assert listener.poll() is None
    assert not (incoming / "old.part").exists()
    assert "odd" not in log.read_text()
