"""Authorities and certificates made by `openssl`, for tests of TLS."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: Path
    key: Path


def make_authority(folder: Path, name: str) -> Pair:
    """Somebody who signs."""
    return _made(folder, name, "-days", 90, "-addext", "basicConstraints=critical,CA:TRUE")


def make_certificate(folder: Path, name: str, authority: Pair, *, days: int = 90) -> Pair:
    """A certificate for 127.0.0.1 and localhost."""
    return _made(
        folder,
        name,
        *("-days", days),
        *("-CA", authority.certificate, "-CAkey", authority.key),
        *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
    )


def make_certificate_between(
    folder: Path, name: str, authority: Pair, begins: str, ends: str
) -> Pair:
    """The same, at other times (YYYYMMDDHHMMSSZ), which only `openssl ca` makes."""
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
    """Our authority with two certificates, and another authority with one."""
    ours, theirs = make_authority(folder, "ours"), make_authority(folder, "theirs")
    return {
        "authority": ours,
        "listener": make_certificate(folder, "listener", ours),
        "modality": make_certificate(folder, "modality", ours),
        "their authority": theirs,
        "stranger": make_certificate(folder, "stranger", theirs),
    }


def _made(folder: Path, name: str, *more: object) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", f"/CN={name}", "-out", pair.certificate, "-keyout", pair.key),
        *more,
    )
    return pair


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
