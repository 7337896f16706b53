"""Opening a DICOM association with a peer, and finding out why there is none.

Each room puts its own codes and words to a `AssociationFailureCause`: an archive that is away holds up studies, a
destination that is away holds up results.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext

from worker.errors import Rejected
from worker.logging import silence_noisy_libraries
from worker.peers.peers_file import Peer
from worker.peers.tls import client_context
from worker.settings import Settings

CONNECT_TIMEOUT_S = 10.0
"""For a connection; a system that is there takes it at once."""
LARGE_PDU_BYTES = 131_072
"""Where images come to us: a radiograph has 15 MB, and each piece costs a turn."""
SMALL_PDU_BYTES = 16_382
"""Most that we take at once where nothing large comes to us."""
REJECTED_TRANSIENT = 2
"""Result of an A-ASSOCIATE-RJ that says "later" (PS3.8 9.3.4)."""


class AssociationFailureCause(StrEnum):
    """Why there is no association."""

    NO_ADDRESS = "no_address"
    """The file of peers does not say where it is."""
    OUR_CERTIFICATE = "our_certificate"
    """Our own files for TLS cannot be used."""
    AWAY = "away"
    """Nobody takes a connection at its address."""
    TLS = "tls"
    """TLS does not come about."""
    REJECTED = "rejected"
    """It answers with an A-ASSOCIATE-RJ."""
    NOTHING_ACCEPTED = "nothing_accepted"
    """It would talk with us, and about none of what we propose."""
    BROKE_OFF = "broke_off"
    """It takes the connection and says nothing that we understand."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int

    @property
    def is_transient(self) -> bool:
        """Whether it says "later"."""
        return self.result == REJECTED_TRANSIENT

    def __str__(self) -> str:
        return f"A-ASSOCIATE-RJ {self.result}, {self.source}, {self.reason}"


class AssociationFailed(Exception):
    """There is none, for this cause."""

    def __init__(
        self,
        cause: AssociationFailureCause,
        *,
        error: Exception | None = None,
        rejection: Rejection | None = None,
    ) -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.error = error
        """Of TLS, or of our own files."""
        self.rejection = rejection
        """What it said."""


@dataclass(frozen=True, kw_only=True)
class AssociationTimeouts:
    """How long we wait, in seconds."""

    connection: float
    """For the network and TLS."""
    association: float
    """For the answer to our A-ASSOCIATE-RQ."""
    answer: float
    """For one message."""


def open_association(
    peer: Peer,
    settings: Settings,
    contexts: Sequence[PresentationContext],
    patience: AssociationTimeouts,
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
    max_pdu: int = SMALL_PDU_BYTES,
) -> Any:
    """An established association with at least one context accepted; the caller ends it.

    Raises NoAssociation.
    """
    silence_noisy_libraries()
    _config.LOG_HANDLER_LEVEL = "none"  # its handlers would format every message for closed loggers
    if not (peer.host and peer.port and peer.ae_title):
        raise AssociationFailed(AssociationFailureCause.NO_ADDRESS)
    context = _tls_context(peer, settings) if peer.tls else None
    ae = AE(ae_title=settings.ae_title)
    ae.connection_timeout, ae.acse_timeout = patience.connection, patience.association
    ae.dimse_timeout = ae.network_timeout = patience.answer
    association = ae.associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        max_pdu=max_pdu,
        ext_neg=list(roles),
        evt_handlers=list(handlers),
        tls_args=(context, peer.host) if context else None,
    )
    if association.is_established:
        return association
    close_socket(association)
    raise _diagnose(association, (peer.host, peer.port), context, patience.connection)


def _tls_context(peer: Peer, settings: Settings) -> ssl.SSLContext:
    try:
        return client_context(settings, peer)
    except Rejected as error:
        raise AssociationFailed(AssociationFailureCause.OUR_CERTIFICATE, error=error) from None


def close_socket(association: Any) -> None:
    """pynetdicom leaves that of an association that failed to the garbage collector."""
    with suppress(OSError, AttributeError):
        association.dul.socket.close()


def tls_failure_reason(error: BaseException) -> str:
    """The reason by OpenSSL's name for it, which quotes no name of anybody."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION.get(error.verify_code, f"verification code {error.verify_code}")
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else "the connection ends"


def _diagnose(
    association: Any, address: tuple[str, int], context: ssl.SSLContext | None, within_s: float
) -> AssociationFailed:
    if association.is_rejected:
        said = association.acceptor.primitive
        rejection = Rejection(result=said.result, source=said.result_source, reason=said.diagnostic)
        return AssociationFailed(AssociationFailureCause.REJECTED, rejection=rejection)
    if association.rejected_contexts and not association.accepted_contexts:
        return AssociationFailed(AssociationFailureCause.NOTHING_ACCEPTED)
    return _probe(address, context, within_s) or AssociationFailed(
        AssociationFailureCause.BROKE_OFF
    )


def _probe(
    address: tuple[str, int], context: ssl.SSLContext | None, within_s: float
) -> AssociationFailed | None:
    """pynetdicom only says that there is no association: ask the network why."""
    try:
        with socket.create_connection(address, timeout=within_s) as plain:
            return _diagnose_tls(plain, address[0], context) if context else None
    except OSError:
        return AssociationFailed(AssociationFailureCause.AWAY)


def _diagnose_tls(
    plain: socket.socket, host: str, context: ssl.SSLContext
) -> AssociationFailed | None:
    try:
        with context.wrap_socket(plain, server_hostname=host) as secured:
            # With TLS 1.3 a peer that does not like our certificate says so after the handshake.
            secured.settimeout(1.0)
            with suppress(TimeoutError):
                secured.recv(1)
    except (ssl.SSLError, ConnectionError, TimeoutError) as error:
        return AssociationFailed(AssociationFailureCause.TLS, error=error)
    return None


_VERIFICATION = {
    # OpenSSL's X509_V_ERR_*
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself",
    19: "its certificate is signed by an authority that we do not trust",
    20: "its certificate is signed by an authority that we do not trust",
    21: "its certificate is signed by an authority that we do not trust",
    62: "its certificate is for another host",
    64: "its certificate is for another address",
}
