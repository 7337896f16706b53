"""Syslog messages (RFC 5424) to the site's collector, over TCP or TLS (RFC 5425, octet counting).

PS3.15 A.6 and IHE ATNA ask for exactly this. TCP says nothing of what the receiver has read, so that
after a batch we close our side and wait until the collector closes its own.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

from worker.errors import Rejected
from worker.peers.tls import client_context
from worker.settings import Settings

TIMEOUT_S = 10.0
APP_NAME = "pneumo"
BOM = b"\xef\xbb\xbf"
AUTHORIZATION_FACILITY = 10
"""Security and authorization messages, as IHE ITI-20 sets it."""
ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")


class Severity(IntEnum):
    """RFC 5424 table 2, those that we use."""

    WARNING = 4
    NOTICE = 5


class MessageKind(StrEnum):
    """MSGID: what the receiver is to do with the message."""

    AUDIT = "DICOM+RFC3881"
    """An audit message (PS3.15 A.5), as IHE ITI-20 names it."""
    CHECKPOINT = "CHECKPOINT"
    """A signed checkpoint of the audit trail."""


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Where audit messages go."""

    host: str
    port: int
    tls: ssl.SSLContext | None


def read_collector(settings: Settings) -> Collector | None:
    """Return the collector of PNEUMO_AUDIT_COLLECTOR; None without one.

    Raises Rejected TLS_FILE_UNUSABLE.
    """
    if not settings.audit_collector:
        return None
    match = ADDRESS.fullmatch(settings.audit_collector)
    if match is None:  # the settings have verified it
        raise Rejected("AUDIT_COLLECTOR", "PNEUMO_AUDIT_COLLECTOR is no address.")
    return Collector(
        host=match[2].strip("[]"),
        port=int(match[3]),
        tls=client_context(settings) if match[1] == "tls" else None,
    )


def format_message(
    kind: MessageKind, text: str, moment: datetime, *, severity: Severity = Severity.NOTICE
) -> bytes:
    """Return one message: header, no structured data, and the text as UTF-8 behind a BOM."""
    priority = AUTHORIZATION_FACILITY * 8 + severity
    stamp = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    header = f"<{priority}>1 {stamp} {_host()} {APP_NAME} {os.getpid()} {kind.value} - "
    return header.encode("ascii") + BOM + text.encode()


def send_messages(collector: Collector, messages: Iterable[bytes]) -> int:
    """Send messages over one connection and wait until the collector has them; return how many.

    Raises OSError, of which some may have been received: send all again.
    """
    count = 0
    with _connect(collector) as connection:
        for message in messages:
            connection.sendall(b"%d %s" % (len(message), message))
            count += 1
        _finish(connection)
    return count


def _connect(collector: Collector) -> socket.socket:
    plain = socket.create_connection((collector.host, collector.port), timeout=TIMEOUT_S)
    if collector.tls is None:
        return plain
    try:
        return collector.tls.wrap_socket(plain, server_hostname=collector.host)
    except BaseException:
        plain.close()
        raise


def _finish(connection: socket.socket) -> None:
    """Close our side and wait for the collector's end; a reset means that something was lost."""
    if isinstance(connection, ssl.SSLSocket):
        with suppress(ssl.SSLError, TimeoutError):  # many close without the answer of TLS
            connection.unwrap()
        return
    connection.shutdown(socket.SHUT_WR)
    with suppress(TimeoutError):  # a collector that keeps the connection open has read all the same
        while connection.recv(4096):
            pass


def _host() -> str:
    """Return our host name as a header field: printable ASCII without blanks."""
    return re.sub(r"[^!-~]", "-", socket.gethostname())[:255] or "-"
