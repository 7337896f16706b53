"""Text of code strings (VR CS) as consoles write it: in the data set's character set, or in UTF-8.

PS3.5 6.2 allows CS capitals, digits, blank and underscore of the default repertoire alone, so pydicom reads
each byte as a letter of ISO 8859-1. Consoles set up in other scripts write their own words nevertheless.
"""

from __future__ import annotations

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset

from worker.imaging.header_values import text, value_of, values_of

_ESCAPE = "\x1b"
_NOT_DECODED = "\ufffd"
_DELIMITERS = {"\\", "\r", "\n", "\t", "\f"}
"""After these the character set is the first one again (PS3.5 6.1.2.5.3)."""


def console_text(dataset: Dataset, keyword: str) -> str | None:
    """As `text`, decoded if it is not of the default repertoire. Raises RefusedInstance HEADER_UNREADABLE."""
    shown = text(dataset, keyword)
    if shown is None or (shown.isascii() and _ESCAPE not in shown):
        return shown
    try:
        written = shown.encode("iso8859-1")
    except UnicodeEncodeError:  # decoded already: the element came as LO or SH
        return shown
    return _as_utf8(written) or _as_declared(dataset, written) or shown


def _as_utf8(written: bytes) -> str | None:
    """First of all, since text of another character set is hardly ever valid UTF-8 by chance."""
    try:
        return None if _ESCAPE.encode() in written else written.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _as_declared(dataset: Dataset, written: bytes) -> str | None:
    terms = [str(term) for term in values_of(value_of(dataset, "SpecificCharacterSet") or "")]
    try:
        decoded = decode_bytes(written, convert_encodings(terms), _DELIMITERS)
    except (LookupError, ValueError):
        return None
    return None if _NOT_DECODED in decoded else decoded
