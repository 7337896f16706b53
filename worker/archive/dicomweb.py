"""HTTP sessions with an archive's DICOMweb services: certificates, bearer token, errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import requests
import urllib3

from worker.archive import errors
from worker.errors import PneumoError, Rejected
from worker.peers.associations import CONNECT_TIMEOUT_S
from worker.peers.peers_file import Peer
from worker.peers.web_sessions import tls_error_in, web_session
from worker.settings import Settings

RETRYABLE_STATUSES = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""The server is out of order, whatever is requested."""


@contextmanager
def dicomweb_session(peer: Peer, settings: Settings) -> Iterator[requests.Session]:
    """Open a session with the credentials that `peer` requires; translate failures into our errors.

    Raises Unavailable (ARCHIVE_AWAY, ARCHIVE_REFUSES_US, ARCHIVE_CERTIFICATE, TLS_FILE_UNUSABLE,
    TOKEN_FILE_UNREADABLE), Transient RETRIEVE_FAILED, Rejected STUDY_NOT_IN_ARCHIVE.
    """
    try:
        session = web_session(peer, settings)
    except Rejected as error:
        raise errors.misconfigured(peer.name, error) from None
    with session:
        try:
            yield session
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _http_error(peer, error) from None


def timeouts(settings: Settings) -> tuple[float, float]:
    """Return the time-outs of requests in seconds: to connect, and between two pieces of an answer."""
    return min(CONNECT_TIMEOUT_S, settings.archive_timeout_s), settings.archive_timeout_s


def error_of_status(peer: Peer, status: int) -> PneumoError:
    """Return the error that a status other than 200 means."""
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.NO_CONTENT):
        return errors.not_there(peer)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return errors.refuses_us(
            peer,
            f"HTTP status {status}",
            "Renew its `token_file` or `certificate`, or have it allow them.",
        )
    if status in RETRYABLE_STATUSES:
        return errors.away(peer, f"answers with HTTP status {status}")
    return errors.failed(peer, f"HTTP status {status}")


def _http_error(peer: Peer, error: Exception) -> PneumoError:
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        return error_of_status(peer, response.status_code)
    if isinstance(error, requests.TooManyRedirects):
        return errors.failed(peer, "it redirects elsewhere")
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return errors.failed(peer, "its answer is no JSON")
    if tls := tls_error_in(error):
        return errors.certificate(peer, tls)
    timed_out = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    return errors.away(peer, "did not answer in time" if timed_out else "cannot be reached")
