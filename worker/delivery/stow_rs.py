"""A result by STOW-RS (PS3.18 10.5): one request with every object, and what the answer says."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from worker.associations import CONNECT_S, NoAssociation, tls_context, why_tls_failed
from worker.delivery.c_store import DUPLICATE, judged
from worker.delivery.connecting import told
from worker.delivery.made import MadeObject
from worker.delivery.trouble import DestinationFailed, away, certificate, fails, refuses
from worker.errors import Rejected
from worker.peers import Peer, authorization
from worker.settings import Settings

MOST_OF_AN_ANSWER = 4 * 1024 * 1024
FAILED_SOP_SEQUENCE, FAILURE_REASON = "00081198", "00081197"
REFERENCED_SOP_SEQUENCE, WARNING_REASON = "00081199", "00081196"


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
    return _judge(status, answer, peer.name)


def _connection(
    host: str, port: int | None, scheme: str, peer: Peer, site: Settings
) -> http.client.HTTPConnection:
    within = min(CONNECT_S, site.delivery_timeout_s)
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=within)
    try:
        context = tls_context(peer, site)
    except NoAssociation as none:
        raise told(peer, none) from None
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
) -> tuple[int, dict[str, Any]]:
    boundary = secrets.token_hex(16)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
        **_authorisation(peer),
    }
    try:
        connection.request("POST", path, _multipart(objects, boundary), headers)
        answer = connection.getresponse()
        return answer.status, _read(answer)
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


def _read(answer: http.client.HTTPResponse) -> dict[str, Any]:
    """The answer's data set (PS3.18 F.2); an empty one if it is none."""
    try:
        found = json.loads(answer.read(MOST_OF_AN_ANSWER))
    except ValueError:
        return {}
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, dict) else {}


def _judge(status: int, answer: dict[str, Any], name: str) -> str | None:
    """Table 10.5.3-1: 200 all stored, 202 some or with warnings, 409 none."""
    reasons = [r for r in _values(answer, FAILED_SOP_SEQUENCE, FAILURE_REASON) if r != DUPLICATE]
    if reasons:
        raise judged(reasons[0], name, f"{len(reasons)} object(s)")
    if status in (200, 202):
        warnings = _values(answer, REFERENCED_SOP_SEQUENCE, WARNING_REASON)
        return f"{warnings[0]:04X}" if warnings else None
    if status == 409 and FAILED_SOP_SEQUENCE in answer:
        return f"{DUPLICATE:04X}"  # only duplicates failed
    if status in (400, 409, 413, 415, 422):
        raise Rejected(
            "DESTINATION_REFUSES_RESULT",
            f"{name} refuses the result: HTTP {status}. Its log says why; once that is mended run "
            "`pneumo deliveries --retry`.",
        )
    if 300 <= status < 500 and status not in (408, 429):
        raise refuses(name, f"it answers HTTP {status}")
    raise fails(name, f"it answers HTTP {status}")


def _values(answer: dict[str, Any], sequence: str, tag: str) -> list[int]:
    """The first number under `tag` of each item of a sequence (PS3.18 F.2.3)."""
    items = answer.get(sequence, {}).get("Value") or []
    found = [
        (item.get(tag, {}).get("Value") or [None])[0] for item in items if isinstance(item, dict)
    ]
    return [int(value) for value in found if isinstance(value, int)]
