"""Authorities and certificates made by `openssl`, for tests of TLS."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """A certificate and its private key, both PEM."""

    certificate: Path
    key: Path


def make_authority(folder: Path, name: str) -> Pair:
    """Make an authority, which signs certificates."""
    return _make_pair(folder, name, "-days", 90, "-addext", "basicConstraints=critical,CA:TRUE")


def make_certificate(
    folder: Path, name: str, authority: Pair, *, days: int = 90, host: str = "127.0.0.1"
) -> Pair:
    """Make a certificate for an address and for localhost, signed by the authority."""
    return _make_pair(
        folder,
        name,
        *("-days", days),
        *("-CA", authority.certificate, "-CAkey", authority.key),
        *("-addext", f"subjectAltName=IP:{host},DNS:localhost"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
    )


def make_self_signed(folder: Path, name: str, host: str = "127.0.0.1") -> Pair:
    """Make a certificate that is its own authority."""
    return _make_pair(folder, name, "-days", 2, "-addext", f"subjectAltName=IP:{host}")


def make_certificate_between(
    folder: Path, name: str, authority: Pair, begins: str, ends: str
) -> Pair:
    """Make one that is valid at other times (YYYYMMDDHHMMSSZ), which only `openssl ca` makes."""
    pair = make_certificate(folder, name, authority)
    (folder / "ca.index").write_text("")
    (folder / "ca.conf").write_text(
        "[ca]\ndefault_ca = it\n[it]\ndefault_md = sha256\npolicy = any\n"
        f"database = {folder}/ca.index\nserial = {folder}/ca.serial\nnew_certs_dir = {folder}\n[any]\ncommonName = supplied\n"
    )
    _openssl("req", "-new", "-key", pair.key, "-subj", f"/CN={name}", "-out", folder / "ca.csr")
    _openssl(
        *("ca", "-batch", "-notext", "-create_serial", "-config", folder / "ca.conf"),
        *("-cert", authority.certificate, "-keyfile", authority.key),
        *("-startdate", begins, "-enddate", ends),
        *("-in", folder / "ca.csr", "-out", pair.certificate),
    )
    return pair


def make_parties(folder: Path) -> dict[str, Pair]:
    """Make our authority with two certificates, and another authority with one."""
    ours, theirs = make_authority(folder, "ours"), make_authority(folder, "theirs")
    return {
        "authority": ours,
        "listener": make_certificate(folder, "listener", ours),
        "modality": make_certificate(folder, "modality", ours),
        "their authority": theirs,
        "stranger": make_certificate(folder, "stranger", theirs),
    }


def tls_server(certificate: Path, key: Path, *, client: Path | None = None) -> ssl.SSLContext:
    """Return the context of a server; `client` signs the certificates that callers must show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client is not None:
        context.load_verify_locations(client)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _make_pair(folder: Path, name: str, *more: object) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", f"/CN={name}", "-out", pair.certificate, "-keyout", pair.key),
        *more,
    )
    return pair


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
