"""Choose the Specific Character Set (0008,0005) of our objects."""

from __future__ import annotations

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset

from worker.imaging.header_values import text

UNICODE = ("ISO_IR 192",)

_ALONE = {
    *("ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126"),
    *("ISO_IR 127", "ISO_IR 138", "ISO_IR 144", "ISO_IR 148", "ISO_IR 166"),
    *("ISO_IR 192", "GB18030", "GBK"),
}
"""PS3.3 C.12.1.1.2, tables C.12-2 and C.12-5, as far as pydicom can write them."""
_EXTENSIONS = {
    *("ISO 2022 IR 6", "ISO 2022 IR 13", "ISO 2022 IR 100", "ISO 2022 IR 101", "ISO 2022 IR 109"),
    *("ISO 2022 IR 110", "ISO 2022 IR 126", "ISO 2022 IR 127", "ISO 2022 IR 138"),
    *("ISO 2022 IR 144", "ISO 2022 IR 148", "ISO 2022 IR 166"),
    *("ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58"),
}
"""Tables C.12-3 and C.12-4: code extensions."""


def character_set_for(source: Dataset, *our_texts: str) -> tuple[str, ...]:
    """Return the source's character set, so that the PACS gets names in the bytes that it knows.

    UTF-8 if the source declares none that the standard knows, or if it cannot encode our texts.
    Empty: the default repertoire, without the element.
    """
    declared = _declared(source)
    if not _is_known(declared) or not all(_fits(ours, declared) for ours in our_texts):
        return UNICODE
    return declared


def _declared(source: Dataset) -> tuple[str, ...]:
    terms = [term.strip() for term in (text(source, "SpecificCharacterSet") or "").split("\\")]
    return () if terms in ([""], ["ISO_IR 6"]) else tuple(terms)


def _is_known(terms: tuple[str, ...]) -> bool:
    if len(terms) == 1:
        return terms[0] in _ALONE | _EXTENSIONS
    return all(term in _EXTENSIONS or (term == "" and i == 0) for i, term in enumerate(terms))


def _fits(ours: str, terms: tuple[str, ...]) -> bool:
    """Return whether one of the declared code pages has all characters; ASCII is in each of them."""
    if ours.isascii() or not terms:
        return ours.isascii()
    return any(_can_encode(ours, encoding) for encoding in convert_encodings(list(terms)))


def _can_encode(ours: str, encoding: str) -> bool:
    try:
        ours.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True
