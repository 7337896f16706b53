"""Associations with an archive, as the one who asks: TCP, TLS, negotiation, each failure by its name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext

from worker.errors import Away, PneumoError, Rejected
from worker.intake.listener import MAXIMUM_PDU_BYTES
from worker.logging import close_talkative_libraries
from worker.pacs import troubles
from worker.peers import Peer
from worker.settings import Settings
from worker.tls import calling_context

CONNECT_S = 10.0
SUCCESS, PENDING = 0x0000, frozenset({0xFF00, 0xFF01})
OUT_OF_RESOURCES = frozenset({0xA700, 0xA701, 0xA702})
"""It refuses for want of resources (PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4): later it may do."""
REJECTED_TRANSIENT = 2
"""Result of an A-ASSOCIATE-RJ that says "later" (PS3.8 9.3.4)."""


@contextmanager
def association(
    peer: Peer,
    site: Settings,
    contexts: Sequence[PresentationContext],
    *,
    answer_s: float | None = None,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """An established association with `peer`; released at the end, aborted after an error.

    `answer_s`: longest wait for one message; `archive_timeout_s` if it is not given. Raises Away
    (ARCHIVE_AWAY, ARCHIVE_REFUSES_US, ARCHIVE_CERTIFICATE, TLS_FILE_UNUSABLE).
    """
    close_talkative_libraries()
    _config.LOG_HANDLER_LEVEL = "none"
    host, port, title = _address(peer)
    context = _tls(peer, site)
    _knock(peer, site, (host, port), context)
    ae = AE(ae_title=site.ae_title)
    ae.connection_timeout = ae.acse_timeout = min(CONNECT_S, site.archive_timeout_s)
    ae.dimse_timeout = ae.network_timeout = answer_s or site.archive_timeout_s
    opened = ae.associate(
        host,
        port,
        contexts=list(contexts),
        ae_title=title,
        max_pdu=MAXIMUM_PDU_BYTES,
        ext_neg=list(roles),
        evt_handlers=list(handlers),
        tls_args=(context, host) if context else None,
    )
    if not opened.is_established:
        raise _not_established(peer, opened)
    try:
        _refuse_no_context(peer, opened)
        yield opened
    except BaseException:
        opened.abort()
        raise
    if opened.is_established:
        opened.release()


def refuse_status(peer: Peer, status: Dataset) -> None:
    """Raise what a final status means, unless it is success or pending."""
    if "Status" not in status:
        raise troubles.away(peer, "broke off, or did not answer in time")
    code = int(status.Status)
    if code == SUCCESS or code in PENDING:
        return
    raise of_status(peer, code)


def of_status(peer: Peer, code: int) -> PneumoError:
    """What a failure's status means."""
    if code in OUT_OF_RESOURCES:
        return troubles.away(peer, f"is out of resources (status {code:04X})")
    return troubles.failed(peer, f"status {code:04X}")


def _address(peer: Peer) -> tuple[str, int, str]:
    if not (peer.host and peer.port and peer.ae_title):
        raise troubles.misconfigured(
            peer.name,
            Rejected(
                "PEER_CANNOT",
                f"{peer.name} has no ae_title, host and port in the file that PNEUMO_PEERS names.",
            ),
        )
    return peer.host, peer.port, peer.ae_title


def _tls(peer: Peer, site: Settings) -> ssl.SSLContext | None:
    if not peer.tls:
        return None
    try:
        return calling_context(site, peer)
    except Rejected as error:
        raise troubles.misconfigured(peer.name, error) from None


def _knock(
    peer: Peer, site: Settings, address: tuple[str, int], context: ssl.SSLContext | None
) -> None:
    """Connect first by ourselves: pynetdicom tells neither why it failed nor closes the socket."""
    try:
        timeout_s = min(CONNECT_S, site.archive_timeout_s)
        with socket.create_connection(address, timeout=timeout_s) as plain:
            if context is not None:
                context.wrap_socket(plain, server_hostname=address[0]).close()
    except ssl.SSLError as error:
        raise troubles.certificate(peer, error) from None
    except OSError:
        raise troubles.away(peer, "cannot be reached") from None


def _not_established(peer: Peer, tried: Any) -> Away:
    if not tried.is_rejected:
        return troubles.away(peer, "broke off the association")
    answer = tried.acceptor.primitive
    result, source, reason = answer.result, answer.result_source, answer.diagnostic
    if result == REJECTED_TRANSIENT:
        return troubles.away(
            peer, f"has no room for us (A-ASSOCIATE-RJ {result}, {source}, {reason})"
        )
    return troubles.refuses_us(
        peer,
        f"A-ASSOCIATE-RJ {result}, {source}, {reason}",
        "Enter our AE title (PNEUMO_AE_TITLE) there, and check the `ae_title` that we call.",
    )


def _refuse_no_context(peer: Peer, opened: Any) -> None:
    if not opened.accepted_contexts:
        raise troubles.refuses_us(
            peer,
            "it accepts none of the services that we ask for",
            "Have it allow us query and retrieve (Study Root), or take another way.",
        )
