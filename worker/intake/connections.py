"""The listener's connections: read in large pieces, into associations that write to the disk."""

from __future__ import annotations

import sys
from typing import Any

from pynetdicom import evt
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from worker.intake.arriving import ArrivingMessages
from worker.intake.incoming import Incoming
from worker.intake.storage import IntakeStorage
from worker.logging import get_logger

log = get_logger(__name__)

BACKLOG = 64
"""Connections that may wait to be taken; with the default 5 a burst of senders meets timeouts."""


class Connections(ThreadedAssociationServer):
    """pynetdicom's server; each connection is set up in a thread of its own."""

    request_queue_size = BACKLOG
    storage: IntakeStorage
    """Where instances go."""

    def handle_error(self, _request: object, _client_address: object) -> None:
        """In place of socketserver's, which prints the exception with its words."""
        log.warning("connection_failed", error_type=type(sys.exception()).__qualname__)


class Connection(RequestHandler):
    """Makes the association of one connection."""

    server: Connections

    def _create_association(self) -> Any:
        """Called by pynetdicom's `handle`, which then starts the association's threads."""
        association = super()._create_association()
        association.dimse = ArrivingMessages(association, self.server.storage)
        association.bind(evt.EVT_CONN_CLOSE, _closed)
        association.dul.event_queue.get_nowait()  # the plain socket made by now announced itself
        association.dul.socket = Incoming(association, self.request)
        return association


def _closed(event: Any) -> None:
    """Leave nothing behind of what had not arrived, and give back the place of a mere probe.

    Load balancers and port scanners come every few seconds; pynetdicom would keep each for the
    30 s that it waits for a request, until they keep real senders out.
    """
    event.assoc.dimse.discard_unfinished()
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)  # what waiting in vain would have given
