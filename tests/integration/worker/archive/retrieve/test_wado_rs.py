"""Studies by WADO-RS: as they are, and every way in which a server can fail us."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from db.vocabulary.enums import Lane, Priority
from db.vocabulary.errors import StaleClaim
from tests.builders.dicom import make_study
from tests.builders.fetching_node import Node, with_peers, with_settings
from tests.builders.web_archive import (
    WebArchive,
    make_certificate,
    send_json,
    send_multipart,
    serving,
    tls_server,
)
from worker.errors import PneumoError, Postponed, Rejected, Transient, Unavailable
from worker.intake.accept import accept_study
from worker.pipeline.failures import FailureOutcome

UID = "1.2.3.7"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return [path.read_bytes() for path in make_study(folder, 3, study_instance_uid=UID)]


@pytest.fixture
def archive(files):
    with serving(WebArchive({UID: files})) as served:
        yield served


def node_at(site, folder, archive, *lines: str) -> Node:
    says = "\n".join(('retrieve = "wado-rs"', *lines))
    with_peers(site, folder, f'[web]\ndicomweb = "{archive.url}/"\n{says}\n')
    return Node(site)


def failing(site, folder, archive, *lines: str) -> tuple[Node, PneumoError]:
    """What a fetch of our study fails with."""
    node = node_at(site, folder, archive, *lines)
    return node, node.failure_of(UID)


def test_every_byte_is_kept_as_it_came(site, tmp_path, archive, files):
    node = node_at(site, tmp_path, archive)
    taken = node.fetch(node.order(UID))
    kept = [node.storage.path_of(i.file_name).read_bytes() for i in taken.instances]
    assert kept == files
    assert archive.asked == [f"/web/studies/{UID}"]


def test_by_its_address_alone(site, tmp_path, archive):
    node = Node(site)
    key = node.order(UID, dicomweb=archive.url)
    assert len(node.fetch(key).instances) == 3
    assert site.rows("SELECT peer, base_url FROM study_origin") == [(None, archive.url)]


def test_the_address_of_a_peer_means_the_peer(site, tmp_path, archive):
    node = node_at(site, tmp_path, archive)
    node.order(UID, dicomweb=archive.url)
    assert site.rows("SELECT peer, base_url FROM study_origin") == [("web", None)]


def test_ordering_again_changes_nothing(site, tmp_path, archive):
    node = node_at(site, tmp_path, archive)
    key = node.order(UID)
    node.fetch(key)
    assert node.order(UID) == key
    assert node.due() == []
    assert len(archive.asked) == 1


def test_a_single_image_need_not_be_wrapped(site, tmp_path, archive, files):
    def bare(request):
        request.send_response(200)
        request.send_header("Content-Type", "application/dicom")
        request.send_header("Content-Length", str(len(files[0])))
        request.end_headers()
        request.wfile.write(files[0])
        return True

    archive.behave = bare
    node = node_at(site, tmp_path, archive)
    assert len(node.fetch(node.order(UID)).instances) == 1


# --- what does not come --------------------------------------------------------------------------


def status(code):
    def answer(request):
        request.send_response(code)
        request.send_header("Content-Length", "0")
        if code == 302:
            request.send_header("Location", "http://127.0.0.1:1/elsewhere")
        request.end_headers()
        return True

    return answer


@pytest.mark.parametrize(
    ("code", "kind", "means"),
    [
        (401, Unavailable, "ARCHIVE_REFUSES_US"),
        (403, Unavailable, "ARCHIVE_REFUSES_US"),
        (503, Unavailable, "ARCHIVE_AWAY"),
        (429, Unavailable, "ARCHIVE_AWAY"),
        (404, Rejected, "STUDY_NOT_IN_ARCHIVE"),
        (204, Rejected, "STUDY_NOT_IN_ARCHIVE"),
        (500, Transient, "RETRIEVE_FAILED"),
        (206, Transient, "RETRIEVE_FAILED"),
        (302, Transient, "RETRIEVE_FAILED"),
    ],
)
def test_each_status_says_whose_fault_it_is(site, tmp_path, archive, code, kind, means):
    archive.behave = status(code)
    node, error = failing(site, tmp_path, archive)
    assert (type(error), error.code) == (kind, means)
    assert node.conditions() == ({"archive web": means} if kind is Unavailable else {})
    assert UID not in error.sentence
    assert "127.0.0.1" not in error.sentence


@pytest.mark.parametrize("length", [True, False])
def test_an_answer_that_breaks_off_is_not_taken_for_a_study(site, tmp_path, archive, files, length):
    """The cut goes through the last image: without the closing delimiter it looks like one."""

    def cut(request):
        send_multipart(request, files, only=sum(map(len, files)), length=length)
        return True

    archive.behave = cut
    node, error = failing(site, tmp_path, archive)
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")
    assert "gave 2 image(s), then broke off" in error.sentence
    assert site.one("SELECT count(*) FROM instance") == 0
    assert node.conditions() == {}


def test_a_connection_that_breaks_before_the_first_image_is_the_archives_fault(
    site, tmp_path, archive, files
):
    archive.behave = lambda request: send_multipart(request, files, only=500) or True
    _, error = failing(site, tmp_path, archive)
    assert error.code == "ARCHIVE_AWAY"


def test_fewer_images_than_it_counts_are_not_taken_for_a_study(site, tmp_path, archive):
    archive.counts[UID] = 4
    _, error = failing(site, tmp_path, archive, 'count = "qido-rs"')
    assert error.code == "RETRIEVE_INCOMPLETE"
    assert "gave 3 of 4 images" in error.sentence
    archive.counts.clear()


def test_a_count_that_fits_closes_the_study(site, tmp_path, archive):
    node = node_at(site, tmp_path, archive, 'count = "qido-rs"')
    key = node.order(UID)
    node.fetch(key)
    assert node.study(key)["closed_by"] == "pacs_count"
    assert site.one("SELECT expected_instances FROM study_origin") == 3


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        (lambda request: send_json(request, {"error": "no"}), "RETRIEVE_FAILED"),
        (lambda request: send_multipart(request, [b"no DICOM at all"]), "NOT_DICOM"),
        (lambda request: send_multipart(request, []), "STUDY_NOT_IN_ARCHIVE"),
    ],
)
def test_an_answer_of_another_kind(site, tmp_path, archive, answer, means):
    archive.behave = lambda request: answer(request) or True
    _, error = failing(site, tmp_path, archive)
    assert error.code == means


def test_another_study_than_was_asked_for(site, tmp_path, archive):
    stranger = [path.read_bytes() for path in make_study(tmp_path / "other", 1)]
    archive.behave = lambda request: send_multipart(request, stranger) or True
    _, error = failing(site, tmp_path, archive)
    assert (type(error), error.code) == (Rejected, "OTHER_STUDY")
    assert site.kept() == []


def test_a_header_that_cannot_be_read_refuses_itself_alone(site, tmp_path, archive, files):
    """Among images of the study: nonsense, and an image that was moved here from another."""
    stranger = make_study(tmp_path / "other", 1)[0].read_bytes()
    archive.files[UID] = [files[0], b"no DICOM at all", stranger, *files[1:]]
    archive.counts[UID] = 5
    node = node_at(site, tmp_path, archive, 'count = "qido-rs"')
    try:
        key = node.order(UID)
        taken = node.fetch(key)
    finally:
        archive.files[UID] = files
    kept = [node.storage.path_of(i.file_name).read_bytes() for i in taken.instances]
    assert kept == files
    assert site.one("SELECT expected_instances FROM study_origin") == 5
    assert node.study(key)["closed_by"] == "sender", "nobody may take it for complete"
    detail = site.one("SELECT detail FROM audit_record WHERE event = 'study_fetched'")
    assert json.loads(str(detail))["missing"] == {"NOT_DICOM": 1, "OTHER_STUDY": 1}


def test_a_trickle_ends_at_the_deadline(site, tmp_path, archive, files):
    def trickle(request):
        request.send_response(200)
        request.send_header("Content-Type", "multipart/related; boundary=the-boundary")
        request.end_headers()
        for _ in range(500):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.02)
        return True

    archive.behave = trickle
    with_settings(site, study_limit_s=0.4)
    _, error = failing(site, tmp_path, archive)
    assert error.code == "RETRIEVE_FAILED"
    assert "takes too long" in error.sentence


def test_silence_is_an_archive_that_is_away(site, tmp_path, archive):
    archive.behave = lambda _: time.sleep(1.0) or True
    with_settings(site, archive_timeout_s=0.2)
    _, error = failing(site, tmp_path, archive)
    assert error.code == "ARCHIVE_AWAY"
    assert "in time" in error.sentence


# --- waiting -------------------------------------------------------------------------------------


def test_an_archive_that_is_away_is_waited_for_and_never_parks_a_study(site, tmp_path, archive):
    with_settings(site, max_retries=0)
    archive.behave = status(503)
    node = node_at(site, tmp_path, archive)
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
    again = Node(site)
    assert len(again.fetch(key).instances) == 3
    assert again.conditions() == {}


def test_a_disk_without_room_is_waited_for_and_never_parks_a_study(site, tmp_path, archive):
    enough = site.settings.disk_refuse_free
    with_settings(site, max_retries=0, disk_refuse_free="100%")
    node = node_at(site, tmp_path, archive)
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

    with_settings(site, disk_refuse_free=enough)
    again = Node(site)
    assert len(again.fetch(key).instances) == 3
    assert again.conditions() != {}, "the other node's disk may be another"
    with site.database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE site_condition SET seen_at = '2020-01-01 00:00:00.000000'"
        )
    again.retriever.disk.run_once()
    assert again.conditions() == {}, "nobody tells it any more"


def test_a_disk_that_fails_under_a_fetch_is_waited_for(site, tmp_path, archive):
    with_settings(site, max_retries=0, retry_base_s=1e-6, retry_ceiling_s=1e-6)
    node = node_at(site, tmp_path, archive)
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
    with_settings(site, max_retries=0, retry_base_s=1e-6, retry_ceiling_s=1e-6)
    node = node_at(site, tmp_path, archive)
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
    with_settings(site, state_dir=tmp_path / "node", own_disk=True)
    node = node_at(site, tmp_path, archive)
    taken = node.fetch(node.order(UID))
    assert len(taken.instances) == 3
    assert node.storage.path_of(taken.instances[0].file_name).is_relative_to(tmp_path / "node")


def test_what_one_study_meets_alone_is_parked_in_the_end(site, tmp_path, archive):
    with_settings(site, max_retries=0)
    archive.behave = status(500)
    node = node_at(site, tmp_path, archive)
    key = node.order(UID)
    taken = node.claim(key)
    with pytest.raises(Transient) as met:
        node.retriever.ensure_images(taken)
    assert node.settle(taken, met.value) is FailureOutcome.PARKED
    assert node.study(key)["error_code"] == "RETRIEVE_FAILED"


def test_a_worker_whose_file_of_peers_lacks_the_archive_waits(site, tmp_path, archive):
    node = node_at(site, tmp_path, archive)
    taken = node.claim(node.order(UID))
    site.settings.peers.write_text("")
    with pytest.raises(Unavailable, match="PEER_UNKNOWN"):
        node.retriever.ensure_images(taken)
    assert node.conditions() == {"archive web": "PEER_UNKNOWN"}


def test_a_claim_that_was_lost_meanwhile_writes_nothing(site, tmp_path, archive):
    node = node_at(site, tmp_path, archive)
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
            assert go.wait(30)
        return False

    archive.behave = slow
    stat_uid = "1.2.3.70"
    archive.files[stat_uid] = [
        it.read_bytes() for it in make_study(tmp_path, 1, study_instance_uid=stat_uid)
    ]
    with_settings(site, fetches_at_once=1, max_retries=0)
    node = node_at(site, tmp_path, archive)
    first = node.claim(node.order(UID))
    # Routine all the same, though it goes through the other lane for having waited long.
    second = replace(node.claim(node.order("1.2.3.8")), lane=Lane.STAT)
    stat = node.claim(node.order(stat_uid, priority=Priority.STAT))
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(node.retriever.ensure_images, first)
        try:
            assert asked.acquire(timeout=30)
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


# --- again, elsewhere ----------------------------------------------------------------------------


def changed(files, tag: bytes, new: bytes) -> list[bytes]:
    assert all(tag in file for file in files)
    assert len(tag) == len(new)
    return [file.replace(tag, new) for file in files]


def test_what_was_corrected_in_the_archive_takes_the_place_of_what_is_gone(
    site, tmp_path, archive, files
):
    first = node_at(site, tmp_path, archive)
    key = first.order(UID)
    taken = first.fetch(key)
    first.settle(taken, OSError())
    archive.files[UID] = changed(files, b"TEST^BUILDER", b"REAL^BUILDER")

    other = Node(site, tmp_path / "other-disk")
    again = other.fetch(key)

    kept = [other.storage.path_of(i.file_name).read_bytes() for i in again.instances]
    assert kept == archive.files[UID]
    assert [i.id for i in again.instances] == [i.id for i in taken.instances]
    assert first.events(key)[-1] == "study_fetched"


def test_what_was_judged_is_not_exchanged_for_other_bytes(site, tmp_path, archive, files):
    first = node_at(site, tmp_path, archive)
    key = first.order(UID)
    first.settle(first.fetch(key), OSError())
    with first.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE instance SET state = 'predicted'")
    archive.files[UID] = changed(files, b"TEST^BUILDER", b"REAL^BUILDER")

    other = Node(site, tmp_path / "other-disk")
    with pytest.raises(Rejected, match="FETCHED_OTHERWISE"):
        other.fetch(key)


# --- who we are, and who they are ----------------------------------------------------------------


def test_a_bearer_token_is_shown_and_may_be_renewed(site, tmp_path, files):
    certificate, key = make_certificate(tmp_path, "pacs")
    token = tmp_path / "web.token"
    token.write_text("old\n")
    served = WebArchive({UID: files}, token="t0ken")
    with serving(served, tls_server(certificate, key)):
        says = ('token_file = "web.token"', 'authorities = "pacs.pem"')
        node, error = failing(site, tmp_path, served, *says)
        assert error.code == "ARCHIVE_REFUSES_US"
        token.write_text("t0ken\n")
        (study_key,) = site.rows("SELECT study_key FROM study")[0]
        node.settle(node.held(study_key), error)
        assert len(Node(site).fetch(study_key).instances) == 3
    assert "t0ken" not in error.sentence


def test_a_token_that_cannot_be_read(site, tmp_path, files):
    certificate, key = make_certificate(tmp_path, "pacs")
    with serving(WebArchive({UID: files}), tls_server(certificate, key)) as served:
        _, error = failing(
            site, tmp_path, served, 'token_file = "none"', 'authorities = "pacs.pem"'
        )
    assert (type(error), error.code) == (Unavailable, "TOKEN_FILE_UNREADABLE")


@pytest.mark.parametrize(
    ("address", "trusted", "reason"),
    [
        ("127.0.0.1", "other.pem", "signed by"),
        ("127.0.0.2", "pacs.pem", "for another address"),
    ],
)
def test_a_certificate_other_than_expected(site, tmp_path, files, address, trusted, reason):
    certificate, key = make_certificate(tmp_path, "pacs", address)
    make_certificate(tmp_path, "other")
    with serving(WebArchive({UID: files}), tls_server(certificate, key)) as served:
        node, error = failing(site, tmp_path, served, f'authorities = "{trusted}"')
    assert (type(error), error.code) == (Unavailable, "ARCHIVE_CERTIFICATE")
    assert reason in error.sentence
    assert node.conditions() == {"archive web": "ARCHIVE_CERTIFICATE"}
    assert served.asked == []


def test_a_certificate_of_ours_opens_what_asks_for_one(site, tmp_path, files):
    server, client = make_certificate(tmp_path, "pacs"), make_certificate(tmp_path, "ours")
    context = tls_server(*server, client=client[0])
    with serving(WebArchive({UID: files}), context) as served:
        node, error = failing(site, tmp_path, served, 'authorities = "pacs.pem"')
        assert error.code in {"ARCHIVE_CERTIFICATE", "ARCHIVE_AWAY"}
        assert served.asked == []
        says = ('authorities = "pacs.pem"', 'certificate = "ours.pem"', 'key = "ours.key"')
        (study_key,) = site.rows("SELECT study_key FROM study")[0]
        node.settle(node.held(study_key), error)
        assert len(node_at(site, tmp_path, served, *says).fetch(study_key).instances) == 3
