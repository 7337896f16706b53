"""Names, ids and UIDs planted in DICOM stand in no log, no message and no error text."""

from __future__ import annotations

import subprocess
import sys

from pynetdicom import AE

from tests.builders.dicom import make_instance, write_instance
from worker.intake.accept import accept_study

NAME, PATIENT_ID, ACCESSION = "PLANTED^NAMEWORD", "PID-PLANTED-77", "ACC-PLANTED-88"
STUDY_UID, SERIES_UID, SOP_UID = (f"1.2.826.0.1.3680043.8.498.{n}424242" for n in (1, 2, 3))
PLANTED = ["NAMEWORD", PATIENT_ID, ACCESSION, "424242", "FREETEXTPLANTED"]


def planted(number: int, **attributes: object) -> dict[str, object]:
    """Keywords for a file full of things that must not be repeated."""
    return {
        "patient_name": NAME,
        "patient_id": PATIENT_ID,
        "accession_number": ACCESSION,
        "study_instance_uid": f"{STUDY_UID}.{number}",
        "series_instance_uid": f"{SERIES_UID}.{number}",
        "sop_instance_uid": f"{SOP_UID}.{number}",
        **attributes,
    }


def test_nothing_planted_is_repeated(install, tmp_path):
    site = install()
    good = write_instance(tmp_path / "good.dcm", **planted(1))
    lateral = write_instance(tmp_path / "lateral.dcm", **planted(2, view_position="LL"))
    odd_part = write_instance(tmp_path / "odd.dcm", **planted(3, body_part="NAMEWORD"))
    cut = write_instance(tmp_path / "cut.dcm", **planted(4))
    cut.write_bytes(cut.read_bytes()[:-5000])
    site.start_relay()
    listener = site.start("worker.cli", "listen", log="listener")
    messages = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.broker_monitor", str(site.port)],
        stdout=(site.folder / "broker.txt").open("wb"),
    )
    site.processes.append(messages)
    for path in (good, lateral, odd_part, cut):
        accept_study([path], database=site.database, site=site.settings)
    send(site, make_instance(**planted(5)))
    site.wait_for(
        "published",
        lambda: site.one("SELECT count(*) FROM study WHERE state='queued'") == 5,
        within_s=30,
    )
    waiting = dump_of_broker(site)
    site.start_worker()
    site.wait_for("all done", lambda: site.all_done(5), within_s=90)
    listener.terminate()

    texts = {log.name: log.read_text() for log in site.settings.log_dir.glob("*.log")}
    texts["messages"] = waiting + (site.folder / "broker.txt").read_text(errors="replace")
    texts["errors"] = repr(
        site.rows(
            "SELECT refusal_found, refusal_expected, refusal_sentence, refusal_code FROM instance"
        )
    ) + repr(site.rows("SELECT error_sentence, error_code FROM study"))
    texts["audit"] = repr(site.rows("SELECT event, detail, actor FROM audit_record"))
    texts["file names"] = repr([str(p.relative_to(site.folder)) for p in site.folder.rglob("*")])
    assert "process_study" in texts["messages"], (
        "the monitor saw no message: this test proves nothing"
    )
    assert "study_stored" in texts["worker.log"]
    assert site.one("SELECT count(*) FROM instance WHERE state='refused'") == 3
    found = {(where, what) for where, text in texts.items() for what in PLANTED if what in text}
    assert not found


def send(site, dataset) -> None:
    """One C-STORE over loopback."""
    unit = AE(ae_title="PLANTEDSENDER")
    unit.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)

    def associated() -> bool:
        site.association = unit.associate("127.0.0.1", site.settings.listen_port, ae_title="PNEUMO")
        return site.association.is_established

    site.wait_for("the listener answers", associated, within_s=30)
    assert site.association.send_c_store(dataset).Status == 0x0000
    site.association.release()


def dump_of_broker(site) -> str:
    """Every key and every value that waits in the broker."""
    client = site.broker.client()
    return repr([(key, client.dump(key)) for key in client.keys("*")]) + repr(
        [client.lrange(key, 0, -1) for key in client.keys("*") if client.type(key) == b"list"]
    )
