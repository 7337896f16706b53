"""Studies by C-GET and C-MOVE from an archive that fails in each way that has a name."""

from __future__ import annotations

import pytest
from pydicom import dcmread
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

from db.intake import close_idle_studies
from db.results import schedule_retry
from tests.builders import make_instance, make_study
from tests.integration.intake.sites import free_port, site_in
from tests.integration.pacs.dimse_archive import DimseArchive, serving
from tests.integration.pacs.fetches import Node, with_peers
from tests.integration.pacs.web_archive import make_certificate, tls_server
from worker.errors import Away, PneumoError, Rejected, Transient

UID = "1.2.3.7"


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return [dcmread(path) for path in make_study(folder, 3, study_instance_uid=UID)]


def node_at(site, folder, archive, way: str, *lines: str) -> Node:
    says = "\n".join((f'retrieve = "{way}"', *lines))
    with_peers(
        site,
        folder,
        f'[pacs]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {archive.port}\n{says}\n',
        archive_timeout_s=5,
    )
    return Node(site)


def failing(site, folder, archive, way: str, *lines: str) -> tuple[Node, PneumoError]:
    """What a fetch of our study fails with."""
    node = node_at(site, folder, archive, way, *lines)
    taken = node.claim(node.order(UID))
    with pytest.raises(PneumoError) as met:
        node.retriever.with_images(taken)
    return node, met.value


@pytest.mark.parametrize("way", ["c-get", "c-move"])
def test_nobody_there(site, tmp_path, way):
    node, error = failing(site, tmp_path, DimseArchive(port=free_port()), way)
    assert (type(error), error.code) == (Away, "ARCHIVE_AWAY")
    assert node.conditions() == {"archive pacs": "ARCHIVE_AWAY"}


def test_it_does_not_know_our_ae_title(site, tmp_path, datasets):
    with serving(DimseArchive({UID: datasets}), knows="SOMEBODY") as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Away, "ARCHIVE_REFUSES_US")
    assert "A-ASSOCIATE-RJ 1, 1, 3" in error.sentence


def test_it_offers_no_c_get(site, tmp_path, datasets):
    with serving(DimseArchive({UID: datasets}), services=(Find,)) as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert error.code == "ARCHIVE_REFUSES_US"
    assert "no C-GET" in error.sentence


@pytest.mark.parametrize("way", ["c-get", "c-move"])
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (0xA701, Away, "ARCHIVE_AWAY"),
        (0xA900, Transient, "RETRIEVE_FAILED"),
        (0xC001, Transient, "RETRIEVE_FAILED"),
    ],
)
def test_each_status_says_whose_fault_it_is(site, tmp_path, datasets, way, status, kind, code):
    archive = DimseArchive({UID: datasets}, status=status)
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serving(archive):
        _, error = failing(site, tmp_path, archive, way)
    assert (type(error), error.code) == (kind, code)
    assert UID not in error.sentence


@pytest.mark.parametrize(("after", "code"), [(0, "ARCHIVE_AWAY"), (2, "RETRIEVE_INCOMPLETE")])
def test_an_association_that_breaks_off(site, tmp_path, datasets, after, code):
    with serving(DimseArchive({UID: datasets}, breaks_after=after)) as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert error.code == code
    assert site.one("SELECT count(*) FROM instance") == 0


def test_an_image_that_cannot_be_sent_is_missed(site, tmp_path, datasets):
    """An object of a kind that the archive has no context for: it counts it as failed."""
    odd = make_instance(study_instance_uid=UID, sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.1")
    with serving(DimseArchive({UID: [*datasets, odd]})) as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert error.code == "RETRIEVE_INCOMPLETE"
    assert "gave 3 of 4 images" in error.sentence


def test_another_study_than_was_asked_for(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets}, stranger=make_instance())
    with serving(archive):
        _, error = failing(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Rejected, "OTHER_STUDY")
    assert site.kept() == []


