"""Names, ids and UIDs planted in DICOM stand in no log, no message and no error text."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import numpy as np
import pytest
from pynetdicom import AE

from db.models import Base
from tests.builders.dicom import make_instance, write_instance
from tests.builders.installation import POISON_ROWS, ROOT
from tests.builders.waiting import scaled
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


MAY_HOLD_UIDS = {"study", "instance", "study_manifest"}
"""docs/privacy.md: UIDs stand in these tables, names and ids in `study_identity` alone."""


@pytest.mark.timeout(900)  # two crashes in each lane, then ten commands, on a busy machine
def test_no_way_in_and_no_end_of_a_study_repeats_what_is_planted(install, tmp_path):
    """Good, refused, broken, crashing and parked studies, by program, CLI, C-STORE, folder and bridge."""
    watched = tmp_path / "watched"
    watched.mkdir()
    site = install(
        watch_folder=watched, watch_settle_s=0.5, handover_patience_s=0.5, lease_s=scaled(3.0),
        lease_renewal_s=scaled(1.0), max_retries=1, retry_base_s=0.1,
        requeue_after_s=3.0,
    )  # fmt: skip
    crashing = {"pixels": np.arange(POISON_ROWS * 320, dtype=np.uint16).reshape(POISON_ROWS, 320)}
    lost = accept_study(
        [write_instance(tmp_path / "lost.dcm", **planted(11))],
        database=site.database,
        site=site.settings,
    )
    ((name,),) = site.rows("SELECT file_name FROM instance")
    (site.settings.intake_dir / name).unlink()  # FILE_MISSING, until it is parked
    for number, attributes in enumerate(({}, {"view_position": "LL"}, crashing), start=12):
        path = write_instance(tmp_path / f"{number}.dcm", **planted(number, **attributes))
        accept_study([path], database=site.database, site=site.settings)
    by_cli = write_instance(tmp_path / "cli.dcm", **planted(15))
    said = pneumo(site, "enqueue", by_cli)
    cut = write_instance(tmp_path / "cut.dcm", **planted(16))
    cut.write_bytes(cut.read_bytes()[:400])
    said += pneumo(site, "enqueue", cut)
    write_instance(watched / "NAMEWORD 424242.dcm", **planted(17))
    (watched / "NAMEWORD broken.dcm").write_bytes(cut.read_bytes())
    handed = site.settings.handed_over_dir / secrets.token_hex(16)
    write_instance(handed.with_suffix(".part") / "1.dcm", **planted(18))
    (handed.with_suffix(".part") / "2.dcm").write_bytes(cut.read_bytes())
    handed.with_suffix(".part").rename(handed)
    site.start_relay()
    site.start("worker.cli", "watch", log="watch")
    listener = site.start("worker.cli", "listen", log="listener")
    send(site, make_instance(**planted(19)))
    waiting = dump_of_broker(site)
    workers = [("stat,routine", "threads", 4), ("suspect", "solo", 1)]
    running = {lanes: crashing_worker(site, lanes, pool, n) for lanes, pool, n in workers}

    def settled() -> bool:
        for lanes, pool, threads in workers:
            if running[lanes].poll() is not None:
                running[lanes] = crashing_worker(site, lanes, pool, threads)
        states = "SELECT count(*) FROM study WHERE state IN ('done', 'parked')"
        return site.one(states) == 8 and not handed.exists()

    site.wait_for("every study settled", settled, within_s=240)
    listener.terminate()

    ends = {code for (code,) in site.rows("SELECT error_code FROM study WHERE state = 'parked'")}
    assert ends == {"CRASHED_WORKER", "FILE_MISSING"}
    texts = {log.name: log.read_text() for log in site.settings.log_dir.glob("*.log")}
    texts["broker"] = waiting + dump_of_broker(site)
    texts["commands"] = said + pneumo(site, "show", lost.study_key)
    for command in ("status", "parked", "report", "deliveries", "model list", "audit verify"):
        texts[f"pneumo {command}"] = pneumo(site, *command.split())
    texts["pneumo parked --json"] = pneumo(site, "parked", "--json")
    texts["run folder"] = "".join(p.read_text() for p in (site.folder / "run").glob("*"))
    texts["file names"] = repr([str(p.relative_to(site.folder)) for p in site.folder.rglob("*")])
    assert "CRASHED_WORKER" in texts["pneumo parked"], "an empty answer proves nothing"
    found = {(where, what) for where, text in texts.items() for what in PLANTED if what in text}
    assert not found
    assert not set(planted_in_database(site))
    assert site.one("SELECT count(*) FROM study_identity") == 8


def planted_in_database(site):
    """Where the database holds what it must not: every column of every table but the one."""
    for table in Base.metadata.sorted_tables:
        text = repr(site.rows(f"SELECT * FROM {table.name}"))
        for what in PLANTED:
            is_uid = what == "424242"
            if table.name == "study_identity" or (is_uid and table.name in MAY_HOLD_UIDS):
                continue
            if what in text:
                yield table.name, what


def pneumo(site, *arguments) -> str:
    """What a command prints, on both channels."""
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **site.settings.as_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def crashing_worker(site, lanes: str, pool: str, threads: int) -> subprocess.Popen:
    return site.start_crashing_worker(lanes=lanes, pool=pool, threads=threads)


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
