"""Studies by C-GET and C-MOVE from an archive that fails in each way that has a name."""

from __future__ import annotations

import json

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    JPEG2000Lossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import _config
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get

from db.studies.intake import close_idle_studies
from db.studies.results import schedule_retry
from tests.builders.database import failure
from tests.builders.dicom import make_instance, make_study
from tests.builders.dimse_archive import DimseArchive, serving
from tests.builders.fetching_node import Node, with_peers
from tests.builders.site import free_port, site_in
from tests.builders.web_archive import make_certificate, tls_server
from worker.errors import PneumoError, Rejected, Transient, Unavailable

UID = "1.2.3.7"
PRIVATE = "1.2.826.0.1.3680043.9.9999.1"


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
        node.retriever.ensure_images(taken)
    return node, met.value


@pytest.fixture
def restricted(monkeypatch):
    """An archive that knows its SOP classes, though a listener ran in this process before."""
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


@pytest.mark.parametrize("way", ["c-get", "c-move"])
def test_nobody_there(site, tmp_path, way):
    node, error = failing(site, tmp_path, DimseArchive(port=free_port()), way)
    assert (type(error), error.code) == (Unavailable, "ARCHIVE_AWAY")
    assert node.conditions() == {"archive pacs": "ARCHIVE_AWAY"}


def test_it_does_not_know_our_ae_title(site, tmp_path, datasets):
    with serving(DimseArchive({UID: datasets}), knows="SOMEBODY") as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Unavailable, "ARCHIVE_REFUSES_US")
    assert "A-ASSOCIATE-RJ 1, 1, 3" in error.sentence


def test_it_offers_no_c_get(site, tmp_path, datasets):
    with serving(DimseArchive({UID: datasets}), services=(Find,)) as archive:
        _, error = failing(site, tmp_path, archive, "c-get")
    assert error.code == "ARCHIVE_REFUSES_US"
    assert "no C-GET" in error.sentence


def test_it_offers_no_c_move(site, tmp_path, datasets):
    with serving(DimseArchive({UID: datasets}), services=(Find,)) as archive:
        _, error = failing(site, tmp_path, archive, "c-move")
    assert error.code == "ARCHIVE_REFUSES_US"
    assert "none of the services" in error.sentence


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


@pytest.mark.parametrize("whole", [None, 0xC000])
@pytest.mark.usefixtures("restricted")
def test_a_radiograph_comes_without_what_the_archive_cannot_send(site, tmp_path, datasets, whole):
    """Some archives send the rest and say how many failed, some refuse the study as a whole."""
    odd = beside(PRIVATE)
    with serving(DimseArchive({UID: [*datasets, odd]}, stops=whole)) as archive:
        node = node_at(site, tmp_path, archive, "c-get")
        key = node.order(UID)
        taken = node.fetch(key)
    assert node.uids_on_disk(taken) == {it.SOPInstanceUID for it in datasets}
    assert site.one("SELECT expected_instances FROM study_origin") == 4
    assert node.study(key)["closed_by"] == "sender", "nobody may take it for complete"
    assert fetched(site)["missing"] == {"NOT_GIVEN": 1}


@pytest.mark.usefixtures("restricted")
def test_a_private_object_is_asked_for_by_its_own_class(site, tmp_path, datasets):
    odd = beside(PRIVATE)
    with serving(DimseArchive({UID: [*datasets, odd]}), sends=(PRIVATE,)) as archive:
        node = node_at(site, tmp_path, archive, "c-get")
        key = node.order(UID)
        taken = node.fetch(key)
    assert len(taken.instances) == 4
    assert node.study(key)["closed_by"] == "pacs_count"
    assert "missing" not in fetched(site)


