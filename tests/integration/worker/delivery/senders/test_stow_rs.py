"""Results by STOW-RS to a real HTTP server that answers as the test says."""

from __future__ import annotations

import email
import email.policy
import io
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest

from db.values.deliveries import SentObject
from tests.builders.certificates import make_authority, make_certificate
from worker.delivery.errors import DestinationFailed
from worker.delivery.render import RenderedObject
from worker.delivery.send import DeliveryEnd
from worker.delivery.senders.stow_rs import MultipartObjects, StowRsSender
from worker.peers.peers_file import Peer


class Web(ThreadingHTTPServer):
    """A STOW-RS service: what it was sent, and what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.name = f"web-{self.server_port}"
        self.answers: list[tuple[int, object]] = []
        self.received: list[pydicom.Dataset] = []
        self.requests: list[tuple[str, str | None]] = []

    def table(self, **more) -> str:
        scheme = more.pop("scheme", "http")
        values = {
            "dicomweb": f"{scheme}://127.0.0.1:{self.server_port}/dicom-web/",
            "results": "stow-rs",
            **{key: str(value) for key, value in more.items()},
        }
        return "\n".join([f"[{self.name}]", *(f'{k} = "{v}"' for k, v in values.items())])


class Answering(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        parts = [part.get_payload(decode=True) for part in message.iter_parts()]
        self.server.received += [pydicom.dcmread(io.BytesIO(part)) for part in parts]
        self.server.requests.append((self.path, self.headers["Authorization"]))
        uids = [pydicom.dcmread(io.BytesIO(part)).SOPInstanceUID for part in parts]
        status, answer = self.server.answers.pop(0) if self.server.answers else (200, stored)
        answer = answer(uids) if callable(answer) else answer
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture
def web():
    server = Web()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def items(sequence: str, uids, tag: str | None = None, value: object = None) -> dict:
    """A sequence of the answer's (PS3.18 annex I.2)."""
    more = {} if tag is None else {tag: {"vr": "US", "Value": [value]}}
    named = [{"00081155": {"vr": "UI", "Value": [str(uid)]}} | more for uid in uids]
    return {sequence: {"vr": "SQ", "Value": named}}


def stored(uids, **more) -> dict:
    return items("00081199", uids)


def stored_with(warning: int):
    return lambda uids: items("00081199", uids, "00081196", warning)


def failed(*reasons: object):
    """The last objects failed for these reasons, and the first ones were stored."""

    def answer(uids) -> dict:
        last = list(uids)[-len(reasons) :]
        found = [
            items("00081198", [uid], reason and "00081197", reason)["00081198"]["Value"][0]
            for uid, reason in zip(last, reasons, strict=True)
        ]
        return stored(uids[: -len(reasons)]) | {"00081198": {"vr": "SQ", "Value": found}}

    return answer


def failed_otherwise(uids) -> dict:
    other = {"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC122]}}]}}
    return stored(uids) | other


def test_all_objects_go_in_one_request(sender, web, tmp_path):
    sender.destinations(web.table())
    key = sender.study(tmp_path, images=2)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert web.requests == [("/dicom-web/studies", None)]
    assert [dataset.Modality for dataset in web.received] == ["SR", "OT", "OT"]
    assert sender.states(key) == ["sent"]


@pytest.mark.parametrize(
    ("answer", "end", "code"),
    [
        ((202, stored_with(0xB007)), "sent", None),
        ((409, failed(0x0111, 0x0111)), "sent", None),
        ((202, failed(0x0111)), "sent", None),
        ((200, b""), "sent", None),
        ((202, failed(0xA700)), "put_off", "DESTINATION_FAILS"),
        ((409, failed("43264", "43264")), "put_off", None),
        ((202, failed(None)), "put_off", None),
        ((409, failed(None)), "put_off", None),
        ((202, failed_otherwise), "put_off", None),
        ((202, lambda uids: stored(uids[:1])), "put_off", "DESTINATION_FAILS"),
        ((202, {}), "put_off", "DESTINATION_FAILS"),
        ((202, b"<NativeDicomModel/>"), "put_off", "DESTINATION_FAILS"),
        ((200, b"<html>Sign in</html>"), "put_off", "DESTINATION_FAILS"),
        ((200, {"00081199": "?"}), "put_off", "DESTINATION_FAILS"),
        ((503, {}), "put_off", "DESTINATION_FAILS"),
        ((429, {}), "put_off", "DESTINATION_FAILS"),
        ((401, {}), "put_off", "DESTINATION_REFUSES"),
        ((404, {}), "put_off", "DESTINATION_REFUSES"),
        ((302, {}), "put_off", "DESTINATION_REFUSES"),
        ((202, failed(0xC000)), "put_off", None),
        ((400, {}), "put_off", None),
    ],
)  # fmt: skip
def test_what_the_answer_means(sender, web, tmp_path, answer, end, code):
    """`code`: of the destination; None if it is well and refuses this result alone."""
    web.answers = [answer]
    sender.destinations(web.table())
    key = sender.study(tmp_path)
    assert [e.value for e in sender.deliver()] == [end]
    assert sender.wrong(web) == code
    if end == "put_off":
        (row,) = sender.deliveries(key)
        assert row["error_code"] == (code or "DESTINATION_REFUSES_RESULT")
        assert sender.deliver() == [DeliveryEnd.SENT]
    assert sender.states(key) == ["sent"]


def test_a_token_is_read_at_each_use(sender, web, tmp_path):
    authority = make_authority(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "web", authority))
    web.socket = context.wrap_socket(web.socket, server_side=True)
    token = tmp_path / "token"
    sender.destinations(web.table(scheme="https", token_file=token, authorities=authority[0]))
    sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(web) == "DESTINATION_TOKEN"
    for unusable in (b"", b"two\nlines", b"\xff"):
        token.write_bytes(unusable)
        assert sender.deliver() == [DeliveryEnd.PUT_OFF]
        assert sender.wrong(web) == "DESTINATION_TOKEN"
    token.write_text("first\n")
    assert sender.deliver() == [DeliveryEnd.SENT]
    token.write_text("second\n")
    sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.SENT]
    assert [sent for _, sent in web.requests] == ["Bearer first", "Bearer second"]


