"""What a refused file says of body part and view in words that nobody knows yet."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from worker.imaging import lexicon
from worker.imaging.console_text import console_text
from worker.imaging.dicom_files import Source, open_dataset
from worker.imaging.header_values import printable, text
from worker.imaging.unreadable import element_name

_KEYWORDS = ("BodyPartExamined", "ViewPosition")


@dataclass(frozen=True, kw_only=True)
class UnknownWords:
    """The unknown values of one file; they and the patient id may be personal."""

    patient_id: str | None
    """(0010,0020)."""
    values: tuple[tuple[str, str], ...]
    """An element's name, and its value in capitals, printable, at most 64 characters."""


def unknown_words(source: Source) -> UnknownWords:
    """Read a file's header for words that are not in the vocabulary. Raises RefusedInstance, OSError."""
    tags = ["SpecificCharacterSet", "PatientID", *_KEYWORDS]
    dataset = open_dataset(source, stop_before_pixels=True, specific_tags=tags)
    written = ((keyword, console_text(dataset, keyword)) for keyword in _KEYWORDS)
    return UnknownWords(
        patient_id=text(dataset, "PatientID"),
        values=tuple(
            (element_name(keyword), shown)
            for keyword, value in written
            if value and not lexicon.is_known(value) and (shown := _shown(value))
        ),
    )


def _shown(value: str) -> str | None:
    return printable(" ".join(unicodedata.normalize("NFKC", value).upper().split()))
