"""The listener's connections: TLS if configured, then associations that write to the disk.

Each is limited from its first moment: connections that ask for nothing (pending_connections.py), and
associations that do not get on (socket_reader.Progress), are closed by the server's own loop.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from worker.listener.incoming_datasets import IncomingMessages
from worker.listener.incomplete_requests import answer_or_serve
from worker.listener.pending_connections import PendingConnections, RemoteAddress, hang_up
from worker.listener.socket_reader import BufferedSocket
from worker.listener.tls_renewal import ListenerTls
from worker.logging import get_logger
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage

log = get_logger(__name__)

BACKLOG = 64
"""Connections that may wait to be taken; with the default 5 a burst of senders meets timeouts."""
HANDSHAKE_TIMEOUT_S = 10.0
"""How long a caller may take for each step of a TLS handshake."""
MAX_REPORTS = 4
"""N-EVENT-REPORT requests of all associations that are served at once, each in a thread."""
DISCONNECTED = (ssl.SSLEOFError, ConnectionError, TimeoutError)
"""Probes of load balancers connect and go; only a protocol error is worth a warning."""


class ListenerServer(ThreadedAssociationServer):
    """pynetdicom's server; each connection is set up in a thread of its own."""

    request_queue_size = BACKLOG
    settings: Settings
    storage: IntakeStorage
    """Where instances are stored."""
    pending: PendingConnections
    tls: ListenerTls | None = None
    """Not pynetdicom's `ssl_context`: it would wait for handshakes where connections are accepted, so
    that a single caller who says nothing keeps everybody out."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.reports = threading.BoundedSemaphore(MAX_REPORTS)
        self._associations: list[Any] = []
        self._lock = threading.Lock()
        super().__init__(*arguments, **keywords)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Called for each new connection by the one thread that accepts them."""
        if self.pending.add(RemoteAddress(*client_address[:2]), request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Called in a thread of this connection alone."""
        peer = RemoteAddress(*client_address[:2])
        secured = self._secured(request)
        if secured is None:
            self.pending.remove(peer)
        else:
            self.pending.replace(peer, secured)
            super().process_request_thread(secured, client_address)

    def service_actions(self) -> None:
        """Called by the accepting thread, twice a second: close whatever does not get on."""
        super().service_actions()
        self.pending.close_overdue()
        with self._lock:
            self._associations = [each for each in self._associations if not _has_ended(each)]
            associations = list(self._associations)
        for association in associations:
            connection = association.dul.socket
            reason = connection.progress.too_slow()
            if reason and association.is_established and connection.socket is not None:
                log.warning("connection_closed", reason=reason)
                hang_up(connection.socket)

    def supervise(self, association: Any) -> None:
        """Watch the progress of an association until it ends."""
        with self._lock:
            self._associations.append(association)

    def _secured(self, request: socket.socket) -> socket.socket | None:
        """Return the connection after its TLS handshake; None if that failed."""
        if self.tls is None:
            return request
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
        server, settings = self.server, self.server.settings
        association.dimse = IncomingMessages(
            association, server.storage, max_bytes=settings.max_file_bytes
        )
        peer = RemoteAddress(*self.client_address[:2])
        association.bind(evt.EVT_CONN_CLOSE, _closed, [server.pending, peer])
        association.bind(evt.EVT_REQUESTED, lambda _: server.pending.remove(peer))
        association.dul.event_queue.get_nowait()  # the plain socket made by now announced itself
        association.dul.socket = BufferedSocket(
            association,
            self.request,
            silence_timeout_s=settings.silence_timeout_s,
            min_bytes_per_s=settings.min_bytes_per_s,
        )
        association._serve_request = self._server_of(association)  # noqa: SLF001  there is no hook
        server.supervise(association)
        return association

    def _server_of(self, association: Any) -> Callable[[Any, int], None]:
        """Return what serves the requests of an association."""
        serve, reports = association._serve_request, self.server.reports  # noqa: SLF001

        def serve_request(request: Any, context_id: int) -> None:
            if not isinstance(request, N_EVENT_REPORT):
                answer_or_serve(association, serve, request, context_id)
            elif reports.acquire(blocking=False):
                try:
                    answer_or_serve(association, serve, request, context_id)
                finally:
                    reports.release()
            else:
                log.warning("association_aborted", reason="TOO_MANY_REPORTS")
                association.abort()

        return serve_request


def _has_ended(association: Any) -> bool:
    return association.ident is not None and not association.is_alive()


def _closed(event: Any, pending: PendingConnections, peer: RemoteAddress) -> None:
    """Leave nothing behind of what had not arrived, and end the threads of a mere probe.

    Load balancers and port scanners come every few seconds; pynetdicom would keep the threads of each
    for as long as it waits for a request.
    """
    pending.remove(peer)
    event.assoc.dimse.discard_unfinished()
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # what waiting in vain would have given