def test_a_server_that_we_do_not_trust_gets_nothing(sender, web, tmp_path):
    strangers, ours = (make_authority(tmp_path, name) for name in ("strangers", "ours"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "web", strangers))
    web.socket = context.wrap_socket(web.socket, server_side=True)
    sender.destinations(web.table(scheme="https", authorities=ours[0]))
    sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(web) == "DESTINATION_CERTIFICATE"
    assert web.requests == []


def test_one_that_wants_our_certificate_gets_it(sender, web, tmp_path):
    authority = make_authority(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "web", authority))
    context.load_verify_locations(authority[0])
    context.verify_mode = ssl.CERT_REQUIRED
    web.socket = context.wrap_socket(web.socket, server_side=True)
    table = {"scheme": "https", "authorities": authority[0]}
    sender.destinations(web.table(**table))
    sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(web) == "DESTINATION_CERTIFICATE"
    certificate, key = make_certificate(tmp_path, "us", authority)
    sender.destinations(web.table(**table, certificate=certificate, key=key))
    assert sender.deliver() == [DeliveryEnd.SENT]


@pytest.fixture
def door():
    """A server by hand: what it is told, until it has answered."""
    server = socket.create_server(("127.0.0.1", 0))
    yield server
    server.close()


def objects_of(size: int) -> list[RenderedObject]:
    sent = SentObject(sop_class_uid="1", sop_instance_uid="2", series_instance_uid="3", sha256="4")
    return [RenderedObject(dataset=pydicom.Dataset(), content=bytes(size), sent=sent)]


def peer_at(door) -> Peer:
    url = f"http://127.0.0.1:{door.getsockname()[1]}/"
    return Peer(name="web", dicomweb=url, results="stow-rs")


def test_nothing_at_all_is_said_before_it_is_sent(sender, door):
    with StowRsSender(peer_at(door), sender.runtime).open(objects_of(9)):
        connection, _ = door.accept()
    with connection:
        assert connection.recv(1) == b""


def test_a_refusal_is_heard_while_we_still_send(sender, door):
    """As of a token that is judged by the head alone: the destination is to be told why."""

    def refuse():
        connection, _ = door.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    objects = objects_of(50_000_000)
    with (
        pytest.raises(DestinationFailed) as met,
        StowRsSender(peer_at(door), sender.runtime).open(objects) as session,
    ):
        session.send(objects, lambda: None)
    thread.join()
    assert met.value.code == "DESTINATION_REFUSES"


def test_the_length_of_a_request_is_that_of_its_body():
    body = MultipartObjects([*objects_of(7), *objects_of(0)])
    assert len(body) == len(b"".join(body))


def test_one_that_is_away_gets_it_later(sender, web, tmp_path):
    sender.destinations(web.table().replace(f":{web.server_port}/", ":1/"))
    key = sender.study(tmp_path)
    assert sender.deliver() == [DeliveryEnd.PUT_OFF]
    assert sender.wrong(web) == "DESTINATION_AWAY"
    assert sender.deliveries(key)[0]["begun_at"] is None, "it cannot have got anything"
    sender.destinations(web.table())
    assert sender.deliver() == [DeliveryEnd.SENT]
