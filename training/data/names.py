"""Patients from the file names that the authors of chest-xray-pneumonia gave.

`IM-0115-0001`, `NORMAL2-IM-0838-0001`, `person1000_virus_1681`.
"""

from __future__ import annotations

import re
from pathlib import Path

from training.data.radiograph import CLASSES

_NORMAL = re.compile(r"^((?:NORMAL2-)?IM-\d+)")
_PNEUMONIA = re.compile(r"^(person\d+)_(bacteria|virus)")


def patient_key_from_name(name: str, label: int) -> str:
    """The patient key that a file name of the original set tells.

    An unknown naming gives a key of its own for each file: no grouping, but nothing wrong either.
    """
    if label == 0 and (match := _NORMAL.match(name)):
        return f"normal:{match[1]}"
    if label == 1 and (match := _PNEUMONIA.match(name)):
        return f"{match[2]}:{match[1]}"
    return f"{CLASSES[label].lower()}:{Path(name).stem}"


def tells_patient(name: str, label: int) -> bool:
    """Whether a file name is one of the original set's."""
    return (_NORMAL, _PNEUMONIA)[label].match(name) is not None
