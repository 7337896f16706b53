"""Orthanc as the PACS: we find, count and fetch, by each way that it offers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydicom.uid import ComputedRadiographyImageStorage, JPEG2000Lossless, JPEGLosslessSV1

from db.studies.results import retry_parked
from tests.builders.dicom import make_study, write_instance
from tests.builders.fetching_node import FetchingNode, change_settings, configure_peers
from tests.builders.orthanc import DICOMWEB, Orthanc, needs_orthanc_with_dicomweb
from tests.integration.conftest import migrated, site
from worker.archive.find.search import count_images, find_day, open_search
from worker.errors import Rejected, Transient
from worker.imaging.reading import read_header
from worker.peers.peers_file import read_peers

__all__ = ["migrated", "site"]

pytestmark = needs_orthanc_with_dicomweb
UID, CT, OTHER_DAY = "1.2.3.100", "1.2.3.200", "1.2.3.300"
BESIDE, PRIVATE = "1.2.3.400", "1.2.826.0.1.3680043.9.9999.1"
MOVES_TO = 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three studies; ours has images in three transfer syntaxes, and Orthanc keeps them so."""
    folder = tmp_path_factory.mktemp("archive")
    made = Orthanc(
        folder / "orthanc",
        {
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"ours": ["PNEUMO", "127.0.0.1", MOVES_TO]},
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "DicomCheckModalityHost": False,
        },
    )
    made.start()
    for path in [
        *make_study(folder / "a", n_instances=2, study_instance_uid=UID),
        write_instance(
            folder / "a" / "3.dcm", study_instance_uid=UID, transfer_syntax=JPEG2000Lossless, seed=7
        ),
        write_instance(
            folder / "a" / "4.dcm", study_instance_uid=UID, transfer_syntax=JPEGLosslessSV1, seed=8
        ),
        *make_study(folder / "b", 1, study_instance_uid=CT, modality="CT",
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2"),
        *make_study(folder / "d", 2, study_instance_uid=BESIDE, study_date="20260104"),
        write_instance(
            folder / "d" / "private.dcm", study_instance_uid=BESIDE, study_date="20260104",
            series_instance_uid=f"{BESIDE}.9", sop_instance_uid=f"{BESIDE}.9.1",
            sop_class_uid=PRIVATE, modality="OT",
        ),
        *make_study(folder / "c", 1, study_instance_uid=OTHER_DAY, study_date="20260103"),
    ]:  # fmt: skip
        made.post("/instances", path.read_bytes())
    made.files = sorted((folder / "a").glob("*.dcm"))
    yield made
    made.stop()


def node_for(site, archive, folder, *, disk: Path | None = None, **does) -> FetchingNode:
    says = "".join(f"{word} = {way!r}\n" for word, way in does.items())
    configure_peers(
        site,
        folder,
        f'[pacs]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {archive.dicom_port}\n'
        f'dicomweb = "http://127.0.0.1:{archive.http_port}/dicom-web/"\n{says}',
    )
    return FetchingNode(site, disk)


def expected(archive) -> dict[str, str]:
    """SOP Instance UID -> transfer syntax of our study's images."""
    headers = [read_header(path) for path in archive.files]
    return {h.sop_instance_uid: h.transfer_syntax_uid for h in headers}


def kept(node: FetchingNode, taken) -> dict[str, str]:
    headers = [read_header(node.storage.path_of(i.file_name)) for i in taken.instances]
    return {h.sop_instance_uid: h.transfer_syntax_uid for h in headers}


@pytest.mark.parametrize(
    ("way", "source", "closed_by"),
    [("wado-rs", "dicomweb", "sender"), ("c-get", "pull", "pacs_count")],
)
def test_a_study_comes_as_the_archive_keeps_it(site, archive, tmp_path, way, source, closed_by):
    node = node_for(site, archive, tmp_path, retrieve=way)
    key = node.order(UID)
    assert node.due() == [key]
    assert node.study(key)["state"] == "accepted"

    taken = node.fetch(key)

    assert kept(node, taken) == expected(archive), "nothing is transcoded on the way"
    found = node.study(key)
    assert (found["source"], found["closed_by"]) == (source, closed_by)
    assert (found["revision"], found["patient_sex"]) == (1, "F")
    assert node.site.one("SELECT patient_id FROM study_identity") == "BUILDER-1"
    assert node.events(key) == ["study_ordered", "study_accepted", "study_fetched"]
    assert node.conditions() == {}


@pytest.mark.parametrize("way", ["wado-rs", "c-get"])
def test_another_node_fetches_again_what_is_not_on_its_disk(site, archive, tmp_path, way):
    first = node_for(site, archive, tmp_path, retrieve=way)
    key = first.order(UID)
    taken = first.fetch(key)
    first.settle(taken, RuntimeError("the worker's own fault"))
    with first.database.transaction() as session:
        retry_parked(session, key, actor="test")

    other = FetchingNode(site, tmp_path / "other-disk")
    again = other.fetch(key)

    assert kept(other, again) == expected(archive)
    assert [i.file_name for i in again.instances] == [i.file_name for i in taken.instances]
    assert site.one("SELECT count(*) FROM instance") == 4


@pytest.mark.parametrize("way", ["wado-rs", "c-get", "c-move"])
def test_a_study_that_the_archive_does_not_have(site, archive, tmp_path, way):
    node = node_for(site, archive, tmp_path, retrieve=way, search="c-find")
    taken = node.claim(node.order("1.2.3.999"))
    with pytest.raises(Rejected, match="STUDY_NOT_IN_ARCHIVE"):
        node.retriever.ensure_images(taken)
    assert node.conditions() == {}


def test_a_radiograph_comes_whatever_is_beside_it(site, archive, tmp_path):
    """Orthanc fails the whole C-GET of a study of which it cannot send one object."""
    node = node_for(site, archive, tmp_path, retrieve="c-get")
    key = node.order(BESIDE)
    taken = node.fetch(key)
    classes = [it for (it,) in site.rows("SELECT sop_class_uid FROM instance")]
    assert classes == [ComputedRadiographyImageStorage] * 2
    assert len(taken.instances) == 2
    assert site.one("SELECT expected_instances FROM study_origin") == 3
    assert node.study(key)["closed_by"] == "sender"


def test_c_move_comes_through_our_listener_into_the_same_row(site, archive, tmp_path):
    node = node_for(site, archive, tmp_path, retrieve="c-move")
    archive.put(
        "/modalities/ours",
        {"AET": "PNEUMO", "Host": "127.0.0.1", "Port": site.settings.listen_port},
    )
    site.listen()
    key = node.order(UID)

    taken = node.fetch(key)

    assert kept(node, taken) == expected(archive)
    found = node.study(key)
    assert (found["state"], found["closed_by"], found["revision"]) == ("running", "pacs_count", 1)
    assert site.rows("SELECT patient_id FROM study_identity") == [("BUILDER-1",)]
    assert node.events(key) == ["study_ordered", "study_accepted", "study_fetched"]


def test_c_move_to_a_destination_that_the_archive_does_not_know(site, archive, tmp_path):
    """Orthanc says "unable to process", and does not say why."""
    node_for(site, archive, tmp_path, retrieve="c-move", count="c-find")
    node = FetchingNode(change_settings(site, ae_title="NOBODY"))
    taken = node.claim(node.order(UID))
    with pytest.raises(Transient, match=r"RETRIEVE_FAILED.*perhaps it does not know NOBODY"):
        node.retriever.ensure_images(taken)


@pytest.mark.parametrize("way", ["c-find", "qido-rs"])
def test_what_it_has_and_how_many(site, archive, tmp_path, way):
    node = node_for(site, archive, tmp_path, search=way, count=way)
    (pacs,) = read_peers(node.settings.peers)
    found = find_day(pacs, node.settings, date(2026, 1, 2), ["CR", "DX"]).studies
    assert [(f.study_instance_uid, f.instances, f.modalities) for f in found] == [
        (UID, 4, frozenset({"CR"}))
    ]
    everything = find_day(pacs, node.settings, date(2026, 1, 2)).studies
    assert {f.study_instance_uid for f in everything} == {UID, CT}
    assert find_day(pacs, node.settings, date(2026, 1, 9)).studies == ()
    with open_search(pacs, node.settings, way) as asked:
        assert count_images(asked, UID) == 4
        assert count_images(asked, "1.2.3.999") is None


@pytest.fixture
def stingy(tmp_path):
    """It answers with five studies at most: FE00 by C-FIND, six and not a word by DICOMweb."""
    settings = {
        "Plugins": [str(DICOMWEB)],
        "DicomAlwaysAllowFind": True,
        "DicomCheckModalityHost": False,
        "LimitFindResults": 5,
    }
    made = Orthanc(tmp_path / "stingy", settings)
    made.start()
    for number in range(8):
        path = write_instance(
            tmp_path / "one.dcm", rows=8, columns=8, study_instance_uid=f"1.2.3.{number}",
            StudyTime=f"{8 + number // 3:02}{number:02}30",
        )  # fmt: skip
        made.post("/instances", path.read_bytes())
    yield made
    made.stop()


def test_an_orthanc_with_a_limit_is_asked_for_shorter_spans(site, stingy, tmp_path):
    expected = {f"1.2.3.{number}" for number in range(8)}
    for says in ({"search": "c-find"}, {"search": "qido-rs", "search_limit": 6}):
        node = node_for(site, stingy, tmp_path, **says)
        (pacs,) = read_peers(node.settings.peers)
        found = find_day(pacs, node.settings, date(2026, 1, 2), ["CR"])
        assert {study.study_instance_uid for study in found.studies} == expected
        assert found.truncation is None
