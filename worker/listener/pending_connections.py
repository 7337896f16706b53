"""Connections that have not asked for an association yet: few, and none for long.

Whoever connects and says nothing must keep no sender out. Such connections count towards no limit of
associations; their number is bounded in all and by host, and the oldest that is silent makes room.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from worker.logging import get_logger

log = get_logger(__name__)

MAX_PENDING, MAX_PENDING_PER_HOST = 64, 16
"""Beyond these the oldest silent connection is closed."""
MAX_PENDING_AT_ALL = 4 * MAX_PENDING
"""Beyond this the new connection is closed, however young the others are."""
SILENT_AFTER_S = 1.0
"""A real sender asks within milliseconds; in a burst of many none is closed before this time."""


class RemoteAddress(NamedTuple):
    """The address of a caller, unique while its connection is open."""

    host: str
    port: int


@dataclass(frozen=True)
class _Pending:
    connection: socket.socket
    since: float
    """By the monotonic clock."""


class PendingConnections:
    """The connections without an association. Safe for threads."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._pending: dict[RemoteAddress, _Pending] = {}
        """Oldest first."""

    def add(self, peer: RemoteAddress, connection: socket.socket) -> bool:
        """Add a new connection, at the expense of the oldest silent one; False if there is no room."""
        with self._lock:
            while dropped := self._one_to_drop(peer.host):
                hang_up(self._pending.pop(dropped).connection)
                log.warning("connection_closed", reason="SILENT_AND_TOO_MANY")
            if len(self._pending) >= MAX_PENDING_AT_ALL:
                log.warning("connection_closed", reason="TOO_MANY_AT_ONCE")
                return False
            self._pending[peer] = _Pending(connection, time.monotonic())
            return True

    def replace(self, peer: RemoteAddress, connection: socket.socket) -> None:
        """The same connection after its TLS handshake, which keeps its age."""
        with self._lock:
            if pending := self._pending.get(peer):
                self._pending[peer] = _Pending(connection, pending.since)

    def remove(self, peer: RemoteAddress) -> None:
        """The connection asked for its association, or is closed."""
        with self._lock:
            self._pending.pop(peer, None)

    def close_overdue(self) -> None:
        """Close the connections that have not asked in time."""
        latest = time.monotonic() - self._timeout_s
        with self._lock:
            overdue = [peer for peer, pending in self._pending.items() if pending.since < latest]
            for peer in overdue:
                hang_up(self._pending.pop(peer).connection)
                log.info("connection_closed", reason="NO_ASSOCIATION_REQUEST")

    def _one_to_drop(self, host: str) -> RemoteAddress | None:
        """Return the oldest silent connection, of this host if it has its share; None: there is room."""
        of_host = [peer for peer in self._pending if peer.host == host]
        if len(of_host) >= MAX_PENDING_PER_HOST:
            candidates = of_host
        elif len(self._pending) >= MAX_PENDING:
            candidates = list(self._pending)
        else:
            return None
        is_silent = time.monotonic() - self._pending[candidates[0]].since >= SILENT_AFTER_S
        return candidates[0] if is_silent else None


def hang_up(connection: socket.socket) -> None:
    """End a connection from another thread than the one that reads it, which then finds its end."""
    with suppress(OSError):  # it may be closed already
        # Not SSLSocket's own, which would pull the TLS layer from under the reading thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
