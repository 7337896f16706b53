"""Objects that an archive counts and does not give: some may be radiographs, some are ours."""

from __future__ import annotations

import pytest
from pydicom.uid import ComputedRadiographyImageStorage, JPEG2000Lossless
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get

from tests.builders.dimse_archive import DimseArchive, serve_dimse_archive
from tests.builders.retrieval import (
    PRIVATE,
    SENT,
    UID,
    archive_moving_to_us,
    dimse_node,
    failed_dimse_fetch,
    fetch_detail,
    object_beside,
    results_of_another_installation,
)
from worker.errors import Rejected, Transient


@pytest.mark.parametrize("whole", [None, 0xC000])
@pytest.mark.usefixtures("restricted")
def test_a_radiograph_comes_without_what_the_archive_cannot_send(site, tmp_path, datasets, whole):
    """Some archives send the rest and say how many failed, some refuse the study as a whole."""
    odd = object_beside(PRIVATE)
    with serve_dimse_archive(DimseArchive({UID: [*datasets, odd]}, stops=whole)) as archive:
        node = dimse_node(site, tmp_path, archive, "c-get")
        key = node.order(UID)
        taken = node.fetch(key)
    assert node.uids_on_disk(taken) == {it.SOPInstanceUID for it in datasets}
    assert site.one("SELECT expected_instances FROM study_origin") == 4
    assert node.study(key)["closed_by"] == "sender", "nobody may take it for complete"
    assert fetch_detail(site)["missing"] == {"NOT_GIVEN": 1}


@pytest.mark.usefixtures("restricted")
def test_a_private_object_is_asked_for_by_its_own_class(site, tmp_path, datasets):
    odd = object_beside(PRIVATE)
    with serve_dimse_archive(DimseArchive({UID: [*datasets, odd]}), sends=(PRIVATE,)) as archive:
        node = dimse_node(site, tmp_path, archive, "c-get")
        key = node.order(UID)
        taken = node.fetch(key)
    assert len(taken.instances) == 4
    assert node.study(key)["closed_by"] == "pacs_count"
    assert "missing" not in fetch_detail(site)


@pytest.mark.parametrize(("whole", "says_classes"), [(None, False), (0xC000, True)])
@pytest.mark.usefixtures("restricted")
def test_a_radiograph_that_cannot_be_sent_is_missed(site, tmp_path, datasets, whole, says_classes):
    odd = object_beside(ComputedRadiographyImageStorage, transfer_syntax=JPEG2000Lossless)
    archive = DimseArchive({UID: [*datasets, odd]}, stops=whole, says_classes=says_classes)
    with serve_dimse_archive(archive):
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")
    assert "gave 3 of 4 images" in error.sentence
    assert site.one("SELECT count(*) FROM instance") == 0


@pytest.mark.parametrize(("modality", "comes"), [("PR", True), ("OT", False)])
@pytest.mark.usefixtures("restricted")
def test_without_a_class_the_modality_says_what_may_be_missing(
    site, tmp_path, datasets, modality, comes
):
    odd = object_beside(PRIVATE, modality=modality)
    archive = DimseArchive({UID: [*datasets, odd]}, says_classes=False)
    with serve_dimse_archive(archive):
        node = dimse_node(site, tmp_path, archive, "c-get")
        taken = node.claim(node.order(UID))
        if comes:
            assert len(node.retriever.ensure_images(taken).instances) == 3
        else:
            with pytest.raises(Transient, match="RETRIEVE_INCOMPLETE"):
                node.retriever.ensure_images(taken)


@pytest.mark.usefixtures("restricted")
def test_an_archive_that_cannot_say_what_there_is(site, tmp_path, datasets):
    archive = DimseArchive({UID: [*datasets, object_beside(PRIVATE)]})
    with serve_dimse_archive(archive, services=(Get,)):
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-get")
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")
    assert "gave 3 of 4 images" in error.sentence


@pytest.mark.parametrize(
    ("sop_class", "comes"), [(PRIVATE, True), (ComputedRadiographyImageStorage, False)]
)
def test_what_cannot_be_moved_is_missed_if_it_may_be_a_radiograph(
    site, tmp_path, datasets, sop_class, comes
):
    odd = object_beside(sop_class, transfer_syntax=JPEG2000Lossless)
    archive = DimseArchive({UID: [*datasets, odd]})
    archive.destinations["PNEUMO"] = site.settings.listen_port
    site.listen()
    with serve_dimse_archive(archive):
        node = dimse_node(site, tmp_path, archive, "c-move")
        key = node.order(UID)
        taken = node.claim(key)
        if not comes:
            with pytest.raises(Transient, match="gave 3 of 4 images"):
                node.retriever.ensure_images(taken)
            return
        assert len(node.retriever.ensure_images(taken).instances) == 3
    assert fetch_detail(site)["missing"] == {"NOT_GIVEN": 1}
    assert site.one("SELECT expected_instances FROM study_origin") == 4


@pytest.mark.parametrize("says", [{}, {"says_versions": False}, {"says_classes": False}])
def test_results_of_another_installation_are_not_missed(site, tmp_path, datasets, says):
    """Our listener drops them, so they are in the archive's count and nowhere here."""
    archive = archive_moving_to_us(site, [*datasets, *results_of_another_installation()], **says)
    with serve_dimse_archive(archive, sends=SENT):
        node = dimse_node(site, tmp_path, archive, "c-move")
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
    archive = archive_moving_to_us(site, [*datasets, picture])
    with serve_dimse_archive(archive):  # it cannot send a Secondary Capture
        _, error = failed_dimse_fetch(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")


def test_a_study_of_nothing_but_results_is_not_there_and_keeps_nobody_waiting(site, tmp_path):
    archive = archive_moving_to_us(site, results_of_another_installation())
    with serve_dimse_archive(archive, sends=SENT):
        node, error = failed_dimse_fetch(site, tmp_path, archive, "c-move")
    assert (type(error), error.code) == (Rejected, "STUDY_NOT_IN_ARCHIVE")
    assert node.conditions() == {}
