"""A worker fetches what it lacks: it waits for archives and disks, and keeps what was judged."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from db.vocabulary.enums import Lane, Priority
from db.vocabulary.errors import StaleClaim
from tests.builders.dicom import make_study
from tests.builders.fetching_node import FetchingNode, change_settings
from tests.builders.retrieval import UID, answer_status, web_node
from tests.builders.waiting import scaled
from worker.errors import Postponed, Rejected, Transient, Unavailable
from worker.intake.accept import accept_study
from worker.pipeline.failures import FailureOutcome


def test_an_archive_that_is_away_is_waited_for_and_never_parks_a_study(site, tmp_path, archive):
    change_settings(site, max_retries=0)
    archive.behave = answer_status(503)
    node = web_node(site, tmp_path, archive)
    key, other = node.order(UID), node.order("1.2.3.8")
    for attempt in (1, 2, 3):
        taken = node.claim(key)
        with pytest.raises(Unavailable) as met:
            node.retriever.ensure_images(taken)
        assert met.value.wait_s > 0
        assert node.settle(taken, met.value) is FailureOutcome.RETRY
        found = node.study(key)
        assert (found["state"], found["retries"], found["attempts"]) == ("accepted", 0, attempt)
        assert found["error_code"] == "ARCHIVE_AWAY"
    assert len(archive.asked) < 4, "an archive that failed is left alone for a while"

    asked = len(archive.asked)
    node.retriever._breaker.record_failure(
        Unavailable("ARCHIVE_AWAY", met.value.sentence, subject=met.value.subject)
    )
    with pytest.raises(Unavailable):
        node.retriever.ensure_images(node.claim(other))
    assert len(archive.asked) == asked, "nor is it asked for another study meanwhile"
    assert node.conditions() == {"archive web": "ARCHIVE_AWAY"}

    archive.behave = lambda _: False
    again = FetchingNode(site)
    assert len(again.fetch(key).instances) == 3
    assert again.conditions() == {}


def test_a_disk_without_room_is_waited_for_and_never_parks_a_study(site, tmp_path, archive):
    enough = site.settings.disk_refuse_free
    change_settings(site, max_retries=0, disk_refuse_free="100%")
    node = web_node(site, tmp_path, archive)
    key = node.order(UID)
    for attempt in (1, 2, 3):
        taken = node.claim(key)
        with pytest.raises(Unavailable) as met:
            node.retriever.ensure_images(taken)
        assert met.value.wait_s > 0
        assert "wait and are fetched automatically" in met.value.sentence
        assert node.settle(taken, met.value) is FailureOutcome.RETRY
        found = node.study(key)
        assert (found["state"], found["retries"], found["attempts"]) == ("accepted", 0, attempt)
    assert archive.asked == []
    node.retriever.disk.run_once()
    assert node.conditions() == {"fetching disk": "DISK_NEARLY_FULL"}

    change_settings(site, disk_refuse_free=enough)
    again = FetchingNode(site)
    assert len(again.fetch(key).instances) == 3
    assert again.conditions() != {}, "the other node's disk may be another"
    with site.database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE site_condition SET seen_at = '2020-01-01 00:00:00.000000'"
        )
    again.retriever.disk.run_once()
    assert again.conditions() == {}, "nobody tells it any more"


def test_a_disk_that_fails_under_a_fetch_is_waited_for(site, tmp_path, archive):
    change_settings(site, max_retries=0, retry_base_s=1e-6, retry_ceiling_s=1e-6)
    node = web_node(site, tmp_path, archive)
    key = node.order(UID)
    taken = node.claim(key)
    node.storage.folder.parent.mkdir(parents=True, exist_ok=True)
    node.storage.folder.write_bytes(b"no folder")
    with pytest.raises(Unavailable, match="DISK_ERROR") as met:
        node.retriever.ensure_images(taken)
    assert node.settle(taken, met.value) is FailureOutcome.RETRY
    node.retriever.disk.run_once()
    assert node.conditions() == {"fetching disk": "DISK_ERROR"}
    node.storage.folder.unlink()
    node.retriever.disk.run_once()
    assert node.conditions() == {}
    assert len(node.fetch(key).instances) == 3


def test_a_worker_makes_no_folder_where_the_listener_s_should_be(site, tmp_path, archive):
    """A mount that is missing after a start: senders would be told yes again, for the wrong disk."""
    accept_study(make_study(tmp_path / "a", 1), database=site.database, site=site.settings)
    intake, elsewhere = site.settings.intake_dir, tmp_path / "mounted elsewhere"
    intake.rename(elsewhere)
    change_settings(site, max_retries=0, retry_base_s=1e-6, retry_ceiling_s=1e-6)
    node = web_node(site, tmp_path, archive)
    key = node.order(UID)
    taken = node.claim(key)
    with pytest.raises(Unavailable, match=r"INTAKE_FOLDER_MISSING: .*PNEUMO_OWN_DISK=true") as met:
        node.retriever.ensure_images(taken)
    node.retriever.disk.run_once()
    assert not intake.exists()
    assert node.conditions() == {"fetching disk": "INTAKE_FOLDER_MISSING"}
    assert node.settle(taken, met.value) is FailureOutcome.RETRY

    elsewhere.rename(intake)
    node.retriever.disk.run_once()
    assert node.conditions() == {}
    assert len(node.fetch(key).instances) == 3


def test_a_node_with_a_disk_of_its_own_may_join_later(site, tmp_path, archive):
    accept_study(make_study(tmp_path / "a", 1), database=site.database, site=site.settings)
    change_settings(site, state_dir=tmp_path / "node", own_disk=True)
    node = web_node(site, tmp_path, archive)
    taken = node.fetch(node.order(UID))
    assert len(taken.instances) == 3
    assert node.storage.path_of(taken.instances[0].file_name).is_relative_to(tmp_path / "node")


def test_what_one_study_meets_alone_is_parked_in_the_end(site, tmp_path, archive):
    change_settings(site, max_retries=0)
    archive.behave = answer_status(500)
    node = web_node(site, tmp_path, archive)
    key = node.order(UID)
    taken = node.claim(key)
    with pytest.raises(Transient) as met:
        node.retriever.ensure_images(taken)
    assert node.settle(taken, met.value) is FailureOutcome.PARKED
    assert node.study(key)["error_code"] == "RETRIEVE_FAILED"


def test_a_worker_whose_file_of_peers_lacks_the_archive_waits(site, tmp_path, archive):
    node = web_node(site, tmp_path, archive)
    taken = node.claim(node.order(UID))
    site.settings.peers.write_text("")
    with pytest.raises(Unavailable, match="PEER_UNKNOWN"):
        node.retriever.ensure_images(taken)
    assert node.conditions() == {"archive web": "PEER_UNKNOWN"}


def test_a_claim_that_was_lost_meanwhile_writes_nothing(site, tmp_path, archive):
    node = web_node(site, tmp_path, archive)
    taken = node.claim(node.order(UID))

    def takes_over(request):
        with node.database.transaction() as session:
            session.connection().exec_driver_sql("UPDATE study SET attempts = attempts + 1")
        return False

    archive.behave = takes_over
    with pytest.raises(StaleClaim):
        node.retriever.ensure_images(taken)
    assert site.one("SELECT count(*) FROM instance") == 0


def test_a_slow_archive_leaves_threads_to_others_and_stat_passes(site, tmp_path, archive, files):
    """Of two threads one may fetch; the archive answers no routine study until it is let go."""
    asked, go = threading.Semaphore(0), threading.Event()

    def slow(request):
        asked.release()
        if request.path.endswith(UID):
            assert go.wait(scaled(30))
        return False

    archive.behave = slow
    stat_uid = "1.2.3.70"
    archive.files[stat_uid] = [
        it.read_bytes() for it in make_study(tmp_path, 1, study_instance_uid=stat_uid)
    ]
    change_settings(site, fetches_at_once=1, max_retries=0)
    node = web_node(site, tmp_path, archive)
    first = node.claim(node.order(UID))
    # Routine all the same, though it goes through the other lane for having waited long.
    second = replace(node.claim(node.order("1.2.3.8")), lane=Lane.STAT)
    stat = node.claim(node.order(stat_uid, priority=Priority.STAT))
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(node.retriever.ensure_images, first)
        try:
            assert asked.acquire(timeout=scaled(30))
            with pytest.raises(Postponed) as met:
                node.retriever.ensure_images(second)
            assert len(node.retriever.ensure_images(stat).instances) == 1
        finally:
            go.set()
        assert len(fetching.result().instances) == 3
    del archive.files[stat_uid]
    assert node.settle(second, met.value) is FailureOutcome.RETRY
    found = node.study(second.study_key)
    assert (found["state"], found["retries"], found["error_code"]) == ("accepted", 0, None)
    outcomes = "SELECT outcome FROM inference_run WHERE study_id = :id"
    assert site.rows(outcomes, id=second.study_id) == [("released",)]
    assert second.study_key not in node.due(), "it comes when it is its turn"
    with pytest.raises(Rejected, match="STUDY_NOT_IN_ARCHIVE"):
        node.retriever.ensure_images(node.claim(second.study_key))


def changed(files, tag: bytes, new: bytes) -> list[bytes]:
    assert all(tag in file for file in files)
    assert len(tag) == len(new)
    return [file.replace(tag, new) for file in files]


def test_what_was_corrected_in_the_archive_takes_the_place_of_what_is_gone(
    site, tmp_path, archive, files
):
    first = web_node(site, tmp_path, archive)
    key = first.order(UID)
    taken = first.fetch(key)
    first.settle(taken, OSError())
    archive.files[UID] = changed(files, b"TEST^BUILDER", b"REAL^BUILDER")

    other = FetchingNode(site, tmp_path / "other-disk")
    again = other.fetch(key)

    kept = [other.storage.path_of(i.file_name).read_bytes() for i in again.instances]
    assert kept == archive.files[UID]
    assert [i.id for i in again.instances] == [i.id for i in taken.instances]
    assert first.events(key)[-1] == "study_fetched"


def test_what_was_judged_is_not_exchanged_for_other_bytes(site, tmp_path, archive, files):
    first = web_node(site, tmp_path, archive)
    key = first.order(UID)
    first.settle(first.fetch(key), OSError())
    with first.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE instance SET state = 'predicted'")
    archive.files[UID] = changed(files, b"TEST^BUILDER", b"REAL^BUILDER")

    other = FetchingNode(site, tmp_path / "other-disk")
    with pytest.raises(Rejected, match="FETCHED_OTHERWISE"):
        other.fetch(key)
