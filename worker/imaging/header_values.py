"""Tag values as Python values. A value that makes no sense is None, never an error with its text.

An element of another kind than its keyword (text where a sequence belongs), or a number beyond all
bounds, is no slip of a console: such a header is refused as HEADER_UNREADABLE.
"""

from __future__ import annotations

import math
import re
from collections.abc import MutableSequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import BYTES_VR, VR

from worker.imaging import vocabulary
from worker.imaging.refusals import RefusedInstance
from worker.imaging.unreadable import unreadable

LEAST, GREATEST = -(2**31), 2**32 - 1
"""Of every whole number that an element can hold: IS and SL reach down, UL reaches up (PS3.5 6.2)."""
_ITEMS, _BYTES, _VALUES = "a sequence of items", "bytes", "a value or several"
"""The kinds of content that an element can have."""
DEEPEST = 16
"""Levels of sequences in sequences; the standard's own objects have about half as many."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL pads UIDs; surrogates are no characters."""
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)


class ElementState(StrEnum):
    """What became of an element when it was read; only the first may pass for nothing at all."""

    ABSENT = "absent"
    """It is not there, or has no value."""
    READ = "read"
    """It has a value that means something."""
    UNREADABLE = "unreadable"
    """It has a value of which nobody can say what it means."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What a numeric element (DS, IS, US, VM 1-n) says."""

    state: ElementState
    """Whether there are values."""
    values: tuple[float, ...] = ()
    """All of them, infinite or no number where the element says so; empty unless read."""
    has_decimal_comma: bool = False
    """Whether a comma was read as a point."""


def value_of(dataset: Dataset, keyword: str) -> Any:
    """Return the value of an element.

    Args:
        dataset: An instance, or an item of a sequence.
        keyword: The element's keyword, as PS3.6 has it.

    Returns:
        The value; None if it is absent, empty or cannot be parsed.

    Raises:
        RefusedInstance: HEADER_UNREADABLE if it is a sequence of items, bytes or values and should
            be another of these, or if it is nested deeper than it can be read.
    """
    try:
        value = dataset.get(keyword)
        empty = value is None or (isinstance(value, str | bytes | Sequence) and not len(value))
    except MemoryError:
        raise
    except RecursionError:
        raise unreadable(
            keyword=keyword, found="items nested too deep", expected="a value that can be read"
        ) from None
    except Exception:  # noqa: BLE001  pydicom parses on access and quotes the value in its text
        return None
    if empty:
        return None
    _check_kind(value, keyword)
    return value


def _check_kind(value: Any, keyword: str) -> None:
    found, meant = _kind_of(value), _kind_meant(keyword)
    if meant not in (found, None):
        raise unreadable(keyword=keyword, found=found, expected=meant)


def _kind_of(value: Any) -> str:
    if isinstance(value, Sequence):
        return _ITEMS
    return _BYTES if isinstance(value, bytes) else _VALUES


def _kind_meant(keyword: str) -> str | None:
    """Return what the data dictionary (PS3.6) says of a keyword; None where it leaves a choice."""
    vr = dictionary_VR(keyword)
    if vr == VR.SQ:
        return _ITEMS
    return None if " or " in vr else _BYTES if vr in BYTES_VR else _VALUES


def drop_unreadable(dataset: Dataset) -> Dataset:
    """Return the dataset less what cannot be read: for results, which do not judge the image.

    An element goes if it cannot be parsed, is of another kind than its keyword, is a number string that is
    no number, holds such an element, or is nested deeper than `DEEPEST`.
    """
    for tag in list(dataset.keys()):
        try:
            readable = _is_readable(dataset[tag], DEEPEST)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  pydicom parses on access and quotes the value in its text
            readable = False
        if not readable:
            del dataset[tag]
    return dataset


def _is_readable(element: DataElement, deepest: int) -> bool:
    kind = _kind_of(element.value)
    if (
        element.keyword
        and not element.is_empty
        and _kind_meant(element.keyword) not in (kind, None)
    ):
        return False
    if kind != _ITEMS:
        # pydicom leaves a number string as it is if it is no number, and then cannot write it.
        numeric = element.VR in (VR.DS, VR.IS)
        return not (numeric and any(isinstance(v, str) for v in values_of(element.value)))
    return deepest > 0 and all(
        _is_readable(inner, deepest - 1) for item in element.value for inner in item
    )


