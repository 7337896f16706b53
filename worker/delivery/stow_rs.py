"""A result by STOW-RS (PS3.18 10.5): one request with every object, and what the answer says."""

from __future__ import annotations

import http.client
import secrets
import ssl
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from worker.delivery.connecting import CONNECT_WITHIN_S, context_for, why_tls_failed
from worker.delivery.made import MadeObject
from worker.delivery.stow_answer import judge
from worker.delivery.trouble import DestinationFailed, away, certificate, fails
from worker.errors import Rejected
from worker.peers import Peer, authorization
from worker.settings import Settings

MOST_OF_AN_ANSWER = 4 * 1024 * 1024


def send_by_web(
    peer: Peer,
    site: Settings,
    objects: Sequence[MadeObject],
    on_connected: Callable[[], bool],
) -> str | None:
    """Post them all; the warning's reason, if there was one.

    `on_connected` is called when the destination is reached, before it gets anything; if it says
    False nothing is sent. Raises DestinationFailed, Rejected DESTINATION_REFUSES_RESULT.
    """
    address = urlsplit(str(peer.dicomweb))
    connection = _connection(address.hostname or "", address.port, address.scheme, peer, site)
    try:
        _connect(connection, peer, site.delivery_timeout_s)
        if not on_connected():
            return None
        status, answer = _post(connection, f"{address.path.rstrip('/')}/studies", objects, peer)
    finally:
        connection.close()
    return judge(status, answer, [made.sent.sop_instance_uid for made in objects], peer.name)


def _connection(
    host: str, port: int | None, scheme: str, peer: Peer, site: Settings
) -> http.client.HTTPConnection:
    within = min(CONNECT_WITHIN_S, site.delivery_timeout_s)
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=within)
    context = context_for(peer, site)
    return http.client.HTTPSConnection(host, port, timeout=within, context=context)


def _connect(connection: http.client.HTTPConnection, peer: Peer, answer_within_s: float) -> None:
    try:
        connection.connect()
        connection.sock.settimeout(answer_within_s)
    except ssl.SSLError as error:
        raise certificate(peer.name, why_tls_failed(error)) from None
    except OSError:
        raise away(peer.name) from None


def _post(
    connection: http.client.HTTPConnection, path: str, objects: Sequence[MadeObject], peer: Peer
) -> tuple[int, bytes]:
    boundary = secrets.token_hex(16)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
        **_authorisation(peer),
    }
    try:
        connection.request("POST", path, _multipart(objects, boundary), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_OF_AN_ANSWER)
    except ssl.SSLError as error:  # with TLS 1.3 our certificate is refused after the handshake
        raise certificate(peer.name, why_tls_failed(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise fails(peer.name, f"no answer, {type(error).__name__}") from None


def _multipart(objects: Sequence[MadeObject], boundary: str) -> bytes:
    """PS3.18 8.6.1.2, one part for each object."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = [head + made.content + b"\r\n" for made in objects]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _authorisation(peer: Peer) -> dict[str, str]:
    try:
        return authorization(peer)
    except Rejected as error:
        raise DestinationFailed(
            "DESTINATION_TOKEN",
            f"{error.sentence} Results wait; correct token_file or its rights.",
        ) from None