@pytest.mark.parametrize(("whole", "says_classes"), [(None, False), (0xC000, True)])
@pytest.mark.usefixtures("restricted")
def test_a_radiograph_that_cannot_be_sent_is_missed(site, tmp_path, datasets, whole, says_classes):
    odd = beside(ComputedRadiographyImageStorage, transfer_syntax=JPEG2000Lossless)
    archive = DimseArchive({UID: [*datasets, odd]}, stops=whole, says_classes=says_classes)
    with serving(archive):
        _, error = failing(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")
    assert "gave 3 of 4 images" in error.sentence
    assert site.one("SELECT count(*) FROM instance") == 0


@pytest.mark.parametrize(("modality", "comes"), [("PR", True), ("OT", False)])
@pytest.mark.usefixtures("restricted")
def test_without_a_class_the_modality_says_what_may_be_missing(
    site, tmp_path, datasets, modality, comes
):
    odd = beside(PRIVATE, modality=modality)
    archive = DimseArchive({UID: [*datasets, odd]}, says_classes=False)
    with serving(archive):
        node = node_at(site, tmp_path, archive, "c-get")
        taken = node.claim(node.order(UID))
        if comes:
            assert len(node.retriever.ensure_images(taken).instances) == 3
        else:
            with pytest.raises(Transient, match="RETRIEVE_INCOMPLETE"):
                node.retriever.ensure_images(taken)


@pytest.mark.usefixtures("restricted")
def test_an_archive_that_cannot_say_what_there_is(site, tmp_path, datasets):
    archive = DimseArchive({UID: [*datasets, beside(PRIVATE)]})
    with serving(archive, services=(Get,)):
        _, error = failing(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")
    assert "gave 3 of 4 images" in error.sentence


def test_a_header_that_cannot_be_read_refuses_itself_alone(site, tmp_path, datasets):
    broken = beside(ComputedRadiographyImageStorage)
    broken.SeriesInstanceUID = ""
    stranger = make_instance(study_instance_uid="1.2.3.99")
    with serving(DimseArchive({UID: [broken, *datasets, stranger]})) as archive:
        node = node_at(site, tmp_path, archive, "c-get")
        taken = node.fetch(node.order(UID))
    assert node.uids_on_disk(taken) == {it.SOPInstanceUID for it in datasets}
    assert fetched(site)["missing"] == {"SERIES_UID_MISSING": 1, "OTHER_STUDY": 1}
    assert site.one("SELECT expected_instances FROM study_origin") == 5


def beside(sop_class: str, **values) -> Dataset:
    """Another object of our study, in a series of its own."""
    return make_instance(
        study_instance_uid=UID, series_instance_uid=f"{UID}.9", sop_instance_uid=f"{UID}.9.1",
        sop_class_uid=sop_class, **values,
    )  # fmt: skip


def fetched(site) -> dict:
    """What the audit trail says of the fetch."""
    detail = site.one("SELECT detail FROM audit_record WHERE event = 'study_fetched'")
    return json.loads(detail) if isinstance(detail, str) else detail


def test_unable_is_not_unknown(site, tmp_path, datasets):
    """A key that archives need not return, (0020,1208), is no word about the study."""
    archive = DimseArchive({UID: datasets}, retrieval_status=0xC001, says_counts=False)
    with serving(archive):
        for way in ("c-get", "c-move"):
            node = node_at(site, tmp_path, archive, way, 'count = "c-find"')
            for uid, code in ((UID, "RETRIEVE_FAILED"), ("1.2.3.8", "STUDY_NOT_IN_ARCHIVE")):
                taken = node.claim(node.order(uid))
                with pytest.raises(PneumoError, match=code):
                    node.retriever.ensure_images(taken)
                node.settle(
                    taken, Unavailable("ARCHIVE_AWAY", "", subject="archive pacs", wait_s=0.1)
                )


def test_nothing_of_a_study_that_it_knows(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets}, retrieval_status=0x0000, says_counts=False)
    with serving(archive):
        _, error = failing(site, tmp_path, archive, "c-get", 'search = "c-find"')
    assert (type(error), error.code) == (Transient, "RETRIEVE_FAILED")
    assert "knows the study" in error.sentence


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
    assert (type(error), error.code) == (Unavailable, "MOVE_DESTINATION_UNKNOWN")
    assert "PNEUMO" in error.sentence
    assert node.conditions() == {"archive pacs": "MOVE_DESTINATION_UNKNOWN"}


def test_a_move_that_ends_at_somebody_else(site, elsewhere, tmp_path, datasets):
    """Another listener has our AE title at the address that the archive knows."""
    archive = DimseArchive({UID: datasets})
    archive.destinations["PNEUMO"] = elsewhere.settings.listen_port
    elsewhere.listen()
    with serving(archive):
        node, error = failing(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Unavailable, "MOVED_ELSEWHERE")
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


@pytest.mark.parametrize(
    ("sop_class", "comes"), [(PRIVATE, True), (ComputedRadiographyImageStorage, False)]
)
def test_what_cannot_be_moved_is_missed_if_it_may_be_a_radiograph(
    site, tmp_path, datasets, sop_class, comes
):
    odd = beside(sop_class, transfer_syntax=JPEG2000Lossless)
    archive = DimseArchive({UID: [*datasets, odd]})
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serving(archive):
        node = node_at(site, tmp_path, archive, "c-move")
        key = node.order(UID)
        taken = node.claim(key)
        if not comes:
            with pytest.raises(Transient, match="gave 3 of 4 images"):
                node.retriever.ensure_images(taken)
            return
        assert len(node.retriever.ensure_images(taken).instances) == 3
    assert fetched(site)["missing"] == {"NOT_GIVEN": 1}
    assert site.one("SELECT expected_instances FROM study_origin") == 4


LABEL = "resnet50-9.9.9"
SENT = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)


