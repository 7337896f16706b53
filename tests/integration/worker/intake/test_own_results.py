"""A PACS that sends us everything sends us our own results, too: taken with thanks, and dropped."""

from __future__ import annotations

from copy import deepcopy

import pytest
from pynetdicom import AE
from sqlalchemy import select

from db.models import Study
from db.studies.retention import mark_removed
from tests.builders.ports import free_port
from tests.builders.worker_runtime import query_rows
from worker.delivery.send import DeliveryEnd
from worker.errors import Rejected
from worker.intake.accept import accept_study, enqueue_paths
from worker.listener.storage_scp import start_listener
from worker.results.measurement_groups import IMAGE_NOT_KEPT
from worker.screens.result_files import show_results

STUDY_UID = "1.2.826.0.1.3680043.8.498.78"


@pytest.fixture
def came_back(sender, pacs, tmp_path_factory):
    """Our objects as an archive keeps them, as files."""
    folder = tmp_path_factory.mktemp("own")
    archive = pacs()
    sender.destinations(archive.table())
    key = sender.study(folder)
    sender.deliver()
    paths = []
    for number, dataset in enumerate(archive.received):
        paths.append(folder / f"own-{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    assert len(paths) == 2
    return key, archive.received, paths


def instances_of(sender, key) -> tuple[int, int]:
    """Images and revision of a study."""
    (row,) = query_rows(
        sender.predicting,
        "SELECT revision, (SELECT count(*) FROM instance WHERE study_id = study.id) AS images "
        "FROM study WHERE study_key = :key",
        key=key,
    )
    return row["images"], row["revision"]


def test_by_c_store_they_are_answered_with_success(sender, came_back):
    key, datasets, _ = came_back
    site = sender.settings.model_copy(update={"listen_port": free_port()})
    listener = start_listener(site, sender.runtime.database)
    ae = AE(ae_title="PACS")
    for dataset in datasets:
        ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", site.listen_port)
    statuses = [association.send_c_store(dataset).Status for dataset in datasets]
    association.release()
    listener.close()

    assert statuses == [0x0000, 0x0000]
    assert instances_of(sender, key) == (1, 1)


def test_as_files_they_are_left_out(sender, came_back, tmp_path):
    key, _, paths = came_back
    database = sender.runtime.database
    enqueued = enqueue_paths(paths, database=database, settings=sender.settings)
    assert (enqueued.accepted, enqueued.skipped) == ((), 2)
    with pytest.raises(Rejected, match="OWN_RESULTS_ONLY"):
        accept_study(paths, database=database, site=sender.settings)
    assert instances_of(sender, key) == (1, 1)


def test_those_of_another_installation_are_known_by_what_stands_in_them(
    sender, came_back, tmp_path
):
    key, datasets, _ = came_back
    paths = []
    for number, dataset in enumerate(datasets):
        theirs = deepcopy(dataset)
        theirs.SOPInstanceUID = theirs.file_meta.MediaStorageSOPInstanceUID = f"2.25.77{number}"
        theirs.file_meta.ImplementationClassUID = "1.2.3"  # the PACS wrote the file
        paths.append(tmp_path / f"theirs-{number}.dcm")
        theirs.save_as(paths[-1], enforce_file_format=True)
    enqueued = enqueue_paths(paths, database=sender.runtime.database, settings=sender.settings)
    assert enqueued.skipped == 2
    assert instances_of(sender, key) == (1, 1)


def test_a_secondary_capture_of_somebody_else_is_taken_over(sender, tmp_path):
    key = sender.study(tmp_path, sop_class_uid="1.2.840.10008.5.1.4.1.1.7", modality="OT")
    assert instances_of(sender, key) == (1, 1)


def test_the_result_of_a_late_image_is_sent_though_the_first_files_have_left(
    sender, pacs, tmp_path
):
    archive = pacs()
    sender.destinations(archive.table())
    uid = f"{STUDY_UID}.7"
    key = sender.study(tmp_path, uid=uid, PatientName="DOE^JANE")
    assert sender.deliver() == [DeliveryEnd.SENT]
    with sender.runtime.database.transaction() as session:
        study = session.scalars(select(Study).where(Study.study_key == key)).one()
        left = mark_removed(session, study.id, keep_days=0, actor="test")
    for name in left.names:
        (sender.settings.intake_dir / name).unlink()
    with pytest.raises(Rejected, match="RESULT_FILES_GONE"):
        show_results(sender.settings, key, tmp_path / "out")

    assert sender.study(tmp_path, uid=uid, PatientName="DOE^JANE") == key
    assert sender.deliver() == [DeliveryEnd.SENT]
    first, _, second, capture = archive.received
    assert (second.Modality, capture.Modality) == ("SR", "OT")
    assert second.PatientName == "DOE^JANE"
    (evidence,) = second.CurrentRequestedProcedureEvidenceSequence
    named = [
        item.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    (before,) = first.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID in named
    assert len(named) == 2
    assert IMAGE_NOT_KEPT in second.to_json()
    assert "PredecessorDocumentsSequence" in second
    assert show_results(sender.settings, key, tmp_path / "out") == 0


def test_a_newer_result_names_the_one_that_it_takes_the_place_of(sender, pacs, tmp_path):
    archive = pacs()
    sender.destinations(archive.table())
    key = sender.study(tmp_path, uid=STUDY_UID)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.study(tmp_path, uid=STUDY_UID) == key
    assert sender.deliver() == [DeliveryEnd.SENT]

    assert instances_of(sender, key) == (2, 2)
    reports = [dataset for dataset in archive.received if dataset.Modality == "SR"]
    first, second = reports
    assert "PredecessorDocumentsSequence" not in first
    series = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    older, newer = sender.deliveries(key)
    assert (older["state"], older["superseded_by"]) == ("sent", newer["id"])
    assert len(set(archive.uids)) == len(archive.uids) == 5
