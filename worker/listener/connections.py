"""The listener's connections: TLS if the site wants it, then associations that write to the disk."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from typing import Any

from pynetdicom import evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from worker.listener.incoming_datasets import IncomingMessages
from worker.listener.socket_reader import BufferedSocket
from worker.listener.tls_renewal import ListenerTls
from worker.logging import get_logger
from worker.storage.intake_folder import IntakeStorage

log = get_logger(__name__)

BACKLOG = 64
"""Connections that may wait to be taken; with the default 5 a burst of senders meets timeouts."""
HANDSHAKE_TIMEOUT_S = 10.0
"""How long a caller may take for each step of a TLS handshake."""
MAX_HANDSHAKES = 32
"""At once; one more is hung up on, so that who connects and says nothing costs little."""
DISCONNECTED = (ssl.SSLEOFError, ConnectionError, TimeoutError)
"""Probes of load balancers connect and go; only who says something wrong is worth a warning."""


class ListenerServer(ThreadedAssociationServer):
    """pynetdicom's server; each connection is set up in a thread of its own."""

    request_queue_size = BACKLOG
    storage: IntakeStorage
    """Where instances go."""
    tls: ListenerTls | None = None
    """Not pynetdicom's `ssl_context`: it would wait for handshakes where connections are taken, so
    that a single caller who says nothing keeps everybody out."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._handshakes = threading.BoundedSemaphore(MAX_HANDSHAKES)
        super().__init__(*arguments, **keywords)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Called in a thread of this connection alone."""
        secured = self._secured(request)
        if secured is not None:
            super().process_request_thread(secured, client_address)

    def _secured(self, request: socket.socket) -> socket.socket | None:
        """The connection after its TLS handshake; None if there is nothing to talk to."""
        if self.tls is None:
            return request
        if not self._handshakes.acquire(blocking=False):
            log.warning("tls_handshake_failed", reason="TOO_MANY_AT_ONCE")
            self.shutdown_request(request)
            return None
        try:
            request.settimeout(HANDSHAKE_TIMEOUT_S)
            secured = self.tls.context.wrap_socket(request, server_side=True)
            secured.settimeout(None)
        except OSError as error:
            # OpenSSL's own words, from a fixed list: nothing of the caller's.
            reason = getattr(error, "reason", None) or type(error).__name__
            (log.debug if isinstance(error, DISCONNECTED) else log.warning)(
                "tls_handshake_failed", reason=reason
            )
            self.shutdown_request(request)
            return None
        finally:
            self._handshakes.release()
        return secured

    def handle_error(self, _request: object, _client_address: object) -> None:
        """In place of socketserver's, which prints the exception with its words."""
        log.warning("connection_failed", error_type=type(sys.exception()).__qualname__)


class ConnectionHandler(RequestHandler):
    """Makes the association of one connection."""

    server: ListenerServer

    def _create_association(self) -> Any:
        """Called by pynetdicom's `handle`, which then starts the association's threads."""
        association = super()._create_association()
        association.dimse = IncomingMessages(association, self.server.storage)
        association.bind(evt.EVT_CONN_CLOSE, _closed)
        association.dul.event_queue.get_nowait()  # the plain socket made by now announced itself
        association.dul.socket = BufferedSocket(association, self.request)
        return association


def _closed(event: Any) -> None:
    """Leave nothing behind of what had not arrived, and give back the place of a mere probe.

    Load balancers and port scanners come every few seconds; pynetdicom would keep each for the
    30 s that it waits for a request, until they keep real senders out.
    """
    event.assoc.dimse.discard_unfinished()
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # what waiting in vain would have given
