"""Studies by C-MOVE: the destination is ours, somebody else's or unknown, and what is left out."""

from __future__ import annotations

import pytest
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

from db.studies.intake import close_idle_studies
from tests.builders.dimse_archive import DimseArchive, serve_dimse_archive
from tests.builders.fetching_node import FetchingNode
from tests.builders.retrieval import UID, dimse_node, failed_dimse_fetch, postpone_study
from tests.builders.site import make_site
from worker.errors import Unavailable


def test_it_offers_no_c_move(site, tmp_path, datasets):
    with serve_dimse_archive(DimseArchive({UID: datasets}), services=(Find,)) as archive:
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-move")
    assert error.code == "ARCHIVE_REFUSES_US"
    assert "none of the services" in error.sentence


def test_a_move_destination_that_it_does_not_know(site, tmp_path, datasets):
    with serve_dimse_archive(DimseArchive({UID: datasets})) as archive:
        node, error = failed_dimse_fetch(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Unavailable, "MOVE_DESTINATION_UNKNOWN")
    assert "PNEUMO" in error.sentence
    assert node.conditions() == {"archive pacs": "MOVE_DESTINATION_UNKNOWN"}


def test_a_move_that_ends_at_somebody_else(site, elsewhere, tmp_path, datasets):
    """Another listener has our AE title at the address that the archive knows."""
    archive = DimseArchive({UID: datasets})
    archive.destinations["PNEUMO"] = elsewhere.settings.listen_port
    elsewhere.listen()
    with serve_dimse_archive(archive):
        node, error = failed_dimse_fetch(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Unavailable, "MOVED_ELSEWHERE")
    assert node.conditions() == {"archive pacs": "MOVED_ELSEWHERE"}
    assert elsewhere.one("SELECT count(*) FROM instance") == 3


@pytest.fixture
def elsewhere(tmp_path, migrated):
    made = make_site(tmp_path / "elsewhere", migrated)
    yield made
    made.close()


def test_what_is_moved_to_us_while_we_wait_is_no_revision(site, tmp_path, datasets):
    archive = DimseArchive({UID: datasets})
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serve_dimse_archive(archive):
        node = dimse_node(site, tmp_path, archive, "c-move")
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
    with serve_dimse_archive(archive):
        node, error = failed_dimse_fetch(site, tmp_path, archive, "c-move")
        key = site.rows("SELECT study_key FROM study")[0][0]
        assert site.one("SELECT count(*) FROM instance") == 2
        postpone_study(node, key, error)
        assert node.study(key)["state"] == "receiving"
        with node.database.transaction() as session:
            session.connection().exec_driver_sql("UPDATE study SET due_at = received_at")
        with node.database.transaction() as session:
            assert close_idle_studies(session) == [key]
        archive.breaks_after = None
        taken = FetchingNode(site).fetch(key)
    assert len(taken.instances) == 3
    assert node.study(key)["closed_by"] == "pacs_count"
