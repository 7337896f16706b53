"""Tag values as Python values. A value that makes no sense is None, never an error with its text."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from pydicom.dataset import Dataset

from worker.imaging import vocabulary

_AGE = re.compile(r"(\d{3})([DWMY])")
_DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The element's value, or None if it is absent, empty or cannot be parsed."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001  any parse error: pydicom parses on access and quotes the value in its text
        return None
    return None if value is None or value == "" else value


def text(dataset: Dataset, keyword: str) -> str | None:
    """The stripped text of an element; of several values, all, with backslashes between."""
    value = value_of(dataset, keyword)
    if value is None:
        return None
    several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    joined = "\\".join(str(v) for v in value) if several else str(value)
    return joined.strip(" \0") or None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """A whole number (US, IS); None for several values or none."""
    value = value_of(dataset, keyword)
    try:
        return int(value) if value is not None else None
    except (TypeError, ValueError):
        return None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a numeric element (DS, VM 1-n); empty if absent or if one is no number."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    several = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    try:
        return tuple(float(v) for v in several)
    except (TypeError, ValueError):
        return ()


def first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence, or None."""
    value = value_of(dataset, keyword)
    return value[0] if value is not None and not isinstance(value, str) and len(value) else None


def printable(value: str | None, *, at_most: int = 64) -> str | None:
    """The value without control characters, shortened; for columns that analysts read."""
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


def age_years(dataset: Dataset) -> float | None:
    """Patient's Age (AS: 3 digits and D, W, M or Y) in years; else by birth and study date."""
    found = _AGE.fullmatch((text(dataset, "PatientAge") or "").upper())
    if found:
        return int(found[1]) * _DAYS_PER_UNIT[found[2]] / 365.25
    born, seen = (_day(dataset, k) for k in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / 365.25


def _day(dataset: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(text(dataset, keyword) or "", "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