def results_of_another_installation(**values) -> list[Dataset]:
    """A report and a picture as `worker.results.common_modules` writes them."""
    versions = {"SoftwareVersions": [LABEL, "results 2"]} | values
    kinds = (("report", "SR", SENT[0]), ("picture", "OT", SENT[1]))
    return [
        make_instance(
            study_instance_uid=UID, series_instance_uid=f"2.25.{n}", sop_instance_uid=f"2.25.{n}1",
            sop_class_uid=sop_class, modality=modality, rows=8, columns=8,
            SeriesDescription=f"Pneumonia, {kind} of {LABEL}", **versions,
        )
        for n, (kind, modality, sop_class) in enumerate(kinds, start=1)
    ]  # fmt: skip


def moving(site, datasets, **behaves) -> DimseArchive:
    archive = DimseArchive({UID: datasets}, **behaves)
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    return archive


@pytest.mark.parametrize("says", [{}, {"says_versions": False}, {"says_classes": False}])
def test_results_of_another_installation_are_not_missed(site, tmp_path, datasets, says):
    """Our listener drops them, so they are in the archive's count and nowhere here."""
    archive = moving(site, [*datasets, *results_of_another_installation()], **says)
    with serving(archive, sends=SENT):
        node = node_at(site, tmp_path, archive, "c-move")
        key = node.order(UID)
        taken = node.fetch(key)
    assert node.uids_on_disk(taken) == {it.SOPInstanceUID for it in datasets}
    assert node.study(key)["closed_by"] == "pacs_count"
    assert site.one("SELECT expected_instances FROM study_origin") == 3


@pytest.mark.parametrize(
    "values", [{"SoftwareVersions": "viewer 7"}, {"modality": "CR", "SoftwareVersions": ""}]
)
def test_a_secondary_capture_of_somebody_else_is_missed(site, tmp_path, datasets, values):
    """By its name alone nothing is left out: an archive that moves less than it has is asked again."""
    _, picture = results_of_another_installation()
    for keyword, value in values.items():
        setattr(picture, "Modality" if keyword == "modality" else keyword, value)
    archive = moving(site, [*datasets, picture])
    with serving(archive):  # it cannot send a Secondary Capture
        _, error = failing(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")


def test_a_study_of_nothing_but_results_is_not_there_and_keeps_nobody_waiting(site, tmp_path):
    archive = moving(site, results_of_another_installation())
    with serving(archive, sends=SENT):
        node, error = failing(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Rejected, "STUDY_NOT_IN_ARCHIVE")
    assert node.conditions() == {}


def _give_up(node: Node, key: str, error: PneumoError) -> None:
    with node.database.transaction() as session:
        schedule_retry(session, node.held(key), failure("transient", error.code), delay_s=0)


def test_dicom_tls_and_a_certificate_other_than_expected(site, tmp_path, datasets):
    certificate, key = make_certificate(tmp_path, "pacs")
    make_certificate(tmp_path, "other")
    archive = DimseArchive({UID: datasets})
    with serving(archive, tls=tls_server(certificate, key)):
        node, error = failing(
            site, tmp_path, archive, "c-get", "tls = true", 'authorities = "other.pem"'
        )
        assert (type(error), error.code) == (Unavailable, "ARCHIVE_CERTIFICATE")
        assert node.conditions() == {"archive pacs": "ARCHIVE_CERTIFICATE"}
        key = site.rows("SELECT study_key FROM study")[0][0]
        _give_up(node, key, error)
        node = node_at(site, tmp_path, archive, "c-get", "tls = true", 'authorities = "pacs.pem"')
        assert len(node.fetch(key).instances) == 3
    assert node.conditions() == {}
