"""What was done, as a code: a report on a tibia must not say that it is about a chest."""

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
    """A chest radiograph if anything was evaluated as one; else the source's codes; else what the
    modality tells.
    """
    if result.evaluated:
        return [codes.PLAIN_CHEST_RADIOGRAPHY]
    plain = all(text(item.header, "Modality") in _RADIOGRAPHY for item in result.instances)
    general = codes.PLAIN_RADIOGRAPHY if plain else codes.IMAGING_PROCEDURE
    return list(_codes_of(source)) or [general]


def _codes_of(source: Dataset) -> Iterator[Code]:
    """The items of Procedure Code Sequence (0008,1032) that are whole (PS3.3 8.8)."""
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
