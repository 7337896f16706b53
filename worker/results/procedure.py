"""The code of the reported procedure: a report on a tibia must not claim to be about a chest."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from worker.imaging.header_values import text
from worker.results import codes
from worker.results.patient_and_study import valid_element
from worker.results.study_result import StudyResult

_RADIOGRAPHY = {"CR", "DX"}
_LONGEST = {"CodeValue": 16, "CodingSchemeDesignator": 16, "CodeMeaning": 64}
"""SH, SH and LO (PS3.5 6.2)."""


def procedures_reported(result: StudyResult, source: Dataset) -> list[Code]:
    """Return "chest radiography" if anything was evaluated, else the source's codes, else a general
    code by modality.
    """
    if result.evaluated:
        return [codes.PLAIN_CHEST_RADIOGRAPHY]
    plain = all(text(item.header, "Modality") in _RADIOGRAPHY for item in result.instances)
    general = codes.PLAIN_RADIOGRAPHY if plain else codes.IMAGING_PROCEDURE
    return list(_codes_of(source)) or [general]


def _codes_of(source: Dataset) -> Iterator[Code]:
    """Yield the complete items of Procedure Code Sequence (0008,1032) (PS3.3 8.8)."""
    element = valid_element(source, "ProcedureCodeSequence")
    for item in element.value if element is not None else ():
        parts = {keyword: text(item, keyword) or "" for keyword in _LONGEST}
        if all(0 < len(part) <= _LONGEST[keyword] for keyword, part in parts.items()):
            yield Code(
                parts["CodeValue"],
                parts["CodingSchemeDesignator"],
                parts["CodeMeaning"],
                text(item, "CodingSchemeVersion"),
            )
