"""Open a DICOM association with a peer, or find out why that fails.

Each room reports an `AssociationFailureCause` under its own codes and in its own words: an archive
that is away delays studies, a destination that is away delays results.
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
"""For a connection; a system that is up accepts it at once."""
LARGE_PDU_BYTES = 131_072
"""For associations that receive images: a radiograph has 15 MB, and each PDU costs time."""
SMALL_PDU_BYTES = 16_382
"""For associations that receive nothing large."""
REJECTED_TRANSIENT = 2
"""Result "rejected-transient" of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class AssociationFailureCause(StrEnum):
    """Why an association could not be opened."""

    NO_ADDRESS = "no_address"
    """The file of peers lacks its address."""
    OUR_CERTIFICATE = "our_certificate"
    """Our own files for TLS cannot be used."""
    AWAY = "away"
    """Nothing accepts a connection at its address."""
    TLS = "tls"
    """The TLS handshake fails."""
    REJECTED = "rejected"
    """It answers with an A-ASSOCIATE-RJ."""
    NOTHING_ACCEPTED = "nothing_accepted"
    """It accepts the association, but none of the presentation contexts that we propose."""
    BROKE_OFF = "broke_off"
    """It accepts the connection, but does not answer as a DICOM system."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    source: int
    reason: int

    @property
    def is_transient(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.result == REJECTED_TRANSIENT

    def __str__(self) -> str:
        return f"A-ASSOCIATE-RJ {self.result}, {self.source}, {self.reason}"


class AssociationFailed(Exception):
    """The association could not be opened, for this cause."""

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
        """The error of TLS, or of our own files."""
        self.rejection = rejection
        """The peer's answer, if it rejected the association."""


@dataclass(frozen=True, kw_only=True)
class AssociationTimeouts:
    """How long we wait, in seconds."""

    connection: float
    """For the network and TLS."""
    association: float
    """For the answer to our A-ASSOCIATE-RQ."""
    answer: float
    """For one DIMSE message."""


def open_association(
    peer: Peer,
    settings: Settings,
    contexts: Sequence[PresentationContext],
    timeouts: AssociationTimeouts,
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
    max_pdu: int = SMALL_PDU_BYTES,
) -> Any:
    """Open an association with at least one accepted context; the caller ends it.

    Args:
        peer: The system, by its entry in the file of peers.
        settings: Our AE title and certificates.
        contexts: Presentation contexts to propose.
        timeouts: How long to wait for what.
        roles: SCP/SCU role selections to negotiate.
        handlers: pynetdicom's event handlers.
        max_pdu: Largest PDU that we accept, in bytes.

    Raises:
        AssociationFailed: With the cause.
    """
    silence_noisy_libraries()
    _config.LOG_HANDLER_LEVEL = (
        "none"  # its handlers would format every message even for silenced loggers
    )
    if not (peer.host and peer.port and peer.ae_title):
        raise AssociationFailed(AssociationFailureCause.NO_ADDRESS)
    context = _tls_context(peer, settings) if peer.tls else None
    ae = AE(ae_title=settings.ae_title)
    ae.connection_timeout, ae.acse_timeout = timeouts.connection, timeouts.association
    ae.dimse_timeout = ae.network_timeout = timeouts.answer
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
    raise _diagnose(association, (peer.host, peer.port), context, timeouts.connection)


def _tls_context(peer: Peer, settings: Settings) -> ssl.SSLContext:
    try:
        return client_context(settings, peer)
    except Rejected as error:
        raise AssociationFailed(AssociationFailureCause.OUR_CERTIFICATE, error=error) from None


def close_socket(association: Any) -> None:
    """Close the socket of a failed association, which pynetdicom leaves to the garbage collector."""
    with suppress(OSError, AttributeError):
        association.dul.socket.close()


def tls_failure_reason(error: BaseException) -> str:
    """Return OpenSSL's name of the reason, which holds no personal name."""
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
    """Find out by a connection of our own why pynetdicom opened no association."""
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
            # With TLS 1.3 a peer reports that it refuses our certificate after the handshake.
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
