"""Studies by WADO-RS: as they are, and every way in which a server can fail us."""

from __future__ import annotations

import json
import time

import pytest

from tests.builders.certificates import make_self_signed, tls_server
from tests.builders.dicom import make_study
from tests.builders.fetching_node import FetchingNode, change_settings
from tests.builders.retrieval import UID, answer_status, failed_web_fetch, web_node
from tests.builders.web_archive import WebArchive, send_json, send_multipart, serve_web_archive
from worker.errors import Rejected, Transient, Unavailable


def test_every_byte_is_kept_as_it_came(site, tmp_path, archive, files):
    node = web_node(site, tmp_path, archive)
    taken = node.fetch(node.order(UID))
    kept = [node.storage.path_of(i.file_name).read_bytes() for i in taken.instances]
    assert kept == files
    assert archive.asked == [f"/web/studies/{UID}"]


def test_by_its_address_alone(site, tmp_path, archive):
    node = FetchingNode(site)
    key = node.order(UID, dicomweb=archive.url)
    assert len(node.fetch(key).instances) == 3
    assert site.rows("SELECT peer, base_url FROM study_origin") == [(None, archive.url)]


def test_the_address_of_a_peer_means_the_peer(site, tmp_path, archive):
    node = web_node(site, tmp_path, archive)
    node.order(UID, dicomweb=archive.url)
    assert site.rows("SELECT peer, base_url FROM study_origin") == [("web", None)]


def test_ordering_again_changes_nothing(site, tmp_path, archive):
    node = web_node(site, tmp_path, archive)
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
    node = web_node(site, tmp_path, archive)
    assert len(node.fetch(node.order(UID)).instances) == 1


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
    archive.behave = answer_status(code)
    node, error = failed_web_fetch(site, tmp_path, archive)
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
    node, error = failed_web_fetch(site, tmp_path, archive)
    assert (type(error), error.code) == (Transient, "RETRIEVE_INCOMPLETE")
    assert "gave 2 image(s), then broke off" in error.sentence
    assert site.one("SELECT count(*) FROM instance") == 0
    assert node.conditions() == {}


def test_a_connection_that_breaks_before_the_first_image_is_the_archives_fault(
    site, tmp_path, archive, files
):
    archive.behave = lambda request: send_multipart(request, files, only=500) or True
    _, error = failed_web_fetch(site, tmp_path, archive)
    assert error.code == "ARCHIVE_AWAY"


def test_fewer_images_than_it_counts_are_not_taken_for_a_study(site, tmp_path, archive):
    archive.counts[UID] = 4
    _, error = failed_web_fetch(site, tmp_path, archive, 'count = "qido-rs"')
    assert error.code == "RETRIEVE_INCOMPLETE"
    assert "gave 3 of 4 images" in error.sentence
    archive.counts.clear()


def test_a_count_that_fits_closes_the_study(site, tmp_path, archive):
    node = web_node(site, tmp_path, archive, 'count = "qido-rs"')
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
    _, error = failed_web_fetch(site, tmp_path, archive)
    assert error.code == means


def test_another_study_than_was_asked_for(site, tmp_path, archive):
    stranger = [path.read_bytes() for path in make_study(tmp_path / "other", 1)]
    archive.behave = lambda request: send_multipart(request, stranger) or True
    _, error = failed_web_fetch(site, tmp_path, archive)
    assert (type(error), error.code) == (Rejected, "OTHER_STUDY")
    assert site.stored_files() == []


def test_a_header_that_cannot_be_read_refuses_itself_alone(site, tmp_path, archive, files):
    """Among images of the study: nonsense, and an image that was moved here from another."""
    stranger = make_study(tmp_path / "other", 1)[0].read_bytes()
    archive.files[UID] = [files[0], b"no DICOM at all", stranger, *files[1:]]
    archive.counts[UID] = 5
    node = web_node(site, tmp_path, archive, 'count = "qido-rs"')
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
    change_settings(site, study_limit_s=0.4)
    _, error = failed_web_fetch(site, tmp_path, archive)
    assert error.code == "RETRIEVE_FAILED"
    assert "takes too long" in error.sentence


def test_silence_is_an_archive_that_is_away(site, tmp_path, archive):
    archive.behave = lambda _: time.sleep(1.0) or True
    change_settings(site, archive_timeout_s=0.2)
    _, error = failed_web_fetch(site, tmp_path, archive)
    assert error.code == "ARCHIVE_AWAY"
    assert "in time" in error.sentence


def test_a_bearer_token_is_shown_and_may_be_renewed(site, tmp_path, files):
    certificate, key = make_self_signed(tmp_path, "pacs")
    token = tmp_path / "web.token"
    token.write_text("old\n")
    served = WebArchive({UID: files}, token="t0ken")
    with serve_web_archive(served, tls_server(certificate, key)):
        says = ('token_file = "web.token"', 'authorities = "pacs.pem"')
        node, error = failed_web_fetch(site, tmp_path, served, *says)
        assert error.code == "ARCHIVE_REFUSES_US"
        token.write_text("t0ken\n")
        (study_key,) = site.rows("SELECT study_key FROM study")[0]
        node.settle(node.held(study_key), error)
        assert len(FetchingNode(site).fetch(study_key).instances) == 3
    assert "t0ken" not in error.sentence


def test_a_token_that_cannot_be_read(site, tmp_path, files):
    certificate, key = make_self_signed(tmp_path, "pacs")
    with serve_web_archive(WebArchive({UID: files}), tls_server(certificate, key)) as served:
        _, error = failed_web_fetch(
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
    certificate, key = make_self_signed(tmp_path, "pacs", address)
    make_self_signed(tmp_path, "other")
    with serve_web_archive(WebArchive({UID: files}), tls_server(certificate, key)) as served:
        node, error = failed_web_fetch(site, tmp_path, served, f'authorities = "{trusted}"')
    assert (type(error), error.code) == (Unavailable, "ARCHIVE_CERTIFICATE")
    assert reason in error.sentence
    assert node.conditions() == {"archive web": "ARCHIVE_CERTIFICATE"}
    assert served.asked == []


def test_a_certificate_of_ours_opens_what_asks_for_one(site, tmp_path, files):
    server, client = make_self_signed(tmp_path, "pacs"), make_self_signed(tmp_path, "ours")
    context = tls_server(*server, client=client[0])
    with serve_web_archive(WebArchive({UID: files}), context) as served:
        node, error = failed_web_fetch(site, tmp_path, served, 'authorities = "pacs.pem"')
        assert error.code in {"ARCHIVE_CERTIFICATE", "ARCHIVE_AWAY"}
        assert served.asked == []
        says = ('authorities = "pacs.pem"', 'certificate = "ours.pem"', 'key = "ours.key"')
        (study_key,) = site.rows("SELECT study_key FROM study")[0]
        node.settle(node.held(study_key), error)
        assert len(web_node(site, tmp_path, served, *says).fetch(study_key).instances) == 3
