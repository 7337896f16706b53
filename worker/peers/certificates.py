"""Validity of a certificate, from its PEM file; Python's ssl module gives it only for peers."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION_TAG, _UTC_TIME = 0xA0, 0x17


def first_certificate(path: Path) -> str:
    """Return the first certificate of a PEM file: the owner's; its chain follows.

    Raises OSError, and ValueError if there is none.
    """
    text = path.read_text(encoding="ascii", errors="replace")
    start, end = text.find(_BEGIN), text.find(_END)
    if start < 0 or end < start:
        raise ValueError("no certificate in PEM")
    return text[start : end + len(_END)] + "\n"


def not_before_of(path: Path) -> datetime:
    """Return notBefore of a PEM file's first certificate. Raises OSError, ValueError."""
    return _validity(path)[0]


def not_after_of(path: Path) -> datetime:
    """Return notAfter of a PEM file's first certificate. Raises OSError, ValueError."""
    return _validity(path)[1]


def _validity(path: Path) -> tuple[datetime, datetime]:
    try:
        return _not_before_and_after(ssl.PEM_cert_to_DER_cert(first_certificate(path)))
    except IndexError:
        raise ValueError("no X.509 certificate") from None


def _not_before_and_after(der: bytes) -> tuple[datetime, datetime]:
    """Parse RFC 5280 4.1: Certificate > TBSCertificate > ..., signature, issuer, Validity."""
    to_be_signed = _value(der, _value(der, 0)[0])
    at = to_be_signed[0]
    if der[at] == _VERSION_TAG:
        at = _value(der, at)[1]
    for _ in ("serialNumber", "signature", "issuer"):
        at = _value(der, at)[1]
    not_before = _value(der, at)[0]
    not_after = _value(der, not_before)[1]
    return _time(der, not_before), _time(der, not_after)


def _time(der: bytes, at: int) -> datetime:
    begin, end = _value(der, at)
    text = der[begin:end].decode("ascii")
    years = "%y" if der[at] == _UTC_TIME else "%Y"  # RFC 5280 4.1.2.5: both end with Z
    return datetime.strptime(text, f"{years}%m%d%H%M%SZ").replace(tzinfo=UTC)


def _value(der: bytes, at: int) -> tuple[int, int]:
    """Return begin and end of the value of the element at `at` (X.690 8.1.3)."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    return begin, begin + length
