"""HTTP to an archive's DICOMweb services: one session, its certificates, its bearer token, its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from worker.errors import PneumoError, Rejected
from worker.pacs import troubles
from worker.peers import Peer, authorization
from worker.settings import Settings
from worker.tls import calling_context

CONNECT_S = 10.0
"""For a connection; an archive that is there takes it at once."""
LATER = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""It is not itself, whatever is asked for."""


@contextmanager
def session_with(peer: Peer, site: Settings) -> Iterator[requests.Session]:
    """A session that shows what `peer` wants to see; what fails in it is told as ours.

    Raises Away (ARCHIVE_AWAY, ARCHIVE_REFUSES_US, ARCHIVE_CERTIFICATE, TLS_FILE_UNUSABLE,
    TOKEN_FILE_UNREADABLE), Transient RETRIEVE_FAILED, Rejected STUDY_NOT_IN_ARCHIVE.
    """
    with requests.Session() as session:
        session.trust_env = False  # no .netrc, no proxy: what is asked stands in the file of peers
        session.max_redirects = 0  # nor is it carried to where somebody else says
        try:
            if (peer.dicomweb or "").startswith("https://"):
                session.mount("https://", _Verified(peer, site))
            session.headers.update(authorization(peer))
        except Rejected as error:
            raise troubles.misconfigured(peer.name, error) from None
        try:
            yield session
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _told(peer, error) from None


def timeouts(site: Settings) -> tuple[float, float]:
    """For requests: to connect, and between two pieces of an answer."""
    return min(CONNECT_S, site.archive_timeout_s), site.archive_timeout_s


def refuse_status(peer: Peer, status: int) -> None:
    """Raise what an answer's status means, unless it is the answer."""
    if status == HTTPStatus.OK:
        return
    raise of_status(peer, status)


def of_status(peer: Peer, status: int) -> PneumoError:
    """What a status other than 200 means."""
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.NO_CONTENT):
        return troubles.not_there(peer)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return troubles.refuses_us(
            peer,
            f"HTTP status {status}",
            "Renew its `token_file` or `certificate`, or have it allow them.",
        )
    if status in LATER:
        return troubles.away(peer, f"answers with HTTP status {status}")
    return troubles.failed(peer, f"HTTP status {status}")


class _Verified(HTTPAdapter):
    """Connections by the TLS context that the site's certificates make, and by nothing else."""

    def __init__(self, peer: Peer, site: Settings) -> None:
        self._context = calling_context(site, peer)
        super().__init__()

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """requests would add the public authorities to ours; the context verifies alone."""


def _told(peer: Peer, error: Exception) -> PneumoError:
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        return of_status(peer, response.status_code)
    if isinstance(error, requests.TooManyRedirects):
        return troubles.failed(peer, "it redirects elsewhere")
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return troubles.failed(peer, "its answer is no JSON")
    if troubles.is_tls_trouble(error):
        return troubles.certificate(peer, error)
    timed_out = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    return troubles.away(peer, "did not answer in time" if timed_out else "cannot be reached")
