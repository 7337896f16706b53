"""HTTP sessions to one peer: its certificates and bearer token, and nothing from the machine."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from worker.peers.peers_file import Peer, authorization
from worker.peers.tls import client_context
from worker.settings import Settings


def web_session(peer: Peer, settings: Settings) -> requests.Session:
    """Open a session for requests to `peer`; the caller closes it.

    Args:
        peer: The system.
        settings: Whose certificates are used if the peer has none of its own.

    Raises:
        Rejected: TLS_FILE_UNUSABLE, TOKEN_FILE_UNREADABLE.
    """
    context = None
    if (peer.dicomweb or "").startswith("https://"):
        context = client_context(settings, peer)
    token = authorization(peer)
    session = requests.Session()
    session.trust_env = False  # no .netrc, no proxy: the file of peers has all that is needed
    session.max_redirects = 0  # and no request follows a redirection elsewhere
    session.headers.update(token)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _PeerAdapter(context))
    return session


def tls_error_in(error: BaseException | None) -> ssl.SSLError | None:
    """Return the ssl module's error inside the libraries' errors; None without one."""
    for _ in range(8):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        reason, first = getattr(error, "reason", None), next(iter(error.args), None)
        inner = (reason, first, error.__cause__, error.__context__)
        error = next((it for it in inner if isinstance(it, BaseException)), None)
    return None


class _PeerAdapter(HTTPAdapter):
    """Connects with our TLS context alone."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__()

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context} if self._context else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: requests would add the public authorities, but only the context verifies."""
