"""Studies by C-GET, and what C-GET and C-MOVE have in common: each way to fail has its name."""

from __future__ import annotations

import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

from tests.builders.certificates import make_self_signed, tls_server
from tests.builders.dicom import make_instance
from tests.builders.dimse_archive import DimseArchive, serve_dimse_archive
from tests.builders.ports import free_port
from tests.builders.retrieval import (
    UID,
    dimse_node,
    failed_dimse_fetch,
    fetch_detail,
    object_beside,
    postpone_study,
)
from worker.errors import PneumoError, Rejected, Transient, Unavailable


@pytest.mark.parametrize("way", ["c-get", "c-move"])
def test_nobody_there(site, tmp_path, way):
    node, error = failed_dimse_fetch(site, tmp_path, DimseArchive(port=free_port()), way)
    assert (type(error), error.code) == (Unavailable, "ARCHIVE_AWAY")
    assert node.conditions() == {"archive pacs": "ARCHIVE_AWAY"}


def test_it_does_not_know_our_ae_title(site, tmp_path, datasets):
    with serve_dimse_archive(DimseArchive({UID: datasets}), knows="SOMEBODY") as archive:
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Unavailable, "ARCHIVE_REFUSES_US")
    assert "A-ASSOCIATE-RJ 1, 1, 3" in error.sentence


def test_it_offers_no_c_get(site, tmp_path, datasets):
    with serve_dimse_archive(DimseArchive({UID: datasets}), services=(Find,)) as archive:
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert error.code == "ARCHIVE_REFUSES_US"
    assert "no C-GET" in error.sentence


@pytest.mark.parametrize("way", ["c-get", "c-move"])
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (0xA701, Unavailable, "ARCHIVE_AWAY"),
        (0xA900, Transient, "RETRIEVE_FAILED"),
        (0xC001, Transient, "RETRIEVE_FAILED"),
    ],
)
def test_each_status_says_whose_fault_it_is(site, tmp_path, datasets, way, status, kind, code):
    archive = DimseArchive({UID: datasets}, status=status)
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serve_dimse_archive(archive):
        _, error = failed_dimse_fetch(site, tmp_path, archive, way)
    assert (type(error), error.code) == (kind, code)
    assert UID not in error.sentence


@pytest.mark.parametrize(("after", "code"), [(0, "ARCHIVE_AWAY"), (2, "RETRIEVE_INCOMPLETE")])
def test_an_association_that_breaks_off(site, tmp_path, datasets, after, code):
    with serve_dimse_archive(DimseArchive({UID: datasets}, breaks_after=after)) as archive:
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert error.code == code
    assert site.one("SELECT count(*) FROM instance") == 0


def test_a_header_that_cannot_be_read_refuses_itself_alone(site, tmp_path, datasets):
    broken = object_beside(ComputedRadiographyImageStorage)
    broken.SeriesInstanceUID = ""
    stranger = make_instance(study_instance_uid="1.2.3.99")
    with serve_dimse_archive(DimseArchive({UID: [broken, *datasets, stranger]})) as archive:
        node = dimse_node(site, tmp_path, archive, "c-get")
        taken = node.fetch(node.order(UID))
    assert node.uids_on_disk(taken) == {it.SOPInstanceUID for it in datasets}
    assert fetch_detail(site)["missing"] == {"SERIES_UID_MISSING": 1, "OTHER_STUDY": 1}
    assert site.one("SELECT expected_instances FROM study_origin") == 5


def test_unable_is_not_unknown(site, tmp_path, datasets):
    """A key that archives need not return, (0020,1208), is no word about the study."""
    archive = DimseArchive({UID: datasets}, retrieval_status=0xC001, says_counts=False)
    with serve_dimse_archive(archive):
        for way in ("c-get", "c-move"):
            node = dimse_node(site, tmp_path, archive, way, 'count = "c-find"')
            for uid, code in ((UID, "RETRIEVE_FAILED"), ("1.2.3.8", "STUDY_NOT_IN_ARCHIVE")):
                taken = node.claim(node.order(uid))
                with pytest.raises(PneumoError, match=code):
                    node.retriever.ensure_images(taken)
                node.settle(
                    taken, Unavailable("ARCHIVE_AWAY", "", subject="archive pacs", wait_s=0.1)
                )


def test_nothing_of_a_study_that_it_knows(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets}, retrieval_status=0x0000, says_counts=False)
    with serve_dimse_archive(archive):
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get", 'search = "c-find"')
    assert (type(error), error.code) == (Transient, "RETRIEVE_FAILED")
    assert "knows the study" in error.sentence


def test_another_study_than_was_asked_for(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets}, stranger=make_instance())
    with serve_dimse_archive(archive):
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Rejected, "OTHER_STUDY")
    assert site.stored_files() == []


def test_the_file_of_another_study_stays_its_own(site, tmp_path, datasets):
    """The archive has moved an image to the ordered study and left its header as it was."""
    theirs = make_instance(study_instance_uid="1.2.3.99")
    site.listen()
    site.send(theirs)
    before = site.stored_files()
    with serve_dimse_archive(DimseArchive({UID: [theirs]})) as archive:
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert error.code == "OTHER_STUDY"
    assert site.stored_files() == before != []


def test_dicom_tls_and_a_certificate_other_than_expected(site, tmp_path, datasets):
    certificate, key = make_self_signed(tmp_path, "pacs")
    make_self_signed(tmp_path, "other")
    archive = DimseArchive({UID: datasets})
    with serve_dimse_archive(archive, tls=tls_server(certificate, key)):
        node, error = failed_dimse_fetch(
            site, tmp_path, archive, "c-get", "tls = true", 'authorities = "other.pem"'
        )
        assert (type(error), error.code) == (Unavailable, "ARCHIVE_CERTIFICATE")
        assert node.conditions() == {"archive pacs": "ARCHIVE_CERTIFICATE"}
        key = site.rows("SELECT study_key FROM study")[0][0]
        postpone_study(node, key, error)
        node = dimse_node(
            site, tmp_path, archive, "c-get", "tls = true", 'authorities = "pacs.pem"'
        )
        assert len(node.fetch(key).instances) == 3
    assert node.conditions() == {}
