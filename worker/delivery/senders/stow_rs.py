"""A result by STOW-RS (PS3.18 10.5): one request with every object, and what the answer says."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence

import requests
import urllib3

from worker.delivery.errors import DestinationFailed, away, certificate, fails
from worker.delivery.render import MadeObject
from worker.delivery.senders.stow_answer import judge
from worker.errors import Rejected
from worker.peers.associations import CONNECT_TIMEOUT_S, tls_failure_reason
from worker.peers.peers_file import Peer
from worker.peers.web_sessions import tls_error_in, web_session
from worker.settings import Settings

MOST_OF_AN_ANSWER = 4 * 1024 * 1024


def send_by_web(
    peer: Peer,
    settings: Settings,
    objects: Sequence[MadeObject],
    on_connected: Callable[[], bool],
) -> str | None:
    """Post them all; the warning's reason, if there was one.

    `on_connected` is called when the destination is reached, before it gets anything; if it says
    False nothing is sent. Raises DestinationFailed, Rejected DESTINATION_REFUSES_RESULT.
    """
    connected: list[bool] = []

    def begin() -> None:
        connected.append(on_connected())
        if not connected[-1]:
            raise _NotWanted

    try:
        with _session(peer, settings, begin) as session:
            status, answer = _post(session, peer, settings, objects)
    except _NotWanted:
        return None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _told(peer, error, connected=bool(connected)) from None
    return judge(status, answer, [made.sent.sop_instance_uid for made in objects], peer.name)


class _NotWanted(Exception):
    """A newer result took its place."""


class MultipartObjects:
    """The request's body, part after part (PS3.18 8.6.1.2).

    It knows its length: not every server takes a body that comes in chunks of which it knows none.
    """

    def __init__(self, objects: Sequence[MadeObject]) -> None:
        self.boundary = secrets.token_hex(16)
        self._objects = objects
        self._head = f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{self.boundary}--\r\n".encode()

    def __len__(self) -> int:
        around = len(self._head) + len(b"\r\n")
        return sum(around + len(made.content) for made in self._objects) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for made in self._objects:
            yield self._head
            yield made.content
            yield b"\r\n"
        yield self._end


def _session(peer: Peer, settings: Settings, begin: Callable[[], None]) -> requests.Session:
    try:
        return web_session(peer, settings, begin)
    except Rejected as error:
        if error.code != "TOKEN_FILE_UNREADABLE":
            raise certificate(peer.name, error.sentence.rstrip(".")) from None
        raise DestinationFailed(
            "DESTINATION_TOKEN",
            f"{error.sentence} Results wait; correct token_file or its rights.",
        ) from None


def _post(
    session: requests.Session, peer: Peer, settings: Settings, objects: Sequence[MadeObject]
) -> tuple[int, bytes]:
    body = MultipartObjects(objects)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
        "Accept": "application/dicom+json",
    }
    with session.post(
        f"{(peer.dicomweb or '').rstrip('/')}/studies",
        data=body,
        headers=headers,
        timeout=(min(CONNECT_TIMEOUT_S, settings.delivery_timeout_s), settings.delivery_timeout_s),
        allow_redirects=False,
        stream=True,  # the answer is read up to a limit
    ) as answer:
        return answer.status_code, answer.raw.read(MOST_OF_AN_ANSWER, decode_content=True)


def _told(peer: Peer, error: Exception, *, connected: bool) -> DestinationFailed:
    """With TLS 1.3 our certificate is refused after the handshake, when the connection stands."""
    if tls := tls_error_in(error):
        return certificate(peer.name, tls_failure_reason(tls))
    if not connected:
        return away(peer.name)
    return fails(peer.name, f"no answer, {type(error).__name__}")
