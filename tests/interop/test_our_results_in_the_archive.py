"""Orthanc holds a study and, since they were delivered there, our results of it."""

from __future__ import annotations

import json

import pytest
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from tests.builders.database import ensure_model, positive_outcome, store
from tests.builders.deliveries import (
    activate_destinations,
    begin_one_delivery,
    claim_one_delivery,
    result_objects,
)
from tests.builders.dicom import make_instance, make_study, write_instance
from tests.builders.fetching_node import change_settings
from tests.builders.orthanc import DICOMWEB, Orthanc, needs_orthanc_with_dicomweb
from tests.integration.conftest import migrated, site
from tests.interop.test_orthanc_as_archive import kept, node_for
from worker.archive import completeness
from worker.archive.completeness import CompletenessChecker
from worker.archive.find.search import count_images, open_search
from worker.errors import Rejected
from worker.imaging.reading import read_header
from worker.peers.peers_file import read_peers

__all__ = ["migrated", "site"]

pytestmark = needs_orthanc_with_dicomweb
UID = "1.2.3.400"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    made = Orthanc(
        tmp_path_factory.mktemp("archive"),
        {
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"ours": ["PNEUMO", "127.0.0.1", 1]},
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomCheckModalityHost": False,
        },
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture
def archive(orthanc, site, tmp_path):
    """Two images of one study; nothing of ours yet."""
    us = {"AET": "PNEUMO", "Host": "127.0.0.1", "Port": site.settings.listen_port}
    orthanc.put("/modalities/ours", us)
    orthanc.files = make_study(tmp_path / "images", 2, study_instance_uid=UID)
    for path in orthanc.files:
        orthanc.post("/instances", path.read_bytes())
    yield orthanc
    for study in orthanc.get("/studies"):
        orthanc.delete(f"/studies/{study}")


def delivered(node, archive, taken, folder) -> None:
    """The study has its result, on record and in the archive: a report and a capture."""
    activate_destinations(node.database, "pacs")
    store(node.database, taken, positive_outcome(taken, ensure_model(node.database)))
    begin_one_delivery(node.database, claim_one_delivery(node.database))
    for number, item in enumerate(result_objects()):
        path = write_instance(
            folder / f"own-{number}.dcm", rows=8, columns=8, study_instance_uid=UID, modality="OT",
            sop_class_uid=item.sop_class_uid, sop_instance_uid=item.sop_instance_uid,
            series_instance_uid=item.series_instance_uid,
        )  # fmt: skip
        archive.post("/instances", path.read_bytes())


@pytest.mark.parametrize(
    ("retrieve", "count"), [("c-move", "c-find"), ("c-get", "qido-rs"), ("wado-rs", "c-find")]
)
def test_a_late_image_is_closed_by_count_all_the_same(
    site, archive, tmp_path, monkeypatch, retrieve, count
):
    monkeypatch.setattr(completeness, "RECHECK_S", 0.0)
    node = node_for(site, archive, tmp_path, retrieve=retrieve, count=count)
    change_settings(node, count_quiet_s=1e-6)
    site.listen()
    key = node.order(UID)
    delivered(node, archive, node.fetch(key), tmp_path)
    (pacs,) = read_peers(node.settings.peers)
    with open_search(pacs, node.settings, count) as asked:
        assert count_images(asked, UID) == 4, "the archive counts our two"

    late = [make_instance(study_instance_uid=UID, seed=number) for number in (11, 12)]
    for number, image in enumerate(late):
        image.save_as(tmp_path / f"late-{number}.dcm", enforce_file_format=True)
        archive.post("/instances", (tmp_path / f"late-{number}.dcm").read_bytes())
    ours = CompletenessChecker(node.settings, node.database)
    site.send(late[0])
    assert ours.run_once() == 0, "one more is to come"
    site.send(late[1])
    assert ours.run_once() == 1

    found = node.study(key)
    assert (found["state"], found["closed_by"], found["revision"]) == ("accepted", "pacs_count", 2)
    assert len(node.fetch(key).instances) == 4


