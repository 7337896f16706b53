"""Results by STOW-RS (PS3.18 10.5): one request with every object, and what the answer says."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url, parse_url

from worker.delivery.errors import DestinationFailed, away, certificate, fails
from worker.delivery.render import RenderedObject
from worker.delivery.runtime import DeliveryRuntime
from worker.delivery.senders.sender import SenderSession
from worker.delivery.senders.stow_answer import check_answer
from worker.errors import Rejected
from worker.peers.associations import CONNECT_TIMEOUT_S, tls_failure_reason
from worker.peers.peers_file import Peer, authorization
from worker.peers.tls import client_context
from worker.peers.web_sessions import tls_error_in

MAX_ANSWER_BYTES = 4 * 1024 * 1024
BROKEN_CONNECTION = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class StowRsSender:
    """A destination that is a STOW-RS origin server."""

    def __init__(self, peer: Peer, runtime: DeliveryRuntime) -> None:
        self._peer = peer
        self._timeout_s = runtime.settings.delivery_timeout_s
        self._settings = runtime.settings

    @contextmanager
    def open(self, objects: Sequence[RenderedObject]) -> Iterator[StowRsSession]:  # noqa: ARG002
        """Connect, TLS included, and say nothing yet. Raises DestinationFailed.

        By the connection itself and not by `requests`, which connects when the request is sent.
        """
        url = parse_url(f"{(self._peer.dicomweb or '').rstrip('/')}/studies")
        try:
            connection = self._connection(url)
            headers = authorization(self._peer)
        except Rejected as error:
            raise _unusable(self._peer.name, error) from None
        try:
            try:
                connection.connect()
            except BROKEN_CONNECTION as error:
                raise _reason(self._peer.name, error) or away(self._peer.name) from None
            connection.timeout = self._timeout_s
            connection.sock.settimeout(self._timeout_s)
            yield StowRsSession(connection, url.request_uri, headers, self._peer.name)
        finally:
            connection.close()

    def _connection(self, url: Url) -> HTTPConnection:
        host = (url.host or "").strip("[]")  # an IPv6 address stands in brackets
        timeout = min(CONNECT_TIMEOUT_S, self._timeout_s)
        if url.scheme == "https":
            context = client_context(self._settings, self._peer)
            return HTTPSConnection(host, url.port or 443, timeout=timeout, ssl_context=context)
        return HTTPConnection(host, url.port or 80, timeout=timeout)


class StowRsSession(SenderSession):
    """A connection on which one request is made."""

    def __init__(
        self, connection: HTTPConnection, target: str, headers: dict[str, str], name: str
    ) -> None:
        self._connection = connection
        self._target = target
        self._headers = headers
        self._name = name

    def send(self, objects: Sequence[RenderedObject], renew: Callable[[], None]) -> str | None:  # noqa: ARG002
        """Post them all at once; return the warning's reason, if there was one."""
        try:
            status, answer = self._post(MultipartObjects(objects))
        except BROKEN_CONNECTION as error:
            # With TLS 1.3 our certificate is refused after the handshake, on a connection that stands.
            raise _reason(self._name, error) or fails(
                self._name, f"no answer, {type(error).__name__}"
            ) from None
        return check_answer(
            status, answer, [item.sent.sop_instance_uid for item in objects], self._name
        )

    def _post(self, body: MultipartObjects) -> tuple[int, bytes]:
        headers = self._headers | {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={body.boundary}',
            "Content-Length": str(len(body)),
            "Accept": "application/dicom+json",
        }
        # It may answer, and close, before it has everything: its answer then says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request(
                "POST", self._target, body=body, headers=headers, preload_content=False
            )
        answer = self._connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES, decode_content=True)


class MultipartObjects:
    """The request's body, part after part (PS3.18 8.6.1.2).

    It knows its length: not every server accepts a body that comes in chunks of unknown number.
    """

    def __init__(self, objects: Sequence[RenderedObject]) -> None:
        self.boundary = secrets.token_hex(16)
        self._objects = objects
        self._head = f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{self.boundary}--\r\n".encode()

    def __len__(self) -> int:
        around = len(self._head) + len(b"\r\n")
        return sum(around + len(item.content) for item in self._objects) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for item in self._objects:
            yield self._head
            yield item.content
            yield b"\r\n"
        yield self._end


def _unusable(name: str, error: Rejected) -> DestinationFailed:
    """Return what is wrong with our own files for it: certificates, or the token."""
    if error.code != "TOKEN_FILE_UNREADABLE":
        return certificate(name, error.sentence.rstrip("."))
    return DestinationFailed(
        "DESTINATION_TOKEN",
        f"{error.sentence} Results wait; correct token_file or its rights.",
    )


def _reason(name: str, error: Exception) -> DestinationFailed | None:
    """Return why TLS failed, if that is what it was."""
    tls = tls_error_in(error)
    return certificate(name, tls_failure_reason(tls)) if tls else None
