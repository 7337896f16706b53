"""HTTP to one peer by `requests`: its certificates, its bearer token, and nothing of the machine's."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from worker.peers.peers_file import Peer, authorization
from worker.peers.tls import client_context
from worker.settings import Settings


def web_session(peer: Peer, settings: Settings) -> requests.Session:
    """A session for requests to `peer`; the caller closes it.

    Raises Rejected TLS_FILE_UNUSABLE, TOKEN_FILE_UNREADABLE.
    """
    context = None
    if (peer.dicomweb or "").startswith("https://"):
        context = client_context(settings, peer)
    token = authorization(peer)
    session = requests.Session()
    session.trust_env = False  # no .netrc, no proxy: what is asked stands in the file of peers
    session.max_redirects = 0  # nor is it carried to where somebody else says
    session.headers.update(token)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _PeerAdapter(context))
    return session


def tls_error_in(error: BaseException | None) -> ssl.SSLError | None:
    """The ssl module's own error, within those that libraries put around it."""
    for _ in range(8):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        reason, first = getattr(error, "reason", None), next(iter(error.args), None)
        inner = (reason, first, error.__cause__, error.__context__)
        error = next((it for it in inner if isinstance(it, BaseException)), None)
    return None


class _PeerAdapter(HTTPAdapter):
    """Connections by the TLS context that the site's certificates make, and by nothing else."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__()

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context} if self._context else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """requests would add the public authorities to ours; the context verifies alone."""