def text(dataset: Dataset, keyword: str) -> str | None:
    """Return the stripped text of an element; of several values, all, with backslashes between.

    Without NUL and surrogates, which no database and no encoding takes. Raises RefusedInstance
    HEADER_UNREADABLE as `value_of`.
    """
    value = value_of(dataset, keyword)
    if value is None:
        return None
    joined = "\\".join(str(v) for v in values_of(value))
    return _NO_TEXT.sub("", joined).strip() or None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return a whole number (US, SS, IS, UL); None for several values or none.

    Raises RefusedInstance HEADER_UNREADABLE as `value_of`, and of a number that no such VR can hold.
    """
    value = value_of(dataset, keyword)
    try:
        whole = int(value) if value is not None else None
    except OverflowError:
        raise _beyond_bounds(keyword) from None
    except (TypeError, ValueError):
        return None
    if whole is not None and not LEAST <= whole <= GREATEST:
        raise _beyond_bounds(keyword)
    return whole


def number_of_frames(dataset: Dataset) -> int:
    """(0028,0008), 1 where it is absent, empty or 0: consoles write 0 of a single frame.

    Raises RefusedInstance HEADER_UNREADABLE of anything else that is no whole number: how many frames
    there are decides what is predicted, and is not guessed.
    """
    found = integer(dataset, "NumberOfFrames")
    if found is None and is_filled(dataset, "NumberOfFrames"):
        raise unreadable(
            keyword="NumberOfFrames", found="a value that is no number", expected="a whole number"
        )
    return found or 1


def is_filled(dataset: Dataset, keyword: str) -> bool:
    """Return whether an element is there and has a value, if only one that cannot be parsed."""
    if keyword not in dataset:
        return False
    try:
        return not dataset[keyword].is_empty
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  pydicom parses on access
        return True


def _beyond_bounds(keyword: str) -> RefusedInstance:
    return unreadable(
        keyword=keyword,
        found="a number beyond all bounds",
        expected=f"a whole number from {LEAST} to {GREATEST}",
    )


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of `read_numbers`; empty if the element is absent or unreadable."""
    return read_numbers(dataset, keyword).values


def read_numbers(dataset: Dataset, keyword: str) -> Numbers:
    """All values of a numeric element; unreadable if one of them is no number.

    A comma in a decimal string is read as a point: DS has no sign that groups digits (PS3.5 6.2), so it
    can mean nothing else. Raises RefusedInstance HEADER_UNREADABLE as `value_of`.
    """
    value = value_of(dataset, keyword)
    if value is None:
        filled = is_filled(dataset, keyword)
        return Numbers(state=ElementState.UNREADABLE if filled else ElementState.ABSENT)
    values = values_of(value)
    if all(isinstance(v, str) and not v.strip() for v in values):
        return Numbers(state=ElementState.ABSENT)
    try:
        read = tuple(float(_with_point(v)) for v in values)
    except OverflowError:  # a whole number of 400 digits
        read = (math.inf,)
    except (TypeError, ValueError):
        return Numbers(state=ElementState.UNREADABLE)
    comma = any(isinstance(v, str) and "," in v for v in values)
    return Numbers(state=ElementState.READ, values=read, has_decimal_comma=comma)


def _with_point(value: Any) -> Any:
    """A number as Python reads it; raises ValueError of what Python reads and DICOM does not."""
    written = value if isinstance(value, str) else getattr(value, "original_string", None)
    if isinstance(value, bytes) or "_" in (written or ""):
        raise ValueError
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()):
        return value.replace(",", ".")
    return value


def code_string(dataset: Dataset, keyword: str) -> str | None:
    """A code string (CS) as every reader of it reads it: in capitals, blanks folded; None if absent.

    CS has no small letters (PS3.5 6.2), but consoles write them. Raises as `text`.
    """
    return folded(text(dataset, keyword))


def folded(value: str | None) -> str | None:
    """A term in capitals, with single blanks between its words; None if there is nothing left."""
    return " ".join((value or "").upper().split()) or None


def is_unreadable(dataset: Dataset, keyword: str) -> bool:
    """Whether an element has a value that cannot even be parsed."""
    return value_of(dataset, keyword) is None and is_filled(dataset, keyword)


def values_of(value: Any) -> list[Any]:
    """Return the values of an element, one or several, as a list."""
    return list(value) if isinstance(value, list | tuple | MutableSequence) else [value]


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a sequence, or None. Raises RefusedInstance HEADER_UNREADABLE."""
    items = value_of(dataset, keyword)
    return items[0] if items else None


def printable(value: str | None, *, at_most: int = 64) -> str | None:
    """Return the value without control characters, shortened; for columns that analysts read."""
    kept = "".join(c for c in value or "" if c.isprintable()).strip()[:at_most]
    return kept or None


def snomed_code(dataset: Dataset, keyword: str) -> tuple[str, str] | None:
    """(scheme, code) of a code sequence's first item if the scheme is SNOMED's, else None."""
    item = first_item(dataset, keyword)
    scheme = (
        vocabulary.SNOMED_ALIASES.get(text(item, "CodingSchemeDesignator") or "") if item else None
    )
    code = text(item, "CodeValue") if item else None
    return (scheme, code) if scheme and code else None


def codes(dataset: Dataset, keyword: str) -> list[tuple[str | None, str | None]]:
    """(Coding Scheme Designator, Code Value) of each item of a code sequence."""
    return [
        (text(item, "CodingSchemeDesignator"), text(item, "CodeValue"))
        for item in value_of(dataset, keyword) or ()
    ]