@pytest.mark.parametrize("way", ["wado-rs", "c-get"])
def test_a_node_that_fetches_again_leaves_them_out(site, archive, tmp_path, way):
    first = node_for(site, archive, tmp_path, retrieve=way, count="c-find")
    key = first.order(UID)
    delivered(first, archive, first.fetch(key), tmp_path)
    late = make_instance(study_instance_uid=UID, seed=11)
    site.listen()
    site.send(late)
    with site.database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE study SET state = 'accepted', due_at = received_at"
        )
    late.save_as(tmp_path / "late.dcm", enforce_file_format=True)
    archive.post("/instances", (tmp_path / "late.dcm").read_bytes())

    other = node_for(site, archive, tmp_path, retrieve=way, disk=tmp_path / "other", count="c-find")
    taken = other.fetch(key)

    images = [dcmread(path) for path in archive.files] + [late]
    assert kept(other, taken).keys() == {str(image.SOPInstanceUID) for image in images}
    detail = site.rows(
        "SELECT detail FROM audit_record WHERE event = 'study_fetched' ORDER BY sequence"
    )
    told = [json.loads(text) for (text,) in detail]
    assert (told[-1]["instances"], told[-1]["expected"]) == (3, 3)


@pytest.mark.parametrize("way", ["wado-rs", "c-get", "c-move"])
def test_those_of_another_installation_are_left_out(site, archive, tmp_path, way):
    """They are in no table of ours: what Orthanc says of them by C-FIND, or their header, tells."""
    kinds = (
        ("report", "SR", Comprehensive3DSRStorage),
        ("picture", "OT", SecondaryCaptureImageStorage),
    )
    for n, (kind, modality, sop_class) in enumerate(kinds, start=1):
        path = write_instance(
            tmp_path / f"theirs-{n}.dcm", rows=8, columns=8, study_instance_uid=UID,
            series_instance_uid=f"2.25.{n}", sop_instance_uid=f"2.25.{n}1",
            sop_class_uid=sop_class, modality=modality,
            SeriesDescription=f"Pneumonia, {kind} of net-9", SoftwareVersions=["net-9", "results 2"],
        )  # fmt: skip
        archive.post("/instances", path.read_bytes())
    site.listen()
    node = node_for(site, archive, tmp_path, retrieve=way, count="c-find")
    key = node.order(UID)

    taken = node.fetch(key)

    images = {str(dcmread(path).SOPInstanceUID) for path in archive.files}
    assert kept(node, taken).keys() == images
    assert node.study(key)["closed_by"] == "pacs_count"
    assert site.one("SELECT expected_instances FROM study_origin") == 2


@pytest.mark.parametrize("way", ["wado-rs", "c-get"])
def test_where_only_they_are_left_the_study_is_not_there(site, archive, tmp_path, way):
    first = node_for(site, archive, tmp_path, retrieve=way)
    key = first.order(UID)
    delivered(first, archive, first.fetch(key), tmp_path)
    site.listen()
    site.send(make_instance(study_instance_uid=UID, seed=11))
    with site.database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE study SET state = 'accepted', due_at = received_at"
        )
    for path in archive.files:
        wanted = {
            "Level": "Instance",
            "Query": {"SOPInstanceUID": read_header(path).sop_instance_uid},
        }
        (found,) = archive.post("/tools/find", json.dumps(wanted).encode())
        archive.delete(f"/instances/{found}")

    other = node_for(site, archive, tmp_path, retrieve=way, disk=tmp_path / "other")
    taken = other.claim(key)
    with pytest.raises(Rejected, match="STUDY_NOT_IN_ARCHIVE"):
        other.retriever.ensure_images(taken)
    assert site.one("SELECT count(*) FROM instance") == 3
