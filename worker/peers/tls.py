"""TLS contexts for both sides, from the certificates in the settings.

TLS 1.2 at least, with the ciphers of the system's OpenSSL, as PS3.15 B.9 and B.10 (BCP 195) require.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from worker.errors import Rejected
from worker.peers.certificates import first_certificate
from worker.peers.peers_file import Peer
from worker.settings import Settings


def server_context(settings: Settings) -> ssl.SSLContext:
    """Create the context of our listener; with `listen_tls` "mutual" the caller shows a certificate.

    Raises Rejected TLS_FILE_MISSING, TLS_FILE_UNUSABLE.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _show(
        context,
        _named(settings.tls_certificate, "PNEUMO_TLS_CERTIFICATE"),
        _named(settings.tls_key, "PNEUMO_TLS_KEY"),
    )
    if settings.listen_tls == "mutual":
        _trust(context, _named(settings.tls_authorities, "PNEUMO_TLS_AUTHORITIES"))
        _trust_ourselves(context, settings)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def probe_context(settings: Settings) -> ssl.SSLContext:
    """Create the context of the health check of our own listener: by address, so no name is checked.

    Raises Rejected TLS_FILE_UNUSABLE.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.tls_certificate and settings.tls_key:
        _show(context, settings.tls_certificate, settings.tls_key)
    return context


def client_context(settings: Settings, peer: Peer | None = None) -> ssl.SSLContext:
    """Create the context of connections to `peer`: check its name and signature, show our certificate.

    Without a peer the files of the settings are used. Raises Rejected TLS_FILE_UNUSABLE.
    """
    if authorities := (peer and peer.authorities) or settings.tls_authorities:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, authorities)
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if peer and peer.certificate and peer.key:
        _show(context, peer.certificate, peer.key)
    elif settings.tls_certificate and settings.tls_key:
        _show(context, settings.tls_certificate, settings.tls_key)
    return context


def _named(path: Path | None, variable: str) -> Path:
    if path is None:
        raise Rejected(
            "TLS_FILE_MISSING",
            f"PNEUMO_LISTEN_TLS needs {variable}. Set it to the path of a PEM file.",
        )
    return path


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _unusable(f"{certificate.name} with {key.name}", error) from None


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ValueError) as error:
        raise _unusable(authorities.name, error) from None


def _trust_ourselves(context: ssl.SSLContext, settings: Settings) -> None:
    """Trust our certificate, which `pneumo health listener` shows.

    Another authority may have signed it: only the certificate is trusted, not its issuer.
    """
    ours = _named(settings.tls_certificate, "PNEUMO_TLS_CERTIFICATE")
    context.load_verify_locations(cadata=first_certificate(ours))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _no_password() -> str:
    """Refuse a password: OpenSSL would prompt at a terminal, where nobody is."""
    raise ValueError("the key is encrypted")


def _unusable(what: str, error: Exception) -> Rejected:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return Rejected(
        "TLS_FILE_UNUSABLE",
        f"{what} cannot be used for TLS ({reason}). Expected PEM files that this process may read: "
        "a certificate chain, its private key without a password, and the authorities.",
    )
