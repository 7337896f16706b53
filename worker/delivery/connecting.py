"""A DICOM association to a destination, and in plain words why there is none."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config

from worker.delivery.trouble import away, certificate, fails, refuses
from worker.errors import Rejected
from worker.logging import close_talkative_libraries
from worker.peers import Peer
from worker.settings import Settings
from worker.tls import calling_context

CONNECT_WITHIN_S = 10.0
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Our objects are in the first; every node takes the second (PS3.5 10.1)."""


@contextmanager
def associated(
    peer: Peer, site: Settings, sop_classes: Iterable[str], handlers: Sequence[Any] = ()
) -> Iterator[Any]:
    """An association with these SOP classes proposed, released at the end.

    Raises DestinationFailed: DESTINATION_AWAY, DESTINATION_CERTIFICATE, DESTINATION_REFUSES.
    """
    close_talkative_libraries()
    _config.LOG_HANDLER_LEVEL = "none"  # its handlers would format every message for closed loggers
    ae = AE(ae_title=site.ae_title)
    ae.connection_timeout = min(CONNECT_WITHIN_S, site.delivery_timeout_s)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = site.delivery_timeout_s
    for sop_class in sop_classes:
        for syntax in SYNTAXES:
            ae.add_requested_context(sop_class, syntax)
    tls = (context_for(peer, site), str(peer.host)) if peer.tls else None
    association = ae.associate(
        peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls, evt_handlers=list(handlers)
    )
    if not association.is_established:
        raise _why_not(association, peer, tls[0] if tls else None)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        with suppress(OSError, AttributeError):
            association.dul.socket.close()


def context_for(peer: Peer, site: Settings) -> ssl.SSLContext:
    """TLS as the site has it for this peer. Raises DestinationFailed DESTINATION_CERTIFICATE."""
    try:
        return calling_context(site, peer)
    except Rejected as error:
        raise certificate(peer.name, error.sentence.rstrip(".")) from None


def _why_not(association: Any, peer: Peer, context: ssl.SSLContext | None) -> Exception:
    if association.is_rejected:
        answer = association.acceptor.primitive
        return refuses(
            peer.name,
            f"it rejects the association (A-ASSOCIATE-RJ {answer.result}, {answer.result_source}, "
            f"{answer.diagnostic}, PS3.8 9.3.4)",
        )
    return _found_out(peer, context) or fails(peer.name, "it ends the connection unasked")


def _found_out(peer: Peer, context: ssl.SSLContext | None) -> Exception | None:
    """pynetdicom only says that there is no association: ask the network why."""
    try:
        with socket.create_connection(
            (str(peer.host), int(peer.port or 0)), timeout=CONNECT_WITHIN_S
        ) as plain:
            return _tls_trouble(plain, peer, context) if context else None
    except OSError:
        return away(peer.name)


def _tls_trouble(plain: socket.socket, peer: Peer, context: ssl.SSLContext) -> Exception | None:
    try:
        with context.wrap_socket(plain, server_hostname=str(peer.host)) as secured:
            # With TLS 1.3 a peer that does not like our certificate says so after the handshake.
            secured.settimeout(1.0)
            with suppress(TimeoutError):
                secured.recv(1)
    except (ssl.SSLError, ConnectionError, TimeoutError) as error:
        return certificate(peer.name, why_tls_failed(error))
    return None


def why_tls_failed(error: OSError) -> str:
    """The reason by OpenSSL's name for it, which quotes no name of anybody."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFICATION.get(error.verify_code, f"verification code {error.verify_code}")
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else "the connection ends"


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
