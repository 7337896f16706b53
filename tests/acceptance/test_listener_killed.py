"""1,000 studies by 8 senders at once while the listener is killed 5 times: a yes is kept.

The model is a ResNet50 with random weights and a small input, registered like any other: what is
tested is that each study is predicted once, not what is predicted, and CI has two cores.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from db.ledger.model_registry import activate_model
from tests.builders.dicom import make_instance
from tests.builders.evidence import assert_everything_happened_once
from tests.builders.worker_runtime import random_network, write_bundle
from worker.imaging.preprocessing import PreprocessingSpec
from worker.inference.active_model import register_bundle

STUDIES, SENDERS, KILLS = 1000, 8, 5
UID = "1.2.826.0.1.3680043.8.498.7"


def test_what_a_killed_listener_said_yes_to_is_predicted_once(install, tmp_path):
    site = install()
    use_small_model(site, tmp_path)
    folders = write_studies(tmp_path)
    notes = [tmp_path / f"notes-{number}" for number in range(SENDERS)]

    site.start_relay()
    site.start_worker(threads=4)
    listener = site.start("worker.cli", "listen", log="listener")
    senders = [
        site.start(
            "tests.acceptance.retrying_sender",
            str(site.settings.listen_port),
            str(folder),
            str(note),
            log=f"sender-{note.name}",
        )
        for folder, note in zip(folders, notes, strict=True)
    ]
    for kill in range(1, KILLS + 1):
        enough = STUDIES * kill // (KILLS + 1)
        site.wait_for(
            f"{enough} acknowledged",
            lambda n=enough: len(lines_of(notes, "acknowledged")) >= n,
            within_s=60,
        )
        assert any(sender.poll() is None for sender in senders)
        site.kill(listener)
        listener = site.start("worker.cli", "listen", log="listener")
    site.wait_for(
        "the senders are through",
        lambda: all(sender.poll() is not None for sender in senders),
        within_s=120,
    )

    acknowledged = [line.split()[1] for line in lines_of(notes, "acknowledged")]
    assert sorted(acknowledged) == sorted({*acknowledged})
    assert len(acknowledged) == STUDIES
    assert len(lines_of(notes, "lost")) >= KILLS, "each kill was to cut somebody off"
    assert {line.split()[1] for line in lines_of(notes, "refused")} <= {"A700"}
    assert_rows_and_files_are_whole(site, acknowledged)
    site.wait_for("all studies done", lambda: site.all_done(STUDIES), within_s=120)
    assert_everything_happened_once(site.database, studies=STUDIES, instances=STUDIES)


def use_small_model(site, tmp_path) -> None:
    spec = PreprocessingSpec(size=32)
    folder = write_bundle(tmp_path / "bundle", random_network(1), preprocessing=spec)
    record = register_bundle(site.database, site.settings, folder, actor="test")
    with site.database.transaction() as session:
        activate_model(session, record.name, "test")


def write_studies(tmp_path) -> list[Path]:
    """A folder for each sender; one picture under the UIDs of many, which name the files."""
    folders = [tmp_path / f"sender-{number}" for number in range(SENDERS)]
    for folder in folders:
        folder.mkdir()
    dataset = make_instance(modality="CR")
    for number in range(STUDIES):
        study = f"{UID}.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.2"
        dataset.save_as(folders[number % SENDERS] / f"{study}.2.dcm", enforce_file_format=True)
    return folders


def lines_of(notes, word) -> list[str]:
    """The senders' lines that begin with this word, those half written left out."""
    whole = [line for note in notes if note.exists() for line in note.read_text().split("\n")[:-1]]
    return [line for line in whole if line.split()[0] == word]


def assert_rows_and_files_are_whole(site, acknowledged) -> None:
    rows = site.rows("SELECT sop_instance_uid, file_name, file_sha256 FROM instance")
    assert sorted(uid for uid, _, _ in rows) == sorted(acknowledged)
    for _, name, sha256 in rows:
        assert hashlib.sha256((site.settings.intake_dir / name).read_bytes()).hexdigest() == sha256