def test_the_file_of_another_study_stays_its_own(site, tmp_path, datasets):
    """The archive has moved an image to the ordered study and left its header as it was."""
    theirs = make_instance(study_instance_uid="1.2.3.99")
    site.listen()
    site.send(theirs)
    before = site.kept()
    with serving(DimseArchive({UID: [theirs]})) as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert error.code == "OTHER_STUDY"
    assert site.kept() == before != []


def test_a_move_destination_that_it_does_not_know(site, tmp_path, datasets):
    with serving(DimseArchive({UID: datasets})) as archive:
        node, error = failing(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Away, "MOVE_DESTINATION_UNKNOWN")
    assert "PNEUMO" in error.sentence
    assert node.conditions() == {"archive pacs": "MOVE_DESTINATION_UNKNOWN"}


def test_a_move_that_ends_at_somebody_else(site, elsewhere, tmp_path, datasets):
    """Another listener has our AE title at the address that the archive knows."""
    archive = DimseArchive({UID: datasets})
    archive.destinations["PNEUMO"] = elsewhere.settings.listen_port
    elsewhere.listen()
    with serving(archive):
        node, error = failing(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Away, "MOVED_ELSEWHERE")
    assert node.conditions() == {"archive pacs": "MOVED_ELSEWHERE"}
    assert elsewhere.one("SELECT count(*) FROM instance") == 3


@pytest.fixture
def elsewhere(tmp_path, migrated):
    made = site_in(tmp_path / "elsewhere", migrated)
    yield made
    made.close()


def test_what_is_moved_to_us_while_we_wait_is_no_revision(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets})
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serving(archive):
        node = node_at(site, tmp_path, archive, "c-move")
        key = node.order(UID)
        taken = node.fetch(key)
    assert len(taken.instances) == 3
    found = node.study(key)
    assert (found["revision"], found["closed_by"]) == (1, "pacs_count")
    assert node.events(key) == ["study_ordered", "study_accepted", "study_fetched"]


def test_a_move_that_fails_half_way_is_received_on_and_tried_again(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets}, breaks_after=2)
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serving(archive):
        node, error = failing(site, tmp_path, archive, "c-move")
        key = site.rows("SELECT study_key FROM study")[0][0]
        assert site.one("SELECT count(*) FROM instance") == 2
        _give_up(node, key, error)
        assert node.study(key)["state"] == "receiving"
        with node.database.transaction() as session:
            session.connection().exec_driver_sql("UPDATE study SET due_at = received_at")
        with node.database.transaction() as session:
            assert close_idle_studies(session) == [key]
        archive.breaks_after = None
        taken = Node(site).fetch(key)
    assert len(taken.instances) == 3
    assert node.study(key)["closed_by"] == "pacs_count"


def _give_up(node: Node, key: str, error: PneumoError) -> None:
    with node.database.transaction() as session:
        schedule_retry(
            session, node.held(key), code=error.code, sentence="", kind="transient", delay_s=0
        )


def test_dicom_tls_and_a_certificate_other_than_expected(site, tmp_path, datasets):
    certificate, key = make_certificate(tmp_path, "pacs")
    make_certificate(tmp_path, "other")
    archive = DimseArchive({UID: datasets})
    with serving(archive, tls=tls_server(certificate, key)):
        node, error = failing(
            site, tmp_path, archive, "c-get", "tls = true", 'authorities = "other.pem"'
        )
        assert (type(error), error.code) == (Away, "ARCHIVE_CERTIFICATE")
        assert node.conditions() == {"archive pacs": "ARCHIVE_CERTIFICATE"}
        key = site.rows("SELECT study_key FROM study")[0][0]
        _give_up(node, key, error)
        node = node_at(site, tmp_path, archive, "c-get", "tls = true", 'authorities = "pacs.pem"')
        assert len(node.fetch(key).instances) == 3
    assert node.conditions() == {}
