"""A patient's age in the spellings that consoles write, read only where there is one way to read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pydicom.dataset import Dataset

from worker.imaging.header_values import ElementState, is_filled, text

_AGE = re.compile(r"(\d{1,3})\s*([DWMY])", re.ASCII)
"""AS has three digits (PS3.5 6.2); leading zeros are often left out. A number without a unit may count
days as well as years, so it is not read."""
_DAYS_PER_UNIT = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_YEAR_FIRST = re.compile(r"(\d{4})([./-]?)(\d{2})\2(\d{2})", re.ASCII)
"""DA is YYYYMMDD; YYYY.MM.DD is its older form (PS3.5 6.2)."""
_YEAR_LAST = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})", re.ASCII)
"""Read only if it is the same day whether day or month stands first, or no day in one of the two."""


@dataclass(frozen=True, kw_only=True)
class Age:
    """How old the patient was when the study was made."""

    state: ElementState
    """Whether it is known, and if not, whether something was said."""
    years: float | None = None
    """Only if read."""


def read_age(dataset: Dataset) -> Age:
    """Patient's Age; without one that can be read, Study Date less Patient's Birth Date."""
    years = years_of(text(dataset, "PatientAge"))
    if years is None:
        years = _years_between(dataset)
    if years is not None:
        return Age(state=ElementState.READ, years=years)
    said = is_filled(dataset, "PatientAge") or (
        is_filled(dataset, "PatientBirthDate") and is_filled(dataset, "StudyDate")
    )
    return Age(state=ElementState.UNREADABLE if said else ElementState.ABSENT)


def years_of(age: str | None) -> float | None:
    """An age string in years; None if it cannot be read without guessing."""
    found = _AGE.fullmatch((age or "").strip().upper())
    return int(found[1]) * _DAYS_PER_UNIT[found[2]] / 365.25 if found else None


def day_of(value: str | None) -> date | None:
    """A date string as a day; None if it cannot be read without guessing."""
    stripped = (value or "").strip()
    if found := _YEAR_FIRST.fullmatch(stripped):
        return _day(found[1], found[3], found[4])
    if found := _YEAR_LAST.fullmatch(stripped):
        readings = {_day(found[4], found[3], found[1]), _day(found[4], found[1], found[3])} - {None}
        return readings.pop() if len(readings) == 1 else None
    return None


def _years_between(dataset: Dataset) -> float | None:
    born, seen = (day_of(text(dataset, k)) for k in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return (seen - born).days / 365.25


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return datetime(int(year), int(month), int(day), tzinfo=UTC).date()
    except ValueError:
        return None
